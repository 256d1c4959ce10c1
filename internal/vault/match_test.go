package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
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

// mixedAlphabets writes every other of the characters that the alphabets of
// base64 differ in as in URLs.
func mixedAlphabets(value string) string {
	text, odd := []byte(base64.RawStdEncoding.EncodeToString([]byte(value))), false
	for i, c := range text {
		if c == '+' || c == '/' {
			if odd = !odd; odd {
				text[i] = map[byte]byte{'+': '-', '/': '_'}[c]
			}
		}
	}
	return string(text)
}

// forms are the ways in which a value travels that a matcher knows. Each returns
// the text that stands for the value alone.
var forms = map[string]func(string) string{
	"raw":          func(s string) string { return s },
	"hex":          func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex upper":    func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"hex mixed":    mixedHex,
	"base64":       func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
	"base64 URL":   func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 mixed": mixedAlphabets,
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
			want := []hit{{len(before), len(before) + len(encoded), "vault:p"}}
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
			form := rapid.SampledFrom([]string{"raw", "hex", "hex mixed"}).Draw(t, "form")
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
	places := placesOf(text)
	yield := func(int, int, string) { t.Error("hit in clean text") }
	if got := testing.AllocsPerRun(20, func() { m.Match(text, places, 0, yield) }); got > 0 {
		t.Errorf("got %v allocations, want none", got)
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

func TestMatcherFindsAnOrdinaryValueAsAWhole(t *testing.T) {
	value := "an-ordinary-password-for-production"
	for name, form := range forms {
		if got := matches(knowing(value), "<"+form(value)+">"); len(got) != 1 {
			t.Errorf("%s: got %v, want one hit", name, got)
		}
	}
	if got := matches(knowing(value), "password-for-production"); len(got) > 0 {
		t.Errorf("part of it: got %v, want no hit", got)
	}
	if got := matches(knowing("a b c"), "a b c and so on"); len(got) > 0 {
		t.Errorf("value without a run: got %v, want no hit", got)
	}
}

func TestValueIsFoundInWhateverIsAroundIt(t *testing.T) {
	for name, form := range forms {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			value := plainValues.Draw(t, "value")
			before := string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "before"))
			after := string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "after"))
			encoded := form(value)
			for _, h := range matches(knowing(value), before+encoded+after) {
				if h.start <= len(before) && h.end >= len(before)+len(encoded) {
					return
				}
			}
			t.Fatalf("%s of %q between %q and %q is not found", name, value, before, after)
		}))
	}
}

func TestPlacesOnlySpareWork(t *testing.T) {
	f := open(t)
	values := make([]string, 20)
	for i := range values {
		values[i] = []string{newValue(), "Zq7k" + rand.Text()[:4], "a!" + rand.Text()}[i%3]
		f.set(t, fmt.Sprintf("p%d", i), "", values[i])
	}
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "parts") {
			text.WriteString(rapid.StringMatching(`[a-z0-9=/ {}":,\n]{0,30}`).Draw(t, "clean"))
			value := rapid.SampledFrom(values).Draw(t, "value")
			form := rapid.SampledFrom([]string{"raw", "hex", "base64"}).Draw(t, "form")
			text.WriteString(forms[form](value))
		}
		got, want := joined(matchesAt(f, text.String(), everywhere(text.Len()))), matches(f, text.String())
		if !slices.Equal(got, want) {
			t.Fatalf("in %q:\n got %v\nwant %v", text.String(), got, want)
		}
	})
}

func TestValueOf64KiBIsFoundWhole(t *testing.T) {
	var b strings.Builder
	for b.Len() < 64<<10 {
		b.WriteString(rand.Text())
	}
	value := b.String()[:64<<10]
	if got, want := matches(knowing(value), "x "+value+" y"), len(value)+2; len(got) == 0 || got[0].start != 2 || got[len(got)-1].end != want {
		t.Errorf("got %d hits, want them from 2 to %d", len(got), want)
	}
}

func TestVersionThatIsKeptNoMoreIsForgotten(t *testing.T) {
	f := open(t)
	versions := make([]string, 12)
	for i := range versions {
		versions[i] = newValue()
		f.set(t, "p", "", versions[i])
	}
	for i, value := range versions {
		want := 1
		if i < len(versions)-10 {
			want = 0
		}
		if got := matches(f, value); len(got) != want {
			t.Errorf("version %d of %d: got %d hits, want %d", i+1, len(versions), len(got), want)
		}
	}
}

