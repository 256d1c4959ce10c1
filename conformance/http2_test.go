// Package conformance holds keeper's listeners against a public suite for HTTP/2. It is
// a module of its own, so that keeper does not depend on the suite.
package conformance

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/server"
)

// patience is how long the suite waits for what should come. It is well over the second
// that net/http leaves between its GOAWAY and the end of the connection, for which many
// cases wait.
const patience = 3 * time.Second

const (
	atOnce = 16 // cases, of one listener
	tries  = 3  // more, of a case that failed
)

// netHTTP are the cases that net/http itself fails, and why: a bare server fails them
// in the same run, and keeper must fail these and no others. A change in either
// direction, of either, fails the test.
var netHTTP = map[string]string{
	"http2/4.2/3":     "a HEADERS frame over 16,384 bytes: net/http announces that it takes 1 MiB, and does",
	"http2/6.5.3/1":   "the same setting twice in one frame: net/http refuses that, and the suite wants the second to count",
	"http2/8.1.2.2/1": "a header of the connection in HTTP/2: net/http answers 400, and the suite wants the stream reset",
	"http2/8.1.2.2/2": "TE with another value than trailers: net/http answers 400, and the suite wants the stream reset",
}

// netHTTPInClear are those that it fails where no TLS has said that HTTP/2 is spoken.
var netHTTPInClear = map[string]string{
	"http2/3.5/2": "what is no preface is taken for HTTP/1.1, and refused in that",
}

// target is what the suite is run against.
type target struct {
	addr   string
	path   string
	secure bool
}

// result is which cases a target failed, each with what was seen, and how many it
// passed.
type result struct {
	failed map[string]string
	passed int
}

// run runs all cases. Some depend on what wins a race: a case that is not expected to
// fail does so if it never passes.
func (to target) run(t *testing.T, expected map[string]string) result {
	c := to.config(t)
	cases := map[string]*spec.TestCase{}
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		collect(group, cases)
	}
	failed := map[string]string{}
	var mu sync.Mutex // guards failed
	var all sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for id, one := range cases {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			err := try(c, one)
			for i := 0; err != nil && expected[id] == "" && i < tries; i++ {
				err = try(c, one)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[id] = one.Desc + ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
			}
		})
	}
	all.Wait()
	return result{failed, len(cases) - len(failed)}
}

// expected is what a target fails as net/http does.
func (to target) expected() map[string]string {
	all := maps.Clone(netHTTP)
	if !to.secure {
		maps.Copy(all, netHTTPInClear)
	}
	return all
}

