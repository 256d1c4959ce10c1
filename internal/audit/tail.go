package audit

import (
	"context"
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

// checkUnsigned looks at a log without any checkpoint: it may be that of a keeper that
// was killed in its first start, but of none that ever served.
func (l *Log) checkUnsigned(ctx context.Context) error {
	if l.opened == 0 {
		return nil
	}
	page, err := l.Entries(ctx, store.AuditFilter{Event: KeeperStarted{}.describe().name, Limit: 1})
	if err != nil || len(page.Entries) == 0 && page.Next == 0 {
		return err
	}
	return &foreignError{"the log was signed, and its signed heads are gone", []StateObject{{Kind: "signed heads", ID: "all"}}}
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
		if s.seal(&e) == e.Seal {
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
	return &foreignError{fmt.Sprintf("entry %d, which is not signed yet, was edited or is none of keeper's", first), foreign}
}
