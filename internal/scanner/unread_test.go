package scanner_test

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

const unread = "unread-content"

// heavy is a gzip file in base64 that holds n bytes that hardly pack.
func heavy(seed uint64, n int) string { return packed(pick(newRand(seed), alnum, n)) }

func TestWhatIsPackedIsReadToItsEnd(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	token := gitHubToken(1)
	for _, fill := range []int{40 << 10, 100 << 10} {
		text := packed(strings.Repeat("some words here ", fill/16) + token)
		if f := find(s.Scan([]byte(text), "body"), "github-pat"); f == nil || !f.Blocks() {
			t.Errorf("behind %d bytes: got %+v, want the token", fill, f)
		}
	}
}

func TestWhatIsTooLongOrDeepToReadIsReported(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	base64Of, base64URLOf := base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString
	secret := "the key is " + gitHubToken(1)
	for name, text := range map[string]string{
		"a bomb":                     packed(strings.Repeat("a", 1<<20)),
		"many packed parts":          strings.Repeat(packed("hello")+" ", 400),
		"a long packed part":         heavy(1, 30<<10),
		"packed four times":          packed(packed(packed(packed(secret)))),
		"base64 of base64 of packed": base64Of([]byte(base64Of([]byte(packed(secret))))),
		"base64 three times":         base64Of([]byte(base64URLOf([]byte(base64Of([]byte(secret)))))),
		"hexadecimal three times":    hex.EncodeToString([]byte(hex.EncodeToString([]byte(hex.EncodeToString([]byte(secret)))))),
	} {
		for _, n := range []int{100, 1 << 10, len(text)} {
			f := find(scanBody(t, s, chop(`{"content":"`+text+`"}`, n)...), unread)
			if f == nil || f.Blocks() || f.Redacts() {
				t.Errorf("%s in pieces of %d: got %+v, want a finding that only tells", name, n, f)
			}
		}
	}
}

func TestWhatIsReadIsNotReported(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(1)
	for name, text := range map[string]string{
		"a packed part": packed("hello"), "packed twice": packed(packed("hello")), "packed words": packed(string(chat(r, 30<<10))),
		"a mark": "H4sIAAAAAAAAA", "marks": strings.Repeat("H4sIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,", 4000),
		"what only begins as packed": strings.Repeat("H4sI"+pick(r, alnum, 40)+" ", 4000),
		"a cut part":                 packed(string(chat(r, 4<<10)))[:600],
		"an image":                   base64.StdEncoding.EncodeToString(randomBytes(r, 1<<20)),
		"an image twice":             base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString(randomBytes(r, 1<<19)))),
		"a web token in base64":      base64.StdEncoding.EncodeToString([]byte(webToken(`{"iss":"other","sub":"1"}`))),
	} {
		if f := find(scanBody(t, s, chop(text, 4000)...), unread); f != nil {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

func TestAnOperatorMayHaveTheUnreadTakenOut(t *testing.T) {
	s := newScanner(t, scanner.Config{Actions: map[string]scanner.Action{unread: scanner.Redact}})
	text := heavy(1, 40<<10)
	for _, n := range []int{100, 5000, len(text)} {
		if got, want := redact(t, s, "text/plain", chop("it is "+text+" there", n)...), "it is [REDACTED:unread-content] there"; got != want {
			t.Errorf("in pieces of %d: got %d bytes, %.60q, want %q", n, len(got), got, want)
		}
	}
}

func TestEachPartOfAGzipFileIsRead(t *testing.T) {
	var b strings.Builder
	for _, text := range []string{"hello", gitHubToken(1)} {
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := newScanner(t, scanner.Config{})
	if find(s.Scan([]byte(base64.StdEncoding.EncodeToString([]byte(b.String()))), "body"), "github-pat") == nil {
		t.Error("got nothing, want the token")
	}
}
