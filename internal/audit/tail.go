package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/superinstance/keeper/internal/store"
)

const foreignNamed = 100 // entries at most, when the operator accepts them

// foreignError says that entries which no checkpoint is over are not keeper's own.
type foreignError struct {
	text    string
	objects []StateObject // what an operator accepts by letting keeper start
}

func (e *foreignError) Error() string { return e.text }

// Unwrap implements errors.
func (e *foreignError) Unwrap() error { return ErrTampered }

// accepted returns what the operator lets pass of an error.
func (l *Log) accepted(err error) ([]StateObject, error) {
	var foreign *foreignError
	if l.accept && errors.As(err, &foreign) {
		return foreign.objects, nil
	}
	return nil, err
}

// errOld: the log was signed by a keeper that anchored no state in it.
var errOld = &foreignError{
	"this folder is of an earlier version of keeper, which signed neither rows nor entries one by one: look over agents and secrets, and start once with --accept-store",
	[]StateObject{{Kind: "folder", ID: "of an earlier version"}},
}

// checkUnsigned looks at a log without any checkpoint. It can only be that of a keeper
// that was killed in its first start: that has made its own keys, and nothing else.
func (l *Log) checkUnsigned(ctx context.Context) error {
	for e, err := range entriesOf(ctx, l.store, 1) {
		if err != nil {
			return err
		}
		if e.Seq > l.opened {
			break
		}
		if !makesOwnKeys(&e) {
			return &foreignError{"the log was signed, and its signed heads are gone", []StateObject{{Kind: "signed heads", ID: "all"}}}
		}
	}
	return nil
}

// makesOwnKeys says whether an entry speaks of keeper's own keys alone.
func makesOwnKeys(e *store.AuditEntry) bool {
	var c StateChanged
	if e.Event != c.describe().name || json.Unmarshal(e.Details, &c) != nil {
		return false
	}
	for _, o := range c.Objects {
		if o.Kind != KindKey && o.Kind != KindKEK {
			return false
		}
	}
	return true
}

// checkTail looks at the entries that were there when the log was opened and that no
// checkpoint is over, since keeper was killed: they must bear keeper's seal.
func (l *Log) checkTail(ctx context.Context, signed int64, key *Key) error {
	s, err := key.sealer()
	if err != nil {
		return err
	}
	var foreign []StateObject
	first := int64(0)
	for e, err := range entriesOf(ctx, l.store, signed+1) {
		if err != nil {
			return err
		}
		if e.Seq > l.opened {
			break
		}
		e.Hash = leafHash(Leaf(&e))
		if s.seal(&e, signed) == e.Seal {
			continue
		}
		if first == 0 {
			first = e.Seq
		}
		if len(foreign) < foreignNamed {
			foreign = append(foreign, StateObject{Kind: "audit entry", ID: strconv.FormatInt(e.Seq, 10)})
		}
	}
	if first == 0 {
		return nil
	}
	return &foreignError{fmt.Sprintf("entry %d, which is not signed yet, was edited or is none of keeper's, or a signed head before it is gone", first), foreign}
}
