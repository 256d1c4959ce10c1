package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

// mixedHex is value in hexadecimal whose letters have either case.
func mixedHex(value string) string {
	text := []byte(hex.EncodeToString([]byte(value)))
	for i := range text {
		if i%3 == 0 {
			text[i] = bytes.ToUpper(text[i : i+1])[0]
		}
	}
	return string(text)
}

func percent(value, format string) string {
	var b strings.Builder
	for i := range len(value) {
		fmt.Fprintf(&b, format, value[i])
	}
	return b.String()
}

func unicodeEscapes(value string, every int) string {
	var b strings.Builder
	for i := range len(value) {
		if i%every == 0 {
			fmt.Fprintf(&b, `\u%04x`, value[i])
		} else {
			b.WriteByte(value[i])
		}
	}
	return b.String()
}

func jsonInside(value string) string {
	b, _ := json.Marshal(value)
	return string(b[1 : len(b)-1])
}

// forms are the ways in which a value travels. Each returns the text that stands
// for the value alone.
var forms = map[string]func(string) string{
	"raw":              func(s string) string { return s },
	"hex":              func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex upper":        func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"hex mixed":        mixedHex,
	"percent upper":    func(s string) string { return percent(s, "%%%02X") },
	"percent lower":    func(s string) string { return percent(s, "%%%02x") },
	"percent reserved": url.QueryEscape,
	"percent twice":    func(s string) string { return url.QueryEscape(percent(s, "%%%02x")) },
	"JSON":             jsonInside,
	"JSON all":         func(s string) string { return unicodeEscapes(s, 1) },
	"JSON some":        func(s string) string { return unicodeEscapes(s, 5) },
	"JSON slashes":     func(s string) string { return strings.ReplaceAll(jsonInside(s), "/", `\/`) },
	"JSON in JSON":     func(s string) string { return jsonInside(unicodeEscapes(s, 3)) },
	"percent in JSON":  func(s string) string { return unicodeEscapes(percent(s, "%%%02x"), 2) },
	"base64":           func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 URL":       func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 percent":   func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
	"base64 JSON slashes": func(s string) string {
		return strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(s)), "/", `\/`)
	},
	"base64 percent encode": func(s string) string { return percent(base64.StdEncoding.EncodeToString([]byte(s)), "%%%02x") },
}

// withoutPadding takes off what base64 ends with and what says nothing of the
// value.
func withoutPadding(form, encoded string) string {
	if !strings.HasPrefix(form, "base64") {
		return encoded
	}
	for _, padding := range []string{"=", "%3D", "%3d"} {
		for strings.HasSuffix(encoded, padding) {
			encoded = strings.TrimSuffix(encoded, padding)
		}
	}
	return encoded
}

func knowing(value string) *vault.Matcher {
	return vault.NewMatcher("vault:p", secret.New([]byte(value)))
}

// plainValues draws values without structure, with and without punctuation.
var plainValues = rapid.Custom(func(t *rapid.T) string {
	head := rapid.StringMatching(`[A-Za-z0-9!#$*^~_+/.-]{0,20}`).Draw(t, "head")
	run := rapid.StringMatching(`Zq7k[A-Z0-9]{2}[a-z]{2}[0-9][A-Z][0-9]{2}[a-z]{0,4}`).Draw(t, "run")
	tail := rapid.StringMatching(`[A-Za-z0-9!#$*^~_+/.-]{0,40}`).Draw(t, "tail")
	return head + run + tail
})

func TestValueIsFoundInEveryFormAndSurrounding(t *testing.T) {
	for name, form := range forms {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			value := plainValues.Draw(t, "value")
			// What stands beside it is such as belongs to no form.
			before := rapid.StringMatching(`([a-z ,"]{0,40}[ ,"])?`).Draw(t, "before")
			after := rapid.StringMatching(`([ ,"][a-z ,"]{0,40})?`).Draw(t, "after")
			encoded := form(value)
			hits := matches(knowing(value), before+encoded+after)
			want := []hit{{len(before), len(before) + len(withoutPadding(name, encoded)), "vault:p"}}
			if !slices.Equal(hits, want) {
				t.Fatalf("%s of %q in %q:\n got %v\nwant %v", name, value, before+encoded+after, hits, want)
			}
		}))
	}
}

func TestValueIsFoundWithinBase64OfMore(t *testing.T) {
	encodings := []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding}
	rapid.Check(t, func(t *rapid.T) {
		value := plainValues.Draw(t, "value")
		before := rapid.SliceOfN(rapid.Byte(), 0, 7).Draw(t, "before")
		after := rapid.SliceOfN(rapid.Byte(), 0, 7).Draw(t, "after")
		e := rapid.SampledFrom(encodings).Draw(t, "encoding")
		text := e.EncodeToString(slices.Concat(before, []byte(value), after))
		hits := matches(knowing(value), text)
		// Every character that holds a bit of the value, and no other.
		want := []hit{{8 * len(before) / 6, (8*(len(before)+len(value)) + 5) / 6, "vault:p"}}
		if !slices.Equal(hits, want) {
			t.Fatalf("%q in %q:\n got %v\nwant %v", value, text, hits, want)
		}
	})
}

