package api

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Cluster is the keepers on one store, as one of them knows them.
type Cluster struct {
	Self      string   `json:"self" doc:"Id of the keeper that answers"`
	Shared    bool     `json:"shared" doc:"Whether the store is a database that several keepers can share"`
	Pooled    bool     `json:"pooled" doc:"Whether a pooler is between this keeper and the database, so that changes are found by polling alone"`
	Staleness float64  `json:"stalenessSeconds" doc:"How old what a keeper knows may be, in seconds: with older knowledge it refuses all calls; 0 where the store is not shared"`
	PolledAgo float64  `json:"polledSecondsAgo" doc:"How long ago this keeper began its last good look at the database, in seconds; 0 where the store is not shared"`
	Feed      int64    `json:"feed" doc:"How many changes of what keepers decide by there were"`
	Keepers   []Keeper `json:"keepers" nullable:"false" doc:"Those that joined and were not forgotten, by id"`
}

// Keeper is one of them.
type Keeper struct {
	ID        string    `json:"id" doc:"Id of its data folder"`
	Name      string    `json:"name" doc:"Its host and process, for people"`
	Address   string    `json:"address" doc:"Where it listens, as it was configured"`
	Version   string    `json:"version" doc:"Its release"`
	State     string    `json:"state" enum:"serving,draining,stopped,lost" doc:"What it does; lost: it did not stop, and is not seen any more"`
	StartedAt time.Time `json:"startedAt" doc:"When it started, by the database's clock"`
	SeenAt    time.Time `json:"seenAt" doc:"When it was last seen, by the database's clock"`
	Waiting   int64     `json:"waiting" doc:"Entries of the audit log that are in its folder and were not shipped to the database when it was last seen"`
	Behind    int64     `json:"behind" doc:"Changes of what keepers decide by that it had not taken over when it was last seen"`
	Leads     bool      `json:"leads" doc:"Whether it feeds sinks and archives and prunes the log for all"`
}

// ClusterError refuses what the other keepers do not allow, by a sentence that names the
// mend.
type ClusterError struct{ Sentence string }

func (e *ClusterError) Error() string { return e.Sentence }

// codeCluster is that of a ClusterError.
const codeCluster = "keepers_in_the_way"

func (e *ClusterError) reply() reply { return reply{http.StatusConflict, codeCluster, e.Sentence} }

// Keepers are those on one store, and what is done with them.
type Keepers struct {
	// List tells of them, this one among them.
	List func(ctx context.Context) (Cluster, error)
	// Figures are those of this keeper among them. Nil: there are none.
	Figures func(ctx context.Context) ClusterFigures
	// Forget drops one that is gone, by its id, and returns what it was: a *ClusterError
	// while it lives, store.ErrNotFound where there is none.
	Forget func(ctx context.Context, id string) (Keeper, error)
	// MayRotate returns a *ClusterError where the others do not allow that the key of a
	// purpose is rotated. Nil: they always do.
	MayRotate func(ctx context.Context, purpose string) error
}

func (s *surface) cluster(ctx context.Context, _ *struct{}) (*output[Cluster], error) {
	if s.keepers.List == nil {
		return nil, errNoRoute
	}
	c, err := s.keepers.List(ctx)
	if err != nil {
		return nil, err
	}
	c.Keepers = append([]Keeper{}, c.Keepers...)
	return &output[Cluster]{c}, nil
}

// ClusterFigures are what one keeper among several is watched by.
type ClusterFigures struct {
	PolledAgo      time.Duration // since the last good look at the database was begun
	Lapses         int64         // how often calls were refused since it was longer ago than the bound
	Waiting, Bytes int64         // entries of the audit log that are not shipped yet, and their size on disk
	Leads          bool
	Alive          int // keepers that live, this one among them; -1: the database does not say
}

type forgetInput struct {
	ID string `path:"id" doc:"Id of the keeper"`
}

type forgottenBody struct {
	Message string `json:"message" doc:"What was done"`
	Entries int64  `json:"entriesLost" doc:"Entries of the audit log that were in the keeper's folder alone when it was last seen"`
}

func (s *surface) forget(ctx context.Context, in *forgetInput) (*output[forgottenBody], error) {
	if s.keepers.Forget == nil {
		return nil, errNoRoute
	}
	k, err := s.keepers.Forget(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	said := "The keeper is forgotten."
	if k.Waiting > 0 {
		said = fmt.Sprintf("The keeper is forgotten; entries of the audit log that were in its folder alone, and that the log lacks: %d.", k.Waiting)
	}
	return &output[forgottenBody]{forgottenBody{said, k.Waiting}}, nil
}

// mayRotate asks the other keepers, as it were.
func (s *surface) mayRotate(ctx context.Context, purpose string) error {
	if s.keepers.MayRotate == nil {
		return nil
	}
	return s.keepers.MayRotate(ctx, purpose)
}
