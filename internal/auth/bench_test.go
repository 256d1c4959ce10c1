package auth_test

import (
	"context"
	"crypto/sha256"
	"testing"

	"github.com/superinstance/keeper/internal/auth/authtest"
)

func BenchmarkVerifyRemembered(b *testing.B) {
	a := authtest.Open(b, nil)
	token, ctx := a.Token(b, "agent", "openai:chat", "github:read").Token, context.Background()
	b.Run("sha256 of the token alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sha256.Sum256([]byte(token))
		}
	})
	b.Run("one caller", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.Verify(ctx, token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("many callers", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := a.Verify(ctx, token); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkLive(b *testing.B) {
	a := authtest.Open(b, nil)
	claims := a.Claims(b, "agent", "openai:chat")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		cancel := func(error) {}
		for pb.Next() {
			a.Live(claims, cancel)()
		}
	})
}
