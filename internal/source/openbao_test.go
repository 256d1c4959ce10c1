package source_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/source"
	"github.com/superinstance/keeper/internal/source/sourcetest"
)

// A real server is asked the same by the module in sourcetest/vaulttest.
func TestOpenBaoByItsInterface(t *testing.T) {
	sourcetest.Run(t, sourcetest.Fake(t))
}

func TestConfigurationOfOpenBaoNamesTheMend(t *testing.T) {
	const at = "https://bao.example:8200"
	appRole := &source.AppRole{RoleID: "r", SecretID: "env:S"}
	for want, c := range map[string]source.OpenBao{
		"address: want https://host:port":                          {Address: "bao.example:8200", Token: "env:S"},
		"address: want https://host:port ":                         {Address: "https://user:pass@bao.example", Token: "env:S"},
		"address: over http keeper's token":                        {Address: "http://bao.example:8200", Token: "env:S"},
		"token: want exactly one of token, appRole and kubernetes": {Address: at},
		"token: want exactly one of token":                         {Address: at, Token: "env:S", AppRole: appRole},
		"token: want env:NAME or file:PATH, never the secret":      {Address: at, Token: newValue()},
		"token: the variable NONE is not set":                      {Address: at, Token: "env:NONE"},
		"appRole.roleId: it is missing":                            {Address: at, AppRole: &source.AppRole{SecretID: "env:S"}},
		"appRole.secretId: want env:NAME or file:PATH":             {Address: at, AppRole: &source.AppRole{RoleID: "r"}},
		"appRole.mount, kubernetes.mount: want the name":           {Address: at, AppRole: &source.AppRole{RoleID: "r", SecretID: "env:S", Mount: "../sys"}},
		"kubernetes.role: it is missing":                           {Address: at, Kubernetes: &source.Kubernetes{}},
		"caFile: /none is no readable PEM file":                    {Address: at, Token: "env:S", CAFile: "/none"},
	} {
		logger, _ := newLog()
		_, err := source.Open(t.Context(), source.Config{OpenBao: &c, Env: map[string]secret.Value{"S": secret.New([]byte("s"))}, Logger: logger})
		if want = "sources.openbao." + strings.TrimSpace(want); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for _, from := range []string{"openbao:", "openbao:kv/../sys/raw#k", "openbao:kv//x#k", "openbao:kv/data/x?version=1#k", "openbao:kv/data/x#{a", "openbao:kv/data/x#a b", "openbao:kv/data/x#{}"} {
		logger, _ := newLog()
		_, err := source.Open(t.Context(), source.Config{
			Secrets: []source.Spec{{Provider: "p", From: from, Slot: newSlot()}}, Logger: logger,
			OpenBao: &source.OpenBao{Address: at, Token: "env:S"}, Env: map[string]secret.Value{"S": secret.New([]byte("s"))},
		})
		if err == nil || !strings.HasPrefix(err.Error(), "secrets[0].from: want ") {
			t.Errorf("%s: got %v, want an error that says what it must be", from, err)
		}
	}
}

func TestFieldsOfOtherTypesBecomeText(t *testing.T) {
	data := map[string]any{"number": 7.0, "yes": true, "inner": map[string]any{"a": "b"}, "text": "t"}
	for fields, want := range map[string]string{
		"number": "7", "yes": "true", "inner": `{"a":"b"}`, "{text}-{number}": "t-7", "": `{"inner":{"a":"b"},"number":7,"text":"t","yes":true}`,
	} {
		if got, err := source.FillTemplate(fields, data); err != nil || got != want {
			t.Errorf("#%s: got %q, %v, want %q", fields, got, err, want)
		}
	}
	for fields, want := range map[string]string{"none": `no field "none"`, "{text}{none}": `no field "none"`} {
		if _, err := source.FillTemplate(fields, data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("#%s: got %v, want %q", fields, err, want)
		}
	}
}

// answered opens a secret of a server that answers by the function, with the token
// "t" or, where change says so, another login.
func answered(t *testing.T, answer http.HandlerFunc, change func(*source.OpenBao)) (*slot, *logBuffer) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	bao := &source.OpenBao{Address: server.URL, Namespace: "team", Token: "env:T"}
	if change != nil {
		change(bao)
	}
	to := newSlot()
	logger, log := newLog()
	opened(t, source.Config{
		Secrets: []source.Spec{{Provider: "openai", Label: "default", From: "openbao:kv/data/openai#k", Slot: to}},
		OpenBao: bao, Env: map[string]secret.Value{"T": secret.New([]byte("t"))}, Logger: logger,
	})
	return to, log
}

