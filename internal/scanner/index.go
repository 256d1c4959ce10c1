package scanner

import (
	"math/bits"
	"slices"
	"strings"
)

// maxBack is how far left of its prefix a secret may begin.
const maxBack = 64

// literal is a public prefix and the rules that go by it.
type literal struct {
	text   string
	at     int  // the byte by which it is found: 0 at the start of a token, else its first joint
	strong bool // so distinctive that what stands around it does not matter
	odd    bool // that what it begins may be glued to something short
	rules  []*compiledRule
	ways   [][]linear // of each rule, the ways that may begin with text
}

// index finds the literals that stand at a place: by two bytes of the text the
// beginning of a tree, which goes on by one byte at a time.
type index struct {
	any   [slots / 64]uint64 // by slot: whether there is one
	roots [slots]int32       // places in tree
	tree  []branch
}

// branch is what may stand where a text begins with some bytes.
type branch struct {
	here []*literal // all that those bytes make sure of, in the order of the rules
	next [2]uint64  // the bytes that may follow, of ASCII
	to   []int32    // and where in the tree each leads
}

// way is the place in b.to of where c leads, and whether it leads anywhere.
func (b *branch) way(c byte) (i int, ok bool) {
	if c >= 0x80 {
		return 0, false
	}
	i = bits.OnesCount64(b.next[c>>6] & (1<<(c&63) - 1))
	if c >= 64 {
		i += bits.OnesCount64(b.next[0])
	}
	return i, b.next[c>>6]>>(c&63)&1 != 0
}

const slots = 1 << 14

func slot(a, b byte) int { return int(a&127)<<7 | int(b&127) }

// newIndex makes an index of lits, of each from the byte on that from says.
func newIndex(lits []*literal, from func(*literal) int) *index {
	x := &index{tree: make([]branch, 1)}
	for _, l := range lits {
		text := l.text[from(l):]
		k := slot(text[0], text[1])
		if x.roots[k] == 0 {
			x.any[k>>6] |= 1 << (k & 63)
			x.roots[k] = x.grow()
		}
		at := x.roots[k]
		for i := 2; i < len(text); i++ {
			at = x.follow(at, text[i])
		}
		x.add(at, l)
	}
	return x
}

func (x *index) grow() int32 {
	x.tree = append(x.tree, branch{})
	return int32(len(x.tree) - 1)
}

// follow is where c leads to from a place in the tree. A new branch has all that the
// one before it has.
func (x *index) follow(at int32, c byte) int32 {
	i, ok := x.tree[at].way(c)
	if ok {
		return x.tree[at].to[i]
	}
	to := x.grow()
	b := &x.tree[at]
	b.next[c>>6] |= 1 << (c & 63)
	b.to = slices.Insert(b.to, i, to)
	x.tree[to].here = slices.Clone(b.here)
	return to
}

// add puts l on a branch and on all that come of it.
func (x *index) add(at int32, l *literal) {
	b := &x.tree[at]
	b.here = append(b.here, l)
	for _, to := range b.to {
		x.add(to, l)
	}
}

// has says whether a literal may begin with a and b.
func (x *index) has(a, b byte) bool {
	k := slot(a, b)
	return x.any[k>>6]>>(k&63)&1 != 0
}

// at lists the literals that p may begin with, where has says that there are some.
func (x *index) at(p []byte) []*literal {
	b := &x.tree[x.roots[slot(p[0], p[1])]]
	for _, c := range p[2:] {
		i, ok := b.way(c)
		if !ok {
			break
		}
		b = &x.tree[b.to[i]]
	}
	return b.here
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
	firsts set    // the bytes with which what starts begins: a token, armour, a packed part
	all    []*literal
	opens  openings
}

func newPrefixes(rules []*compiledRule, ss sets) *prefixes {
	byText := map[string]*literal{}
	p := &prefixes{}
	for _, r := range rules {
		for _, text := range r.Prefixes {
			l := byText[text]
			if l == nil {
				at := pinOf(text)
				l = &literal{text: text, at: at, strong: at > 0 && len(text) >= 5 && r.Back == 0, odd: odd(text) && r.Back == 0}
				byText[text] = l
				p.all = append(p.all, l)
			}
			l.rules, l.ways = append(l.rules, r), append(l.ways, r.waysFrom(text, ss))
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
	p.starts = newIndex(starts, func(*literal) int { return 0 })
	p.firsts['B'], p.firsts[packedMark[0]] = true, true
	for _, l := range starts {
		p.firsts[l.text[0]] = true
	}
	p.opens = openingsOf(p.all)
	p.joints = newIndex(joints, func(l *literal) int { return l.at - 2 })
	return p
}

// begun says whether tail is the beginning of a public prefix.
func (p *prefixes) begun(tail []byte) bool {
	if !p.opens.begin(tail) {
		return false
	}
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

// within says whether a prefix of four bytes that what it begins may be glued to
// something stands in run behind its first byte.
func (p *prefixes) within(run []byte) bool {
	for i := 1; i+minOdd <= len(run); i++ {
		if p.opens.ends(run[i:]) && slices.ContainsFunc(p.all, func(l *literal) bool { return l.odd && l.text == string(run[i:i+minOdd]) }) {
			return true
		}
	}
	return false
}

// names is the table of the words that rules go by, and of those that hint at a
// secret without a rule of their own.
type names struct {
	any     [nameSlots / 64]uint64 // by slot: whether there is any
	from    [nameSlots + 1]uint16
	list    []name
	longest int // bytes of a word
}

type name struct {
	text  string
	hint  bool
	rules []*compiledRule
}

const nameSlots = 1 << 15

// nameSlot tells three letters from any others, in whatever case.
func nameSlot(a, b, c byte) int { return int(a&31)<<10 | int(b&31)<<5 | int(c&31) }

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
	t := &names{}
	buckets := make([][]name, nameSlots)
	for _, n := range all {
		k := nameSlot(n.text[0], n.text[1], n.text[2])
		buckets[k] = append(buckets[k], n)
		t.longest = max(t.longest, len(n.text))
	}
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
