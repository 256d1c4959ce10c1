package scanner

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// readJSONText appends what the inside of a JSON string says. Half of a surrogate
// pair becomes the three bytes that UTF-8 would have for it, so that nothing is
// lost; what is no escape stands for itself.
func readJSONText(dst, p []byte) []byte {
	for len(p) > 0 {
		k := bytes.IndexByte(p, '\\')
		if k < 0 {
			return append(dst, p...)
		}
		dst, p = append(dst, p[:k]...), p[k:]
		var n int
		dst, n = readEscape(dst, p)
		p = p[n:]
	}
	return dst
}

// escapes has for each letter of a short escape what it stands for.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// readEscape appends what the escape that p begins with stands for, and returns
// its length.
func readEscape(dst, p []byte) ([]byte, int) {
	if len(p) < 2 {
		return append(dst, p...), len(p)
	}
	if c := escapes[p[1]]; c != 0 {
		return append(dst, c), 2
	}
	r, ok := unicodeEscape(p)
	if !ok {
		return append(dst, '\\'), 1
	}
	if utf16.IsSurrogate(r) {
		if low, ok := unicodeEscape(p[6:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return utf8.AppendRune(dst, pair), 12
			}
		}
		return append(dst, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f), 6
	}
	return utf8.AppendRune(dst, r), 6
}

// unicodeEscape reads an escape of four hexadecimal digits.
func unicodeEscape(p []byte) (r rune, ok bool) {
	if len(p) < 6 || p[0] != '\\' || p[1] != 'u' {
		return 0, false
	}
	for _, c := range p[2:6] {
		if !isHex(c) {
			return 0, false
		}
		r = r<<4 | rune(unhex(c))
	}
	return r, true
}

const hexDigits = "0123456789abcdef"

// appendJSONText appends text as the inside of a JSON string, such that
// readJSONText gives it back.
func appendJSONText(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c == 0xed && i+2 < len(text) && text[i+1] >= 0xa0:
			r := 0xd000 | uint16(text[i+1]&0x3f)<<6 | uint16(text[i+2]&0x3f)
			dst = append(dst, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
