package source

import (
	"context"
	"log/slog"
	"time"

	"github.com/superinstance/keeper/internal/secret"
)

// Given is what a source of a test gives.
type Given struct {
	Value, Origin  string
	Next, Lifetime time.Duration
	Problem        string
	Gone           bool
}

type fetcherFunc func(ctx context.Context) Given

func (f fetcherFunc) fetch(ctx context.Context) (value, error) {
	g := f(ctx)
	if g.Problem != "" {
		return value{}, &problem{sentence: g.Problem, gone: g.Gone}
	}
	v := value{secret: secret.New([]byte(g.Value)), origin: g.Origin, next: g.Next}
	if g.Lifetime > 0 {
		v.expires = time.Now().Add(g.Lifetime)
	}
	return v, nil
}

// OpenFunc opens a Set of one secret whose source is a function. Notice says that
// the value has changed.
func OpenFunc(ctx context.Context, spec Spec, logger *slog.Logger, source func(context.Context) Given) (s *Set, notice func()) {
	f := newFeed(spec, spec.Provider+"@"+spec.Label, "test", fetcherFunc(source), logger)
	f.start(ctx)
	return &Set{feeds: []*feed{f}}, f.notice
}

// ParseAnswer is what a helper's answer is read as.
func ParseAnswer(text []byte, now time.Time) (held secret.Value, expires time.Time, refused string) {
	v, no := parseAnswer(text, now)
	if no != nil {
		return held, expires, no.sentence
	}
	return v.secret, v.expires, ""
}

// FillTemplate fills the fields that stand behind # from data.
func FillTemplate(fields string, data map[string]any) (string, error) {
	t, err := parseTemplate(fields)
	if err != nil {
		return "", err
	}
	return t.fill(data)
}
