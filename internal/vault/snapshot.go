package vault

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// snapshot is all that the vault knows at one time. It is immutable, and so is
// what it points to: a change makes another one.
type snapshot struct {
	secrets   map[string]*held           // by id
	providers map[string]providerSecrets // of those that are stored
	index     *index
}

// providerSecrets are the secrets of one provider, sorted by label.
type providerSecrets struct {
	held       []*held
	candidates []policy.Candidate // of the same order
}

// held is one secret with the versions that are kept.
type held struct {
	id, provider, label string
	versions            []version // ascending; never empty
	withdrawn           bool      // it serves no call, and is matched all the same
	external            bool      // it comes from a source: an Arrangement says which calls it serves
}

// version is one value of a secret and the conditions that came with it.
type version struct {
	number        int
	value         secret.Value
	restricted    bool
	allowedAgents []string
	source        string
	createdAt     time.Time
	digest        [sha256.Size]byte // of its row; of no use for one of a source
	kept          *kept             // in value's place, of one of a source that was dropped
	use           *usage
}

func newVersion(row store.Credential, value secret.Value) version {
	return version{
		number: row.Version, value: value, restricted: row.Restricted,
		allowedAgents: row.AllowedAgents, source: row.Source, createdAt: row.CreatedAt, digest: rowDigest(row), use: &usage{},
	}
}

func (h *held) current() *version { return &h.versions[len(h.versions)-1] }

// version returns the version of that number, nil where it is not kept.
func (h *held) version(number int) *version {
	for i := range h.versions {
		if h.versions[i].number == number {
			return &h.versions[i]
		}
	}
	return nil
}

// add returns the secret with one version more and the oldest beyond
// keptVersions dropped. h is nil for the first version of row's secret.
func (h *held) add(v version, row store.Credential) *held {
	next := &held{id: row.ID, provider: row.Provider, label: row.Label}
	if h != nil {
		next.versions = slices.Clone(h.versions[max(0, len(h.versions)-keptVersions+1):])
	}
	next.versions = append(next.versions, v)
	return next
}

func (h *held) candidate() policy.Candidate {
	current := h.current()
	return policy.Candidate{
		SecretID: h.id, Label: h.label, Version: current.number,
		Restricted: current.restricted, AllowedAgents: current.allowedAgents,
	}
}

// matchName is the name under which Match yields the secret.
func (h *held) matchName() string { return "vault:" + h.provider }

// newSnapshot opens rows, which may be in any order. The error wraps ErrCorrupt
// where a row does not open, or rows contradict each other. What before, which may be
// nil, has of the same rows it takes over, and so what is in no row.
func newSnapshot(k *kek, rows []store.Credential, before *snapshot) (*snapshot, error) {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b store.Credential) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Version, b.Version))
	})
	s := &snapshot{secrets: map[string]*held{}, providers: map[string]providerSecrets{}}
	for _, row := range rows {
		one, err := before.value(k, row)
		if err != nil {
			return nil, err
		}
		if err := s.admit(row, one); err != nil {
			return nil, err
		}
	}
	for _, h := range s.secrets {
		s.addProvider(h)
	}
	for name, p := range s.providers {
		if i := p.duplicate(); i >= 0 {
			return nil, fmt.Errorf("opening credentials of %q: two secrets have the label %q: %w", name, p.held[i].label, ErrCorrupt)
		}
	}
	if err := s.carry(before); err != nil {
		return nil, err
	}
	if before != nil && before.index != nil {
		s.follow(before)
		return s, nil
	}
	s.index = newIndex(2 * len(rows))
	for _, h := range s.secrets {
		for _, v := range h.versions {
			s.index = s.index.learn(v.value, h.matchName())
		}
	}
	return s, nil
}

// admit takes in the next row in order of id and version.
func (s *snapshot) admit(row store.Credential, one version) error {
	h := s.secrets[row.ID]
	if h == nil {
		h = &held{id: row.ID, provider: row.Provider, label: row.Label}
		s.secrets[row.ID] = h
	}
	if h.provider != row.Provider || h.label != row.Label || h.version(row.Version) != nil {
		return fmt.Errorf("opening credential %q@%q version %d: %w", row.Provider, row.Label, row.Version, ErrCorrupt)
	}
	h.versions = append(h.versions, one)
	return nil
}

// duplicate is the place of a secret whose label the one before it has; -1 for
// none.
func (p providerSecrets) duplicate() int {
	for i := 1; i < len(p.held); i++ {
		if p.held[i].label == p.held[i-1].label {
			return i
		}
	}
	return -1
}

func byLabel(a, b *held) int { return strings.Compare(a.label, b.label) }

func (s *snapshot) addProvider(h *held) {
	all := append(slices.Clone(s.providers[h.provider].held), h)
	s.setProvider(h.provider, all)
}

func (s *snapshot) setProvider(name string, all []*held) {
	if len(all) == 0 {
		delete(s.providers, name)
		return
	}
	slices.SortFunc(all, byLabel)
	p := providerSecrets{held: all}
	for _, h := range all {
		p.candidates = append(p.candidates, h.candidate())
	}
	s.providers[name] = p
}

// find returns the secret of a provider and label; nil where there is none.
func (s *snapshot) find(provider, label string) *held {
	for _, h := range s.providers[provider].held {
		if h.label == label {
			return h
		}
	}
	return nil
}

// matching returns the stored secrets of a provider and label, either of which may be
// empty for all, sorted by both.
func (s *snapshot) matching(provider, label string) []*held {
	var all []*held
	for _, h := range s.secrets {
		if !h.external && (provider == "" || strings.EqualFold(h.provider, provider)) && (label == "" || h.label == label) {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b *held) int {
		return cmp.Or(strings.Compare(a.provider, b.provider), byLabel(a, b))
	})
	return all
}

// with returns the snapshot with h in the place of the secret of its id.
func (s *snapshot) with(h *held) *snapshot {
	next, before := s.replace(h), s.secrets[h.id]
	var dropped []version
	if before != nil {
		dropped = before.versions[:len(before.versions)+1-len(h.versions)]
	}
	next.index = s.index.clone().forget(dropped, h.matchName()).learn(h.current().value, h.matchName())
	return next
}

// replace returns the snapshot with h in the place of the secret of its id, which
// has the same values: the index stays.
func (s *snapshot) replace(h *held) *snapshot {
	next := &snapshot{secrets: maps.Clone(s.secrets), providers: maps.Clone(s.providers), index: s.index}
	before := s.secrets[h.id]
	next.secrets[h.id] = h
	if h.external {
		return next
	}
	all := slices.DeleteFunc(slices.Clone(s.providers[h.provider].held), func(o *held) bool { return o == before })
	next.setProvider(h.provider, append(all, h))
	return next
}

// without returns the snapshot without h.
func (s *snapshot) without(h *held) *snapshot {
	next := &snapshot{secrets: maps.Clone(s.secrets), providers: maps.Clone(s.providers), index: s.index}
	delete(next.secrets, h.id)
	all := slices.DeleteFunc(slices.Clone(s.providers[h.provider].held), func(o *held) bool { return o == h })
	next.setProvider(h.provider, all)
	next.index = s.index.clone().forget(h.versions, h.matchName())
	return next
}
