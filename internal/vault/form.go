package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
)

// form is a way in which a value travels. All that is escaped or wrapped is no
// form of its own: who calls Match undoes that.
type form uint8

const (
	formRaw form = iota
	formBase64
	formBase64Shift1 // one byte of something else before it
	formBase64Shift2 // two bytes before it
	formHex
	formCount
)

const invalid = 0xff

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// sextets gives the six bits of a base64 character, of either alphabet.
var sextets = reverse(base64Alphabet, "-_")

// nibbles gives the four bits of a hexadecimal digit, of either case.
var nibbles = reverse("0123456789abcdef", "ABCDEF")

// reverse maps each character to its place in alphabet; the characters of
// alias stand for the last ones of alphabet.
func reverse(alphabet, alias string) [256]byte {
	table := [256]byte(bytes.Repeat([]byte{invalid}, 256))
	for i := range alphabet {
		table[alphabet[i]] = byte(i)
	}
	for i := range alias {
		table[alias[i]] = byte(len(alphabet) - len(alias) + i)
	}
	return table
}

// append appends value in form f without the characters at the edges of
// base64 that depend on what stands beside the value.
func (f form) append(dst, value []byte) []byte {
	switch f {
	case formBase64, formBase64Shift1, formBase64Shift2:
		shift := f.shift()
		padded := append(make([]byte, shift, shift+len(value)), value...)
		encoded := base64.RawStdEncoding.AppendEncode(nil, padded)
		dst = append(dst, encoded[(8*shift+5)/6:8*len(padded)/6]...)
		clear(padded)
		clear(encoded)
		return dst
	case formHex:
		return hex.AppendEncode(dst, value)
	default:
		return append(dst, value...)
	}
}

// shift is the number of foreign bytes before the value in its base64 group.
func (f form) shift() int { return int(f - formBase64) }

// verify reports whether value stands in p at start in form f, and the whole
// extent that it has there.
func (f form) verify(p []byte, start int, value []byte) (span, bool) {
	if start < 0 || start > len(p) {
		return span{}, false
	}
	switch f {
	case formBase64, formBase64Shift1, formBase64Shift2:
		return verifyBase64(p, start, value, f.shift())
	case formHex:
		return verifyHex(p, start, value)
	default:
		return span{start: start, end: start + len(value)}, bytes.HasPrefix(p[start:], value)
	}
}

func verifyHex(p []byte, start int, value []byte) (span, bool) {
	text := p[start:]
	if len(text) < 2*len(value) {
		return span{}, false
	}
	for i, b := range value {
		if nibbles[text[2*i]] != b>>4 || nibbles[text[2*i+1]] != b&15 {
			return span{}, false
		}
	}
	return span{start: start, end: start + 2*len(value)}, true
}

// verifyBase64 compares bits, so that no encoded copy of the value need exist.
// start is the place of the first character that holds bits of the value alone.
func verifyBase64(p []byte, start int, value []byte, shift int) (span, bool) {
	first, last := (8*shift+5)/6, 8*(shift+len(value))/6
	if len(p)-start < last-first {
		return span{}, false
	}
	s := span{start, start + last - first}
	if !sameBits(p[s.start:s.end], value, 6*first-8*shift) {
		return span{}, false
	}
	return widen(p, s, value, shift), true
}

// sameBits reports whether text is base64 of value from the given bit on.
func sameBits(text, value []byte, bit int) bool {
	for len(text) >= 4 && len(value) >= 4 {
		a, b, c, d := sextets[text[0]], sextets[text[1]], sextets[text[2]], sextets[text[3]]
		bits := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(d)
		if (a|b|c|d)&^63 != 0 || bits != binary.BigEndian.Uint32(value)<<bit>>8 {
			return false
		}
		text, value = text[4:], value[3:]
	}
	for _, c := range text {
		if sextets[c] != sextet(value, bit) {
			return false
		}
		bit += 6
	}
	return true
}

// widen takes in the characters at the edges that hold a few bits of the value.
func widen(p []byte, s span, value []byte, shift int) span {
	if before := (6 - 8*shift%6) % 6; before > 0 && s.start > 0 {
		// The low bits of the character before are the value's first.
		bits, mask := sextets[p[s.start-1]], byte(1)<<before-1
		if bits != invalid && bits&mask == value[0]>>(8-before) {
			s.start--
		}
	}
	if after := 8 * (shift + len(value)) % 6; after > 0 && s.end < len(p) {
		// The high bits of the character after are the value's last.
		bits, mask := sextets[p[s.end]], byte(1)<<after-1
		if bits != invalid && bits>>(6-after) == value[len(value)-1]&mask {
			s.end++
		}
	}
	return s
}

// sextet is the six bits of value from the given bit on.
func sextet(value []byte, bit int) byte {
	at, offset := bit>>3, bit&7
	pair := uint16(value[at]) << 8
	if at+1 < len(value) {
		pair |= uint16(value[at+1])
	}
	return byte(pair>>(10-offset)) & 63
}
