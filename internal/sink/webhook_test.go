package sink_test

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/sink"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// posted is what a webhook was sent.
type posted struct {
	header http.Header
	user   string
	body   []byte
}

// hook is a webhook's receiver. answer says what it does with the n-th request, from
// 0: nil takes all.
type hook struct {
	*httptest.Server
	answer func(w http.ResponseWriter, n int, p posted) (taken bool)

	mu    sync.Mutex
	n     int
	taken []posted
	came  chan struct{}
}

func newHook(t *testing.T, answer func(w http.ResponseWriter, n int, p posted) bool) *hook {
	t.Helper()
	h := &hook{answer: answer, came: make(chan struct{})}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	user, _, _ := r.BasicAuth()
	p := posted{r.Header, user, body}
	h.mu.Lock()
	n := h.n
	h.n++
	h.mu.Unlock()
	if h.answer != nil && !h.answer(w, n, p) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken = append(h.taken, p)
	close(h.came)
	h.came = make(chan struct{})
}

// until waits for so many bodies, and returns them.
func (h *hook) until(n int) []posted {
	for {
		h.mu.Lock()
		all, came := h.taken, h.came
		h.mu.Unlock()
		if len(all) >= n {
			return all
		}
		<-came
	}
}

func (h *hook) entries(t *testing.T) (seqs []int64) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.taken {
		seqs = append(seqs, numbers(t, p.body)...)
	}
	return seqs
}

func hookSpec(url string) sink.Spec { return sink.Spec{Name: "w", Type: "webhook", URL: plain(url)} }

// random is text like a key, made now.
func random() string {
	b := make([]byte, 20)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func TestWebhookGetsTheLogInOrder(t *testing.T) {
	h := newHook(t, nil)
	b := newBench(1700, hookSpec(h.URL))
	closeSet(t, b.open(t))
	same(t, "entries", h.entries(t), upTo(1700))
	same(t, "cursor", b.shelf.seq("w"), 1700)
	for _, p := range h.taken {
		seqs := numbers(t, p.body)
		got := []string{p.header.Get("Content-Type"), p.header.Get("Keeper-First-Entry"), p.header.Get("Keeper-Last-Entry"), p.header.Get("User-Agent")}
		same(t, "headers", got, []string{"application/x-ndjson", fmt.Sprint(seqs[0]), fmt.Sprint(seqs[len(seqs)-1]), "keeper/1.2.3"})
		same(t, "headers that were not asked for", []string{p.header.Get("Authorization"), p.header.Get("Keeper-Signature")}, []string{"", ""})
	}
}

func TestWebhookIsSignedAndBearsItsToken(t *testing.T) {
	h := newHook(t, nil)
	token, key := random(), random()
	spec := hookSpec(h.URL)
	spec.TokenFile, spec.SecretFile = written(t, token+"\n"), written(t, key+"\n")
	b := newBench(3, spec)
	b.config.Now = func() time.Time { return start }
	closeSet(t, b.open(t))
	p := h.until(1)[0]
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%d.%s", start.Unix(), p.body)
	same(t, "signature", p.header.Get("Keeper-Signature"), fmt.Sprintf("t=%d,v1=%x", start.Unix(), mac.Sum(nil)))
	same(t, "token", p.header.Get("Authorization"), "Bearer "+token)
}

func TestWebhookThatFailsGetsTheSameAgain(t *testing.T) {
	failures := map[string]func(w http.ResponseWriter){
		"a failed answer": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"a denial":        func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) },
		"no answer":       func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"a long answer": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusInternalServerError)
			io.CopyN(w, strings.NewReader(strings.Repeat("x", 1<<20)), 1<<20)
		},
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			h := newHook(t, func(w http.ResponseWriter, n int, _ posted) bool {
				if n%3 != 2 {
					fail(w)
				}
				return n%3 == 2
			})
			b := newBench(1200, hookSpec(h.URL)).hasty()
			b.open(t)
			b.shelf.reaches(t, "w", 1200)
			same(t, "entries", h.entries(t), upTo(1200))
		})
	}
}

