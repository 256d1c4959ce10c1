package scanner_test

import (
	"flag"
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

var sampleCount = flag.Int("samples", 40, "how many samples of each rule are made")

// sampleOf makes a text that matches pattern.
func sampleOf(tb testing.TB, r *rand.Rand, pattern string) string {
	tb.Helper()
	tree, err := syntax.Parse(strings.ReplaceAll(pattern, "(?i)", ""), syntax.Perl)
	if err != nil {
		tb.Fatalf("pattern %q: %v", pattern, err)
	}
	var b strings.Builder
	generate(&b, r, tree)
	return b.String()
}

func generate(b *strings.Builder, r *rand.Rand, re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		text := string(re.Rune)
		if re.Flags&syntax.FoldCase != 0 {
			text = strings.ToLower(text)
		}
		b.WriteString(text)
	case syntax.OpCharClass:
		b.WriteRune(runeOf(r, re.Rune))
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			generate(b, r, sub)
		}
	case syntax.OpAlternate:
		generate(b, r, re.Sub[r.IntN(len(re.Sub))])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		for range times(r, re) {
			generate(b, r, re.Sub[0])
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('.')
	}
}

func times(r *rand.Rand, re *syntax.Regexp) int {
	least, most := re.Min, re.Max
	switch re.Op {
	case syntax.OpStar:
		least, most = 0, 30
	case syntax.OpPlus:
		least, most = 1, 30
	case syntax.OpQuest:
		least, most = 0, 1
	}
	if most < 0 {
		most = least + 20
	}
	return least + r.IntN(most-least+1)
}

func runeOf(r *rand.Rand, ranges []rune) rune {
	var set []rune
	for c := rune('!'); c <= '~'; c++ {
		for i := 0; i < len(ranges); i += 2 {
			if ranges[i] <= c && c <= ranges[i+1] && c != '\\' && c != '"' {
				set = append(set, c)
			}
		}
	}
	return set[r.IntN(len(set))]
}

// hasShape says whether a rule is one that sampleOf can make samples of.
func hasShape(rule scanner.Rule) bool {
	return rule.Pattern != "" && rule.ID != "jwt"
}

// line is a text in which a credential stands, with where it stands.
type line struct{ before, secret, after string }

func (l line) text() string { return l.before + l.secret + l.after }

// trueSample is a sample of rule in its plainest surroundings.
func trueSample(tb testing.TB, r *rand.Rand, rule scanner.Rule) line {
	tb.Helper()
	secret := trueSecret(tb, r, rule)
	if len(rule.Names) == 0 {
		return line{"the key is ", secret, " as it seems"}
	}
	return line{nameFor(r, rule) + " = '", secret, "'\n"}
}

// nameFor is a name by which rule goes.
func nameFor(r *rand.Rand, rule scanner.Rule) string {
	name := rule.Names[r.IntN(len(rule.Names))]
	if rule.Confidence != scanner.Low {
		name += "_key"
	}
	return name
}

// trueSecret is a sample of rule. One that goes by its name alone has letters and
// digits where its form has both, as a word or a number under a name is no secret.
func trueSecret(tb testing.TB, r *rand.Rand, rule scanner.Rule) string {
	tb.Helper()
	for range 100 {
		secret := sampleOf(tb, r, rule.Pattern)
		if len(rule.Names) == 0 || !strings.HasPrefix(secret, "=") && mixedUp(secret) || rule.Confidence == scanner.Low {
			return secret
		}
	}
	tb.Fatalf("%s: no sample has letters and digits", rule.ID)
	return ""
}

