package audit

import (
	"context"
	"sync"
	"time"
)

// strangers counts the refusals of callers who proved nothing. The first of
// each kind and source in a minute is written whole, the rest as one entry
// with their number when the minute is over.
type strangers struct {
	log *Log

	mu      sync.Mutex // guards all below
	minute  time.Time
	counted map[strangerKind]*repeats
}

type strangerKind struct{ kind, source string }

type repeats struct {
	origin Origin
	event  Event // the first, which was written
	count  int   // those after it
}

// refuse writes e, or counts it.
func (s *strangers) refuse(ctx context.Context, kind string, e Event) error {
	origin := OriginOf(ctx)
	first, ended := s.count(strangerKind{kind, origin.Source}, origin, e)
	for _, r := range ended {
		if err := s.write(ctx, r); err != nil {
			return err
		}
	}
	if !first {
		return nil
	}
	return s.log.Record(ctx, e)
}

// count notes one refusal. It reports whether it is the first of its kind in
// this minute, and returns what the minute before left to be written.
func (s *strangers) count(k strangerKind, o Origin, e Event) (first bool, ended []*repeats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if minute := s.log.now().Truncate(time.Minute); !minute.Equal(s.minute) {
		ended = s.take()
		s.minute = minute
	}
	if len(s.counted) >= strangerKinds {
		k = strangerKind{kind: "other"} // many sources: told apart no longer
	}
	if r, seen := s.counted[k]; seen {
		r.count++
		return false, ended
	}
	s.counted[k] = &repeats{origin: o, event: e}
	return true, ended
}

// take returns the kinds that were seen more than once and starts anew. The
// caller holds mu.
func (s *strangers) take() []*repeats {
	var ended []*repeats
	for _, r := range s.counted {
		if r.count > 0 {
			ended = append(ended, r)
		}
	}
	s.counted = map[strangerKind]*repeats{}
	return ended
}

func (s *strangers) write(ctx context.Context, r *repeats) error {
	origin := Origin{Source: r.origin.Source} // they were many requests
	switch e := r.event.(type) {
	case ProxyRequest:
		e.Count = r.count
		return s.log.later(WithOrigin(ctx, origin), e, 0)
	case Refused:
		e.Count = r.count
		return s.log.later(WithOrigin(ctx, origin), e, 0)
	}
	return nil
}

// flush writes the numbers of the present minute.
func (s *strangers) flush(ctx context.Context) {
	s.mu.Lock()
	ended := s.take()
	s.mu.Unlock()
	for _, r := range ended {
		if err := s.write(ctx, r); err != nil {
			s.log.logger.Error("audit count lost", "error", err)
		}
	}
}
