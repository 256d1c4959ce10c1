// Package session knows who is signed in to the dashboard: one-time codes that
// become sessions, and the sessions' keys, which browsers hold as cookies. Its one
// invariant: a session is never more than the caller whose code it came from. It
// ends when that caller's token does, and is asked for again at each use. All is
// kept in memory, by hash: a keeper that starts anew knows of no session. It never
// imports the vault, the scanner, the proxy or a database.
package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
)

// How long things last.
const (
	CodeTTL  = 5 * time.Minute
	Idle     = 2 * time.Hour  // of a session that is not used
	Lifetime = 12 * time.Hour // of any session

	sweepEvery = time.Minute
	logTimeout = 5 * time.Second
)

// How many there may be: of one caller's, and of all.
const (
	codesEach, codesAll       = 16, 1024
	sessionsEach, sessionsAll = 32, 1024
)

var (
	// ErrCode: the code was used, has expired, or is none of this keeper's.
	ErrCode = errors.New("sign-in code is not good")
	// ErrEnded: the session has ended, or is none of this keeper's.
	ErrEnded = errors.New("session has ended")
)

// Why sessions end, as the audit log says it.
const (
	endSignedOut = "signed out"
	endReplaced  = "replaced" // by newer ones, of which there may be so many
	endIdle      = "idle"
	endExpired   = "expired" // the session, or the token that it came from
	endRevoked   = "revoked" // the token, or its agent
	endTaken     = "ended"   // from elsewhere, by whoever the entry says
)

// Authority says whether a caller is still let in.
type Authority interface {
	Renew(c auth.Claims) (auth.Claims, error)
}

// Journal records who signs in and out. What it refuses does not happen.
type Journal interface {
	Record(ctx context.Context, e audit.Event) error
}

// Config is what a Book needs. Authority and Journal must be given.
type Config struct {
	Authority Authority
	Journal   Journal
	Now       func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: none
}

// Book is the codes and sessions that there are. It is safe for concurrent use.
type Book struct {
	authority Authority
	journal   Journal
	now       func() time.Time
	logger    *slog.Logger

	mu       sync.Mutex // guards what follows, and each Session's use
	codes    map[digest]*code
	sessions map[digest]*Session
}

// digest is what is kept of a code or of a session's key.
type digest [sha256.Size]byte

type code struct {
	claims auth.Claims
	at     time.Time
}

// Keys are what a browser holds of its session. Cookies go to every server of a host,
// whatever its port; what a page keeps is its origin's own. So that a server which was
// sent the cookie can change nothing by it, changes need both.
type Keys struct{ Cookie, Page string }

// Session is one browser that is signed in.
type Session struct {
	page      digest
	id        string // for people and the audit log: it opens nothing
	how       string // one signed in
	claims    auth.Claims
	at        time.Time
	expiresAt time.Time
	done      chan struct{} // closed when it ends

	usedAt  time.Time // guarded by Book.mu, as is what follows
	source  string    // that it was last used from
	streams int       // answers that are under way for long
}

// New makes a Book without sessions.
func New(c Config) (*Book, error) {
	if c.Authority == nil || c.Journal == nil {
		return nil, errors.New("keeping sessions: authority and journal must be given")
	}
	b := &Book{
		authority: c.Authority, journal: c.Journal, now: c.Now, logger: c.Logger,
		codes: map[digest]*code{}, sessions: map[digest]*Session{},
	}
	if b.now == nil {
		b.now = time.Now
	}
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	return b, nil
}

// ExpiresAt is when the session ends in any case.
func (s *Session) ExpiresAt() time.Time { return s.expiresAt }

// Holds reports whether the text is the page's key of the session.
func (s *Session) Holds(text string) bool {
	shown := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(shown[:], s.page[:]) == 1
}

// Done is closed when the session ends.
func (s *Session) Done() <-chan struct{} { return s.done }

// Invite returns a code by which one browser may become the caller, once.
func (b *Book) Invite(by auth.Claims) (text string, expiresAt time.Time, err error) {
	if _, err := b.authority.Renew(by); err != nil {
		return "", time.Time{}, err
	}
	text = rand.Text()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for key, one := range b.codes {
		if one.expired(now) {
			delete(b.codes, key)
		}
	}
	if key, crowded := victim(b.codes, by.By(), codesEach, codesAll); crowded {
		delete(b.codes, key)
	}
	b.codes[sha256.Sum256([]byte(text))] = &code{by, now}
	return text, now.Add(CodeTTL), nil
}

