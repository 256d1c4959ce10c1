package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/vault"
)

// tokenServer is an OAuth 2 server without a network. Each exchange takes a second.
type tokenServer struct {
	mu      sync.Mutex
	asked   int
	refresh string // the one that is good; empty: any
	life    int    // seconds
	fail    func() (*http.Response, error)
	before  func()
	tokens  []string
}

func (s *tokenServer) RoundTrip(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	form, _ := url.ParseQuery(string(body))
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.before != nil {
		s.before()
	}
	if s.fail != nil {
		return s.fail()
	}
	if s.refresh != "" && form.Get("refresh_token") != s.refresh {
		return answer(400, `{"error":"invalid_grant"}`), nil
	}
	told := map[string]any{"access_token": newValue(), "token_type": "bearer", "expires_in": s.life}
	s.tokens = append(s.tokens, told["access_token"].(string))
	if s.refresh != "" {
		s.refresh = newValue()
		told["refresh_token"] = s.refresh
	}
	text, _ := json.Marshal(told)
	return answer(200, string(text)), nil
}

func (s *tokenServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
}

// exchange is a desk whose vault asks that server for the provider acme.
type exchange struct {
	*desk
	server *tokenServer
	grant  policy.Grant
}

// exchanging runs a test with it on a clock of its own.
func exchanging(t *testing.T, test func(t *testing.T, x *exchange)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{desk: &desk{}, server: &tokenServer{life: 3600}}
		x.open(t, newMemory(t))
		test(t, x)
	})
}

func (x *exchange) open(t *testing.T, rows *memory) {
	t.Helper()
	catalogue, err := policy.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	x.catalogue, err = catalogue.With(policy.Provider{Name: "acme", BaseURL: "https://acme.example.com", Inject: &policy.Injection{
		OAuth2: &policy.OAuth2Injection{TokenURL: "https://id.acme.example.com/token", Scopes: []string{"a", "b"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	log := &recorder{}
	v, err := vault.Open(ctx, vault.Config{Store: rows, Key: rawSource(t), Log: log, Logger: silent, Issuers: x.server,
		Catalogue: func() *policy.Catalogue { return x.catalogue }})
	if err != nil {
		t.Fatal(err)
	}
	x.fixture = fixture{v, rows, log}
	ledgers := &ledger{agents: map[string]store.Agent{}, tokens: map[string]store.Token{}}
	if x.journal, err = audit.Open(ctx, audit.Config{Store: ledgers, Logger: silent}); err != nil {
		t.Fatal(err)
	}
	all, _ := scope.ParseSet([]string{"*"})
	x.authority, err = auth.Open(ctx, auth.Config{Store: ledgers, Keys: x.Keyring(), Journal: x.journal, Registration: auth.RegisterOpen, DefaultScopes: all})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.Close(ctx)
		x.authority.Close(ctx)
		x.journal.Close(ctx)
	})
	x.grant = x.desk.grant(t, "a", "acme")
}

func (x *exchange) client(t *testing.T, refreshToken string) {
	t.Helper()
	value := map[string]string{"clientId": "client", "clientSecret": newValue()}
	if refreshToken != "" {
		value["refreshToken"] = refreshToken
		x.server.refresh = refreshToken
	}
	text, _ := json.Marshal(value)
	x.set(t, "acme", "", string(text))
}

// inject returns the token that goes on a call.
func (x *exchange) inject(t *testing.T) (string, error) {
	got, err := x.Inject(ctx, x.receipt(t, x.grant), request(x.grant, "/v1/x"))
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(got.Header.Get("Authorization"), "Bearer "), nil
}

func (x *exchange) want(t *testing.T, exchanges int) {
	t.Helper()
	if got, err := x.inject(t); err != nil || got == "" {
		t.Errorf("got %q and %v, want a token", got, err)
	}
	synctest.Wait()
	if got := x.server.count(); got != exchanges {
		t.Errorf("got %d exchanges, want %d", got, exchanges)
	}
}

func TestOneExchangeServesAHundredCallers(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		for _, rotating := range []string{"", newValue()} {
			before := x.server.count()
			x.client(t, rotating)
			x.server.life = 100
			for round := range 3 { // the first token, and two that follow when it has ended
				r := x.receipt(t, x.grant)
				var wg sync.WaitGroup
				got := make([]string, 100)
				for i := range got {
					wg.Go(func() {
						keyed, err := x.Inject(ctx, r, request(x.grant, "/v1/x"))
						if err != nil {
							t.Errorf("got %v, want a token", err)
							return
						}
						got[i] = keyed.Header.Get("Authorization")
					})
				}
				wg.Wait()
				for _, one := range got {
					if one != got[0] {
						t.Error("got two tokens, want one for all")
					}
				}
				if asked := x.server.count() - before; asked != round+1 {
					t.Errorf("round %d: got %d exchanges, want %d", round, asked, round+1)
				}
				time.Sleep(2 * time.Minute)
			}
		}
	})
}

func TestTokenIsRenewedBeforeItsEndBehindTheCallersBacks(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, "")
		x.want(t, 1)
		time.Sleep(54 * time.Minute)
		x.want(t, 1)
		time.Sleep(2 * time.Minute)
		start := time.Now()
		old, err := x.inject(t) // still good: the caller does not wait
		if err != nil || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want the old token at once", err, time.Since(start))
		}
		time.Sleep(2 * time.Second)
		if fresh, err := x.inject(t); err != nil || fresh == old || x.server.count() != 2 {
			t.Errorf("got the same token %v, error %v, %d exchanges, want another one after two", fresh == old, err, x.server.count())
		}
		// Both are known until their ends, and a while longer.
		for _, token := range x.server.tokens {
			if hits := matches(x.fixture, token); len(hits) != 1 || hits[0].name != "vault:acme" {
				t.Errorf("got hits %v, want one", hits)
			}
		}
		time.Sleep(2 * time.Hour)
		x.want(t, 3)
		if hits := matches(x.fixture, old); len(hits) != 0 {
			t.Errorf("a token that ended: got hits %v, want none", hits)
		}
	})
}