func TestChangesTakeEffectWhileOthersMatch(t *testing.T) {
	f := open(t)
	lasting := newValue()
	f.set(t, "lasting", "", lasting)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := matches(f, "a "+lasting+" b"); len(got) != 1 {
					t.Errorf("a value that stays, while others change: got %d hits, want one", len(got))
					return
				}
			}
		})
	}
	for i := range 120 {
		value, next := newValue(), newValue()
		provider := fmt.Sprintf("p%d", i%7)
		f.set(t, provider, "", value)
		if got := matches(f, value); len(got) != 1 {
			t.Errorf("after Set: got %d hits, want one", len(got))
		}
		f.set(t, provider, "", next)
		if got := matches(f, next+" "+value); len(got) != 2 {
			t.Errorf("after a rotation: got %d hits, want the old and the new value", len(got))
		}
		if _, err := f.Delete(context.Background(), provider, ""); err != nil {
			t.Fatal(err)
		}
		if got := matches(f, next+" "+value); len(got) != 0 {
			t.Errorf("after Delete: got %d hits, want none", len(got))
		}
	}
	close(stop)
	readers.Wait()
}

// standing is where value stands in text in a form that a matcher knows, found by
// plain searches.
func standing(text, value string) (all []hit) {
	add := func(in, sought string, widen func(start, end int) hit) {
		for at := 0; ; at++ {
			i := strings.Index(in[at:], sought)
			if i < 0 {
				return
			}
			at += i
			all = append(all, widen(at, at+len(sought)))
		}
	}
	exact := func(start, end int) hit { return hit{start, end, "vault:p"} }
	add(text, value, exact)
	lower := []byte(text)
	for i, c := range lower {
		if c >= 'A' && c <= 'Z' {
			lower[i] |= 0x20
		}
	}
	add(string(lower), hex.EncodeToString([]byte(value)), exact)
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(text)
	for shift := range 3 {
		first, end := (8*shift+5)/6, 8*(shift+len(value))/6
		encode := func(foreign byte) string {
			around := strings.Repeat(string([]byte{foreign}), 3)
			return base64.RawStdEncoding.EncodeToString([]byte(around[:shift] + value + around))
		}
		add(standard, encode(0)[first:end], func(from, to int) hit {
			h := exact(from, to)
			for foreign := range 256 {
				encoded := encode(byte(foreign))
				if from > 0 && first*6 > 8*shift && encoded[first-1] == standard[from-1] {
					h.start = from - 1
				}
				if to < len(text) && 6*end < 8*(shift+len(value)) && encoded[end] == standard[to] {
					h.end = to + 1
				}
			}
			return h
		})
	}
	return joined(all)
}

func FuzzMatchFindsWhatPlainSearchesFind(f *testing.F) {
	values := []string{"Zq7k" + rand.Text()[:4], "Zq7k" + rand.Text()[:7], rand.Text(), newValue()}
	var known []*vault.Matcher
	for _, v := range values {
		known = append(known, knowing(v))
	}
	var encodings []func(string) string
	for _, form := range forms {
		encodings = append(encodings, form)
	}
	f.Add([]byte("ab"), []byte("cd"), uint8(0), uint8(0), uint8(255))
	f.Add([]byte{0xff, 0xfe}, []byte{}, uint8(1), uint8(3), uint8(255))
	f.Add([]byte("+/-_"), []byte("=="), uint8(3), uint8(5), uint8(7))
	f.Fuzz(func(t *testing.T, before, after []byte, which, form, cut uint8) {
		place := int(which) % len(values)
		value, encode := values[place], encodings[int(form)%len(encodings)]
		encoded := encode(string(before[:min(len(before), 5)]) + value)
		text := string(before) + encoded[:min(int(cut), len(encoded))] + string(after)
		for _, h := range matchesAt(known[place], text, everywhere(len(text))) {
			if h.start < 0 || h.end <= h.start || h.end > len(text) {
				t.Fatalf("got a span %d:%d in %d bytes", h.start, h.end, len(text))
			}
		}
		if got, want := matches(known[place], text), standing(text, value); !slices.Equal(got, want) {
			t.Errorf("value %d in %q: got %v, want %v", place, text, got, want)
		}
	})
}
