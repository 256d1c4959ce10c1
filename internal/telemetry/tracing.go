package telemetry

import (
	"context"
	"fmt"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracing makes spans and sends them, as one Traces says. What is traced by it ends with
// it, though another be in force meanwhile.
type Tracing struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	ended    func()
	users    atomic.Int64 // what is traced by it, and one for it being in force; 0: it has ended
}

// OpenTraces makes a Tracing, which Trace puts in force; nil where there are to be no
// traces. One that is not put in force must be closed. The error names the field.
func (t *Telemetry) OpenTraces(c Traces) (*Tracing, error) {
	if !c.on() {
		return nil, nil
	}
	provider, err := t.provide(c)
	if err != nil {
		return nil, fmt.Errorf("opening the traces: %w", err)
	}
	made := &Tracing{tracer: provider.Tracer(scopeName), provider: provider, ended: t.ending.Done}
	made.users.Store(1)
	t.ending.Add(1)
	return made, nil
}

// Trace traces by another Tracing what begins from now on; nil: by none.
func (t *Telemetry) Trace(next *Tracing) { t.tracing.Swap(next).Close() }

// Close ends a Tracing once nothing is traced by it any more. It waits for nothing.
func (t *Tracing) Close() {
	if t != nil {
		t.leave()
	}
}

// traced is what a call is to be traced by, which it must leave; nil where it is not.
func (t *Telemetry) traced() *Tracing {
	for {
		now := t.tracing.Load()
		if now == nil || now.enter() {
			return now
		}
	}
}

// enter is false where it has ended: another one is in force.
func (t *Tracing) enter() bool {
	for users := t.users.Load(); users > 0; users = t.users.Load() {
		if t.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
	return false
}

func (t *Tracing) leave() {
	if t.users.Add(-1) > 0 {
		return
	}
	go func() {
		defer t.ended()
		ctx, cancel := context.WithTimeout(context.Background(), lastExport)
		defer cancel()
		_ = t.provider.Shutdown(ctx) // what does not get through is lost
	}()
}
