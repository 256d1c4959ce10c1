package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/secret"
)

const (
	issuerTimeout   = 20 * time.Second // of one exchange
	issuerBytes     = 1 << 20          // of an issuer's answer
	renewBefore     = 5 * time.Minute  // the end of a token, or a fifth of its life where that is shorter
	unusableBefore  = 10 * time.Second // the end of a token, or a twentieth of its life
	unknownLifetime = time.Hour        // of a token whose issuer does not say
	longestLifetime = 30 * 24 * time.Hour
	knownAfter      = 5 * time.Minute  // its end, since clocks differ
	firstBackoff    = 2 * time.Second  // before an issuer that failed is asked again
	longestBackoff  = time.Minute      //
	refusedBackoff  = 30 * time.Second // before one that refused is asked again
	saveAgain       = 10 * time.Second // after a value could not be stored
	keptIfRefused   = 30 * time.Second // a token is, so that no route that answers 401 has tokens made without end
)

// IssuerError says that a value could not be exchanged for a token. It quotes
// nothing that the issuer sent but a code that is known beforehand.
type IssuerError struct {
	Refused bool   // the issuer does not take the credential; else it failed, and may not the next time
	Code    string // "invalid_grant", "status 401"; may be empty
	cause   error  // netguard.ErrForbidden or nil
}

// Error says which of the two it was.
func (e *IssuerError) Error() string {
	what := "the issuer of its tokens could not be asked"
	if e.Refused {
		what = "the issuer of its tokens refuses it"
	}
	if e.Code != "" {
		what += " (" + e.Code + ")"
	}
	return what
}

// Unwrap returns netguard.ErrForbidden where the issuer's address is private.
func (e *IssuerError) Unwrap() error { return e.cause }

// Passing reports whether a later try may succeed with the same credential.
func (e *IssuerError) Passing() bool { return !e.Refused }

// unasked makes an IssuerError of a failed exchange, whose text goes nowhere.
func unasked(err error) *IssuerError {
	if errors.Is(err, netguard.ErrForbidden) {
		return &IssuerError{Code: "its address is private, and no operator named it", cause: netguard.ErrForbidden}
	}
	return &IssuerError{}
}

// issue is what an issuer handed out. It is immutable.
type issue struct {
	parts   []secret.Value // a token; of a role: key id, secret key, session token
	made    time.Time
	renew   time.Time    // from then on another is asked for
	usable  time.Time    // until then
	known   time.Time    // until then Match knows it
	rotated secret.Value // takes the place of the value that it was asked with; may be zero
}

// newIssue fills in the times. lifetime is zero where the issuer does not say.
func newIssue(now time.Time, lifetime time.Duration, parts ...secret.Value) (*issue, error) {
	if lifetime == 0 {
		lifetime = unknownLifetime
	}
	lifetime = min(lifetime, longestLifetime)
	if lifetime < time.Second {
		return nil, &IssuerError{Code: "its token has ended already"}
	}
	for _, part := range parts {
		if part.Len() == 0 || part.Len() > maxValueBytes {
			return nil, &IssuerError{Code: "its token is empty or too long"}
		}
	}
	end := now.Add(lifetime)
	return &issue{
		parts: parts, made: now, renew: end.Add(-min(renewBefore, lifetime/5)),
		usable: end.Add(-min(unusableBefore, lifetime/20)), known: end.Add(knownAfter),
	}, nil
}

// asker exchanges a value.
type asker func(ctx context.Context, client *http.Client, value secret.Value) (*issue, error)

// slotKey is one version of a secret and one way to exchange it.
type slotKey struct {
	secretID string
	version  int
	how      string
}

// slot is where the tokens of one value are. Two keys lead to one where its
// value was rotated by the issuer.
type slot struct {
	id              string // of its flights
	secretID, how   string
	provider, label string

	mu      sync.Mutex
	version int          // whose value it asks with
	value   secret.Value // the newest that the issuer gave
	unsaved bool         // value is not stored yet
	kept    *kept        // value, while it is dropped
	saving  time.Time    // when that was last tried
	live    *issue
	retry   time.Time // before then no issuer is asked
	backoff time.Duration
	failure error // of the last exchange
}

