package exchange

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/superinstance/keeper/internal/netguard"
)

// endpoints are where an issuer lets people in, as its configuration said last.
type endpoints struct {
	mu    sync.Mutex // held while the issuer is asked
	at    oauth2.Endpoint
	err   error
	until time.Time // it is asked again
}

// endpoint asks the issuer for its configuration, but not for each browser.
func (p *RelyingParty) endpoint(ctx context.Context) (oauth2.Endpoint, error) {
	f := &p.found
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.now().Before(f.until) {
		return f.at, f.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	f.at, f.err = p.discover(ctx)
	f.until = p.now().Add(fetchEvery)
	if f.err != nil {
		f.until = p.now().Add(fetchAgain)
		p.issuer.keys.logger.Error("issuer of the dashboard's people cannot be asked", "issuer", p.issuer.url, "error", f.err)
	}
	return f.at, f.err
}

func (p *RelyingParty) discover(ctx context.Context) (oauth2.Endpoint, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.issuer.url)
	var onTheWay *url.Error
	switch {
	case errors.As(err, &onTheWay):
		return oauth2.Endpoint{}, unreached(err)
	case err != nil: // it quotes the answer
		return oauth2.Endpoint{}, errors.New("it has no configuration of its own at /.well-known/openid-configuration")
	}
	at := found.Endpoint()
	for _, one := range []string{at.AuthURL, at.TokenURL} {
		if !p.mayBeAsked(one) {
			return oauth2.Endpoint{}, errors.New("its configuration names an address that is not encrypted, or is none")
		}
	}
	var said struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	at.AuthStyle = oauth2.AuthStyleInHeader // the default: OpenID Connect Discovery 1.0, section 3
	if found.Claims(&said) == nil && len(said.Methods) > 0 && !slices.Contains(said.Methods, "client_secret_basic") {
		at.AuthStyle = oauth2.AuthStyleInParams
	}
	return at, nil
}

// mayBeAsked reports whether an address is encrypted, or is on this machine as its
// issuer is.
func (p *RelyingParty) mayBeAsked(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	local := u.Scheme == "http" && netguard.IsLoopbackURL(u) && strings.HasPrefix(p.issuer.url, "http://")
	return u.Scheme == "https" || local
}