func (c *code) expired(now time.Time) bool { return !now.Before(c.at.Add(CodeTTL)) }

func (c *code) held() (string, time.Time) { return c.claims.By(), c.at }

func (s *Session) held() (string, time.Time) { return s.claims.By(), s.at }

// Redeem uses a code up and returns whose it is: ErrCode, or why its caller is no
// longer let in. Where that is not known now (auth.ErrStale), the code is good later.
func (b *Book) Redeem(text string) (auth.Claims, error) {
	key := digest(sha256.Sum256([]byte(text)))
	b.mu.Lock()
	one := b.codes[key]
	delete(b.codes, key)
	b.mu.Unlock()
	if one == nil || one.expired(b.now()) {
		return auth.Claims{}, ErrCode
	}
	claims, err := b.authority.Renew(one.claims)
	if errors.Is(err, auth.ErrStale) {
		b.mu.Lock()
		b.codes[key] = one
		b.mu.Unlock()
	}
	return claims, err
}

// Begin starts a session of the caller's and returns its keys. How says by what the
// caller signed in: one of the audit log's words.
func (b *Book) Begin(ctx context.Context, by auth.Claims, how string) (*Session, Keys, error) {
	by, err := b.authority.Renew(by)
	if err != nil {
		return nil, Keys{}, err
	}
	keys, now := Keys{rand.Text() + rand.Text(), rand.Text()}, b.now()
	one := &Session{
		page: sha256.Sum256([]byte(keys.Page)), id: rand.Text()[:12], how: how, claims: by,
		at: now, usedAt: now, source: audit.OriginOf(ctx).Source, expiresAt: now.Add(Lifetime), done: make(chan struct{}),
	}
	if end := by.ExpiresAt(); !end.IsZero() && end.Before(one.expiresAt) {
		one.expiresAt = end
	}
	err = b.journal.Record(ctx, audit.SessionStarted{
		Agent: by.AgentID(), Session: one.id, How: how, ExpiresAt: one.expiresAt.UTC().Format(time.RFC3339),
	})
	if err != nil {
		return nil, Keys{}, err
	}
	b.mu.Lock()
	replaced, crowded := victim(b.sessions, by.By(), sessionsEach, sessionsAll)
	b.sessions[sha256.Sum256([]byte(keys.Cookie))] = one
	b.mu.Unlock()
	if crowded {
		b.end(ctx, replaced, endReplaced)
	}
	return one, keys, nil
}

// Resume returns the session of the cookie's key, and who is signed in by it: ErrEnded, or
// auth.ErrStale, after which it may go on.
func (b *Book) Resume(ctx context.Context, text string) (*Session, auth.Claims, error) {
	key := digest(sha256.Sum256([]byte(text)))
	b.mu.Lock()
	one := b.sessions[key]
	b.mu.Unlock()
	if one == nil {
		return nil, auth.Claims{}, ErrEnded
	}
	claims, ended, err := b.standing(one)
	if ended != "" {
		b.end(ctx, key, ended)
		err = ErrEnded
	}
	if err != nil {
		return nil, auth.Claims{}, err
	}
	b.use(one, 0, audit.OriginOf(ctx).Source)
	return one, claims, nil
}

// standing says who is signed in by a session, or why nobody is. The error is
// auth.ErrStale, while that is not known.
func (b *Book) standing(s *Session) (_ auth.Claims, ended string, err error) {
	now := b.now()
	b.mu.Lock()
	idle := s.streams == 0 && !now.Before(s.usedAt.Add(Idle))
	b.mu.Unlock()
	claims, err := b.authority.Renew(s.claims)
	switch {
	case !now.Before(s.expiresAt), errors.Is(err, auth.ErrTokenExpired):
		return auth.Claims{}, endExpired, nil
	case err != nil && !errors.Is(err, auth.ErrStale):
		return auth.Claims{}, endRevoked, nil
	case idle:
		return auth.Claims{}, endIdle, nil
	}
	return claims, "", err
}

func (b *Book) use(s *Session, streams int, source string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.usedAt = b.now()
	s.streams += streams
	s.source = cmp.Or(source, s.source)
}

// Stay keeps the session from being idle until leave is called, once.
func (b *Book) Stay(s *Session) (leave func()) {
	b.use(s, 1, "")
	return func() { b.use(s, -1, "") }
}