// mint exchanges values for tokens. They are in memory only.
type mint struct {
	vault   *Vault
	client  *http.Client // nil: no exchange is possible
	flights singleflight.Group
	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	closed  bool
	dropped bool // no value may be in memory
	by      *kek // that seals then what is in no row
	slots   map[slotKey]*slot
	known   []knownIssue
	serial  int

	index atomic.Pointer[index] // of known; nil while there is none
}

// knownIssue is what Match knows a token by.
type knownIssue struct {
	name  string
	until time.Time
	parts []secret.Value
	kept  []*kept // parts, while they are dropped
}

func newMint(v *Vault, transport http.RoundTripper) *mint {
	m := &mint{vault: v, slots: map[slotKey]*slot{}}
	if transport != nil {
		m.client = &http.Client{
			Transport: bounded{transport}, Timeout: issuerTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return m
}

// slot returns the one of a version of h, which is made where there is none.
func (m *mint) slot(h *held, one *version, how string) *slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := slotKey{h.id, one.number, how}
	s := m.slots[key]
	if s == nil {
		m.serial++
		s = &slot{
			id: strconv.Itoa(m.serial), secretID: h.id, how: how, provider: h.provider, label: h.label,
			version: one.number, value: one.value,
		}
		m.slots[key] = s
	}
	return s
}

// token returns what the slot's value was exchanged for. One exchange serves all
// who ask meanwhile; it is made ahead of time, behind the back of callers, where
// the last token is still good. The error wraps an *IssuerError.
func (m *mint) token(ctx context.Context, s *slot, ask asker) (*issue, error) {
	now := m.vault.now()
	s.mu.Lock()
	live, retry, failure := s.live, s.retry, s.failure
	overdue := s.unsaved && now.Sub(s.saving) >= saveAgain
	s.mu.Unlock()
	usable := live != nil && now.Before(live.usable)
	if overdue {
		m.flights.DoChan("save "+s.id, func() (any, error) {
			if m.begin() {
				defer m.running.Done()
				m.save(context.Background(), s)
			}
			return nil, nil
		})
	}
	switch {
	case usable && (now.Before(live.renew) || now.Before(retry)):
		return live, nil
	case usable:
		m.fly(s, ask)
		return live, nil
	case now.Before(retry):
		return nil, failure
	}
	select {
	case done := <-m.fly(s, ask):
		if done.Err != nil {
			return nil, done.Err
		}
		return done.Val.(*issue), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly makes an exchange, or joins the one under way. It goes on when those who
// wait for it are gone.
func (m *mint) fly(s *slot, ask asker) <-chan singleflight.Result {
	return m.flights.DoChan(s.id, func() (any, error) {
		if err := m.vault.holds(); err != nil {
			return nil, err
		}
		if !m.begin() {
			return nil, &IssuerError{Code: "keeper is stopping"}
		}
		defer m.running.Done()
		ctx, cancel := context.WithTimeout(context.Background(), issuerTimeout)
		defer cancel()
		return m.exchange(ctx, s, ask)
	})
}

// begin reports whether an exchange may be made; then it counts as running.
func (m *mint) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.running.Add(1)
	}
	return !m.closed
}

func (m *mint) exchange(ctx context.Context, s *slot, ask asker) (fresh *issue, err error) {
	defer func() { // on a goroutine of its own, a panic over what an issuer sent would end keeper
		if value := recover(); value != nil {
			fresh, err = nil, m.failed(ctx, s, fmt.Errorf("exchanging a credential: panic of type %T: %w", value, &IssuerError{}))
		}
	}()
	s.mu.Lock()
	live, value, retry, failure, now := s.live, s.value, s.retry, s.failure, m.vault.now()
	s.mu.Unlock()
	switch {
	case live != nil && now.Before(live.renew): // the flight that ended just now brought it
		return live, nil
	case now.Before(retry):
		return nil, failure
	case m.client == nil:
		return nil, &IssuerError{Code: "this keeper asks no issuers"}
	}
	fresh, err = ask(ctx, m.client, value)
	if err != nil {
		return nil, m.failed(ctx, s, err)
	}
	err = m.take(s, fresh)
	if errors.Is(err, ErrDropped) {
		return nil, err
	}
	if err != nil {
		return nil, m.failed(ctx, s, err)
	}
	s.mu.Lock()
	unsaved := s.unsaved
	s.mu.Unlock()
	if unsaved {
		m.save(ctx, s)
	}
	m.vault.takenByIssuer(s)
	return fresh, nil
}

// failed keeps callers from asking again at once, and returns what they get.
func (m *mint) failed(ctx context.Context, s *slot, err error) error {
	var issuer *IssuerError
	refused := errors.As(err, &issuer) && issuer.Refused || errors.Is(err, ErrShape)
	err = fmt.Errorf("exchanging credential %s@%s: %w", s.provider, s.label, err)
	s.mu.Lock()
	s.backoff = min(max(firstBackoff, 2*s.backoff), longestBackoff)
	if refused {
		s.backoff = max(s.backoff, refusedBackoff)
	}
	s.retry, s.failure = m.vault.now().Add(s.backoff), err
	version := s.version
	s.mu.Unlock()
	if refused && issuer != nil {
		m.vault.refusedByIssuer(ctx, s, version, issuer)
	}
	m.vault.logger.WarnContext(ctx, "no token for a credential", "provider", s.provider, "label", s.label, "error", err)
	return err
}

// drop forgets the tokens of a version that the provider refuses, so that the
// next call has others made; one that is new stays a while.
func (m *mint) drop(secretID string, version int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, s := range m.slots {
		if key.secretID != secretID || key.version != version {
			continue
		}
		s.mu.Lock()
		if s.live != nil && m.vault.now().Sub(s.live.made) >= keptIfRefused {
			s.live = nil
		}
		s.mu.Unlock()
	}
}

// take makes an issue the slot's, and has Match know it until its end.
func (m *mint) take(s *slot, fresh *issue) error {
	for _, part := range fresh.parts[max(0, len(fresh.parts)-2):] { // a key's id is no secret
		if len(targets(part)) == 0 {
			return &IssuerError{Code: "its token could not be told from ordinary text"}
		}
	}
	known := knownIssue{name: "vault:" + s.provider, until: fresh.known, parts: slices.Clone(fresh.parts[max(0, len(fresh.parts)-2):])}
	if fresh.rotated.Len() > 0 { // known before it is stored
		known.parts = append(known.parts, fresh.rotated)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if fresh.rotated.Len() > 0 {
		s.value, s.unsaved, s.kept = fresh.rotated, true, nil
	}
	if m.dropped { // meanwhile; what the issuer took back must not be lost
		known.drop(m.by)
		m.known = append(m.known, known)
		if s.unsaved {
			m.slots[slotKey{s.secretID, s.version, s.how}] = s
			s.drop(m.by)
		}
		return ErrDropped
	}
	s.live, s.retry, s.backoff, s.failure = fresh, time.Time{}, 0, nil
	m.known = append(m.known, known)
	m.show()
	return nil
}

// show has Match know what is known, and forgets what has ended. The caller holds mu.
func (m *mint) show() {
	now := m.vault.now()
	m.known = slices.DeleteFunc(m.known, func(k knownIssue) bool { return !now.Before(k.until) })
	ix := newIndex(2 * len(m.known))
	for _, one := range m.known {
		for _, part := range one.parts {
			ix.learn(part, one.name)
		}
	}
	m.index.Store(ix)
}

// dropAll drops all values and tokens. What is in no row is kept, sealed.
func (m *mint) dropAll(by *kek) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropped, m.by = true, by
	m.index.Store(nil)
	for i := range m.known {
		m.known[i].drop(by)
	}
	for key, s := range m.slots {
		s.mu.Lock()
		if !s.unsaved {
			delete(m.slots, key)
		}
		s.drop(by)
		s.mu.Unlock()
	}
}

func (k *knownIssue) drop(by *kek) {
	for _, part := range k.parts {
		k.kept = append(k.kept, keep(by, part))
	}
	k.parts = nil
}

// drop drops a slot's value and tokens. The caller holds mu.
func (s *slot) drop(by *kek) {
	if s.unsaved && s.kept == nil {
		s.kept = keep(by, s.value)
	}
	s.value, s.live = secret.Value{}, nil
}

// restore brings back what was kept. Of an error, it is as before.
func (m *mint) restore() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dropped {
		return nil
	}
	known := slices.Clone(m.known)
	for i := range known {
		known[i].parts = nil
		for _, k := range known[i].kept {
			part, err := k.open()
			if err != nil {
				return fmt.Errorf("opening an issued token: %w", err)
			}
			known[i].parts = append(known[i].parts, part)
		}
		known[i].kept = nil
	}
	for _, s := range m.slots {
		if err := s.restore(); err != nil {
			return err
		}
	}
	m.dropped, m.by, m.known = false, nil, known
	m.show()
	return nil
}

