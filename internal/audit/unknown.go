package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/superinstance/keeper/internal/store"
)

const (
	decided      = "proxy.request" // a decision, if it is to forward
	outcomeEvent = "proxy.response"
)

// outcomeOf is the outcome of a decision that nobody else tells.
func (l *Log) outcomeOf(decision *store.AuditEntry, outcome, code string) *write {
	e := ProxyResponse{Agent: decision.AgentID, Provider: decision.Provider, Outcome: outcome, Code: code, Risk: RiskWarning}
	ctx := WithOrigin(context.Background(), Origin{RequestID: decision.RequestID})
	w, err := l.prepare(ctx, e)
	if err != nil { // it has no field that cannot be encoded
		panic(err)
	}
	w.closes = decision.Seq
	return w
}

// closeUnknown says of each decision whose outcome is not in the log that it is not
// known: keeper was killed before it came. last is the last checkpoint, which names
// the decisions that were open then; it zero where there is none.
func (l *Log) closeUnknown(ctx context.Context, last store.Checkpoint) error {
	open := map[string]store.AuditEntry{} // by request
	for _, seq := range last.Open {
		found, err := l.After(ctx, seq-1, 1)
		if err != nil {
			return err
		}
		if len(found) != 1 || found[0].Seq != seq || found[0].Event != decided || !forwards(found[0].Details) {
			continue // the list is none that keeper made
		}
		told, err := l.Entries(ctx, store.AuditFilter{RequestID: found[0].RequestID, Event: outcomeEvent, Limit: 1})
		if err != nil {
			return err
		}
		if len(told.Entries) == 0 {
			open[found[0].RequestID] = found[0]
		}
	}
	for e, err := range entriesOf(ctx, l.store, last.Size+1) {
		if err != nil {
			return fmt.Errorf("looking for calls without an outcome: %w", err)
		}
		switch {
		case e.Event == decided && forwards(e.Details):
			open[e.RequestID] = e
		case e.Event == outcomeEvent:
			delete(open, e.RequestID)
		}
	}
	for _, request := range slices.Sorted(maps.Keys(open)) {
		e := open[request]
		w := l.outcomeOf(&e, "unknown", "")
		w.result = make(chan error, 1)
		if err := l.commit(ctx, w); err != nil {
			return fmt.Errorf("recording that the outcome of a call is not known: %w", err)
		}
	}
	if len(open) > 0 {
		l.logger.Warn("keeper was killed: the outcome of calls is not known", "calls", len(open))
	}
	return nil
}

func forwards(details []byte) bool {
	var d struct {
		Decision string `json:"decision"`
	}
	return json.Unmarshal(details, &d) == nil && d.Decision == "forward"
}