func TestIssuerThatFailsIsAskedLessAndLess(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, "")
		x.server.fail = func() (*http.Response, error) { return nil, errors.New("quoting " + x.server.refresh) }
		for range 3 * 60 * 10 { // ten minutes of three calls a second
			if _, err := x.inject(t); err == nil {
				t.Fatal("got a token, want an error")
			} else if issuer := new(vault.IssuerError); !errors.As(err, &issuer) || !issuer.Passing() || strings.Contains(err.Error(), "quoting") {
				t.Fatalf("got %v, want a passing IssuerError that quotes nothing", err)
			}
			time.Sleep(time.Second / 3)
		}
		if got := x.server.count(); got < 8 || got > 20 {
			t.Errorf("got %d exchanges in ten minutes, want one a minute or so", got)
		}
		x.server.fail = nil
		time.Sleep(time.Minute)
		before := x.server.count()
		x.want(t, before+1)
	})
}

func TestTokenThatIsStillGoodServesWhileTheIssuerFails(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, "")
		x.want(t, 1)
		x.server.fail = func() (*http.Response, error) { return answer(503, `{}`), nil }
		time.Sleep(56 * time.Minute)
		for range 3 {
			if _, err := x.inject(t); err != nil {
				t.Errorf("got %v, want the token that is good", err)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute)
		if _, err := x.inject(t); err == nil {
			t.Error("got a token that has ended, want an error")
		}
	})
}

func TestCallerThatHangsUpDoesNotEndTheExchangeOfOthers(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, "")
		gone, hangUp := context.WithTimeout(ctx, time.Millisecond)
		defer hangUp()
		if _, err := x.Inject(gone, x.receipt(t, x.grant), request(x.grant, "/v1/x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's own end", err)
		}
		time.Sleep(2 * time.Second)
		x.want(t, 1)
	})
}