func TestWebhookThatTookABodyAndDidNotSaySoGetsItTwice(t *testing.T) {
	var h *hook
	h = newHook(t, func(w http.ResponseWriter, n int, p posted) bool {
		if n == 1 {
			h.mu.Lock()
			h.taken = append(h.taken, p)
			h.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		return true
	})
	b := newBench(1200, hookSpec(h.URL)).hasty()
	b.open(t)
	b.shelf.reaches(t, "w", 1200)
	got := h.entries(t)
	complete(t, got, 1200)
	same(t, "entries", len(got), 1700)
}

func TestWebhookIsSentFewerEntriesWhereABodyIsTooLarge(t *testing.T) {
	h := newHook(t, func(w http.ResponseWriter, _ int, p posted) bool {
		if len(p.body) > 3000 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
		return len(p.body) <= 3000
	})
	b := newBench(300, hookSpec(h.URL))
	closeSet(t, b.open(t))
	same(t, "entries", h.entries(t), upTo(300))
	same(t, "notes", b.notes.String(), "")
}

func TestWebhookFollowsNoRedirect(t *testing.T) {
	other := newHook(t, nil)
	for _, status := range []int{301, 302, 303, 307, 308} {
		h := newHook(t, func(w http.ResponseWriter, _ int, _ posted) bool {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(status)
			return false
		})
		b := newBench(3, hookSpec(h.URL))
		closeSet(t, b.open(t))
		same(t, "notes", count(b.notes.String(), fmt.Sprintf("redirects (status %d)", status)), 1)
		same(t, "cursor", b.shelf.seq("w"), 0)
	}
	same(t, "what the other got", len(other.taken), 0)
}

func TestWebhookGoesOverTLS(t *testing.T) {
	certificate, authority := identity(t, "localhost")
	h := &hook{came: make(chan struct{})}
	h.Server = httptest.NewUnstartedServer(h)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	h.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	h.StartTLS()
	defer h.Close()
	url := strings.Replace(h.URL, "127.0.0.1", "localhost", 1)
	good, bad := hookSpec(url), hookSpec(url)
	good.CAFile, bad.Name = authority, "b"
	b := newBench(3, good, bad)
	closeSet(t, b.open(t))
	same(t, "entries", h.entries(t), upTo(3))
	same(t, "cursors", []int64{b.shelf.seq("w"), b.shelf.seq("b")}, []int64{3, 0})
	same(t, "notes", count(b.notes.String(), "unknown authority"), 1)
}

// Whatever goes wrong, what is secret of a URL, the token and the key are in no error,
// note or status.
func TestSecretsOfAReceiverAreShownNowhere(t *testing.T) {
	secret, token, key := random(), random(), random()
	var answers = map[string]func(w http.ResponseWriter){
		"failure":  func(w http.ResponseWriter) { http.Error(w, secret, http.StatusInternalServerError) },
		"abort":    func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"redirect": func(w http.ResponseWriter) { w.Header().Set("Location", "http://"+secret+"/"); w.WriteHeader(302) },
	}
	shown := func(what, text string) {
		t.Helper()
		for _, s := range []string{secret, token, key} {
			if strings.Contains(text, s) {
				t.Errorf("%s shows a secret: %s", what, text)
			}
		}
	}
	for name, answer := range answers {
		h := newHook(t, func(w http.ResponseWriter, _ int, _ posted) bool { answer(w); return false })
		host := strings.TrimPrefix(h.URL, "http://")
		url := "http://" + secret + ":" + secret + "@" + host + "/" + secret + "?k=" + secret
		spec := hookSpec(url)
		spec.TokenFile, spec.SecretFile = written(t, token), written(t, key)
		b := newBench(3, spec, sink.Spec{Name: "a", Type: "alert", URLFile: written(t, url)},
			sink.Spec{Name: "gone", Type: "alert", URL: plain("http://localhost:1/" + secret)})
		b.log.grow(3)
		set := b.open(t)
		closeSet(t, set)
		shown(name+": the log", b.notes.String())
		shown(name+": the status", fmt.Sprintf("%+v %#v", set.Status(), set.Status()))
		shown(name+": the Spec", fmt.Sprintf("%+v %#v", spec, spec))
	}
	for _, url := range []string{"http://host.test/" + secret, "ftp://" + secret, "https://a b/" + secret, "://" + secret, "https://[" + secret, "https://h:" + secret + "/"} {
		for _, spec := range []sink.Spec{hookSpec(url), {Name: "a", Type: "alert", URLFile: written(t, url)}} {
			b := newBench(0, spec)
			_, err := sink.Open(t.Context(), b.config)
			if err == nil {
				t.Errorf("a URL that is wrong: got no error, want one")
				continue
			}
			shown("the error", err.Error())
		}
	}
}

// hanging is a receiver that answers nothing until it is closed.
func hanging(t *testing.T) (h *hook, reached chan struct{}) {
	t.Helper()
	reached, over := make(chan struct{}, 100), make(chan struct{})
	h = newHook(t, func(http.ResponseWriter, int, posted) bool {
		reached <- struct{}{}
		<-over
		return false
	})
	t.Cleanup(func() { close(over) })
	return h, reached
}

// realLog is keeper's own log, and what keeps it.
func realLog(t *testing.T, dir string) (*sqlite.DB, *audit.Log) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := sqlite.Open(t.Context(), dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(t.Context(), audit.Config{Store: db, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return db, log
}

func record(t *testing.T, log *audit.Log, n int) {
	t.Helper()
	for range n {
		if err := log.Record(t.Context(), audit.KeeperStarted{Version: "1"}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHangingSinkHoldsUpNoCaller(t *testing.T) {
	db, log := realLog(t, t.TempDir())
	defer db.Close()
	h, reached := hanging(t)
	good := newHook(t, nil)
	spec := hookSpec(good.URL)
	spec.Name = "good"
	b := newBench(0, hookSpec(h.URL), spec)
	b.config.Log, b.config.Cursors = log, db
	set := b.open(t)
	record(t, log, 1)
	<-reached
	record(t, log, 200) // each would be refused after 1.8 s if it waited
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := 1; len(good.entries(t)) < 201; n++ {
		good.until(n)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := set.Close(over); err != nil {
		t.Errorf("closing: got %v, want the hanging sink given up", err)
	}
	same(t, "hanging sink", set.Status()[0], sink.Status{Name: "w", Type: "webhook", Alive: true, Behind: 201})
	cursors, err := db.Cursors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cursors {
		same(t, "stored cursor of "+c.Name, c.Seq, set.Status()[1].Seq)
	}
}

func TestSinksOfARealLogGoOnWhereTheyStoodAfterARestart(t *testing.T) {
	dir, h := t.TempDir(), newHook(t, nil)
	for range 3 {
		db, log := realLog(t, dir)
		b := newBench(0, hookSpec(h.URL))
		b.config.Log, b.config.Cursors = log, db
		set := b.open(t)
		record(t, log, 20)
		if err := errors.Join(log.Close(t.Context()), set.Close(t.Context()), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "entries", h.entries(t), upTo(60))
}
