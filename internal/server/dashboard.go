package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"

	"github.com/superinstance/keeper/internal/dashboard"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/figures"
	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/session"
)

// openedDashboard is what of the dashboard no reload changes.
type openedDashboard struct {
	files    *dashboard.Files
	sessions *session.Book
}

// way is how people get to the dashboard.
type way struct {
	config  Dashboard
	url     *url.URL               // nil: not said
	signIns *exchange.RelyingParty // nil: none
}

// wayTo is before's where that signs people in by the same rules: who is signed in stays
// so.
func (s *Server) wayTo(c Dashboard, before *generation) (w way, err error) {
	w.config = c
	if w.url, err = rootOf(c.URL); err != nil {
		return w, fmt.Errorf("dashboard.url: %w", err)
	}
	switch {
	case c.OIDC == nil:
	case before != nil && reflect.DeepEqual(before.dashboard.config.OIDC, c.OIDC):
		w.signIns = before.dashboard.signIns
	default:
		if w.signIns, err = exchange.OpenSignIn(*c.OIDC, nil, s.config.Logger); err != nil {
			return w, fmt.Errorf("dashboard.oidc.%w", err)
		}
	}
	return w, nil
}

// retire ends the sessions of people whom the next way's rules did not let in.
func (w way) retire(next way) {
	if w.signIns != nil && w.signIns != next.signIns {
		w.signIns.Retire()
	}
}

// openDashboard watches over the dashboard's sessions until keeper stops.
func (s *Server) openDashboard() (d openedDashboard, err error) {
	if d.files, err = dashboard.New(); err != nil {
		return d, err
	}
	d.sessions, err = session.New(session.Config{Authority: s.auth, Journal: s.log, Logger: s.config.Logger})
	if err != nil {
		return d, err
	}
	s.inBackground(d.sessions.Watch)
	return d, nil
}

// rootOf reads the address under which browsers know keeper.
func rootOf(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return nil, errors.New("want a scheme and a host, such as https://keeper.example, without a path")
	case u.Scheme == "http" && !netguard.IsLoopbackURL(u):
		return nil, errors.New("must begin with https://: http:// is for this machine alone")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must begin with https://")
	}
	u.Path = ""
	return u, nil
}

// openFigures counts the log's calls until keeper stops.
func (s *Server) openFigures() *figures.Figures {
	counted := figures.New(nil)
	s.inBackground(func(ctx context.Context) { counted.Follow(ctx, s.log, s.config.Logger) })
	return counted
}
