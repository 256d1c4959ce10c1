package fleet_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/keepertest/fake"
)

const (
	chatPath = "/proxy/openai/v1/chat/completions"
	chat     = `{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}`
	chatLong = `{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hello"}]}`
)

// answer is what a caller got.
type answer struct {
	status    int // 0: none, or none that came whole
	header    http.Header
	body      []byte
	err       error // why there is no answer
	sent, got time.Time
}

// request names the call in the audit log.
func (a answer) request() string { return a.header.Get("Keeper-Request-Id") }

// code is that of a refusal of keeper's.
func (a answer) code() string { return a.header.Get("Keeper-Code") }

func (a answer) String() string {
	if a.err != nil {
		return "no answer: " + a.err.Error()
	}
	return fmt.Sprintf("%d %.300s", a.status, a.body)
}

// field is a text of the answer's object.
func (a answer) field(name string) string {
	var object map[string]any
	_ = json.Unmarshal(a.body, &object) // what is no object has no fields
	text, _ := object[name].(string)
	return text
}

func (k *keeper) open(method, path, token, body string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://"+k.addr+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	return k.client.Do(req)
}

func (k *keeper) ask(method, path, token, body string) (a answer) {
	a.sent = time.Now()
	defer func() { a.got = time.Now() }()
	res, err := k.open(method, path, token, body, nil)
	if err != nil {
		a.err = err
		return a
	}
	defer res.Body.Close()
	a.header = res.Header
	if a.body, a.err = io.ReadAll(res.Body); a.err == nil {
		a.status = res.StatusCode
	}
	return a
}

// manage calls a route of the operator's. The path begins behind /api/v1.
func (k *keeper) manage(method, path string, body any) answer {
	text := ""
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer{err: err}
		}
		text = string(encoded)
	}
	return k.ask(method, "/api/v1"+path, k.fleet.admin, text)
}

// must is manage where anything but success ends the test.
func (k *keeper) must(method, path string, body any) answer {
	k.t.Helper()
	got := k.manage(method, path, body)
	if got.status != http.StatusOK {
		k.t.Fatalf("%s %s at %s: got %v, want 200", method, path, k.name, got)
	}
	return got
}

// ready reports whether keeper says that calls should be sent to it.
func (k *keeper) ready() bool {
	return k.ask(http.MethodGet, "/readyz", "", "").status == http.StatusOK
}

// call makes a proxied call.
func (k *keeper) call(token string) answer {
	return k.ask(http.MethodPost, "/api/v1"+chatPath, token, chat)
}

// expect asserts the status of a call with a token.
func (k *keeper) expect(what, token string, want int) answer {
	k.t.Helper()
	got := k.call(token)
	if got.status != want {
		k.t.Errorf("%s at %s: got %v, want %d", what, k.name, got, want)
	}
	return got
}

// register makes an agent that may chat.
func (k *keeper) register(agent string) {
	k.t.Helper()
	k.must(http.MethodPost, "/auth/register", map[string]any{"agentId": agent, "agentName": agent, "scopes": []string{"openai:chat"}})
}

// issue makes a token of an agent.
func (k *keeper) issue(agent string) (token string) {
	k.t.Helper()
	return k.must(http.MethodPost, "/auth/token", map[string]any{"agentId": agent}).field("token")
}

// token registers an agent and issues a token for it.
func (k *keeper) token(agent string) string {
	k.t.Helper()
	k.register(agent)
	return k.issue(agent)
}

func (k *keeper) revoke(token string) answer {
	return k.manage(http.MethodPost, "/auth/revoke", map[string]any{"token": token})
}

func (k *keeper) revokeAgent(agent string) answer {
	return k.manage(http.MethodPost, "/auth/revoke", map[string]any{"agentId": agent})
}

// stream is an answer of many events, under way. The provider sends one for each that its
// gate lets pass.
type stream struct {
	request string
	gate    *fake.Gate
	began   chan struct{} // closed at the first byte
	done    chan struct{} // closed at the end
	body    []byte        // all that came, once done
	err     error         // what it ended with, once done; nil: it ended cleanly
}

