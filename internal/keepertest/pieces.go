package keepertest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// pieceBytes is how much of a secret, in whatever form, is taken for a leak of it.
const pieceBytes = 12

// Pieces is a stricter search than a Canary's: it finds secrets by any 12 characters
// of them, in any case, in clear, base64 or hexadecimal, and also where these are
// percent-encoded or escaped as in JSON. It is safe for concurrent use.
type Pieces struct {
	mu     sync.Mutex
	byText map[string]string // a piece in small letters to the name of its secret
}

// NewPieces returns a search for nothing yet.
func NewPieces() *Pieces { return &Pieces{byText: map[string]string{}} }

// Plant adds a secret to the search, but for a public prefix before fake.Mark.
func (p *Pieces) Plant(name, secret string) {
	core := secret
	if at := strings.Index(secret, fake.Mark); at >= 0 {
		core = secret[at:]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plant(name, core, 0)
	p.plant(name, hex.EncodeToString([]byte(core)), 0)
	for before := range 3 {
		padded := strings.Repeat("\x00", before) + core
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			p.plant(name, alphabet.EncodeToString([]byte(padded)), 4)
		}
	}
}

// plant adds the pieces of text but for those at its ends, which depend on what
// stands beside it. The caller holds mu.
func (p *Pieces) plant(name, text string, ends int) {
	text = strings.ToLower(text)
	for at := ends; at+pieceBytes <= len(text)-ends; at++ {
		p.byText[text[at:at+pieceBytes]] = name
	}
}

// In returns, sorted, the names of the secrets of which data holds a piece.
func (p *Pieces) In(data []byte) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := map[string]bool{}
	once := unpercent(data)
	for _, view := range [][]byte{data, once, unpercent(once), unescape(data), unpercent(unescape(data))} {
		view = bytes.ToLower(view)
		for at := 0; at+pieceBytes <= len(view); at++ {
			if name, is := p.byText[string(view[at:at+pieceBytes])]; is {
				found[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
