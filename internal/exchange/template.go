package exchange

import (
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/superinstance/keeper/internal/policy/scope"
)

const maxAgentID = 128 // characters

// template is how a rule names its agent: texts and the claims between them.
type template struct {
	whole    string
	literals []string // one more than claims
	claims   []string
}

var (
	placeholder = regexp.MustCompile(`\{([^{}]*)\}`)
	literalText = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)
)

func newTemplate(whole string) (*template, error) {
	t := &template{whole: whole}
	at := 0
	for _, found := range placeholder.FindAllStringSubmatchIndex(whole, -1) {
		t.literals = append(t.literals, whole[at:found[0]])
		t.claims = append(t.claims, whole[found[2]:found[3]])
		at = found[1]
	}
	t.literals = append(t.literals, whole[at:])
	for _, claim := range t.claims {
		if err := checkName(claim); err != nil {
			return nil, err
		}
	}
	for i, literal := range t.literals {
		between := i > 0 && i < len(t.claims)
		switch {
		case !literalText.MatchString(literal):
			return nil, errors.New("want letters, digits, '.', '_' or '-', and claims in braces, such as ci-{repository}")
		case between && !strings.Contains(literal, "."):
			return nil, errors.New("between two claims there must be a dot, or the values of one could run into the other's: {repository_owner}.{ref}")
		}
	}
	if len(t.claims) == 0 && !isAgentID(whole) {
		return nil, errors.New("want the agent's id: 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit")
	}
	return t, nil
}

func isAgentID(id string) bool { return len(id) <= maxAgentID && scope.IsName(id) }

// fixed reports whether the template names one agent.
func (t *template) fixed() bool { return len(t.claims) == 0 }

// expand names the agent of the claims, and hashes those that it is named by, which is
// nil where it is none. Two sets of claims never get one id.
func (t *template) expand(issuer string, c claims) (id string, binding []byte, err error) {
	if t.fixed() {
		return t.whole, nil, nil
	}
	named := []string{"keeper agent by exchange", issuer, t.whole}
	var out strings.Builder
	for i, claim := range t.claims {
		value, _ := c.at(claim)
		told, ok := text(value)
		if !ok {
			return "", nil, errors.New("the rule names the agent by a claim that the token lacks")
		}
		out.WriteString(t.literals[i])
		out.WriteString(escape(told))
		named = append(named, claim, told)
	}
	out.WriteString(t.literals[len(t.claims)])
	if !isAgentID(out.String()) {
		return "", nil, errors.New("the agent's id that the rule makes of the claims is too long, or does not begin with a letter or digit")
	}
	text, err := json.Marshal(named)
	if err != nil {
		return "", nil, err
	}
	// It stands where the hash of an agent's secret, a SHA-256, would: by another hash
	// no secret can be made to fit.
	sum := sha512.Sum512_256(text)
	return out.String(), sum[:], nil
}

// escape writes a value in letters, digits, - and _ so that it can be read back: a slash
// as two underscores, whatever else as one and two hexadecimal digits a byte.
func escape(value string) string {
	var out strings.Builder
	for i := range len(value) {
		switch c := value[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
			out.WriteByte(c)
		case c == '/':
			out.WriteString("__")
		default:
			fmt.Fprintf(&out, "_%02X", c)
		}
	}
	return out.String()
}

// checkAgents refuses rules by which the claims of one could be given the agent that
// another names by other claims.
func (t *Trust) checkAgents() error {
	type named struct {
		where, issuer string
		*template
	}
	var all []named
	for i, one := range t.order {
		for j, r := range one.rules {
			all = append(all, named{fmt.Sprintf("trust[%d].rules[%d].agent", i, j), one.url, r.agent})
		}
	}
	for i, a := range all {
		for _, b := range all[:i] {
			same := a.issuer == b.issuer && a.whole == b.whole
			if !same && a.mayMeet(b.template) {
				return fmt.Errorf("%s: it can become the same id as %s, which is made of other claims; begin them differently, such as ci-… and k8s-…", a.where, b.where)
			}
		}
	}
	return nil
}

// mayMeet reports whether two templates could make one id. Two that name one agent each
// may name the same: the operator wrote it out.
func (t *template) mayMeet(o *template) bool {
	a, b := t.literals[0], o.literals[0]
	switch {
	case t.fixed() && o.fixed():
		return false
	case t.fixed():
		return strings.HasPrefix(a, b)
	case o.fixed():
		return strings.HasPrefix(b, a)
	default:
		return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
	}
}
