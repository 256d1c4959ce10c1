package scanner

// What a byte is to the search: bits, so that a run's classes can be added up.
const (
	classNone     uint8 = 16
	classLetter   uint8 = 1
	classDigit    uint8 = 2
	classJoint    uint8 = 4 // _ - . ~: joins parts of a token, and ends most public prefixes
	classBoundary uint8 = 8 // + / and =: belongs to base64, to paths and assignments
	classWord     uint8 = classLetter | classDigit
)

// runClass tells which bytes make up a run of token characters.
var runClass = makeRunClass()

// heldClass tells which bytes make up a run that is held back while it is
// unfinished: printable ASCII but spaces, quotes, brackets and commas. It holds
// every form that a token travels in, escaped and percent-encoded ones too.
var heldClass = makeHeldClass()

func makeRunClass() (t [256]uint8) {
	for c := range t {
		t[c] = classNone
		switch {
		case isLetter(byte(c)):
			t[c] = classLetter
		case isDigit(byte(c)):
			t[c] = classDigit
		}
	}
	for _, c := range []byte("_-.~") {
		t[c] = classJoint
	}
	for _, c := range []byte("+/=") {
		t[c] = classBoundary
	}
	return t
}

func makeHeldClass() (t [256]bool) {
	for c := '!'; c <= '~'; c++ {
		t[c] = true
	}
	for _, c := range []byte("\"'`<>(){}[],") {
		t[c] = false
	}
	t[0] = true // every other byte of UTF-16
	return t
}

func isAlnum(c byte) bool { return isLetter(c) || isDigit(c) }
func isLetter(c byte) bool {
	c |= 0x20
	return 'a' <= c && c <= 'z'
}
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' || c == '\\' }
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
func isNameByte(c byte) bool {
	return isAlnum(c) || c == '_' || c == '-' || c == '.'
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// tokenOnly says whether the part of a prefix by which it is looked up consists
// of token characters.
func tokenOnly(s string) bool {
	at := pinOf(s)
	for i := 0; i <= at && i < len(s); i++ {
		if runClass[s[i]] == classNone {
			return false
		}
	}
	return runClass[s[0]] != classNone && runClass[s[1]] != classNone
}
