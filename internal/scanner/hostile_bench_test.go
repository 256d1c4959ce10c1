package scanner_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// namedKinds are texts full of what makes the scanner look at names, commands and
// structures.
var namedKinds = []struct {
	name  string
	piece sampler
}{
	{"values by name", func(*rand.Rand) string { return "password=aaaaaaaa1 " }},
	{"values that are found", func(r *rand.Rand) string { return "password=" + pick(r, alnum, 10) + "1aB " }},
	{"names without values", func(*rand.Rand) string { return "token=" }},
	{"many names", func(r *rand.Rand) string { return `"` + pick(r, lowers, 6) + `key":"` + pick(r, alnum, 9) + `1",` }},
	{"long names", func(r *rand.Rand) string { return strings.Repeat("secret key ", 6) + "= a1b2c3d4e5 " }},
	{"operators", func(*rand.Rand) string { return "=:" }},
	{"equals signs", func(*rand.Rand) string { return "=" }},
	{"colons between letters", func(*rand.Rand) string { return "a:" }},
	{"low-entropy tokens", func(*rand.Rand) string { return "glpat-" }},
	{"prefixes of many rules", func(*rand.Rand) string { return "sk-" }},
	{"prefixes without values", func(*rand.Rand) string { return "sk_live_ " }},
	{"prefixes of rules without end", func(*rand.Rand) string { return "sk-proj-aaaa" }},
	{"tokens of one letter", func(*rand.Rand) string { return "AKIA" + strings.Repeat("A", 16) + " " }},
	{"prefixes of other prefixes", func(*rand.Rand) string { return "sk_live_" }},
	{"names of rules", func(*rand.Rand) string { return "aws_secret_access_key = " }},
	{"names in one word", func(*rand.Rand) string { return "AccountKey=" }},
	{"one letter", func(*rand.Rand) string { return "A" }},
	{"true findings", func(r *rand.Rand) string { return "ghp" + "_" + pick(r, alnum, 36) + " " }},
	{"PEM begins", func(*rand.Rand) string { return "-----BEGIN " + "PRIVATE KEY-----\n" }},
	{"PEM begins with keys", func(r *rand.Rand) string { return "-----BEGIN " + "PRIVATE KEY-----\nMII" + pick(r, alnum, 40) + "\n" }},
	{"dashes", func(*rand.Rand) string { return "-----" }},
	{"dashed lines", func(*rand.Rand) string { return "----- \n" }},
	{"PuTTY lines", func(*rand.Rand) string { return "Private-Lines: 14\n" }},
	{"curl commands", func(*rand.Rand) string { return "curl -u a:b1 " }},
	{"curl commands with keys", func(r *rand.Rand) string { return "curl -u a:" + pick(r, alnum, 12) + "1 " }},
	{"one curl and colons", func(*rand.Rand) string { return "curl " + strings.Repeat("a:b ", 100) }},
	{"URLs with userinfo", func(*rand.Rand) string { return "a://a:a@" }},
	{"database URLs", func(r *rand.Rand) string { return "postgres://a:" + pick(r, alnum, 12) + "@h/d " }},
	{"schemes", func(*rand.Rand) string { return "a://" }},
	{"password lines", func(r *rand.Rand) string { return "h.x:5432:d:u:" + pick(r, alnum, 8) + "1\n" }},
	{"words password", func(*rand.Rand) string { return "password " }},
	{"words password with values", func(*rand.Rand) string { return "password 'a1b2c3d4' " }},
	{"words bearer", func(r *rand.Rand) string { return "bearer " + pick(r, alnum, 16) + " " }},
	{"options", func(*rand.Rand) string { return "--token aaaaaaaaaaa1 " }},
	{"arguments", func(*rand.Rand) string { return `login("a", "a1a1a1a1a1a1") ` }},
	{"cells", func(*rand.Rand) string { return "| api key | a1a1a1a1a1a1 " }},
	{"elements", func(*rand.Rand) string { return "<password>a1a1a1a1a1a1</password>" }},
	{"manifests", func(*rand.Rand) string { return "data:\n  a: YTFiMmMzZDQ=\n  b: YTFiMmMzZDQ=\n" }},
	{"manifest lines", func(*rand.Rand) string { return "  a: YTFCMmMzZDRlNUY2\n" }},
	{"web key members", func(r *rand.Rand) string { return `"d":"` + pick(r, nanoid, 43) + `",` }},
	{"web tokens", func(*rand.Rand) string { return "eyJhbGci.eyJ" }},
	{"basic credentials", func(*rand.Rand) string { return `"auth":"YTpiMWMyZDNlNA==",` }},
	{"entries", func(*rand.Rand) string { return `{"name":"PASSWORD","value":"a1a1a1a1"},` }},
	{"bot tokens", func(*rand.Rand) string { return "123456789:AA" }},
}

// BenchmarkNamed gives the time for texts that are made to be costly by what they
// name, in times of that for clean text of the same size.
func BenchmarkNamed(b *testing.B) {
	s := newScanner(b, scanner.Config{})
	const size = 1 << 18
	for _, kind := range namedKinds {
		r := newRand(1)
		p := stuffed(r, size, func() string { return kind.piece(r) })
		b.Run(strings.ReplaceAll(kind.name, " ", "-"), func(b *testing.B) { besideClean(b, s, p) })
	}
}