func TestEveryOccurrenceIsFoundInOrderWithoutOverlap(t *testing.T) {
	f := open(t)
	values := map[string]string{}
	for i := range 40 {
		provider := fmt.Sprintf("p%d", i)
		values[provider] = newValue()
		f.set(t, provider, "", values[provider])
	}
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		var want []hit
		for range rapid.IntRange(0, 12).Draw(t, "parts") {
			text.WriteString(rapid.StringMatching(`[a-z {}":,\n]{0,30} `).Draw(t, "clean"))
			provider := fmt.Sprintf("p%d", rapid.IntRange(0, 39).Draw(t, "which"))
			form := rapid.SampledFrom([]string{"raw", "hex", "percent upper", "JSON all"}).Draw(t, "form")
			start := text.Len()
			text.WriteString(forms[form](values[provider]))
			want = append(want, hit{start, text.Len(), "vault:" + provider})
		}
		if got := matches(f, text.String()); !slices.Equal(got, want) {
			t.Fatalf("in %q:\n got %v\nwant %v", text.String(), got, want)
		}
	})
}

func TestPartOfAValueIsNotFound(t *testing.T) {
	value := newValue()
	m := knowing(value)
	for i := range value {
		for _, text := range []string{value[:i], value[i+1:], value[:i] + "?" + value[i+1:]} {
			if hits := matches(m, text); len(hits) > 0 {
				t.Errorf("%d of %d characters: got hits %v, want none", len(text), len(value), hits)
			}
		}
	}
}

func TestCleanTextHasNoHit(t *testing.T) {
	f := open(t)
	for i := range 300 {
		f.set(t, fmt.Sprintf("p%d", i), "", newValue())
	}
	random := make([]byte, 1<<19)
	rand.Read(random)
	for name, text := range map[string][]byte{
		"json":   chatJSON(1 << 19),
		"random": random,
		"base64": []byte(base64.StdEncoding.EncodeToString(random)),
		"hex":    []byte(hex.EncodeToString(random)),
		"zero":   make([]byte, 1<<16),
	} {
		if hits := matches(f, string(text)); len(hits) > 0 {
			t.Errorf("%s: got %d hits, want none", name, len(hits))
		}
	}
}

func TestCleanTextCostsNoAllocation(t *testing.T) {
	m := knowing(newValue())
	text := chatJSON(1 << 14)
	yield := func(int, int, string) { t.Error("hit in clean text") }
	if got := testing.AllocsPerRun(20, func() { m.Match(text, yield) }); got > 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}

func TestStructuredValueIsFoundByItsTellingParts(t *testing.T) {
	key := rand.Text()
	pemLine := base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text() + rand.Text())[:48])
	for name, c := range map[string]struct {
		value         string
		telling, free []string
	}{
		"database URL": {
			"postgres://keeper:" + key + "@db-7.internal.example.com:5432/production?sslmode=require",
			[]string{key},
			[]string{"postgres", "db-7.internal.example.com", "production", "sslmode=require", "keeper", "postgres://db-7.internal.example.com:5432/production"},
		},
		"encoded password": {
			"mysql://root:" + key + "%40%2F!@mysql.example.com/shop", []string{key + "@/!", key + "%40%2f!"}, []string{"mysql.example.com"},
		},
		"webhook":        {"https://hooks.example.com/services/" + key, []string{key}, []string{"https://hooks.example.com/services/", "hooks.example.com"}},
		"name, password": {"me@example.com:" + key, []string{key}, []string{"me@example.com", "example.com"}},
		"bearer":         {"Bearer " + key, []string{key}, []string{"Bearer"}},
		"fields":         {"Server=tcp:sql.example.com;User=administrator;Password=" + key + ";Encrypt=true", []string{key}, []string{"administrator", "sql.example.com", "Password"}},
		"block":          {"-----BEGIN PRIVATE KEY-----\n" + pemLine + "\n-----END PRIVATE KEY-----", []string{pemLine}, []string{"-----BEGIN PRIVATE KEY-----", "PRIVATE"}},
		"document":       {`{"type":"service_account","token_uri":"https://oauth2.example.com/token","private_key":"-----BEGIN\n` + pemLine + `\n"}`, []string{pemLine}, []string{"service_account", "oauth2.example.com", "private_key"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := knowing(c.value)
			for _, text := range c.telling {
				if hits := matches(m, "x "+text+" y"); len(hits) != 1 {
					t.Errorf("part %d of %d: got hits %v, want one", slices.Index(c.telling, text)+1, len(c.telling), hits)
				}
			}
			for _, text := range c.free {
				if hits := matches(m, "x "+text+" y"); len(hits) > 0 {
					t.Errorf("%q: got hits %v, want none", text, hits)
				}
			}
		})
	}
}

