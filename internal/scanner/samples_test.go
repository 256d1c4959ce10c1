package scanner_test

import (
	"math/rand/v2"
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

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
	secret := sampleOf(tb, r, rule.Pattern)
	if len(rule.Names) == 0 {
		return line{"the key is ", secret, " as it seems"}
	}
	for strings.HasPrefix(secret, "=") { // part of the operator
		secret = sampleOf(tb, r, rule.Pattern)
	}
	name := rule.Names[r.IntN(len(rule.Names))]
	if rule.Confidence != scanner.Low {
		name += "_key"
	}
	return line{name + " = '", secret, "'\n"}
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
		const n = 40
		for seed := range uint64(n) {
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
		if missed > 0 || weak > n/10 {
			t.Errorf("%s: %d of %d samples missed, %d doubted, such as %.120q", rule.ID, missed, n, weak, example)
		}
	}
}