func TestRefusalByTheIssuerIsNotForgottenForASuccess(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, "")
		x.want(t, 1)
		x.server.fail = func() (*http.Response, error) { return answer(400, `{"error":"invalid_client"}`), nil }
		time.Sleep(56 * time.Minute)
		x.want(t, 1) // the token is good, and another is asked for behind its back
		time.Sleep(2 * time.Second)
		x.Settle(ctx, x.receipt(t, x.grant), answer(200, ""))
		if got := x.Refusals(); len(got) != 1 || got[0].Provider != "acme" || got[0].Reason != "the issuer: invalid_client" {
			t.Errorf("got %+v, want the issuer's refusal", got)
		}
		x.server.fail = nil
		time.Sleep(time.Minute)
		x.want(t, 2)
		time.Sleep(2 * time.Second)
		if got := x.Refusals(); len(got) != 0 || x.server.count() != 3 {
			t.Errorf("after an exchange: got %+v, want none", got)
		}
	})
}

func TestReplacedRefreshTokenIsAVersionOfTheSecret(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, newValue())
		for n := range 15 { // more often than versions are kept
			time.Sleep(2 * time.Hour)
			x.want(t, n+1)
		}
		if got := x.List()[0]; got.Version != 16 || got.Source != "issuer" {
			t.Errorf("got %+v, want version 16 by the issuer", got)
		}
		again := openStore(t, x.rows)
		if hits := matches(again, x.server.refresh); len(hits) != 1 {
			t.Errorf("after a restart: got hits %v of the newest refresh token, want one", hits)
		}
		if hits := matches(x.fixture, x.server.refresh); len(hits) == 0 {
			t.Error("got no hit of the newest refresh token, want one")
		}
	})
}

func TestReplacedRefreshTokenIsStoredLaterWhereTheStoreFailed(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, newValue())
		x.rows.fail = failing("PutCredential")
		x.want(t, 1)
		if got := x.List()[0].Version; got != 1 {
			t.Errorf("got version %d, want 1", got)
		}
		x.rows.fail = nil
		time.Sleep(11 * time.Second)
		x.want(t, 1)
		if got := x.List()[0].Version; got != 2 {
			t.Errorf("got version %d, want the refresh token stored", got)
		}
		x.want(t, 1)
		time.Sleep(2 * time.Hour)
		x.want(t, 2)
	})
}

func TestReplacedRefreshTokenOfASourceServesFromMemoryAlone(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		place, err := x.Expect(vault.ExternalRequest{Provider: "acme", Source: "file:acme.json"})
		if err != nil {
			t.Fatal(err)
		}
		x.server.refresh = newValue()
		text, _ := json.Marshal(map[string]string{"clientId": "client", "clientSecret": newValue(), "refreshToken": x.server.refresh})
		if _, err := place.Hold(ctx, secret.New(text)); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			x.want(t, n+1)
			time.Sleep(2 * time.Hour)
		}
		if rows, err := x.rows.Credentials(ctx); err != nil || len(rows) != 0 {
			t.Errorf("got %d rows and %v, want nothing of a source stored", len(rows), err)
		}
		if got := x.List()[0]; got.Source != "file:acme.json" || got.State != vault.StateFresh {
			t.Errorf("got %+v, want the secret to be the source's", got)
		}
		if _, err := place.Hold(ctx, secret.New([]byte(`{"clientId":"client"}`))); err == nil {
			t.Error("a value of the wrong shape: got no error, want one")
		}
	})
}

func TestReplacedRefreshTokenDoesNotUndoAChange(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, x *exchange){
		"a new value": func(t *testing.T, x *exchange) {
			x.set(t, "acme", "", `{"clientId":"client","clientSecret":"`+newValue()+`"}`)
		},
		"a deletion": func(t *testing.T, x *exchange) {
			if _, err := x.Delete(ctx, "acme", ""); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			exchanging(t, func(t *testing.T, x *exchange) {
				x.client(t, newValue())
				x.server.before = func() { change(t, x) }
				x.inject(t) // whether it has a token does not matter here
				x.server.before = nil
				synctest.Wait()
				list := x.List()
				if name == "a deletion" && len(list) != 0 || name == "a new value" && (len(list) != 1 || list[0].Version != 2 || list[0].Source != "api") {
					t.Errorf("got %+v, want %s to stand", list, name)
				}
			})
		})
	}
}

