package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/session"
	"github.com/superinstance/keeper/internal/store"
)

const sessionsPath = root + "/auth/sessions"

// handleLiving defines how the sessions that there are are looked at and ended.
func (s *surface) handleLiving() {
	read, write := scope.Keeper(scope.Read), scope.Keeper(scope.Write)
	handle(s, route{id: "listSessions", method: get, path: sessionsPath, summary: "List the living sessions of the dashboard", needs: read}, s.living)
	handle(s, route{id: "endSession", method: remove, path: sessionsPath + "/{id}", summary: "End a session: one's own, or with keeper:write anyone's", guard: proven, codes: []string{"not_found"}}, s.endSession)
	handle(s, route{id: "endOtherSessions", method: remove, path: sessionsPath, summary: "End all sessions but the caller's own", needs: write}, s.endOthers)
}

type livingBody struct {
	ID         string    `json:"id" doc:"It opens nothing; the audit log calls the session so, too"`
	Name       string    `json:"name" doc:"Who is signed in, for people"`
	By         string    `json:"by" doc:"Who is signed in, as the audit log says it: an agent's id, admin token, or oidc: and a name"`
	Scopes     []string  `json:"scopes" nullable:"false" doc:"What the session is good for, now"`
	How        string    `json:"how" enum:"link,oidc" doc:"By what it was signed in"`
	Source     string    `json:"source,omitempty" doc:"The address that it was last used from"`
	StartedAt  time.Time `json:"startedAt" doc:"When it was signed in"`
	LastUsedAt time.Time `json:"lastUsedAt" doc:"When it last asked for anything"`
	ExpiresAt  time.Time `json:"expiresAt" doc:"When it ends in any case"`
	Own        bool      `json:"own" doc:"Whether it is the one that asks"`
}

type livingsBody struct {
	Sessions []livingBody `json:"sessions" nullable:"false" doc:"Last used first"`
}

func (s *surface) living(ctx context.Context, _ *struct{}) (*output[livingsBody], error) {
	own := ownSession(ctx)
	body := livingsBody{[]livingBody{}}
	for _, one := range s.sessions.Living(ctx) {
		c := one.Claims
		body.Sessions = append(body.Sessions, livingBody{
			ID: one.ID, Name: cmp.Or(c.Name(), c.By()), By: c.By(), Scopes: c.InForce().Strings(), How: one.How, Source: one.Source,
			StartedAt: one.StartedAt.UTC(), LastUsedAt: one.UsedAt.UTC(), ExpiresAt: one.ExpiresAt.UTC(), Own: one.ID == own,
		})
	}
	return &output[livingsBody]{body}, nil
}

// ownSession is the id of the caller's session; empty where it shows a token.
func ownSession(ctx context.Context) string {
	if c := callOf(ctx); c.session != nil {
		return c.session.ID()
	}
	return ""
}

type endSessionInput struct {
	ID string `path:"id" doc:"As the list has it"`
}

func (s *surface) endSession(ctx context.Context, in *endSessionInput) (*output[done], error) {
	by, write := callOf(ctx).claims, scope.Keeper(scope.Write)
	all := s.sessions.Living(ctx)
	i := slices.IndexFunc(all, func(one session.Stand) bool { return one.ID == in.ID })
	if !by.Covers(write) && (i < 0 || all[i].Claims.By() != by.By()) {
		return nil, &lackError{write} // nor is it said whether there is one
	}
	if i < 0 || !s.sessions.Take(ctx, in.ID) {
		return nil, store.ErrNotFound
	}
	return said("The session has ended: that browser is signed out.")
}

type endedBody struct {
	Message string `json:"message" doc:"What was done"`
	Ended   int    `json:"ended" doc:"How many sessions"`
}

func (s *surface) endOthers(ctx context.Context, _ *struct{}) (*output[endedBody], error) {
	own, ended := ownSession(ctx), 0
	for _, one := range s.sessions.Living(ctx) {
		if one.ID != own && s.sessions.Take(ctx, one.ID) {
			ended++
		}
	}
	return &output[endedBody]{endedBody{fmt.Sprintf("Sessions that have ended: %d.", ended), ended}}, nil
}
