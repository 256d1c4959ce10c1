package audit

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/store"
)

// ErrTampered is wrapped where the log is not what keeper has written.
var ErrTampered = errors.New("audit log was tampered with")

// Checkpoint is the head of a log at one moment: the text of a signed note as C2SP's
// tlog-checkpoint has it.
type Checkpoint struct {
	Origin string    // names the log
	Size   int64     // how many entries it is over
	Root   tlog.Hash // of the Merkle tree over them
	State  State     // what they made of keeper's rows
	// Key is the change of the key that the last of them makes: then the head is signed
	// by both keys.
	Key Succession

	other bool // it is of a log whose key was replaced where this one's was not
}

// State is what the rows were that keeper decides by, after the changes of the first
// UpTo entries. The zero State says nothing.
type State struct {
	Digest string    // SHA-256 in hex
	Cutoff time.Time // revocations of tokens that expired by then do not count; to the second
	UpTo   int64
}

const stateLine = "state "

func (s State) line() string {
	cutoff := int64(0)
	if !s.Cutoff.IsZero() {
		cutoff = s.Cutoff.Unix()
	}
	return fmt.Sprintf("%s%s %d %d\n", stateLine, s.Digest, cutoff, s.UpTo)
}

func parseState(line string) (s State, err error) {
	var cutoff int64
	if _, err := fmt.Sscanf(line, "%64s %d %d", &s.Digest, &cutoff, &s.UpTo); err != nil {
		return s, errors.New("a checkpoint's state is a digest, a time and an entry's number")
	}
	if cutoff != 0 {
		s.Cutoff = time.Unix(cutoff, 0).UTC()
	}
	return s, nil
}

// text is what is signed.
func (c Checkpoint) text() string {
	text := fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
	if c.State.Digest != "" {
		text += c.State.line()
	}
	if c.Key != (Succession{}) {
		text += c.Key.line()
	}
	return text
}

// parseCheckpoint reads the text of a note.
func parseCheckpoint(text string) (c Checkpoint, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" {
		return c, errors.New("a checkpoint has an origin, a size and a root hash, a line each")
	}
	c.Origin = lines[0]
	c.Size, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || c.Size < 0 || strconv.FormatInt(c.Size, 10) != lines[1] {
		return c, errors.New("a checkpoint's second line is the size of the log, a decimal number")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(c.Root) {
		return c, errors.New("a checkpoint's third line is the root hash, 32 bytes in base64")
	}
	copy(c.Root[:], root)
	for _, line := range lines[3 : len(lines)-1] {
		if state, ok := strings.CutPrefix(line, stateLine); ok {
			c.State, err = parseState(state)
		} else if keys, ok := strings.CutPrefix(line, successionLine); ok {
			c.Key, err = parseSuccession(keys)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// OpenCheckpoint reads a signed note. The error says what is wrong with it; it wraps
// ErrTampered where no signature by key holds.
func OpenCheckpoint(signed []byte, key note.Verifier) (Checkpoint, error) {
	n, err := note.Open(signed, note.VerifierList(key))
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		return Checkpoint{}, fmt.Errorf("checkpoint is not signed by %s: %w", key.Name(), ErrTampered)
	case err != nil:
		return Checkpoint{}, fmt.Errorf("checkpoint's signature does not hold: %w", ErrTampered)
	}
	for _, s := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return Checkpoint{}, fmt.Errorf("checkpoint's signature is not in its one form: %w", ErrTampered)
		}
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return c, err
	}
	if c.Origin != key.Name() {
		return c, fmt.Errorf("checkpoint is of the log %q, not of %q: %w", c.Origin, key.Name(), ErrTampered)
	}
	return c, nil
}

// Key signs the checkpoints of one log.
type Key struct {
	origin   string
	signer   crypto.Signer
	verifier Verifier
}

// NewKey makes the key of the log that origin names, of an Ed25519 signer. origin
// holds neither space nor plus sign.
func NewKey(origin string, signer crypto.Signer) (*Key, error) {
	public, ok := signer.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("making the audit key: it is no Ed25519 key")
	}
	text, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return nil, fmt.Errorf("making the audit key: %w", err)
	}
	verifier, err := NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("making the audit key: %w", err)
	}
	return &Key{origin: origin, signer: signer, verifier: verifier}, nil
}

func parsePublic(pkix []byte) (ed25519.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(pkix)
	public, ok := parsed.(ed25519.PublicKey)
	if err != nil || !ok {
		return nil, errors.New("reading the audit log's public key: it is no Ed25519 key")
	}
	return public, nil
}

// Public is the verifier key in the form of signed notes: name+hash+key.
func (k *Key) Public() string { return k.verifier.String() }

// Name implements [note.Signer].
func (k *Key) Name() string { return k.origin }

// KeyHash implements [note.Signer].
func (k *Key) KeyHash() uint32 { return k.verifier.KeyHash() }

// Sign implements [note.Signer].
func (k *Key) Sign(msg []byte) ([]byte, error) {
	return k.signer.Sign(rand.Reader, msg, crypto.Hash(0))
}

// sealer makes the seals of entries. It is not safe for concurrent use.
type sealer struct{ mac hash.Hash }

// sealer derives its key from the signature of a fixed text, which Ed25519 makes the
// same each time, and nobody else can.
func (k *Key) sealer() (*sealer, error) {
	signed, err := k.Sign([]byte("keeper audit seal"))
	if err != nil {
		return nil, fmt.Errorf("deriving the key of seals: %w", err)
	}
	key := sha256.Sum256(signed)
	return &sealer{hmac.New(sha256.New, key[:])}, nil
}

// seal is that of an entry which is written when the newest signed head is over so many
// entries. So it shows, too, that a head behind which it was written is missing.
func (s *sealer) seal(e *store.AuditEntry, head int64) (seal store.Seal) {
	s.mac.Reset()
	var place [16]byte
	binary.BigEndian.PutUint64(place[:8], uint64(e.Seq))
	binary.BigEndian.PutUint64(place[8:], uint64(head))
	s.mac.Write(place[:])
	s.mac.Write(e.Hash[:])
	copy(seal[:], s.mac.Sum(nil))
	return seal
}

// sign signs a head; also are keys of the same log that sign it, too.
func (k *Key) sign(c Checkpoint, also ...note.Signer) ([]byte, error) {
	c.Origin = k.origin
	return note.Sign(&note.Note{Text: c.text()}, append([]note.Signer{k}, also...)...)
}

// SplitCheckpoints takes signed notes apart that stand one after the other, with
// or without empty lines between them.
func SplitCheckpoints(b []byte) (all [][]byte) {
	var one []byte
	signed := false // signatures of the present one have come
	for line := range bytes.Lines(b) {
		signature := bytes.HasPrefix(line, []byte("\u2014 "))
		blank := len(bytes.TrimSpace(line)) == 0
		if signed && !signature {
			all, one, signed = append(all, one), nil, false
		}
		if blank && len(one) == 0 {
			continue
		}
		if !bytes.HasSuffix(line, []byte("\n")) {
			line = append(bytes.Clone(line), '\n')
		}
		one, signed = append(one, line...), signature
	}
	if len(one) > 0 {
		all = append(all, one)
	}
	return all
}