func (s *slot) restore() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		return nil
	}
	if s.value, err = s.kept.open(); err != nil {
		return fmt.Errorf("opening a refresh token that is not stored yet: %w", err)
	}
	s.kept = nil
	return nil
}

// save stores the value that the issuer put in the place of the slot's.
func (m *mint) save(ctx context.Context, s *slot) {
	if err := m.vault.keepRotated(context.WithoutCancel(ctx), s); err != nil {
		m.vault.logger.ErrorContext(ctx, "a refresh token that its issuer replaced is in memory only; keeper tries again with the next calls; it is lost if keeper is killed before",
			"provider", s.provider, "label", s.label, "error", err)
	}
}

// keepRotated makes the slot's value the secret's next version, unless somebody
// else changed the secret meanwhile: his value counts.
func (v *Vault) keepRotated(ctx context.Context, s *slot) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.holds(); err != nil {
		return err
	}
	s.mu.Lock()
	version, value, unsaved := s.version, s.value, s.unsaved
	s.saving = v.now()
	s.mu.Unlock()
	if !unsaved {
		return nil
	}
	h := v.state.Load().secrets[s.secretID]
	if h == nil || h.current().number != version {
		s.saved(version)
		return nil
	}
	if h.external {
		s.saved(version)
		return errSourced
	}
	// Calls find the slot by the new version as soon as it is shown.
	next := slotKey{s.secretID, version + 1, s.how}
	v.mint.put(next, s)
	_, err := v.put(ctx, SetRequest{
		Provider: h.provider, Label: h.label, Value: value, Source: sourceIssuer,
		Restricted: h.current().restricted, AllowedAgents: h.current().allowedAgents,
	}, actionRotated)
	if now := v.state.Load().secrets[s.secretID]; now != nil && now.version(version+1) != nil {
		s.saved(version + 1) // also where put does not know
		return err
	}
	v.mint.put(next, nil)
	return err
}

var errSourced = errors.New("the secret comes from a source that keeper cannot write to")

// sourceIssuer is the Source of a version that an issuer of tokens made.
const sourceIssuer = "issuer"

func (s *slot) saved(version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version, s.unsaved = version, false
}

// put makes key lead to s, or to none.
func (m *mint) put(key slotKey, s *slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s == nil {
		delete(m.slots, key)
	} else {
		m.slots[key] = s
	}
}

// prune forgets the slots of versions that are not kept; h is nil where none is.
func (m *mint) prune(secretID string, h *held) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.slots, func(key slotKey, _ *slot) bool {
		return key.secretID == secretID && (h == nil || h.version(key.version) == nil)
	})
}

// close waits for the exchanges under way, and stores what is left to store.
func (m *mint) close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	idle := make(chan struct{})
	go func() { m.running.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
		return fmt.Errorf("closing the vault: %w", ctx.Err())
	}
	m.mu.Lock()
	slots := maps.Clone(m.slots)
	m.mu.Unlock()
	for _, s := range slots {
		s.mu.Lock()
		unsaved := s.unsaved
		s.mu.Unlock()
		if unsaved {
			m.save(ctx, s)
		}
	}
	return nil
}