// Len is how many sessions are kept: those that were not ended, nor found to have ended.
func (b *Book) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

// End ends the session of the cookie's key, where there is one, as who is signed in asks.
func (b *Book) End(ctx context.Context, text string) {
	b.end(ctx, sha256.Sum256([]byte(text)), endSignedOut)
}

// Stand is how a living session stands.
type Stand struct {
	ID        string
	Claims    auth.Claims // who is signed in, as of now
	How       string      // in one of the audit log's words
	Source    string      // that it was last used from
	StartedAt time.Time
	UsedAt    time.Time // now, where an answer is under way
	ExpiresAt time.Time
}

// ID names the session; it opens nothing.
func (s *Session) ID() string { return s.id }

// Living are the sessions that there are, last used first.
func (b *Book) Living(ctx context.Context) []Stand {
	all := make([]Stand, 0, b.Len())
	for key, one := range b.all() {
		claims, ended, err := b.standing(one)
		if ended != "" {
			b.end(ctx, key, ended)
			continue
		}
		if err != nil {
			claims = one.claims // as it was when that was last known
		}
		all = append(all, b.stand(one, claims))
	}
	slices.SortFunc(all, func(x, y Stand) int { return cmp.Or(y.UsedAt.Compare(x.UsedAt), cmp.Compare(x.ID, y.ID)) })
	return all
}

func (b *Book) stand(s *Session, claims auth.Claims) Stand {
	b.mu.Lock()
	defer b.mu.Unlock()
	stand := Stand{s.id, claims, s.how, s.source, s.at, s.usedAt, s.expiresAt}
	if s.streams > 0 {
		stand.UsedAt = b.now()
	}
	return stand
}

// Take ends the session of that id, and reports whether there was one. The context's
// origin says who ends it.
func (b *Book) Take(ctx context.Context, id string) bool {
	for key, one := range b.all() {
		if one.id == id {
			return b.end(ctx, key, endTaken)
		}
	}
	return false
}

// end takes a session out, and then says so: that it cannot be recorded keeps nobody
// signed in. It reports whether there was one.
func (b *Book) end(ctx context.Context, key digest, reason string) bool {
	b.mu.Lock()
	one := b.sessions[key]
	delete(b.sessions, key)
	b.mu.Unlock()
	if one == nil {
		return false
	}
	close(one.done)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTimeout)
	defer cancel()
	ended := audit.SessionEnded{Agent: one.claims.AgentID(), Session: one.id, Reason: reason}
	if reason == endTaken {
		ended.Of = one.claims.By()
	} else {
		origin := audit.OriginOf(ctx)
		origin.By = one.claims.By()
		ctx = audit.WithOrigin(ctx, origin)
	}
	if err := b.journal.Record(ctx, ended); err != nil {
		b.logger.ErrorContext(ctx, "end of a session not recorded", "error", err)
	}
	return true
}

// Watch ends the sessions whose time has come until ctx ends.
func (b *Book) Watch(ctx context.Context) {
	ticks := time.NewTicker(sweepEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			b.sweep(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// all are the sessions as they are now.
func (b *Book) all() map[digest]*Session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.sessions)
}

func (b *Book) sweep(ctx context.Context) {
	for key, one := range b.all() {
		if _, ended, _ := b.standing(one); ended != "" {
			b.end(ctx, key, ended)
		}
	}
}

// victim returns which entry makes room for another of the owner's: its own oldest
// where it has as many as one may; where all have too many, the oldest of whoever has
// most, so that nobody can push out others with many of his own.
func victim[E interface{ held() (string, time.Time) }](all map[digest]E, owner string, each, most int) (digest, bool) {
	counts := map[string]int{}
	for _, one := range all {
		name, _ := one.held()
		counts[name]++
	}
	if counts[owner] < each {
		if len(all) < most {
			return digest{}, false
		}
		for name, n := range counts {
			if n > counts[owner] {
				owner = name
			}
		}
	}
	return oldest(all, owner, counts[owner] > 0), true
}

// oldest returns the oldest entry: of the owner's, or of all.
func oldest[E interface{ held() (string, time.Time) }](all map[digest]E, owner string, own bool) (key digest) {
	var first time.Time
	for at, one := range all {
		name, since := one.held()
		if (!own || name == owner) && (first.IsZero() || since.Before(first)) {
			key, first = at, since
		}
	}
	return key
}
