package api

import (
	"context"
	"net/http"
	"runtime/pprof"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

const (
	defaultProfile = 10 * time.Second
	longestProfile = 30 * time.Second // well below what a request to a route may take
)

type profileInput struct {
	Name    string `path:"name" enum:"allocs,goroutine,heap,profile,threadcreate" doc:"profile is that of the processor"`
	Seconds int    `query:"seconds" minimum:"1" maximum:"30" doc:"That a profile of the processor takes; 10 where it is left out"`
}

// profile serves what the runtime knows, in the format that holds no text of the
// process but the names of its functions: no command line, no arguments.
func (s *surface) profile(ctx context.Context, in *profileInput) (*huma.StreamResponse, error) {
	switch in.Name {
	case "profile":
		return s.profileCPU(ctx, time.Duration(in.Seconds)*time.Second)
	case "allocs", "goroutine", "heap", "threadcreate":
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			asProfile(hc, in.Name)
			_ = pprof.Lookup(in.Name).WriteTo(hc.BodyWriter(), 0) // who has gone needs none
		}}, nil
	}
	return nil, errNoRoute
}

func (s *surface) profileCPU(ctx context.Context, length time.Duration) (*huma.StreamResponse, error) {
	if length <= 0 {
		length = defaultProfile
	}
	select {
	case s.profiling <- struct{}{}:
	default:
		return nil, &fieldError{"name", "a profile of the processor is being made; ask again when it has ended"}
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer func() { <-s.profiling }()
		asProfile(hc, "profile")
		if err := pprof.StartCPUProfile(hc.BodyWriter()); err != nil {
			panic(http.ErrAbortHandler) // somebody else in the process makes one
		}
		defer pprof.StopCPUProfile()
		end := time.NewTimer(min(length, longestProfile))
		defer end.Stop()
		select {
		case <-end.C:
		case <-ctx.Done():
		case <-s.stopping:
		}
	}}, nil
}

func asProfile(hc huma.Context, name string) {
	hc.SetHeader("Content-Type", "application/octet-stream")
	hc.SetHeader("Content-Disposition", `attachment; filename="`+name+`.pb.gz"`)
}
