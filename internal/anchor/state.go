package anchor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// The kinds of what the state is made of.
const (
	kindAgent      = "agent"
	kindRevoked    = "revocations" // of an agent's tokens, together
	kindCredential = "secret"      // a version of it
	kindKey        = audit.KindKey
	kindKEK        = audit.KindKEK
	kindImport     = "import"
	kindException  = "exception"
	kindConfig     = "config" // the settings that keepers share
)

// key names what has a digest.
type key struct{ kind, id string }

func (k key) compare(o key) int { return cmp.Or(cmp.Compare(k.kind, o.kind), cmp.Compare(k.id, o.id)) }

// state is the digest of each row, or of several that belong together. Where it
// says what is to be, the empty digest stands for none.
type state map[key]string

// digest is SHA-256 over a line for each row, sorted: kind, id and digest, in JSON.
func (s state) digest() string {
	h := sha256.New()
	for _, k := range s.sorted() {
		fmt.Fprintf(h, "%s\n", mustJSON([]string{k.kind, k.id, s[k]}))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// differences are what changes when the rows named in after become what it says.
func (s state) differences(after state) (objects []audit.StateObject) {
	for _, k := range after.sorted() {
		if s[k] != after[k] {
			objects = append(objects, audit.StateObject{Kind: k.kind, ID: k.id, Before: s[k], After: after[k]})
		}
	}
	return objects
}

// and is s with the rows of o that it has not as gone.
func (s state) and(o state) state {
	all := maps.Clone(s)
	for k := range o {
		if _, ok := s[k]; !ok {
			all[k] = ""
		}
	}
	return all
}

func (s state) apply(objects []audit.StateObject) {
	for _, o := range objects {
		s.set(key{o.Kind, o.ID}, o.After)
	}
}

func (s state) set(k key, digest string) {
	if digest == "" {
		delete(s, k)
		return
	}
	s[k] = digest
}

// reader reads rows that keeper decides by.
type reader interface {
	Agents(ctx context.Context) ([]store.Agent, error)
	Tokens(ctx context.Context, f store.TokenFilter) ([]store.Token, error)
	Credentials(ctx context.Context) ([]store.Credential, error)
	Keys(ctx context.Context) ([]store.Key, error)
	KEKs(ctx context.Context) ([]store.KEK, error)
	Imports(ctx context.Context) ([]store.Import, error)
	Exceptions(ctx context.Context) ([]store.Exception, error)
	Settings(ctx context.Context) (store.Settings, error)
}

// rows are all that the state is made of.
type rows struct {
	agents      []store.Agent
	revoked     []store.Token
	credentials []store.Credential
	keys        []store.Key
	keks        []store.KEK
	imports     []store.Import
	exceptions  []store.Exception
	settings    *store.Settings // nil: there are none
}

// readRows reads them. Revocations of tokens that expired by the cutoff do not count.
func readRows(ctx context.Context, from reader, cutoff time.Time) (r rows, err error) {
	for _, read := range []func(){
		func() { r.agents, err = from.Agents(ctx) },
		func() { r.revoked, err = from.Tokens(ctx, store.TokenFilter{Revoked: true, At: cutoff}) },
		func() { r.credentials, err = from.Credentials(ctx) },
		func() { r.keys, err = from.Keys(ctx) },
		func() { r.keks, err = from.KEKs(ctx) },
		func() { r.imports, err = from.Imports(ctx) },
		func() { r.exceptions, err = from.Exceptions(ctx) },
		func() { r.settings, err = readSettings(ctx, from) },
	} {
		if read(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func readSettings(ctx context.Context, from reader) (*store.Settings, error) {
	s, err := from.Settings(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return &s, err
}

// shared returns the settings: store.ErrNotFound where there are none.
func (r *rows) shared() (store.Settings, error) {
	if r.settings == nil {
		return store.Settings{}, store.ErrNotFound
	}
	return *r.settings, nil
}

// read makes the state of rows.
func read(ctx context.Context, from reader, cutoff time.Time) (state, error) {
	r, err := readRows(ctx, from, cutoff)
	if err != nil {
		return nil, err
	}
	return r.state(), nil
}

// state is the digest of each.
func (r *rows) state() state {
	s := revocations(r.revoked)
	for _, a := range r.agents {
		s[agentKey(a.ID)] = ofAgent(a)
	}
	for _, c := range r.credentials {
		s[credentialKey(c)] = ofCredential(c)
	}
	for _, k := range r.keys {
		s[key{kindKey, k.ID}] = ofKey(k)
	}
	for _, k := range r.keks {
		s[key{kindKEK, k.ID}] = ofKEK(k)
	}
	for _, i := range r.imports {
		s[key{kindImport, i.Name}] = ofImport(i)
	}
	for _, e := range r.exceptions {
		s[key{kindException, e.Fingerprint}] = ofException(e)
	}
	if r.settings != nil {
		s[settingsKey] = ofSettings(*r.settings)
	}
	return s
}

// revocations are revoked tokens, by agent.
func revocations(revoked []store.Token) state {
	byAgent := map[string][]store.Token{}
	for _, t := range revoked {
		byAgent[t.AgentID] = append(byAgent[t.AgentID], t)
	}
	s := state{}
	for id, tokens := range byAgent {
		s.set(revokedKey(id), ofRevoked(tokens))
	}
	return s
}

// settingsKey names the one row of settings.
var settingsKey = key{kindConfig, "shared"}

func agentKey(id string) key   { return key{kindAgent, id} }
func revokedKey(id string) key { return key{kindRevoked, id} }

func credentialKey(c store.Credential) key {
	return key{kindCredential, fmt.Sprintf("%s/%d", c.ID, c.Version)}
}

func ofAgent(a store.Agent) string {
	columns := []any{a.ID, a.Name, a.GitHubUser, string(a.Status), list(a.Scopes), bytesOf(a.SecretHash), at(a.CreatedAt)}
	if !a.OldSecretUntil.IsZero() || len(a.OldSecretHash) > 0 { // rows whose secret never changed have the digest of before
		columns = append(columns, bytesOf(a.OldSecretHash), at(a.OldSecretUntil))
	}
	return of(columns...)
}

// ofRevoked is the digest of tokens that are revoked, "" where there is none.
func ofRevoked(tokens []store.Token) string {
	if len(tokens) == 0 {
		return ""
	}
	ids := make([]string, len(tokens))
	for i, t := range tokens {
		ids[i] = t.JTI
	}
	slices.Sort(ids)
	return of(ids)
}

// ofCredential leaves out what a rotation of the vault's key changes.
func ofCredential(c store.Credential) string {
	return of(c.ID, c.Version, c.Provider, c.Label, c.Restricted, list(c.AllowedAgents), c.Source, bytesOf(c.Ciphertext), at(c.CreatedAt))
}

// ofKey leaves out what a rotation of the vault's key changes.
func ofKey(k store.Key) string {
	return of(k.ID, k.Purpose, string(k.State), bytesOf(k.Public), bytesOf(k.Ciphertext), at(k.CreatedAt), at(k.StateAt))
}

func ofKEK(k store.KEK) string {
	return of(k.ID, k.Kind, bytesOf(k.Salt), k.Passes, k.MemoryKiB, k.Lanes, bytesOf(k.Check), k.Current, at(k.CreatedAt))
}

func ofImport(i store.Import) string { return of(i.Name, bytesOf(i.Digest)) }

func ofException(e store.Exception) string {
	return of(e.Fingerprint, e.Rule, e.Reason, e.CreatedBy, at(e.CreatedAt), at(e.ExpiresAt), bytesOf(e.Seal))
}

func ofSettings(s store.Settings) string { return of(bytesOf(s.Text), at(s.UpdatedAt)) }

// of is the digest of a row: SHA-256, in hex, over its columns as a JSON array.
func of(columns ...any) string {
	sum := sha256.Sum256(mustJSON(columns))
	return hex.EncodeToString(sum[:])
}

// Databases do not tell nil from empty, and keep times in their own precision, of
// which keeper's rows use milliseconds at most.
func list(names []string) []string { return append([]string{}, names...) }
func bytesOf(b []byte) string      { return hex.EncodeToString(b) }
func at(t time.Time) int64         { return t.UnixMilli() }

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // texts, numbers and lists of them are always encoded
		panic(err)
	}
	return b
}
