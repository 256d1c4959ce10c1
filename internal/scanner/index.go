package scanner

import "strings"

// maxBack is how far left of its prefix a secret may begin.
const maxBack = 64

// literal is a public prefix and the rules that go by it.
type literal struct {
	text   string
	at     int  // the byte by which it is found: 0 at the start of a token, else its first joint
	strong bool // so distinctive that what stands around it does not matter
	rules  []*compiledRule
}

// index finds the literals that may stand at a place by two bytes of the text.
type index struct {
	from [4097]uint16 // by slot; entries[from[slot]:from[slot+1]]
	list []*literal
}

func slot(a, b byte) int { return int(a&63)<<6 | int(b&63) }

func newIndex(lits []*literal, key func(*literal) int) *index {
	buckets := make([][]*literal, 4096)
	for _, l := range lits {
		k := key(l)
		buckets[k] = append(buckets[k], l)
	}
	x := &index{}
	for i, b := range buckets {
		x.list = append(x.list, b...)
		x.from[i+1] = uint16(len(x.list))
	}
	return x
}

func (x *index) at(a, b byte) []*literal {
	k := slot(a, b)
	return x.list[x.from[k]:x.from[k+1]]
}

// pinOf is the place of the first joint that has two bytes on its left, by which
// a literal is found wherever in a run it stands; 0 when there is none.
func pinOf(s string) int {
	for i := 2; i < len(s); i++ {
		if runClass[s[i]] == classJoint && runClass[s[i-1]] != classNone && runClass[s[i-2]] != classNone {
			return i
		}
	}
	return 0
}

// prefixes is the table of public prefixes.
type prefixes struct {
	starts *index // found where a token starts
	joints *index // found at a joint
	all    []*literal
}

func newPrefixes(rules []*compiledRule) *prefixes {
	byText := map[string]*literal{}
	p := &prefixes{}
	for _, r := range rules {
		for _, text := range r.Prefixes {
			l := byText[text]
			if l == nil {
				at := pinOf(text)
				l = &literal{text: text, at: at, strong: at > 0 && len(text) >= 5 && r.Back == 0}
				byText[text] = l
				p.all = append(p.all, l)
			}
			l.rules = append(l.rules, r)
		}
	}
	var starts, joints []*literal
	for _, l := range p.all {
		if l.at > 0 {
			joints = append(joints, l)
		} else {
			starts = append(starts, l)
		}
	}
	p.starts = newIndex(starts, func(l *literal) int { return slot(l.text[0], l.text[1]) })
	p.joints = newIndex(joints, func(l *literal) int { return slot(l.text[l.at-2], l.text[l.at-1]) })
	return p
}

// begun says whether tail is the beginning of a public prefix.
func (p *prefixes) begun(tail []byte) bool {
	for _, l := range p.all {
		if len(tail) <= len(l.text) && strings.HasPrefix(l.text, string(tail)) {
			return true
		}
		if len(tail) > len(l.text) && string(tail[:len(l.text)]) == l.text {
			return true
		}
	}
	return false
}

// names is the table of the words that rules go by, and of those that hint at a
// secret without a rule of their own.
type names struct {
	any  [64]uint64 // by slot: whether there is any
	from [4097]uint16
	list []name
}

type name struct {
	text  string
	hint  bool
	rules []*compiledRule
}

func nameSlot(a, b, c byte) int { return (int(a)*4 + int(b)*64 + int(c)*929) & 4095 }

func newNames(rules []*compiledRule) *names {
	byText := map[string]int{}
	var all []name
	at := func(text string) *name {
		i, ok := byText[text]
		if !ok {
			i = len(all)
			byText[text] = i
			all = append(all, name{text: text})
		}
		return &all[i]
	}
	for _, r := range rules {
		for _, text := range r.Names {
			n := at(text)
			n.rules = append(n.rules, r)
		}
	}
	for _, text := range hints {
		at(text).hint = true
	}
	buckets := make([][]name, 4096)
	for _, n := range all {
		k := nameSlot(n.text[0], n.text[1], n.text[2])
		buckets[k] = append(buckets[k], n)
	}
	t := &names{}
	for i, b := range buckets {
		t.list = append(t.list, b...)
		t.from[i+1] = uint16(len(t.list))
		if len(b) > 0 {
			t.any[i>>6] |= 1 << (i & 63)
		}
	}
	return t
}

// in lists the words in a slot.
func (t *names) in(k int) []name { return t.list[t.from[k]:t.from[k+1]] }
