package fake

import (
	"crypto/rand"
	"math/big"
)

// Mark stands in every key that NewKey makes, so that a person who finds one
// knows where it came from.
const Mark = "C4nary"

const (
	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
)

// keyShape is what a vendor's keys look like: a public prefix, and a secret
// part of a length and, where there is one, a fixed text within or behind it.
type keyShape struct {
	prefix string
	length int // of the secret part, Mark in it
	middle string
	suffix string
}

func keyShapes() map[string]keyShape {
	return map[string]keyShape{
		"openai":    {prefix: "sk-proj-", length: 148, middle: "T3BlbkFJ"},
		"anthropic": {prefix: "sk-ant-api03-", length: 93, suffix: "AA"},
		"gemini":    {prefix: "AIza", length: 35},
		"github":    {prefix: "ghp_", length: 36},
		"stripe":    {prefix: "sk_live_", length: 99},
		"slack":     {prefix: "xoxb-" + random(digits, 12) + "-" + random(digits, 13) + "-", length: 24},
		"groq":      {prefix: "gsk_", length: 52},

		"aws-bedrock": {prefix: awsKeyID(), length: 40},
		"aws-s3":      {prefix: awsKeyID(), length: 40},
	}
}

// awsKeyID is an access key's id, with the colon before its secret.
func awsKeyID() string { return "AKIA" + random("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16) + ":" }

// NewKey makes a random key that looks like one of the vendor's, Mark at the
// beginning of its secret part. Two calls never return the same.
func NewKey(vendor string) string {
	prefix, core := newKey(vendor)
	return prefix + core
}

// newKey returns the public prefix and the secret part.
func newKey(vendor string) (prefix, core string) {
	shape, known := keyShapes()[vendor]
	if !known {
		shape = keyShape{length: 40}
	}
	free := shape.length - len(Mark) - len(shape.middle) - len(shape.suffix)
	before := free / 2
	core = Mark + random(base62, before) + shape.middle + random(base62, free-before) + shape.suffix
	return shape.prefix, core
}

func random(alphabet string, n int) string {
	text := make([]byte, n)
	limit := big.NewInt(int64(len(alphabet)))
	for i := range text {
		at, err := rand.Int(rand.Reader, limit)
		if err != nil {
			panic("reading random bytes: " + err.Error()) // crypto/rand does not fail on a living system
		}
		text[i] = alphabet[at.Int64()]
	}
	return string(text)
}
