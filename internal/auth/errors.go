package auth

import (
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/policy/scope"
)

// Errors that callers branch on, wrapped. store.ErrExists and
// store.ErrNotFound are passed through beside them. Any other error means that
// the store, the journal or the keys could not be used.
var (
	// ErrTokenInvalid: no token of this keeper.
	ErrTokenInvalid = errors.New("token is invalid")
	// ErrTokenExpired: a token of this keeper, past its time.
	ErrTokenExpired = errors.New("token has expired")
	// ErrTokenRevoked: a token of this keeper that is revoked, or whose agent
	// is not active.
	ErrTokenRevoked = errors.New("token is revoked")
	// ErrStale: this keeper may have missed a revocation, so that nothing is said of the
	// token. It may be good a moment later.
	ErrStale = errors.New("this keeper does not know whether the token is still in force")
	// ErrCredentials: the agent is unknown or the secret is wrong; which of
	// the two is not told.
	ErrCredentials = errors.New("agent id or agent secret is wrong")
	// ErrForbidden: the caller lacks keeper:write, and the thing is not its
	// own. A caller without Claims gets it where Claims were needed.
	ErrForbidden = errors.New("needs keeper:write")
	// ErrAgentPending: the agent waits for an operator's approval.
	ErrAgentPending = errors.New("agent waits for approval")
	// ErrAgentDisabled: an operator has paused the agent.
	ErrAgentDisabled = errors.New("agent is disabled")
	// ErrAgentRevoked: an operator has revoked the agent.
	ErrAgentRevoked = errors.New("agent is revoked")
	// ErrNoAgent: there is no such agent, and the rule does not make it.
	ErrNoAgent = errors.New("the rule's agent is not registered")
	// ErrAgentTaken: the agent was made for other claims, or by an operator.
	ErrAgentTaken = errors.New("the rule's agent is another's")
	// ErrAgentsFull: there are so many agents that an exchange makes no more.
	ErrAgentsFull = errors.New("too many agents to make another for the rule")
	// ErrReplayed: a subject token that may be used once was used before.
	ErrReplayed = errors.New("subject token was used before")
	// ErrQueueFull: as many agents wait for approval as may.
	ErrQueueFull = errors.New("too many agents wait for approval")
)

// RevokedError is ErrTokenRevoked with whose token it was, which its signature
// has proven: a revoked token in use is worth an alarm that names the agent.
type RevokedError struct {
	AgentID string
	JTI     string
}

// Error is the text of ErrTokenRevoked.
func (e *RevokedError) Error() string { return ErrTokenRevoked.Error() }

// Unwrap returns ErrTokenRevoked.
func (e *RevokedError) Unwrap() error { return ErrTokenRevoked }

// ScopeError refuses scopes that are beyond a grant: the agent's own, or what
// the caller who grants or issues them holds.
type ScopeError struct {
	Missing scope.Set // those that are not held; never empty
}

// Error names the scopes.
func (e *ScopeError) Error() string { return "scopes beyond the grant: " + e.Missing.String() }

// FieldError refuses a field of a request.
type FieldError struct {
	Field string // as the HTTP API calls it
	Mend  string // what it must be
}

// Error names the field and the mend, never the value.
func (e *FieldError) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Mend) }
