package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/secret"
)

const plain = "correct-horse-7h3-battery"

type element struct{ V secret.Value }

type holder struct {
	Public secret.Value
	hidden secret.Value
	Ptr    *secret.Value
	Any    any
	Map    map[string]secret.Value
	Slice  []secret.Value
}

func containers() []any {
	v := secret.New([]byte(plain))
	h := holder{Public: v, hidden: v, Ptr: &v, Any: v, Map: map[string]secret.Value{"k": v}, Slice: []secret.Value{v}}
	return []any{v, &v, h, &h, []secret.Value{v}, [1]secret.Value{v}, map[string]secret.Value{"k": v}, []any{v, h}, struct{ v any }{v}}
}

// forms are the shapes in which fmt could print the bytes.
func forms() []string {
	b := []byte(plain)
	return []string{
		plain, fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), fmt.Sprintf("% x", b),
		strings.Trim(fmt.Sprint(b), "[]"), fmt.Sprintf("%q", plain), fmt.Sprintf("%o", b[:4]), fmt.Sprintf("%b", b[:2]),
	}
}

func assertClean(t *testing.T, what, out string) {
	t.Helper()
	for _, f := range forms() {
		if strings.Contains(out, f) {
			t.Errorf("%s printed the secret as %q", what, f)
		}
	}
}

func TestNoVerbPrintsTheValue(t *testing.T) {
	verbs := "vTtbcdoOqxXUeEfFgGspw"
	flags := []string{"", "+", "#", "-", " ", "0", "+#", "# ", "10", ".3", "+.20"}
	for i, c := range containers() {
		for _, verb := range verbs {
			for _, flag := range flags {
				format := "%" + flag + string(verb)
				assertClean(t, fmt.Sprintf("container %d with %s", i, format), fmt.Sprintf(format, c))
			}
		}
		assertClean(t, "Sprint", fmt.Sprint(c))
		assertClean(t, "Errorf", fmt.Errorf("wrapping %v", c).Error())
	}
}

func TestNoLogHandlerPrintsTheValue(t *testing.T) {
	var buf bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&buf, nil), slog.NewJSONHandler(&buf, nil)} {
		for _, c := range containers() {
			slog.New(h).Info("message", "attr", c, slog.Group("g", slog.Any("in", c)))
		}
	}
	assertClean(t, "slog", buf.String())
}

func TestEveryEncoderIsRefused(t *testing.T) {
	v := secret.New([]byte(plain))
	encoders := map[string]func() error{
		"json":       func() error { _, err := json.Marshal(struct{ V secret.Value }{v}); return err },
		"json key":   func() error { _, err := json.Marshal([]any{&v}); return err },
		"xml":        func() error { _, err := xml.Marshal(element{v}); return err },
		"gob":        func() error { return gob.NewEncoder(&bytes.Buffer{}).Encode(v) },
		"text":       func() error { _, err := v.MarshalText(); return err },
		"binary":     func() error { _, err := v.MarshalBinary(); return err },
		"gob method": func() error { _, err := v.GobEncode(); return err },
	}
	for name, encode := range encoders {
		if err := encode(); !errors.Is(err, secret.ErrEncode) {
			t.Errorf("%s: got %v, want ErrEncode", name, err)
		}
	}
}

func TestDecodingKeepsTheBytesAndQuotesNothing(t *testing.T) {
	var in struct{ V secret.Value }
	if err := json.Unmarshal([]byte(`{"V":"`+plain+`"}`), &in); err != nil || string(in.V.Expose()) != plain {
		t.Fatalf("got %d bytes and %v, want the value", in.V.Len(), err)
	}
	for _, bad := range []string{`{"V":["` + plain + `"]}`, `{"V":12345678}`, `{"V":null}`, `{"V":{"a":"` + plain + `"}}`} {
		err := json.Unmarshal([]byte(bad), &in)
		if err == nil || strings.Contains(err.Error(), plain) || strings.Contains(err.Error(), "12345678") {
			t.Errorf("decoding %d bytes: got %v, want an error without the input", len(bad), err)
		}
	}
}

func TestEqualComparesBytes(t *testing.T) {
	a, b, c := secret.New([]byte(plain)), secret.New([]byte(plain)), secret.New([]byte(plain+"x"))
	if !a.Equal(b) || a.Equal(c) || a.Equal(secret.Value{}) {
		t.Fatalf("Equal: got %v %v %v, want true false false", a.Equal(b), a.Equal(c), a.Equal(secret.Value{}))
	}
}

func TestNewCopiesItsInput(t *testing.T) {
	in := []byte(plain)
	v := secret.New(in)
	clear(in)
	if string(v.Expose()) != plain {
		t.Fatal("changing the input changed the value")
	}
}
