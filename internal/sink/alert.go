package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const (
	alertRisk    = 2    // the least that is told, where the Spec selects nothing itself
	alertEntries = 10   // that one message tells; of others it tells the number
	alertBytes   = 3000 // of a message's text
	alertPace    = time.Second
	alertBatch   = 5000 // entries of the log that one message may be of
)

// alert tells people, by a webhook that takes what Slack's do. Entries that come at
// once share a message: one tells at most ten of them, and how many there were beside.
type alert struct{ *post }

func newAlert(c Config, s Spec) (carrier, error) {
	p, err := newPost(c, s)
	if err != nil {
		return nil, err
	}
	return alert{p}, nil
}

func (alert) manner() manner { return manner{pace: alertPace, batch: alertBatch} }

func (a alert) carry(ctx context.Context, entries []store.AuditEntry) (n int, err error) {
	body, err := json.Marshal(struct {
		Text string `json:"text"`
	}{message(entries)})
	if err != nil {
		return 0, fmt.Errorf("encoding an alert: %w", err)
	}
	if err := a.send(ctx, body, http.Header{"Content-Type": {"application/json; charset=utf-8"}}); err != nil {
		return 0, fmt.Errorf("posting an alert: %w", err)
	}
	return len(entries), nil
}

// message tells the first entries, a line each, as many as one may hold.
func message(entries []store.AuditEntry) string {
	const room = len("\nand 9999 more, see the audit log from entry 9223372036854775807 on")
	var b strings.Builder
	told := 0
	for i := range entries[:min(len(entries), alertEntries)] {
		line := tell(&entries[i])
		if told > 0 && b.Len()+1+len(line)+room > alertBytes {
			break
		}
		if told > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line)
		told++
	}
	if more := len(entries) - told; more > 0 {
		fmt.Fprintf(&b, "\nand %d more, see the audit log from entry %d on", more, entries[told].Seq)
	}
	return b.String()
}