// stream opens a stream, with a gate of its own, and returns once its first event is there.
func (k *keeper) stream(token string) *stream {
	k.t.Helper()
	gate := rand.Text()
	s := &stream{gate: k.fleet.provider.Gate(gate), began: make(chan struct{}), done: make(chan struct{})}
	res, err := k.open(http.MethodPost, "/api/v1"+chatPath, token, chatLong, http.Header{fake.ScenarioHeader: {"chunks=20;gate=" + gate}})
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", res.StatusCode)
	}
	if err != nil {
		k.t.Fatalf("opening a stream at %s: %v", k.name, err)
	}
	s.request = res.Header.Get("Keeper-Request-Id")
	go s.read(res.Body)
	s.gate.Release(5)
	select {
	case <-s.began:
	case <-s.done:
		k.t.Fatalf("a stream at %s ended before its first event: %v", k.name, s.err)
	}
	return s
}

func (s *stream) read(body io.ReadCloser) {
	defer close(s.done)
	defer body.Close()
	first := make([]byte, 1)
	if _, s.err = io.ReadFull(body, first); s.err != nil {
		return
	}
	close(s.began)
	var rest []byte
	rest, s.err = io.ReadAll(body)
	s.body = append(first, rest...)
}

// end waits for the end of the stream and returns what came of it.
func (k *keeper) end(s *stream) (body []byte, err error) {
	k.t.Helper()
	select {
	case <-s.done:
		return s.body, s.err
	case <-time.After(patience):
		k.t.Fatalf("a stream at %s goes on", k.name)
		return nil, nil
	}
}

// toldOf reports whether the stream ended as one that keeper cuts: by an event that says
// so, and not cleanly.
func toldOf(body []byte, err error) bool {
	return err != nil && bytes.Contains(body, []byte("event: error")) && bytes.Contains(body, []byte("keeper:"))
}

// watch calls a keeper with one token again and again, until it is stopped.
type watch struct {
	keeper *keeper
	quit   chan struct{}
	over   chan struct{}

	mu       sync.Mutex // guards all below
	accepted time.Time  // when the last call was sent that was accepted; zero: none was
	refused  time.Time  // when the first refusal behind that was there; zero: none is
	last     answer
	made     int
}

func (k *keeper) watch(token string) *watch {
	w := &watch{keeper: k, quit: make(chan struct{}), over: make(chan struct{})}
	go func() {
		defer close(w.over)
		for {
			select {
			case <-w.quit:
				return
			default:
				w.note(k.call(token))
			}
		}
	}()
	return w
}

func (w *watch) note(got answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last, w.made = got, w.made+1
	switch {
	case got.status == http.StatusOK:
		w.accepted, w.refused = got.sent, time.Time{}
	case w.refused.IsZero():
		w.refused = got.got
	}
	if got.status != http.StatusOK { // ask no more often than a patient caller
		time.Sleep(10 * time.Millisecond)
	}
}

// seen is what was seen so far.
func (w *watch) seen() (accepted, refused time.Time, last answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.accepted, w.refused, w.last
}

// await waits for an answer of that status to a call that is sent from now on.
func (w *watch) await(status int) {
	w.keeper.t.Helper()
	from := time.Now()
	eventually(w.keeper.t, fmt.Sprintf("a call at %s gets %d", w.keeper.name, status), func() bool {
		_, _, last := w.seen()
		return last.status == status && last.sent.After(from)
	})
}

func (w *watch) stop() {
	close(w.quit)
	<-w.over
}

// acceptedBy asserts that no call was accepted that was sent after a moment.
func (w *watch) acceptedBy(what string, moment time.Time) {
	w.keeper.t.Helper()
	if accepted, _, _ := w.seen(); accepted.After(moment) {
		w.keeper.t.Errorf("%s: %s accepted a call %v too late", what, w.keeper.name, accepted.Sub(moment))
	}
}
