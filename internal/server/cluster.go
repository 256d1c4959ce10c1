package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

const (
	onlySelf     = "self" // the id of a keeper that shares its store with nobody
	lost         = "lost" // the state of a keeper that did not stop and is not seen any more
	followWithin = 2 * time.Second
	followLook   = 50 * time.Millisecond
)

// cluster is the keepers on this one's store.
func (s *Server) cluster(ctx context.Context) (c api.Cluster, err error) {
	f := s.fleet.Load()
	if s.shared == nil || f == nil {
		self := s.described(onlySelf)
		now := time.Now()
		return api.Cluster{Self: self.ID, Keepers: []api.Keeper{{
			ID: self.ID, Name: self.Name, Address: self.Address, Version: self.Version,
			State: string(s.state()), StartedAt: s.startedAt.UTC(), SeenAt: now.UTC(), Leads: true,
		}}}, nil
	}
	is := f.Standing()
	c = api.Cluster{Self: s.shared.self.ID, Shared: true, Staleness: is.Staleness.Seconds(), PolledAgo: is.Polled.Seconds()}
	if c.Pooled, err = s.shared.Pooled(ctx); err != nil {
		return c, err
	}
	members, end, now, err := s.members(ctx)
	if err != nil {
		return c, err
	}
	c.Feed = end.Feed
	for _, m := range members {
		if m.ID == c.Self { // who knows better than its last sign of life
			m.State, m.Waiting, m.Applied = s.state(), s.log.Waiting(), is.Applied
		}
		c.Keepers = append(c.Keepers, shown(m, end.Feed, now))
	}
	return c, nil
}

// clusterFigures are what this keeper is watched by among those on its store.
func (s *Server) clusterFigures(ctx context.Context) (is api.ClusterFigures) {
	if s.shared == nil {
		return api.ClusterFigures{Leads: true, Alive: 1}
	}
	f := s.fleet.Load()
	if f == nil { // it starts
		return api.ClusterFigures{Alive: -1}
	}
	now := f.Standing()
	is = api.ClusterFigures{PolledAgo: now.Polled, Lapses: now.Lapses, Leads: now.Leads, Alive: -1}
	entries, bytes := s.shared.segment.Backlog()
	is.Waiting, is.Bytes = int64(entries), bytes
	if others, _, err := s.others(ctx); err == nil {
		is.Alive = len(others) + 1
	}
	return is
}

// keepers are those on this one's store, for the management routes.
func (s *Server) keepers() api.Keepers {
	return api.Keepers{List: s.cluster, Figures: s.clusterFigures, Forget: s.forget, MayRotate: s.mayRotate}
}

// members are the keepers that share the database, where its log ends, and its clock. What
// one of them had taken over is no newer than the end.
func (s *Server) members(ctx context.Context) (all []store.Member, end store.LogEnd, now time.Time, err error) {
	if end, err = s.shared.LogEnd(ctx); err == nil {
		all, now, err = s.shared.Members(ctx)
	}
	return all, end, now, err
}

func shown(m store.Member, feed int64, now time.Time) api.Keeper {
	state := string(m.State)
	if m.State != store.Stopped && !m.Alive(now) {
		state = lost
	}
	return api.Keeper{
		ID: m.ID, Name: m.Name, Address: m.Address, Version: m.Version, State: state,
		StartedAt: m.StartedAt, SeenAt: m.SeenAt, Waiting: m.Waiting, Behind: max(0, feed-m.Applied), Leads: m.Leads,
	}
}

// state is what this keeper does.
func (s *Server) state() store.MemberState {
	if s.stopping.Load() {
		return store.Draining
	}
	return store.Serving
}

// forget drops a keeper that is gone from those that share the database.
func (s *Server) forget(ctx context.Context, id string) (k api.Keeper, err error) {
	c, err := s.cluster(ctx)
	if err != nil {
		return k, err
	}
	at := slices.IndexFunc(c.Keepers, func(k api.Keeper) bool { return k.ID == id })
	if at < 0 {
		return k, store.ErrNotFound
	}
	if k = c.Keepers[at]; !c.Shared || k.State == string(store.Serving) || k.State == string(store.Draining) {
		return k, lives(k.Name)
	}
	if err := s.log.Record(ctx, audit.KeeperForgotten{ID: k.ID, Name: k.Name, Entries: k.Waiting}); err != nil {
		return k, err
	}
	err = s.shared.ForgetMember(ctx, id)
	if errors.Is(err, store.ErrHeld) { // it came back just now
		return k, lives(k.Name)
	}
	return k, err
}

func lives(name string) error {
	return &api.ClusterError{Sentence: fmt.Sprintf("The keeper %s lives; stop it first, and then forget it.", name)}
}

// mayRotate says whether the other keepers allow that the key of a purpose is rotated.
func (s *Server) mayRotate(ctx context.Context, purpose string) error {
	if s.shared == nil {
		return nil
	}
	if err := s.sync(ctx); err != nil { // another keeper may just have rotated it
		return err
	}
	switch purpose {
	case "vault":
		return s.alone(ctx)
	case "signing":
		return s.othersFollow(ctx)
	}
	return nil
}

// alone returns an error where other keepers live: each has the key that opens the vault
// in a file of its own, or was given it, and none can give it to another.
func (s *Server) alone(ctx context.Context) error {
	others, _, err := s.others(ctx)
	if err != nil || len(others) == 0 {
		return err
	}
	return &api.ClusterError{Sentence: fmt.Sprintf("Each keeper has the vault's key for itself, and others run: %s. Stop them, rotate, give them the new key, and start them again.", strings.Join(names(others), "; "))}
}

// othersFollow returns once all other keepers that live have taken over what was changed
// by now: then they know the next key, and take what it signs. It waits for that for
// followWithin.
func (s *Server) othersFollow(ctx context.Context) error {
	others, end, err := s.others(ctx)
	for began := time.Now(); err == nil; others, _, err = s.others(ctx) {
		late := slices.DeleteFunc(others, func(m store.Member) bool { return m.Applied >= end.Feed })
		if len(late) == 0 {
			return nil
		}
		if time.Since(began) > followWithin {
			return &api.ClusterError{Sentence: fmt.Sprintf("The keeper %s has not taken over the next key yet; try again in a moment.", late[0].Name)}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followLook):
		}
	}
	return err
}

// others are the other keepers that live, and where the log ends.
func (s *Server) others(ctx context.Context) (others []store.Member, end store.LogEnd, err error) {
	all, end, now, err := s.members(ctx)
	return slices.DeleteFunc(all, func(m store.Member) bool { return m.ID == s.shared.self.ID || !m.Alive(now) }), end, err
}

func names(all []store.Member) (names []string) {
	for _, m := range all {
		names = append(names, m.Name)
	}
	return names
}
