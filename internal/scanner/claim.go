package scanner

// claim is a value that is secret by what stands around it, of the kind that by
// itself never blocks.
type claim struct {
	judge      func(*search, claim) // adds it to the findings if it is a secret by itself too
	start, end int
	kind       nameKind
	quote      byte
	literal    bool
}

// claim judges c; when the search is calm, not before something is found that c may
// be part of.
func (s *search) claim(c claim) {
	if s.calm {
		s.claims = append(s.claims, c)
		return
	}
	c.judge(s, c)
}

// counts says whether a finding of r of the given confidence may change anything.
func (s *search) counts(r *compiledRule, c Confidence) bool {
	return !s.hinted || !(&span{rule: r, confidence: c}).hint()
}

// settle judges what was put off, if it may add to what blocks.
func (s *search) settle() {
	if len(s.claims) == 0 {
		return
	}
	for i := range s.spans {
		if s.spans[i].grave() {
			for _, c := range s.claims {
				c.judge(s, c)
			}
			return
		}
	}
}

// grave says whether sp blocks, or is not known to its end.
func (sp *span) grave() bool {
	return sp.rule == nil || blocks(sp.rule.action, sp.confidence) || sp.open != closed
}

// mild says whether the operator has no value blocked for its name or place alone.
func (l *lanes) mild() bool {
	for _, r := range []*compiledRule{l.secretValue, l.password, l.basic, l.bearer, l.url, l.curl} {
		if r.action == Block {
			return false
		}
	}
	return true
}
