package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// claims is what a token says, with numbers as they are written.
type claims map[string]any

// readClaims reads the claims to the letter: a name that is there twice, or in another
// case, is another reader's other claim.
func readClaims(payload []byte) (claims, error) {
	if !jsontext.Value(payload).IsValid() { // which looks at doubled names and at UTF-8, too
		return nil, errors.New("the claims are no JSON object without doubled names")
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var c claims
	if err := d.Decode(&c); err != nil || c == nil {
		return nil, errors.New("the claims are no JSON object")
	}
	return c, nil
}

// at is the claim of the name, or at the JSON pointer.
func (c claims) at(name string) (any, bool) {
	pointer, nested := strings.CutPrefix(name, "/")
	if !nested {
		value, ok := c[name]
		return value, ok
	}
	var here any = map[string]any(c)
	for part := range strings.SplitSeq(pointer, "/") {
		object, ok := here.(map[string]any)
		if !ok {
			return nil, false
		}
		if here, ok = object[unescaped.Replace(part)]; !ok {
			return nil, false
		}
	}
	return here, true
}

// unescaped undoes the escapes of a JSON pointer (RFC 6901, section 4).
var unescaped = strings.NewReplacer("~1", "/", "~0", "~")

// checkName refuses a claim's name that could not mean what it says.
func checkName(name string) error {
	pointer, nested := strings.CutPrefix(name, "/")
	plain := strings.ReplaceAll(strings.ReplaceAll(pointer, "~0", ""), "~1", "")
	switch {
	case name == "" || nested && pointer == "":
		return errors.New("want a claim's name, or a JSON pointer such as /kubernetes.io/namespace")
	case strings.ContainsAny(name, "{}"):
		return errors.New("a claim's name has no braces here")
	case nested && strings.Contains(plain, "~"):
		return errors.New("in a JSON pointer ~ is written ~0, and a slash of a name ~1")
	}
	return nil
}

// text is a claim's value where it is one: a text, a whole number or a truth value, and
// not empty.
func text(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, v != ""
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		_, err := strconv.ParseInt(v.String(), 10, 64)
		return v.String(), err == nil && v.String() != "-0"
	}
	return "", false
}

// texts are the values of a claim that is one or a list of them.
func texts(value any) (all []string) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, one := range list {
		if s, ok := text(one); ok {
			all = append(all, s)
		}
	}
	return all
}

// onlyFor reports whether the token is for the audience and for nobody else: who else
// it was shown to could use it here.
func (c claims) onlyFor(audience string) bool {
	list, ok := c["aud"].([]any)
	if !ok {
		list = []any{c["aud"]}
	}
	for _, one := range list {
		if one != audience {
			return false
		}
	}
	return len(list) > 0
}

// latest is after every time that a token can bear.
const latest = 1 << 38 // seconds: the year 10680

// when is a NumericDate (RFC 7519, section 2).
func (c claims) when(name string) (at time.Time, given bool, err error) {
	value, given := c[name]
	if !given {
		return at, false, nil
	}
	n, ok := value.(json.Number)
	seconds, err := strconv.ParseFloat(n.String(), 64)
	if !ok || err != nil || !(seconds >= 0 && seconds < latest) {
		return at, true, errors.New("no time")
	}
	return time.UnixMilli(int64(seconds * 1000)), true, nil
}
