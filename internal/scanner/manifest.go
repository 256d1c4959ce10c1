package scanner

import "bytes"

// manifestData ends the lines that begin the values of a Kubernetes Secret, which
// stand under names of the user's choice: data in base64 and stringData in clear.
var manifestData = []byte("ata:\n")

// inManifest looks at the value at v, right of the operator at q of an indented
// line, where that stands in the data of a manifest.
func (s *search) inManifest(q, v int, quote byte) {
	p := s.p
	if p[q] != ':' || v == len(p) || p[v] == '|' {
		return
	}
	far := s.near.manifest.left(p, manifestData, q)
	if far < len(manifestData) || !indented(p[q-far+len(manifestData):q]) {
		return
	}
	clear := bytes.HasSuffix(p[:q-far], []byte("stringD"))
	if !clear && !bytes.HasSuffix(p[:q-far], []byte("\nd")) {
		return
	}
	e := s.valueEnd(v, quote)
	s.unfinished(v, e)
	if e-v >= minValue && e-v < maxValue {
		s.claim(claim{judge: (*search).judgeData, start: v, end: e, literal: clear})
	}
}

// judgeData judges a value in the data of a manifest, in base64 unless it is literal.
func (s *search) judgeData(c claim) {
	if value := s.p[c.start:c.end]; secretData(value, c.literal) && !published(value) {
		s.found(span{start: c.start, end: c.end, rule: s.engine.lanes.secretValue, confidence: Medium})
	}
}

// indented says whether all lines of p begin with a space.
func indented(p []byte) bool {
	for len(p) > 0 {
		if p[0] != ' ' {
			return false
		}
		k := bytes.IndexByte(p, '\n')
		if k < 0 {
			break
		}
		p = p[k+1:]
	}
	return true
}

// secretData says whether value, or what its base64 says, reads like a secret.
func secretData(value []byte, clear bool) bool {
	if !clear {
		var buf [512]byte
		if len(value)%4 != 0 || !beginsPrintable(value) {
			return false
		}
		if value = fromBase64(buf[:], value); !printable(value) {
			return false
		}
	}
	r := readingOf(value)
	return r.random() && !uuid(value) || len(value) >= minValue && r.passwordLike()
}