func TestStructuredValueIsCoveredWhole(t *testing.T) {
	value := "postgres://keeper:" + rand.Text() + "@db.example.com/production"
	got := matches(knowing(value), "url: "+value+".")
	want := []hit{{5, 5 + len(value), "vault:p"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSpansAreWhatAStreamCanHoldBack is the scanner's side of the bargain: it
// holds back a run without spaces, quotes, brackets and commas, and 16 KiB of it.
func TestSpansAreWhatAStreamCanHoldBack(t *testing.T) {
	a, b := rand.Text(), rand.Text()
	for _, breaks := range []string{"(", "]", "{}", "<", "`", " ", ",", `"`, "é", "\u2028"} {
		value := a + breaks + b
		text := "x " + value + " y"
		hits := matches(knowing(value), text)
		if len(hits) != 2 {
			t.Errorf("value with %q in it: got %d hits, want one for each part", breaks, len(hits))
		}
		for _, h := range hits {
			if strings.Contains(text[h.start:h.end], breaks) {
				t.Errorf("value with %q in it: got a hit across it", breaks)
			}
		}
	}
}

func TestLongValueIsFoundByItsLengths(t *testing.T) {
	var value string
	for len(value) < 3000 {
		value += rand.Text()
	}
	for name, form := range forms {
		text := form(value)
		at := 0
		for _, h := range matches(knowing(value), text) {
			if h.start > at+8 || h.end-h.start > 16<<10 {
				t.Errorf("%s: got a hit at %d to %d after %d, want no gap and 16 KiB at most", name, h.start, h.end, at)
			}
			at = h.end
		}
		if at < len(text)-8 {
			t.Errorf("%s: got hits up to %d, want up to the end at %d", name, at, len(text))
		}
	}
}

func TestOneKindOfEscapesIsUndoneWithoutTheOther(t *testing.T) {
	key := rand.Text()
	for name, c := range map[string]struct{ value, text string }{
		"percent sign in the value, as JSON":        {key + `%41` + `\x`, key + `%41` + `\\x`},
		"percent sign in the value, as JSON escape": {key + `%41`, unicodeEscapes(key+`%41`, 3)},
		"backslash in the value, percent-encoded":   {`ab\n` + key, `%61b\n` + key},
		"hexadecimal after a percent sign, as JSON": {key, `%` + unicodeEscapes(hex.EncodeToString([]byte(key)), 3)},
		"value after a percent sign, as JSON":       {"ab" + key, `%ab` + unicodeEscapes(key, 2)},
	} {
		if hits := matches(knowing(c.value), c.text); len(hits) != 1 {
			t.Errorf("%s: got hits %v, want one", name, hits)
		}
	}
}

func TestIndexStaysRightThroughManyChanges(t *testing.T) {
	f := open(t)
	ctx := context.Background()
	live := map[string]string{}
	var gone []string
	for i := range 1500 {
		provider := fmt.Sprintf("p%d", mathrand.IntN(200))
		if old, known := live[provider]; known && i%3 == 0 {
			if _, err := f.Delete(ctx, provider, ""); err != nil {
				t.Fatal(err)
			}
			delete(live, provider)
			gone = append(gone, old)
			continue
		} else if known {
			continue
		}
		live[provider] = newValue()
		f.set(t, provider, "", live[provider])
	}
	for provider, value := range live {
		if got := matches(f, hex.EncodeToString([]byte(value))); len(got) != 1 || got[0].name != "vault:"+provider {
			t.Errorf("%s: got %v, want one hit of its name", provider, got)
		}
	}
	for i, value := range gone {
		if got := matches(f, value); len(got) > 0 {
			t.Errorf("deleted value %d: got %v, want no hit", i, got)
		}
	}
}

func TestSharedValueIsKnownUntilItsLastSecretGoes(t *testing.T) {
	f := open(t)
	value := newValue()
	f.set(t, "one", "", value)
	f.set(t, "two", "", value)
	for i, want := range []int{1, 1, 0} {
		if got := matches(f, value); len(got) != want {
			t.Errorf("after %d deletions: got %v, want %d hits", i, got, want)
		}
		if i < 2 {
			if _, err := f.Delete(context.Background(), []string{"one", "two"}[i], ""); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func FuzzMatchYieldsOrderedSpansWithinTheText(f *testing.F) {
	value := newValue()
	m := knowing(value)
	f.Add([]byte(value), []byte(`\u00`), 3)
	f.Add([]byte("%41%4"), []byte(`%\`), 0)
	f.Fuzz(func(t *testing.T, before, after []byte, cut int) {
		text := slices.Concat(before, []byte(value)[:max(0, min(cut, len(value)))], after)
		last := 0
		m.Match(text, func(start, end int, _ string) {
			if start < last || end <= start || end > len(text) {
				t.Errorf("got span %d:%d after %d in %d bytes", start, end, last, len(text))
			}
			last = end
		})
	})
}
