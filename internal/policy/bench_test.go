package policy_test

import (
	"testing"

	"github.com/superinstance/keeper/internal/policy"
)

func BenchmarkAuthorize(b *testing.B) {
	c := builtin(b)
	claims := claimsOf(b, "openai:chat", "github:read")
	for name, spec := range map[string]policy.CallSpec{
		"plain":   {Provider: "openai", Method: "POST", EscapedPath: "/v1/chat/completions"},
		"routed":  {Provider: "github", Method: "GET", EscapedPath: "/repos/o/r/issues", RawQuery: "per_page=100"},
		"escaped": {Provider: "github", Method: "GET", EscapedPath: "/repos/o/r/contents/a%20b/c%23"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call, err := policy.NewCall(spec)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := c.Authorize(claims, call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