func mixedUp(s string) bool {
	return strings.ContainsAny(s, digits) && strings.ContainsFunc(s, func(c rune) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' })
}

func covered(findings []scanner.Finding, from, to int) *scanner.Finding {
	for _, f := range findings {
		if f.Start <= from && f.End >= to {
			return &f
		}
	}
	return nil
}

func TestEveryRuleFindsItsSamples(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, rule := range scanner.Rules() {
		if !hasShape(rule) {
			continue
		}
		missed, weak := 0, 0
		var example string
		for seed := range uint64(*sampleCount) {
			l := trueSample(t, newRand(seed), rule)
			f := covered(s.Scan([]byte(l.text()), "text"), len(l.before), len(l.before)+len(l.secret))
			if f == nil {
				missed++
				example = l.text()
			} else if f.Confidence == scanner.Low && rule.Confidence != scanner.Low {
				weak++
				example = l.text()
			}
		}
		if missed > 0 || weak > *sampleCount/1000 {
			t.Errorf("%s: %d of %d samples missed, %d doubted, such as %.120q", rule.ID, missed, *sampleCount, weak, example)
		}
	}
}

// surroundings are where people and programs put a secret in clear.
var surroundings = []struct {
	name  string
	write func(name, secret string) string
	named bool // whether the name stands left of it
	token bool // whether only token characters are seen there
}{
	{"a line of its own", func(_, v string) string { return v }, false, false},
	{"the middle of a sentence", func(_, v string) string { return "please use " + v + " for it" }, false, false},
	{"the end of a sentence", func(_, v string) string { return "The key is " + v + "." }, false, false},
	{"parentheses", func(_, v string) string { return "as agreed (" + v + ") today" }, false, false},
	{"Markdown code", func(_, v string) string { return "- the key: `" + v + "`\n" }, false, false},
	{"Markdown emphasis", func(_, v string) string { return "it is **" + v + "** now" }, false, false},
	{"a list in JSON", func(_, v string) string { return jsonOf([]any{v, 1}) }, false, false},
	{"a call", func(_, v string) string { return `connect("db", "` + v + `", nil)` }, false, false},
	{"JSON", func(n, v string) string { return jsonOf(map[string]any{n: v}) }, true, false},
	{"JSON with spaces", func(n, v string) string { return "{\n  " + jsonOf(n) + ": " + jsonOf(v) + ",\n  \"x\": 1\n}" }, true, false},
	{"JSON in JSON", func(n, v string) string { return jsonOf(map[string]any{"arguments": jsonOf(map[string]any{n: v})}) }, true, false},
	{".env", func(n, v string) string { return "A=1\n" + strings.ToUpper(n) + "=" + v + "\nB=2\n" }, true, false},
	{".env in quotes", func(n, v string) string { return strings.ToUpper(n) + `="` + v + "\"\n" }, true, false},
	{"YAML", func(n, v string) string { return "a: 1\n" + n + ": " + v + "\nb: 2\n" }, true, false},
	{"a shell's export", func(n, v string) string { return "export " + strings.ToUpper(n) + "='" + v + "'\n" }, true, false},
	{"TOML", func(n, v string) string { return "[x]\n" + n + ` = "` + v + "\"\n" }, true, false},
	{"XML", func(n, v string) string { return "<a><" + n + ">" + v + "</" + n + "></a>" }, true, true},
	{"JavaScript", func(n, v string) string { return "const " + n + " = '" + v + "';" }, true, false},
	{"a template literal", func(n, v string) string { return "let " + n + " = `" + v + "`;" }, true, false},
	{"Go", func(n, v string) string { return n + ` := "` + v + `"` }, true, false},
	{"a header", func(n, v string) string { return "GET / HTTP/1.1\r\nX-" + n + ": " + v + "\r\n\r\n" }, true, false},
}

// isToken says whether s is one run of token characters.
func isToken(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return !strings.ContainsRune(alnum+"_-.~+/=", c) })
}

