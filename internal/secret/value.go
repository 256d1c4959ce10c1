// Package secret holds plaintext in a type that cannot be printed, encoded or
// compared by accident. Its one invariant: the bytes leave a Value through
// Expose alone, and the callers of Expose are listed in boundary_test.go.
// It imports nothing of this module.
package secret

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// ErrEncode is what every encoder gets from a Value: a placeholder that were
// written instead would be stored in place of the secret, and lose it.
var ErrEncode = errors.New("encoding a secret value is refused")

const mask = "[secret]"

// Value is a plaintext secret. The zero Value holds nothing. The bytes live
// behind a closure, so that reflection (fmt's verbs on a struct that keeps a
// Value in an unexported field, say) finds a function and no bytes. A Value
// cannot be compared with ==. It is immutable and safe for concurrent use.
type Value struct {
	reveal func() []byte
}

// New returns a Value holding a copy of b.
func New(b []byte) Value {
	held := append([]byte(nil), b...)
	return Value{reveal: func() []byte { return held }}
}

// Expose returns the plaintext. The slice is the Value's own: the caller must
// not change it, and should not keep it. The zero Value returns nil.
func (v Value) Expose() []byte {
	if v.reveal == nil {
		return nil
	}
	return v.reveal()
}

// Len is the plaintext's length in bytes.
func (v Value) Len() int { return len(v.Expose()) }

// Equal reports whether v and w hold the same bytes, in a time that depends on
// their lengths alone.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare(v.Expose(), w.Expose()) == 1
}

// Format writes a fixed mask for every verb and flag.
func (Value) Format(f fmt.State, _ rune) { io.WriteString(f, mask) }

// String returns a fixed mask.
func (Value) String() string { return mask }

// GoString returns a fixed mask.
func (Value) GoString() string { return mask }

// LogValue returns a fixed mask.
func (Value) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalJSON returns ErrEncode.
func (Value) MarshalJSON() ([]byte, error) { return nil, ErrEncode }

// MarshalText returns ErrEncode.
func (Value) MarshalText() ([]byte, error) { return nil, ErrEncode }

// MarshalBinary returns ErrEncode.
func (Value) MarshalBinary() ([]byte, error) { return nil, ErrEncode }

// GobEncode returns ErrEncode.
func (Value) GobEncode() ([]byte, error) { return nil, ErrEncode }

// UnmarshalJSON takes a JSON string. Its error does not quote the input.
func (v *Value) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return errors.New("decoding a secret value: it must be a JSON string")
	}
	*v = New([]byte(*s))
	return nil
}

// UnmarshalText takes the bytes as they are.
func (v *Value) UnmarshalText(b []byte) error {
	*v = New(b)
	return nil
}