func TestStopWaitsForAnExchange(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, newValue())
		r := x.receipt(t, x.grant)
		go x.Inject(ctx, r, request(x.grant, "/v1/x"))
		time.Sleep(time.Millisecond)
		if err := x.Close(ctx); err != nil {
			t.Error(err)
		}
		if got := x.List()[0].Version; got != 2 {
			t.Errorf("got version %d, want the refresh token stored before the end", got)
		}
		time.Sleep(2 * time.Hour)
		if _, err := x.inject(t); err == nil {
			t.Error("got a token after the end, want an error")
		}
	})
}

func TestAnswersOfIssuersThatCannotBeUsedAreRefused(t *testing.T) {
	for name, body := range map[string]string{
		"ended":       fmt.Sprintf(`{"access_token":%q,"expires_in":-5}`, newValue()),
		"no token":    `{"token_type":"bearer"}`,
		"ordinary":    `{"access_token":"password","expires_in":3600}`,
		"other type":  fmt.Sprintf(`{"access_token":%q,"token_type":"mac","expires_in":3600}`, newValue()),
		"two lines":   fmt.Sprintf(`{"access_token":"%s\r\nX-Evil: 1","expires_in":3600}`, newValue()),
		"endless":     `{"access_token":"` + strings.Repeat(newValue(), 100_000) + `"}`,
		"no document": "<html>",
	} {
		t.Run(name, func(t *testing.T) {
			exchanging(t, func(t *testing.T, x *exchange) {
				x.client(t, "")
				x.server.fail = func() (*http.Response, error) { return answer(200, body), nil }
				if got, err := x.inject(t); err == nil {
					t.Errorf("got a token of %d bytes, want an error", len(got))
				}
			})
		})
	}
}

func TestRedirectOfAnIssuerIsNotFollowed(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, "")
		x.server.fail = func() (*http.Response, error) {
			r := answer(307, "")
			r.Header.Set("Location", "https://elsewhere.example.com/")
			return r, nil
		}
		if _, err := x.inject(t); err == nil || x.server.count() != 1 {
			t.Errorf("got %v after %d requests, want an error after one", err, x.server.count())
		}
	})
}

func TestAnswersThatRefuseACredential(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, "")
		x.want(t, 1)
		settle := func(status int) bool { return x.Settle(ctx, x.receipt(t, x.grant), answer(status, "")) }
		time.Sleep(time.Hour)
		for _, status := range []int{200, 204, 302, 400, 403, 404, 429, 500} {
			if settle(status) {
				t.Errorf("%d: got a refusal, want none", status)
			}
		}
		if settle(401); len(x.Refusals()) != 0 {
			t.Errorf("401 right after a success: got %+v, want no mark", x.Refusals())
		}
		time.Sleep(2 * time.Minute)
		for range 100 {
			if !settle(401) {
				t.Error("401: got none, want a refusal")
			}
			time.Sleep(time.Second)
		}
		refused := 0
		for _, e := range x.log.events {
			if _, ok := e.(audit.CredentialRefused); ok {
				refused++
			}
		}
		if len(x.Refusals()) != 1 || refused != 2 {
			t.Errorf("got %+v and %d entries, want it marked and an entry a minute", x.Refusals(), refused)
		}
		if settle(200); len(x.Refusals()) != 0 {
			t.Errorf("after a success: got %+v, want none", x.Refusals())
		}
	})
}

func TestTokenThatIsRefusedIsDroppedUnlessItIsNew(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, "")
		x.want(t, 1)
		x.Settle(ctx, x.receipt(t, x.grant), answer(401, ""))
		x.want(t, 1)
		time.Sleep(time.Minute)
		x.Settle(ctx, x.receipt(t, x.grant), answer(401, ""))
		x.want(t, 2)
	})
}

func TestVaultWithoutIssuersRefusesWhatNeedsThem(t *testing.T) {
	d := openDesk(t)
	d.provider(t, "acme", policy.Injection{OAuth2: &policy.OAuth2Injection{TokenURL: "https://id.example.com/t"}})
	d.set(t, "acme", "", `{"clientId":"c","clientSecret":"`+newValue()+`"}`)
	g := d.grant(t, "a", "acme")
	var issuer *vault.IssuerError
	if _, err := d.Inject(ctx, d.receipt(t, g), request(g, "/x")); !errors.As(err, &issuer) {
		t.Errorf("got %v, want an IssuerError", err)
	}
}

