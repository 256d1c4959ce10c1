package vault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/superinstance/keeper/internal/policy"
)

// bodyFieldBytes bounds a body that a field goes into: it is held in memory twice.
const bodyFieldBytes = 1 << 20

// injectBody sets a field of the body of req, which gets a body of its own. The
// values of other fields stay byte for byte as they were; a field of that name that
// is there already goes.
func injectBody(req *http.Request, how policy.BodyInjection, text string) error {
	if coding := req.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return &CallError{"the body must hold the credential; send it without Content-Encoding"}
	}
	if len(req.Trailer) > 0 {
		return &CallError{"the body must hold the credential; send it without a trailer"}
	}
	body, err := wholeBody(req)
	if err != nil {
		return err
	}
	media, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	format := how.Format
	switch {
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		format = agreed(format, policy.BodyJSON)
	case media == "application/x-www-form-urlencoded":
		format = agreed(format, policy.BodyForm)
	case media != "" || len(body) > 0:
		format = ""
	}
	var changed []byte
	switch format {
	case policy.BodyJSON:
		if len(bytes.TrimSpace(body)) == 0 {
			body = []byte("{}")
		}
		if changed, err = withMember(body, strings.Split(how.Field, "."), text); err != nil {
			return err
		}
		req.Header.Set("Content-Type", firstOf(req.Header.Get("Content-Type"), "application/json"))
	case policy.BodyForm:
		changed = []byte(withParameter(string(body), how.Field, text))
		req.Header.Set("Content-Type", firstOf(req.Header.Get("Content-Type"), "application/x-www-form-urlencoded"))
	default:
		return &CallError{"the body must hold the credential; send a JSON object or a form, and say in Content-Type which"}
	}
	for _, name := range []string{"Content-Md5", "Digest", "Content-Digest"} { // of the body as it was
		req.Header.Del(name)
	}
	req.ContentLength = int64(len(changed))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(changed)), nil }
	req.Body, _ = req.GetBody() // which cannot fail
	return nil
}

// agreed is the format that a Content-Type says, unless the definition wants the
// other one.
func agreed(wanted, said string) string {
	if wanted == "" || wanted == said {
		return said
	}
	return ""
}

func wholeBody(req *http.Request) ([]byte, error) {
	if req.ContentLength > bodyFieldBytes {
		return nil, &CallError{fmt.Sprintf("the body must hold the credential; send at most %d bytes", bodyFieldBytes)}
	}
	src, err := openBody(req)
	if err != nil || src == nil {
		return nil, err
	}
	defer src.Close()
	body, err := io.ReadAll(io.LimitReader(src, bodyFieldBytes+1))
	if err != nil || len(body) > bodyFieldBytes {
		return nil, errors.New("the body cannot be read again")
	}
	return body, nil
}

// errNoObject never quotes the body.
var errNoObject = &CallError{"the body must hold the credential; send a JSON object"}

// withMember returns an object with the member at path set. Members of that name
// in any case go: some readers take one for the other.
func withMember(object []byte, path []string, text string) ([]byte, error) {
	d := jsontext.NewDecoder(bytes.NewReader(object), jsontext.AllowDuplicateNames(true))
	if d.PeekKind() != '{' {
		return nil, errNoObject
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, errNoObject
	}
	var out bytes.Buffer
	out.WriteByte('{')
	inner := jsontext.Value("{}")
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return nil, errNoObject
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, errNoObject
		}
		if strings.EqualFold(name, path[0]) {
			inner = value.Clone()
			continue
		}
		writeMember(&out, name, value)
	}
	if _, err := d.ReadToken(); err != nil { // the end of the object
		return nil, errNoObject
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errNoObject
	}
	var set []byte
	var err error
	if len(path) > 1 {
		set, err = withMember(inner, path[1:], text)
	} else {
		set, err = json.Marshal(text)
	}
	if err != nil {
		return nil, err
	}
	writeMember(&out, path[0], set)
	out.WriteByte('}')
	return out.Bytes(), nil
}

func writeMember(out *bytes.Buffer, name string, value []byte) {
	if out.Len() > 1 {
		out.WriteByte(',')
	}
	quoted, _ := json.Marshal(name) // a string always has a text
	out.Write(quoted)
	out.WriteByte(':')
	out.Write(value)
}
