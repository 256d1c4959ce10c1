package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/superinstance/keeper/internal/store"
)

// Verifier is the public half of a key that signs a log.
type Verifier struct {
	note.Verifier
	text string
}

// String is the key as signed notes write it: name+hash+key.
func (v Verifier) String() string { return v.text }

// NewVerifier reads a public key as signed notes write it, in its one form:
// name+hash+key.
func NewVerifier(publicKey string) (Verifier, error) {
	v, err := note.NewVerifier(publicKey)
	fields := strings.SplitN(publicKey, "+", 3)
	if _, canonical := decode64(fields[len(fields)-1]); err != nil || !canonical || strings.ToLower(fields[1]) != fields[1] {
		return Verifier{}, errors.New("reading the audit log's public key: want it as `keeper audit key` prints it")
	}
	return Verifier{v, publicKey}, nil
}

// Succession is a change of the key that signs a log: that After is in the place of
// Before from the next entry on. The zero Succession is none.
type Succession struct{ Before, After string } // as signed notes write them

const (
	successionLine = "key "
	keyPurpose     = "audit" // of stored keys
)

func (s Succession) line() string { return fmt.Sprintf("%s%s %s\n", successionLine, s.Before, s.After) }

func parseSuccession(line string) (s Succession, err error) {
	before, after, _ := strings.Cut(line, " ")
	for _, key := range []string{before, after} {
		if _, err := NewVerifier(key); err != nil {
			return s, errors.New("a checkpoint's succession is two public keys")
		}
	}
	return Succession{before, after}, nil
}

// Term says from where on a key signs.
type Term struct {
	PublicKey string
	From      int64 // the first head that it signs is over so many entries; 0: it is the first key
}

// Chain is the keys that sign a log, one after the other. Each but the first took over
// by a head that it and the one before it signed, and that names both: so whoever has
// one of the keys from elsewhere knows the others by it. A *Chain does not change.
type Chain struct {
	keys   []Verifier
	heads  []Head // heads[i] is that by which keys[i+1] took over
	pinned int    // of keys: the one that was known from elsewhere
}

// NewChain is that of a log of which a key is known, with the heads by which keys took
// over, in their order. The error wraps ErrTampered where they are no succession that
// leads to the key, or from it.
func NewChain(key note.Verifier, successions [][]byte) (*Chain, error) {
	v, ok := key.(Verifier)
	if !ok {
		v = Verifier{Verifier: key}
	}
	if len(successions) == 0 {
		return &Chain{keys: []Verifier{v}}, nil
	}
	c, err := chainOf(successions)
	if err != nil {
		return nil, err
	}
	c.pinned = slices.IndexFunc(c.keys, func(k Verifier) bool { return k.text == v.text })
	if c.pinned < 0 {
		return nil, fmt.Errorf("the log's succession of keys does not lead over the key that was given, %s: %w", key.Name(), ErrTampered)
	}
	return c, nil
}

// chainOf is that of one succession or more.
func chainOf(successions [][]byte) (*Chain, error) {
	c := &Chain{}
	for i, signed := range successions {
		if i == 0 {
			stated, err := statedIn(signed)
			if err != nil {
				return nil, fmt.Errorf("reading the succession of the log's keys: %w: %w", err, ErrTampered)
			}
			first, err := NewVerifier(stated.Key.Before)
			if err != nil {
				return nil, fmt.Errorf("the head that is to change the log's key names none: %w", ErrTampered)
			}
			c.keys = []Verifier{first}
		}
		next, err := c.with(signed)
		if err != nil {
			return nil, err
		}
		c = next
	}
	return c, nil
}

// with is the chain with one more succession, in which both signatures must hold.
func (c *Chain) with(signed []byte) (*Chain, error) {
	last := c.keys[len(c.keys)-1]
	head, err := openStrictly(signed, last)
	if err != nil {
		return nil, fmt.Errorf("the key that follows %s was not signed by it: %w", last.text, err)
	}
	if head.Key.Before != last.text || head.Key.After == "" {
		return nil, fmt.Errorf("the head over %d entries does not say which key follows %s: %w", head.Size, last.text, ErrTampered)
	}
	after, err := NewVerifier(head.Key.After)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrTampered)
	}
	if _, err := openStrictly(signed, after); err != nil {
		return nil, fmt.Errorf("the key %s did not sign that it takes over: %w", after.text, err)
	}
	if n := len(c.heads); n > 0 && c.heads[n-1].Size >= head.Size || head.Size < 1 {
		return nil, fmt.Errorf("the heads by which keys took over are not in order: %w", ErrTampered)
	}
	return &Chain{append(slices.Clip(c.keys), after), append(slices.Clip(c.heads), Head{head.Size, bytes.Clone(signed)}), c.pinned}, nil
}