func TestValueOfTheWrongShapeIsRefusedWhenItIsSet(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		secretKey, pem := newValue(), "-----BEGIN RSA PRIVATE KEY-----\nTm90YWtleTkxN1F6WDM4\n-----END RSA PRIVATE KEY-----\n"
		doc := func(fields ...string) string {
			members := map[string]string{}
			for i := 0; i < len(fields); i += 2 {
				members[fields[i]] = fields[i+1]
			}
			text, _ := json.Marshal(members)
			return string(text)
		}
		for _, c := range []struct{ provider, value, field string }{
			{"acme", secretKey, "value"},
			{"acme", doc("clientSecret", secretKey), "value.clientId"},
			{"acme", doc("client_id", "x", "other", secretKey), "value.clientSecret"},
			{"github", doc("appId", "1", "privateKey", pem), "value.installationId"},
			{"github", doc("appId", "1", "installationId", "2", "privateKey", pem), "value.privateKey"},
			{"github", doc("appId", "1", "privateKey", "x"), "value.installationId"},
			{"github", doc("token", secretKey), "value"},
			{"aws-s3", "short", "value"},
			{"aws-s3", doc("accessKeyId", "AKIA1234", "x", secretKey), "value.secretAccessKey"},
			{"aws-s3", doc("accessKeyId", "AKIA1234", "secretAccessKey", secretKey, "roleArn", "agents"), "value.roleArn"},
			{"aws-s3", secretKey, "value"},
			{"vertex", doc("type", "service_account", "private_key", pem, "x", secretKey), "value.client_email"},
			{"vertex", doc("type", "authorized_user", "refresh_token", secretKey), "value"},
			{"datadog", secretKey, "value"},
		} {
			_, err := x.Set(ctx, vault.SetRequest{Provider: c.provider, Value: secret.New([]byte(c.value))})
			var field *vault.FieldError
			if !errors.As(err, &field) || field.Field != c.field || strings.Contains(err.Error(), secretKey) {
				t.Errorf("%s: got %v, want an error of %s that quotes nothing", c.provider, err, c.field)
			}
		}
		for provider, value := range map[string]string{
			"github": secretKey, "gemini": secretKey, "aws-bedrock": secretKey, "nobody-yet": secretKey,
			"aws-s3": doc("AccessKeyId", "AKIA1234", "SecretAccessKey", secretKey), "aws": `{"Credentials":` + doc("AccessKeyId", "ASIA1234", "SecretAccessKey", secretKey, "SessionToken", newValue()) + `}`,
		} {
			if _, err := x.Set(ctx, vault.SetRequest{Provider: provider, Value: secret.New([]byte(value))}); err != nil {
				t.Errorf("%s: got %v, want it taken", provider, err)
			}
		}
	})
}

// BenchmarkInject gives a bearer beside a provider that has a second way.
func BenchmarkInject(b *testing.B) {
	d := openDesk(b)
	for _, provider := range []string{"openai", "github"} {
		b.Run(provider, func(b *testing.B) {
			d.set(b, provider, "", newValue())
			g := d.grant(b, "agent-"+provider, provider)
			r, req := d.receipt(b, g), request(g, "/v1/x")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Inject(ctx, r, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestBodyThatStreamsIsNotSignedAndNotReplaced(t *testing.T) {
	d := openDesk(t)
	for name, how := range map[string]policy.Injection{
		"hmac": {HMAC: &policy.HMACInjection{Headers: map[string]string{"X-Signature": "{signature}"}}},
		"body": {Body: &policy.BodyInjection{Field: "token", Format: "json"}},
	} {
		d.provider(t, name, how)
		d.set(t, name, "", newValue())
		g := d.grant(t, "agent-"+name, name)
		req := request(g, "/x") // whose body cannot be read twice
		req.Header.Set("Content-Type", "application/json")
		var call *vault.CallError
		if _, err := d.Inject(ctx, d.receipt(t, g), req); !errors.As(err, &call) {
			t.Errorf("%s: got %v, want a CallError", name, err)
		}
	}
}
