package sink

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/store"
)

// bodyBytes is where a body ends that has an entry already.
const bodyBytes = 512 << 10

// webhook posts lines. What was answered with a status of success has arrived.
type webhook struct {
	*post
	format   export.Format
	producer export.Producer
	most     int // entries in a body, fewer while the receiver finds bodies too large
}

func newWebhook(c Config, s Spec) (carrier, error) {
	p, err := newPost(c, s)
	if err != nil {
		return nil, err
	}
	return &webhook{post: p, format: s.format(), producer: c.producer(), most: batchEntries}, nil
}

func (w *webhook) manner() manner { return manner{} }

func (w *webhook) carry(ctx context.Context, entries []store.AuditEntry) (n int, err error) {
	for n < len(entries) {
		body, taken := w.fill(entries[n:])
		err := w.send(ctx, body, w.header(entries[n].Seq, entries[n+taken-1].Seq))
		if e, ok := errors.AsType[*statusError](err); ok && e.status == http.StatusRequestEntityTooLarge && taken > 1 {
			w.most = taken / 2
			continue
		}
		if err != nil {
			return n, fmt.Errorf("posting to a webhook: %w", err)
		}
		n += taken
		w.most = min(batchEntries, w.most+w.most/4+1)
	}
	return n, nil
}

// fill makes a body of the first entries, at least one.
func (w *webhook) fill(entries []store.AuditEntry) (body []byte, taken int) {
	for i := range entries[:min(len(entries), w.most)] {
		before := len(body)
		body = append(w.format.Append(body, &entries[i], w.producer), '\n')
		if len(body) > bodyBytes && taken > 0 {
			return body[:before], taken
		}
		taken++
	}
	return body, taken
}

// header names the first and the last entry by number, so that a receiver can drop
// what it has already.
func (w *webhook) header(first, last int64) http.Header {
	return http.Header{
		"Content-Type":       {w.format.ContentType()},
		"Keeper-First-Entry": {strconv.FormatInt(first, 10)},
		"Keeper-Last-Entry":  {strconv.FormatInt(last, 10)},
	}
}
