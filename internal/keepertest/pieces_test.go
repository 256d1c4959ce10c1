package keepertest_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

func TestPiecesOfASecretAreFoundInAnyFormAndCase(t *testing.T) {
	key := fake.NewKey("anthropic")
	p := keepertest.NewPieces()
	p.Plant("key", key)
	part := key[40:60]
	for name, text := range map[string]string{
		"raw": part, "small letters": strings.ToLower(part), "capitals": strings.ToUpper(part), "hex": fake.InForm("hex", part),
		"percent": fake.InForm("percent", part), "percent twice": fake.InForm("percent", fake.InForm("percent", part)), "json": fake.InForm("json", part),
		"base64": base64.StdEncoding.EncodeToString([]byte("a" + key + "b")), "base64url": base64.RawURLEncoding.EncodeToString([]byte("ab" + key)),
	} {
		if got := p.In([]byte("before " + text + " after")); len(got) != 1 || got[0] != "key" {
			t.Errorf("%s: got %q, want the key found", name, got)
		}
	}
	for _, text := range []string{"", key[:20], "[REDACTED:anthropic-api-key]", fake.NewKey("anthropic")} {
		if got := p.In([]byte(text)); got != nil {
			t.Errorf("%d bytes without a piece: got %q, want nothing", len(text), got)
		}
	}
}