func jsonOf(v any) string {
	var b strings.Builder
	e := newJSONEncoder(&b)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func TestSamplesAreFoundInPlainSettings(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, rule := range scanner.Rules() {
		if !hasShape(rule) || rule.Confidence == scanner.Low {
			continue
		}
		for seed := range uint64(4) {
			r := newRand(seed)
			secret, name := trueSecret(t, r, rule), "some_key"
			if len(rule.Names) > 0 {
				name = nameFor(r, rule)
			}
			for _, place := range surroundings {
				if len(rule.Names) > 0 && (!place.named || place.token && !isToken(secret)) || strings.ContainsAny(secret, "'`<&*$") {
					continue
				}
				text := place.write(name, secret)
				if !slices.ContainsFunc(s.Scan([]byte(text), "text"), scanner.Finding.Redacts) {
					t.Errorf("%s: missed in %s: %.160q", rule.ID, place.name, text)
				}
			}
		}
	}
}

// falseSamples are texts that begin as a secret of rule does and are none.
func falseSamples(tb testing.TB, r *rand.Rand, rule scanner.Rule) map[string]string {
	tb.Helper()
	secret := trueSecret(tb, r, rule)
	if len(rule.Names) > 0 {
		return falseValues(nameFor(r, rule), secret)
	}
	return falseBodies(rule, secret)
}

// falseValues stand under a name and are no secret.
func falseValues(name, secret string) map[string]string {
	return map[string]string{
		"filled with x": name + ` = "` + strings.Repeat("x", len(secret)) + `"`,
		"filled with 0": name + ` = "` + strings.Repeat("0", len(secret)) + `"`,
		"too short":     name + ` = "` + secret[:min(4, len(secret))] + `"`,
		"a placeholder": name + ` = "your-` + strings.ReplaceAll(name, "_", "-") + `-here"`,
		"a variable":    name + ` = "${` + strings.ToUpper(name) + `}"`,
		"a template":    name + `: {{ .Values.` + name + ` }}`,
		"an argument":   name + ` = os.environ["` + strings.ToUpper(name) + `"]`,
		"a type":        name + `: string;`,
		"in brackets":   name + `: <your ` + name + `>`,
		"a checksum":    strings.TrimSuffix(name, "key") + `sha256: "` + strings.Repeat(hexOf([]byte(secret))[:8], 8) + `"`,
	}
}

// falseBodies follow a public prefix and are no secret.
func falseBodies(rule scanner.Rule, secret string) map[string]string {
	prefix := longestPrefix(rule, secret)
	body := secret[len(prefix)+rule.Back:]
	if rule.Back > 0 {
		return map[string]string{
			"cut short": "it is " + secret[rule.Back:], "without an end": "it is " + secret[:rule.Back] + ", so",
			"filled with x": strings.Repeat("x", rule.Back) + prefix + strings.Repeat("x", len(body)),
		}
	}
	made := map[string]string{
		"without a body": "the prefix is " + prefix + " and more",
		"a placeholder":  "set it to " + prefix + "your-key-here",
		"a variable":     "set it to " + prefix + "${KEY}",
		"in brackets":    "set it to " + prefix + "<key>",
		"with dots":      "it looks like " + prefix + "...",
		"with stars":     "it looks like " + prefix + strings.Repeat("*", len(body)),
	}
	if len(body) > 8 {
		made["filled with x"] = "it looks like " + prefix + strings.Repeat("x", len(body))
		made["filled with X"] = "it looks like " + prefix + strings.Repeat("X", len(body))
		made["filled with 0"] = "it looks like " + prefix + strings.Repeat("0", len(body))
		made["too short"] = "it begins with " + prefix + body[:3] + " and goes on"
		made["cut by a character"] = "it is " + prefix + body[:2] + "§" + body[3:6]
	}
	return made
}

func longestPrefix(rule scanner.Rule, secret string) (longest string) {
	for _, p := range rule.Prefixes {
		if len(p) > len(longest) && strings.HasPrefix(secret[rule.Back:], p) {
			longest = p
		}
	}
	return longest
}

func TestFalseSamplesPass(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, rule := range scanner.Rules() {
		if !hasShape(rule) || rule.Confidence == scanner.Low {
			continue
		}
		for seed := range uint64(4) {
			for kind, text := range falseSamples(t, newRand(seed), rule) {
				for _, f := range s.Scan([]byte(text), "text") {
					if f.Redacts() {
						t.Errorf("%s: %s is taken for %s (%s): %.160q", rule.ID, kind, f.Rule, f.Confidence, text)
					}
				}
			}
		}
	}
}

func TestTableOfRulesIsComplete(t *testing.T) {
	rules := scanner.Rules()
	if len(rules) < 400 {
		t.Errorf("got %d rules, want 400 or more", len(rules))
	}
	said := map[string]string{}
	for _, r := range rules {
		if r.Description == "" || r.Type == "" || r.Confidence == "" || r.Source == "" || r.Version == "" || r.Licence == "" {
			t.Errorf("%s: a field is empty: %+v", r.ID, r)
		}
		if r.Pattern == "" {
			continue
		}
		if (len(r.Prefixes) == 0) == (len(r.Names) == 0) {
			t.Errorf("%s: got %d prefixes and %d names, want one of them", r.ID, len(r.Prefixes), len(r.Names))
		}
		key := strings.Join(r.Prefixes, " ") + "|" + strings.Join(r.Names, " ") + "|" + r.Pattern
		if other := said[key]; other != "" && r.Source == "keeper" {
			t.Errorf("%s says the same as %s", r.ID, other)
		}
		said[key] = r.ID
	}
}