// term is the place of the key that signs a head over so many entries.
func (c *Chain) term(size int64) (i int) {
	for i < len(c.heads) && c.heads[i].Size <= size {
		i++
	}
	return i
}

// upTo is the chain as it was when the log had size entries.
func (c *Chain) upTo(size int64) *Chain {
	i := c.term(size)
	return &Chain{c.keys[:i+1], c.heads[:i], min(c.pinned, i)}
}

// newest is the key that signs now, and the size of the first head that it signed.
func (c *Chain) newest() Term { return c.Terms()[len(c.keys)-1] }

// EndsWith says whether a key, as signed notes write it, is the one that signs now.
func (c *Chain) EndsWith(publicKey string) bool { return c.newest().PublicKey == publicKey }

// Terms are the keys, the first one first.
func (c *Chain) Terms() (all []Term) {
	for i, k := range c.keys {
		t := Term{PublicKey: k.text}
		if i > 0 {
			t.From = c.heads[i-1].Size
		}
		all = append(all, t)
	}
	return all
}

// Successions are the heads by which keys took over, the first one first.
func (c *Chain) Successions() (all [][]byte) {
	for _, h := range c.heads {
		all = append(all, h.Note)
	}
	return all
}

// Open is OpenCheckpoint by the key that signs heads of that size, and by no other.
func (c *Chain) Open(signed []byte) (Checkpoint, error) { return c.open(signed, OpenCheckpoint) }

func (c *Chain) open(signed []byte, open func([]byte, note.Verifier) (Checkpoint, error)) (Checkpoint, error) {
	stated, err := statedIn(signed)
	if err != nil {
		return stated, err
	}
	i := c.term(stated.Size)
	head, err := open(signed, c.keys[i])
	if err != nil {
		return head, c.explained(signed, stated.Size, err)
	}
	var due Succession
	if i > 0 && c.heads[i-1].Size == head.Size {
		due = Succession{c.keys[i-1].text, c.keys[i].text}
		if _, err := open(signed, c.keys[i-1]); err != nil {
			return head, err
		}
	}
	if head.Key != due {
		return head, fmt.Errorf("the head over %d entries does not say of the log's keys what the succession does: %w", head.Size, ErrTampered)
	}
	return head, nil
}

// explained is an error of a head that the key of its time did not sign, and says which
// one did.
func (c *Chain) explained(signed []byte, size int64, err error) error {
	for i, k := range c.keys {
		if _, other := OpenCheckpoint(signed, k); other != nil || i == c.term(size) {
			continue
		}
		if i < c.term(size) {
			return fmt.Errorf("it is over %d entries, and signed by the key that was replaced with entry %d: %w", size, c.heads[i].Size, ErrTampered)
		}
		return fmt.Errorf("it is over %d entries, and signed by a key that took over with entry %d: %w", size, c.heads[i-1].Size, ErrTampered)
	}
	return err
}

// vouches says whether a head of that size is signed by the key that was known from
// elsewhere, or by one that follows it: one before it may be in other hands by now.
func (c *Chain) vouches(size int64) bool { return c.term(size) >= c.pinned }

var errNotVouched = fmt.Errorf("nothing in it is signed by the key that was given or one that follows it, but by one that was replaced: give the key of that time: %w", ErrTampered)

// statedIn is what a signed note says, without a look at its signatures.
func statedIn(signed []byte) (Checkpoint, error) {
	at := bytes.LastIndex(signed, []byte("\n\n"))
	if at < 0 {
		return Checkpoint{}, fmt.Errorf("checkpoint is no signed note: %w", ErrTampered)
	}
	c, err := parseCheckpoint(string(signed[:at+1]))
	if err != nil {
		return c, fmt.Errorf("%w: %w", err, ErrTampered)
	}
	return c, nil
}

// SignerOf is the public key, among keeper's own, that signs the log whose newest head
// is given; nil: there is no head yet. The error wraps ErrTampered where none signed it.
func SignerOf(rows []store.Key, head []byte) (string, error) {
	for _, row := range rows {
		if row.Purpose != keyPurpose || head == nil && row.State != store.Current {
			continue
		}
		text, err := NoteKey(row.ID, row.Public)
		if err != nil || head == nil {
			return text, err
		}
		v, err := NewVerifier(text)
		if err != nil {
			return "", err
		}
		if c, err := OpenCheckpoint(head, v); err == nil && c.Key.Before != text {
			return text, nil
		}
	}
	return "", fmt.Errorf("the store has no key that signed the newest head of the audit log: %w", ErrTampered)
}

// NoteKey is the public key of a stored audit key, which has this id and this PKIX
// public half. The id is the log's origin, and for keys but the first a plus sign and
// the key's hash.
func NoteKey(id string, pkix []byte) (string, error) {
	public, err := parsePublic(pkix)
	if err != nil {
		return "", err
	}
	origin, _, _ := strings.Cut(id, "+")
	return note.NewEd25519VerifierKey(origin, public)
}
