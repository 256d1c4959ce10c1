package keepertest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// Canary is a set of marked secrets and the search for them. It is safe for
// concurrent use.
type Canary struct {
	mu      sync.Mutex
	secrets map[string]needles // of the part of each that is secret, by name
}

func newCanary() *Canary { return &Canary{secrets: map[string]needles{}} }

// NewCanary makes a random secret for every vendor of the fake provider, in
// the vendor's own format, and returns them by vendor beside their canary.
func NewCanary(t testing.TB) (*Canary, map[string]string) {
	t.Helper()
	c, keys := newCanary(), map[string]string{}
	for _, vendor := range fake.Vendors() {
		keys[vendor] = fake.NewKey(vendor)
		c.Plant(vendor, keys[vendor])
	}
	return c, keys
}

// Plant adds a secret to the search. A vendor's public prefix is no part of
// what is searched, so that the rest of a key is found without it.
func (c *Canary) Plant(name, secret string) {
	core := []byte(secret)
	if at := strings.Index(secret, fake.Mark); at >= 0 {
		core = core[at:]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[name] = needles{raw: core, base64: base64Forms(core), hex: []byte(hex.EncodeToString(core))}
}

// Leaks returns, sorted, the names of the secrets that data holds, each with
// the first form in which it was found: raw, base64 in either alphabet at any
// alignment, hex, or either of these percent-encoded or escaped as in JSON,
// wholly or in part. Nil means that data is clean.
func (c *Canary) Leaks(data []byte) []string {
	c.mu.Lock()
	secrets := maps.Clone(c.secrets)
	c.mu.Unlock()
	views := []view{newView("as it is", data)}
	if plain := unpercent(data); !bytes.Equal(plain, data) {
		views = append(views, newView("percent-encoded", plain))
	}
	if plain := unescape(data); !bytes.Equal(plain, data) {
		views = append(views, newView("escaped as in JSON", plain))
	}
	var found []string
	for name, secret := range secrets {
		for _, v := range views {
			if form := v.form(secret); form != "" {
				found = append(found, name+" as "+form+", "+v.name)
				break
			}
		}
	}
	slices.Sort(found)
	return found
}

// needles are the forms of one secret.
type needles struct {
	raw    []byte
	base64 [][]byte
	hex    []byte // lower case
}

// view is data with one kind of escape undone.
type view struct {
	name        string
	data, lower []byte
}

func newView(name string, data []byte) view { return view{name, data, bytes.ToLower(data)} }

// form says in which form the view holds a secret, "" where it does not.
func (v view) form(secret needles) string {
	switch {
	case bytes.Contains(v.data, secret.raw):
		return "raw"
	case slices.ContainsFunc(secret.base64, func(form []byte) bool { return bytes.Contains(v.data, form) }):
		return "base64"
	case bytes.Contains(v.lower, secret.hex):
		return "hex"
	}
	return ""
}

// base64Forms are what a secret looks like within the base64 of a longer text:
// for each of three alignments the characters that its own bytes decide.
func base64Forms(secret []byte) [][]byte {
	var forms [][]byte
	for before := range 3 {
		padded := append(make([]byte, before), secret...)
		whole := padded[:len(padded)/3*3]
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := []byte(alphabet.EncodeToString(whole))
			if before > 0 {
				encoded = encoded[4:] // the first group mixes in what stands before
			}
			forms = append(forms, encoded)
		}
	}
	return forms
}

// unpercent undoes %XX.
func unpercent(data []byte) []byte { return undo(data, "%") }

// unescape undoes \u00XX and \/ of JSON.
func unescape(data []byte) []byte {
	return bytes.ReplaceAll(undo(data, `\u00`), []byte(`\/`), []byte("/"))
}

// undo replaces each lead with two hex digits behind it by the byte that they
// name.
func undo(data []byte, lead string) []byte {
	var out []byte
	for {
		at := bytes.Index(data, []byte(lead))
		if at < 0 {
			return append(out, data...)
		}
		out = append(out, data[:at]...)
		data = data[at+len(lead):]
		plain, err := hex.DecodeString(string(data[:min(2, len(data))]))
		if err != nil || len(plain) == 0 {
			out = append(out, lead...)
			continue
		}
		out, data = append(out, plain...), data[2:]
	}
}

// Assert fails the test for every secret in data. It prints the name and the
// form, never the data.
func (c *Canary) Assert(t testing.TB, where string, data []byte) {
	t.Helper()
	for _, leak := range c.Leaks(data) {
		t.Errorf("%s holds the secret %s", where, leak)
	}
}

// AssertFolder asserts every file below dir, by content and by name.
func (c *Canary) AssertFolder(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		c.Assert(t, "the data folder, in "+name, append(data, "\n"+name...))
		return nil
	})
	if err != nil {
		t.Errorf("searching the data folder: got %v, want no error", err)
	}
}
