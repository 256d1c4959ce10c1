package audit

import (
	"context"
	"errors"

	"github.com/superinstance/keeper/internal/policy"
)

// Receipt proves that the decision to forward one call is on disk. Decide
// alone makes one; the zero Receipt is refused wherever one is demanded.
type Receipt struct {
	grant policy.Grant
	ref   policy.Ref
	made  bool
	seq   int64 // of the decision
}

// Valid reports whether the receipt was made by Decide.
func (r Receipt) Valid() bool { return r.made }

// Grant is what the decision was about.
func (r Receipt) Grant() policy.Grant { return r.grant }

// Ref names the credential that the call may bear.
func (r Receipt) Ref() policy.Ref { return r.ref }

// Decision is a call that policy has granted, that was scanned, and for which
// a credential was chosen.
type Decision struct {
	Grant    policy.Grant
	Ref      policy.Ref
	Call     Call
	Findings []Finding // none of which blocks
}

// Decide writes that the call is to be forwarded and returns the receipt for
// it. The error wraps ErrUnavailable where the log cannot be written.
func (l *Log) Decide(ctx context.Context, d Decision) (Receipt, error) {
	if !d.Grant.Valid() || !d.Ref.Valid() {
		return Receipt{}, errors.New("deciding a call: no grant or no credential")
	}
	seq, err := l.record(ctx, ProxyRequest{
		Agent: d.Grant.AgentID(), Provider: d.Grant.Provider().Name, Decision: "forward",
		JTI: d.Grant.JTI(), Scope: d.Grant.Scope().String(),
		Label: d.Ref.Label(), Version: d.Ref.Version(),
		Findings: d.Findings, Risk: RiskNormal, Call: d.Call,
	}, true)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{grant: d.Grant, ref: d.Ref, made: true, seq: seq}, nil
}

// Refusal is a call that ends before it is forwarded. Agent is empty where the
// caller proved nothing.
type Refusal struct {
	Code     string
	Agent    string
	JTI      string
	Provider string
	Risk     int
	Call     Call
	Findings []Finding
	Quota    string // the one that is used up, where one is
}

// Refuse writes that the call was refused, with a scan.blocked entry beside it
// where a secret was found. Refusals of callers who proved nothing are written
// whole for the first of each kind, source and minute, and counted after that,
// so that strangers cannot fill the disk.
func (l *Log) Refuse(ctx context.Context, r Refusal) error {
	e := ProxyRequest{
		Agent: r.Agent, Provider: r.Provider, Decision: "refuse", Code: r.Code,
		JTI: r.JTI, Findings: r.Findings, Risk: r.Risk, Call: r.Call, Quota: r.Quota,
	}
	if r.Agent == "" {
		return l.strangers.refuse(ctx, "proxy "+r.Code, e)
	}
	if r.Risk == RiskCritical && len(r.Findings) > 0 {
		blocked := ScanBlocked{
			Agent: r.Agent, Provider: r.Provider, Method: r.Call.Method, Path: r.Call.Path, Findings: r.Findings,
		}
		if err := l.later(ctx, blocked, 0); err != nil {
			return err
		}
	}
	return l.Record(ctx, e)
}

// RefuseRoute writes a refusal on one of keeper's own routes. agent is empty
// where the caller proved nothing: then it is counted as Refuse says.
func (l *Log) RefuseRoute(ctx context.Context, agent, route, code string) error {
	e := Refused{Agent: agent, Route: route, Code: code}
	if agent == "" {
		return l.strangers.refuse(ctx, route+" "+code, e)
	}
	return l.Record(ctx, e)
}

// Outcome is what became of a call that was forwarded.
type Outcome struct {
	Outcome       string // "complete", "cut", "agent_gone", "failed"
	Code          string
	Status        int
	ResponseBytes int64
	DurationMS    int64
	Findings      []Finding // what was redacted or seen in the response
	Redacted      bool
	Traffic       *Traffic // of a call whose messages streamed; nil of others

	CredentialRefused bool // the provider does not take the credential
}

// Finish writes the outcome of the call that r stands for, whether or not ctx
// has ended meanwhile. It does not wait for the disk: a later commit, or Close,
// brings it there.
func (l *Log) Finish(ctx context.Context, r Receipt, o Outcome) error {
	if !r.made {
		return errors.New("finishing a call: no receipt")
	}
	agent, provider := r.grant.AgentID(), r.grant.Provider().Name
	risk := RiskNormal
	if o.Redacted {
		risk = RiskWarning
		if err := l.later(ctx, ScanRedacted{Agent: agent, Provider: provider, Findings: o.Findings}, 0); err != nil {
			return err
		}
	}
	if o.Outcome != "complete" || o.CredentialRefused {
		risk = RiskWarning
	}
	return l.later(ctx, ProxyResponse{
		Agent: agent, Provider: provider, Outcome: o.Outcome, Code: o.Code, Status: o.Status,
		ResponseBytes: o.ResponseBytes, DurationMS: o.DurationMS, Findings: o.Findings, Traffic: o.Traffic, CredentialRefused: o.CredentialRefused, Risk: risk,
	}, r.seq)
}