func TestLoginByKubernetesShowsTheTokenOfTheServiceAccount(t *testing.T) {
	jwt := filepath.Join(t.TempDir(), "jwt")
	write(t, jwt, "the.service.account\n")
	value := newValue()
	to, _ := answered(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		token := r.Header.Get("X-Vault-Token")
		switch {
		case r.Header.Get("X-Vault-Namespace") != "team":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Path == "/v1/auth/k8s/login" && token == "" && strings.TrimSpace(string(body)) == `{"jwt":"the.service.account","role":"keeper"}`:
			io.WriteString(w, `{"auth":{"client_token":"fresh","lease_duration":3600,"renewable":true}}`)
		case r.URL.Path == "/v1/auth/token/renew-self" && token == "fresh":
			io.WriteString(w, `{"auth":{"client_token":"fresh","lease_duration":3600,"renewable":true}}`)
		case r.URL.Path == "/v1/kv/data/openai" && token == "fresh":
			io.WriteString(w, `{"data":{"data":{"k":"`+value+`"},"metadata":{"version":1,"deletion_time":""}}}`)
		case r.URL.Path == "/v1/auth/token/revoke-self":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}, func(c *source.OpenBao) {
		c.Token, c.Kubernetes = "", &source.Kubernetes{Role: "keeper", JWTFile: jwt, Mount: "k8s"}
	})
	to.wantHeld(t, "after the login", value)
}

func TestServerThatMisbehavesIsNotRepeatedAndNotFollowed(t *testing.T) {
	value := newValue()
	followed := make(chan string, 8)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { followed <- r.Header.Get("X-Vault-Token") }))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		read func(w http.ResponseWriter, r *http.Request)
		want string
	}{
		"an error that quotes a value": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, `{"errors":["`+value+`"]}`)
		}, "reading it fails with status 500"},
		"an error that is no JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, value)
		}, "OpenBao is sealed or under maintenance (503)"},
		"an answer that is no JSON": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, value) }, "OpenBao cannot be reached, or does not answer as one"},
		"an answer without an end": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"data":{"data":{"k":"`)
			for range 1 << 11 {
				if _, err := io.WriteString(w, strings.Repeat(value, 16)); err != nil {
					return
				}
			}
		}, "OpenBao cannot be reached, or does not answer as one"},
		"an answer without data": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) }, "the answer holds nothing"},
		"a field that is a list": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"data":["`+value+`"]}`) }, "OpenBao cannot be reached, or does not answer as one"},
		"a redirect off this one": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "reading it fails"},
	} {
		t.Run(name, func(t *testing.T) {
			to, log := answered(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/auth/token/lookup-self" {
					io.WriteString(w, `{"data":{"ttl":0,"renewable":false}}`)
					return
				}
				c.read(w, r)
			}, nil)
			problem, _, _ := to.standing()
			if !strings.Contains(problem, c.want) {
				t.Errorf("problem: got %d bytes, want %q", len(problem), c.want)
			}
			if strings.Contains(problem, value) || log.holds(value) {
				t.Error("the problem or the log repeats what the server sent")
			}
			to.nothing(t, "from such a server")
		})
	}
	if len(followed) > 0 {
		t.Error("the token was sent where a redirect over http led")
	}
}
