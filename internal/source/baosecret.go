package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/superinstance/keeper/internal/secret"
)

// baoSecret is a path of an OpenBao: of KV version 2 or 1, or of an engine that makes
// a secret for a lease.
type baoSecret struct {
	session *session
	path    string
	fields  template

	mu    sync.Mutex // guards lease
	lease lease
}

// lease is a secret that the server made for keeper, and takes back at its end.
type lease struct {
	id        string // empty: there is none
	secret    secret.Value
	life      time.Duration // that it had at first
	renewable bool
	// generation is the token's that it was taken with, and with which it ends.
	generation int
}

func newBaoSecret(s *session, path, fields string) (*baoSecret, error) {
	path = strings.Trim(path, "/")
	if !isPath(path) {
		return nil, errors.New("want openbao:PATH#FIELD with a path such as kv/data/openai")
	}
	parsed, err := parseTemplate(fields)
	if err != nil {
		return nil, err
	}
	return &baoSecret{session: s, path: path, fields: parsed}, nil
}

// isPath reports whether the server would read the path as it stands.
func isPath(path string) bool {
	return !slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool {
		return part == "" || part == "." || part == ".." || strings.ContainsAny(part, "?%\\")
	})
}

func (b *baoSecret) fetch(ctx context.Context) (value, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lease.id != "" && b.lease.renewable {
		if v, renewed := b.renew(ctx); renewed {
			return v, nil
		}
	}
	answer, generation, err := b.session.do(ctx, "reading it", func() (*api.Secret, error) { return b.read(ctx) })
	if err != nil {
		return value{}, err
	}
	return b.take(answer, generation)
}

// watch has it fetched when keeper's token is another one: its lease ends then.
func (b *baoSecret) watch(ctx context.Context, changed func()) {
	defer b.session.onReplaced(&changed)()
	<-ctx.Done()
}

// read is the library's read, but that nothing there is an error of status 404, with
// what the server says of it.
func (b *baoSecret) read(ctx context.Context) (*api.Secret, error) {
	logical := b.session.client.Logical()
	raw, err := logical.ReadRawWithContext(ctx, b.path)
	answer, parsed := logical.ParseRawResponseAndCloseBody(raw, err)
	if parsed == nil && answer == nil { // nothing is there, and nothing is said of it
		return nil, &api.ResponseError{StatusCode: http.StatusNotFound}
	}
	return answer, parsed
}

// renew lets the lease live on. Where the server gives it much less than it had at
// first, its longest life is near, and it is time for another.
func (b *baoSecret) renew(ctx context.Context) (value, bool) {
	answer, generation, err := b.session.do(ctx, "renewing its lease", func() (*api.Secret, error) {
		return b.session.client.Sys().RenewWithContext(ctx, b.lease.id, int(b.lease.life/time.Second))
	})
	if err != nil || answer == nil || generation != b.lease.generation {
		return value{}, false // reading it anew says why
	}
	left := time.Duration(answer.LeaseDuration) * time.Second
	if left < share(b.lease.life) {
		return value{}, false
	}
	b.lease.renewable = answer.Renewable
	return value{secret: b.lease.secret, next: share(left), expires: time.Now().Add(left)}, true
}

func (b *baoSecret) take(answer *api.Secret, generation int) (value, error) {
	data, origin, err := contents(answer)
	if err != nil {
		return value{}, err
	}
	text, err := b.fields.fill(data)
	if err != nil {
		return value{}, err
	}
	v := value{secret: secret.New([]byte(text)), origin: origin}
	life := time.Duration(answer.LeaseDuration) * time.Second
	switch {
	case answer.LeaseID != "" && life > 0:
		b.lease = lease{answer.LeaseID, v.secret, life, answer.Renewable, generation}
		v.next, v.expires = share(life), time.Now().Add(life)
	default: // KV version 1 says how often to look
		b.lease, v.within = lease{}, life
	}
	return v, nil
}

// contents are the fields of an answer and, of KV version 2, the version.
func contents(answer *api.Secret) (data map[string]any, origin string, err error) {
	if answer == nil || answer.Data == nil {
		return nil, "", problemf("the answer holds nothing")
	}
	metadata, versioned := answer.Data["metadata"].(map[string]any)
	inner, isMap := answer.Data["data"].(map[string]any)
	if !versioned || !isMap && answer.Data["data"] != nil {
		return answer.Data, "", nil
	}
	number, _ := metadata["version"].(json.Number)
	if deleted, _ := metadata["deletion_time"].(string); !isMap || deleted != "" && passed(deleted) || metadata["destroyed"] == true {
		return nil, "", &problem{sentence: fmt.Sprintf("version %s of it is deleted", orUnknown(number.String())), gone: true}
	}
	return inner, orUnknown(number.String()), nil
}

// passed reports whether the time is over; one that cannot be read is.
func passed(text string) bool {
	at, err := time.Parse(time.RFC3339, text)
	return err != nil || !time.Now().Before(at)
}

func orUnknown(number string) string {
	if _, err := strconv.ParseUint(number, 10, 64); err != nil {
		return "unknown"
	}
	return number
}

// template makes one value of an answer's fields.
type template struct {
	text  string // with {field} in the places of fields; empty: all of them, as JSON
	names []string
}

var placeholder = regexp.MustCompile(`\{([A-Za-z0-9_.-]+)\}`)

// parseTemplate reads what stands behind #: a field's name, a text with several in
// braces, such as {username}:{password}, or nothing.
func parseTemplate(text string) (template, error) {
	if !strings.ContainsAny(text, "{}") {
		if text != "" && !placeholder.MatchString("{"+text+"}") {
			return template{}, errors.New("want the name of a field behind #, or several in braces, such as {username}:{password}")
		}
		if text == "" {
			return template{}, nil
		}
		text = "{" + text + "}"
	}
	t := template{text: text}
	for _, match := range placeholder.FindAllStringSubmatch(text, -1) {
		t.names = append(t.names, match[1])
	}
	if len(t.names) == 0 || strings.ContainsAny(placeholder.ReplaceAllString(text, ""), "{}") {
		return template{}, errors.New("want names of fields in the braces behind #, such as {username}:{password}")
	}
	return t, nil
}

func (t template) fill(data map[string]any) (string, error) {
	if t.text == "" {
		text, err := json.Marshal(data)
		if err != nil {
			return "", problemf("its fields are no JSON")
		}
		return string(text), nil
	}
	values := map[string]string{}
	for _, name := range t.names {
		text, err := plain(data[name])
		if err != nil || text == "" {
			return "", problemf("it has no field %q, or nothing in it", name)
		}
		values[name] = text
	}
	return placeholder.ReplaceAllStringFunc(t.text, func(match string) string { return values[match[1:len(match)-1]] }), nil
}

// plain is a field's value as text.
func plain(field any) (string, error) {
	switch field := field.(type) {
	case nil:
		return "", errors.New("missing")
	case string:
		return field, nil
	}
	text, err := json.Marshal(field)
	return string(text), err
}
