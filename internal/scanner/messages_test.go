package scanner_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

func blocked(fs []scanner.Finding) bool { return slices.ContainsFunc(fs, scanner.Finding.Blocks) }

// inMessages sends the pieces as messages that shape makes of them, and returns the
// index of the first with which something was found that blocks, -1 if none.
func inMessages(t *testing.T, s *scanner.Scanner, pieces []string, shape func(i int, piece string) string) int {
	t.Helper()
	m := s.NewMessageScan("message")
	for i, piece := range pieces {
		found, err := m.Text([]byte(shape(i, piece)))
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if blocked(found) {
			return i
		}
	}
	return -1
}

func TestSecretOverSeveralMessagesIsKnownWithItsLastPiece(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	for name, shape := range map[string]func(int, string) string{
		"text":           func(_ int, p string) string { return p },
		"deltas":         func(_ int, p string) string { return `{"type":"response.text.delta","delta":` + quoted(p) + `}` },
		"numbered":       func(i int, p string) string { return fmt.Sprintf(`{"event_id":"e%d","text":%s}`, i, quoted(p)) },
		"unknown fields": func(i int, p string) string { return fmt.Sprintf(`{"n":%d,"zeile":%s}`, i, quoted(p)) },
	} {
		for _, n := range []int{7, 13, 20, 40} {
			pieces := chop(secret, n)
			if got, want := inMessages(t, s, pieces, shape), len(pieces)-1; got != want {
				t.Errorf("%s in pieces of %d: got it with message %d, want %d", name, n, got, want)
			}
		}
	}
}

func TestSecretOverTwoBinaryMessagesIsFound(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	for at := 1; at < len(secret); at++ {
		m := s.NewMessageScan("message")
		first := m.Binary([]byte(strings.Repeat("\x00\xff", 2000) + secret[:at]))
		second := m.Binary([]byte(secret[at:] + strings.Repeat("\x00\xff", 2000)))
		if blocked(first) || !blocked(second) {
			t.Errorf("cut at %d: got %v, then %v, want it with the second alone", at, first, second)
		}
	}
}

func TestHonestMessagesRaiseNothing(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	m := s.NewMessageScan("message")
	for i := range 500 {
		text := fmt.Sprintf(`{"type":"conversation.item.create","item":{"id":"item_%d","content":[{"type":"input_text","text":"plain words number %d"}]}}`, i, i)
		found, err := m.Text([]byte(text))
		if err != nil || blocked(found) {
			t.Fatalf("message %d: got %v, %v, want nothing", i, found, err)
		}
	}
}

func TestPauseLetsMessagesGoAndTheRestOfASecretIsStillReplaced(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	for name, one := range map[string]struct {
		shape func(string) string
		all   bool
	}{
		"text":   {func(p string) string { return p }, false},
		"deltas": {func(p string) string { return `{"type":"response.text.delta","delta":` + quoted(p) + `}` }, true},
	} {
		var out [][]byte
		r := s.NewRedactor(messages{&out}, scanner.RedactOptions{Messages: true})
		first, second := one.shape("it is "+secret[:20]), one.shape(secret[20:]+" and so on")
		if _, err := r.Write([]byte(first)); err != nil || len(out) != 0 {
			t.Errorf("%s: got %d messages, %v, want the first to wait", name, len(out), err)
		}
		if one.all {
			if err := r.Pause(false); err != nil || len(out) != 0 {
				t.Errorf("%s: got %d messages, %v, want a delta to wait on", name, len(out), err)
			}
		}
		if err := r.Pause(one.all); err != nil || len(out) != 1 || string(out[0]) != first {
			t.Errorf("%s: got %q, %v, want the first message after a pause", name, out, err)
		}
		if _, err := r.Write([]byte(second)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if rest := string(bytes.Join(out[1:], nil)); strings.Contains(rest, secret[24:]) || !strings.Contains(rest, "and so on") {
			t.Errorf("%s: got %q, want the rest of the secret replaced", name, rest)
		}
	}
}