func (to target) config(t *testing.T) *config.Config {
	t.Helper()
	host, port, err := net.SplitHostPort(to.addr)
	if err != nil {
		t.Error(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Error(err)
	}
	return &config.Config{
		Host: host, Port: number, Path: to.path, Timeout: patience, MaxHeaderLen: 4000, Strict: true,
		TLS: to.secure, Insecure: true, // the authority is not what is looked at here
	}
}

func try(c *config.Config, one *spec.TestCase) error {
	conn, err := spec.Dial(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	return one.Run(c, conn)
}

// collect adds the cases of a group by their names in the suite.
func collect(group *spec.TestGroup, to map[string]*spec.TestCase) {
	for i, one := range slices.Concat(group.Tests, group.StrictTests) {
		to[fmt.Sprintf("%s/%d", group.ID(), i+1)] = one
	}
	for _, below := range group.Groups {
		collect(below, to)
	}
}

// TestListenersSpeakHTTP2AsWellAsABareServer runs the suite against each of keeper's
// listeners, and against net/http with the same settings.
func TestListenersSpeakHTTP2AsWellAsABareServer(t *testing.T) {
	targets := listeners(t)
	targets["net/http"] = bareServer(t, false)
	targets["net/http, TLS"] = bareServer(t, true)
	results := map[string]result{}
	var mu sync.Mutex // guards results
	var all sync.WaitGroup
	for name, to := range targets {
		all.Go(func() {
			r := to.run(t, to.expected())
			mu.Lock()
			defer mu.Unlock()
			results[name] = r
		})
	}
	all.Wait()
	for _, name := range slices.Sorted(maps.Keys(results)) {
		r := results[name]
		t.Logf("%-40s %3d passed, %d failed", name, r.passed, len(r.failed))
		compare(t, name, r.failed, targets[name].expected())
	}
}

// compare fails the test for each case that is failed and not expected to be, or the
// other way round.
func compare(t *testing.T, name string, failed, expected map[string]string) {
	t.Helper()
	for _, id := range slices.Sorted(maps.Keys(failed)) {
		if expected[id] == "" {
			t.Errorf("%s: fails %s, which should pass: %s", name, id, failed[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(expected)) {
		if failed[id] == "" {
			t.Errorf("%s: passes %s, which should fail: %s", name, id, expected[id])
		}
	}
}

// bareServer is net/http with keeper's settings. It reads what it is sent, as keeper
// does before it decides.
func bareServer(t *testing.T, secure bool) target {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, strings.Repeat("an answer ", 20))
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.MaxHeaderBytes = 64 << 10
	s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1000}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = secure
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return target{s.Listener.Addr().String(), "/", secure}
}

// listeners are those of two keepers, the second of which speaks TLS, by what is
// asked for there.
func listeners(t *testing.T) map[string]target {
	t.Helper()
	relay := listen(t)
	host := relay.Addr().String()
	provider := keepertest.NewProvider(t)
	plain := keepertest.Start(t, keepertest.At(provider), keepertest.Configured(func(c *server.Config) {
		c.AuthFailuresPerSecond = 1 << 20 // one of the targets has no token
		c.ProviderListen = map[string]string{"openai": "127.0.0.1:0"}
		c.ProviderURLs["suite"] = provider.URL("openai") // and "https://" + host leads there
		c.Providers = []policy.Provider{{Name: "suite", BaseURL: "https://" + host}}
	}))
	plain.Store(t, "suite", "", provider.Key("openai"))
	token := plain.Token(t, "suite", "openai:*", "suite:*")
	keyed := "/v1/models?key=" + token
	go relayInto(relay, addr(plain.URL()), host, token)
	at := addr(plain.Server().ProviderURL("openai"))
	return map[string]target{
		"keeper's routes":                      {addr(plain.URL()), "/api/v1/health", false},
		"keeper's routes, TLS":                 {addr(securedKeeper(t).URL()), "/api/v1/health", true},
		"calls by base URL":                    {addr(plain.URL()), "/api/v1/proxy/openai" + keyed, false},
		"a provider's own listener":            {at, keyed, false},
		"a provider's own listener, a refusal": {at, "/v1/models", false},
		"in a tunnel, TLS":                     {host, "/v1/models", true},
	}
}

// securedKeeper speaks TLS by its own authority.
func securedKeeper(t *testing.T) *server.Server {
	t.Helper()
	k, err := server.Start(t.Context(), server.Config{
		DataDir: t.TempDir(), Addr: "127.0.0.1:0", TLS: server.TLS{OwnCA: true}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return k
}

func addr(url string) string { _, rest, _ := strings.Cut(url, "://"); return rest }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// relayInto hands each connection on through a tunnel of keeper's to a host.
func relayInto(from net.Listener, keeper, host, token string) {
	for {
		near, err := from.Accept()
		if err != nil {
			return
		}
		go func() {
			defer near.Close()
			far, err := net.Dial("tcp", keeper)
			if err != nil {
				return
			}
			defer far.Close()
			fmt.Fprintf(far, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n", host, host,
				base64.StdEncoding.EncodeToString([]byte("keeper:"+token)))
			answer := bufio.NewReader(far)
			resp, err := http.ReadResponse(answer, &http.Request{Method: http.MethodConnect})
			if err != nil || resp.StatusCode != http.StatusOK {
				return
			}
			go func() {
				_, _ = io.Copy(far, near)
				far.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(near, answer)
		}()
	}
}
