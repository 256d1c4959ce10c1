package sourcetest

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fake starts a server that answers the suite's requests as the published HTTP
// interface of OpenBao says: status codes, and the fields of answers.
func Fake(t *testing.T) Server {
	f := &fake{
		root: newValue(), kv: map[string][]version{}, roles: map[string]*role{},
		tokens: map[string]*token{}, leases: map[string]*granted{},
	}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return Server{Address: s.URL, Root: f.root}
}

type fake struct {
	root string

	mu            sync.Mutex // guards all below
	kv            map[string][]version
	roles         map[string]*role
	tokens        map[string]*token
	leases        map[string]*granted
	made, renewed int
}

type version struct {
	data    map[string]any
	deleted string
}

type role struct {
	name, id, secret string
	ttl, most        time.Duration
}

type token struct {
	accessor, role string
	ttl            time.Duration
	expires, most  time.Time // most is zero where there is none
}

type granted struct {
	life          time.Duration
	expires, most time.Time
}

type object = map[string]any

// ServeHTTP answers one request.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var body object
	if r.Body != nil {
		_ = json.NewDecoder(r.Body).Decode(&body) // one without a body is none
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	status, answer := f.answer(r, path, r.Header.Get("X-Vault-Token"), body)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if answer != nil {
		_ = json.NewEncoder(w).Encode(answer) // who has gone is not told
	}
}

func failure(status int, why string) (int, object) { return status, object{"errors": []string{why}} }

func (f *fake) answer(r *http.Request, path, bearer string, body object) (int, object) {
	if path == "auth/approle/login" {
		return f.login(body)
	}
	held := f.tokens[bearer]
	alive := bearer == f.root || held != nil && time.Now().Before(held.expires)
	own := strings.HasPrefix(path, "auth/token/") && strings.HasSuffix(path, "-self") || path == "sys/leases/renew"
	readable := r.Method == http.MethodGet && (strings.HasPrefix(path, "kv/data/open/") || strings.HasPrefix(path, "lease/"))
	if !alive || bearer != f.root && !own && !readable {
		return failure(http.StatusForbidden, "permission denied")
	}
	switch {
	case strings.HasPrefix(path, "kv/data/"):
		return f.versioned(r.Method, path, body)
	case strings.HasPrefix(path, "auth/approle/role/"):
		return f.role(r.Method, strings.TrimPrefix(path, "auth/approle/role/"), body)
	case strings.HasPrefix(path, "auth/token/"):
		return f.token(strings.TrimPrefix(path, "auth/token/"), bearer, held, body)
	case path == "lease/creds":
		f.made++
		return f.lease(path, leaseLife, leaseMost)
	case path == "lease/long":
		return f.lease(path, time.Hour, time.Hour)
	case path == "lease/stats":
		return http.StatusOK, object{"data": object{"made": f.made, "renewed": f.renewed}}
	case path == "sys/leases/renew":
		return f.renew(body)
	case strings.HasPrefix(path, "sys/"):
		return http.StatusNoContent, nil
	}
	return failure(http.StatusNotFound, "no handler for route")
}

func (f *fake) versioned(method, path string, body object) (int, object) {
	all := f.kv[path]
	switch method {
	case http.MethodPut, http.MethodPost:
		f.kv[path] = append(all, version{data: body["data"].(object)})
		return http.StatusOK, object{"data": object{"version": len(all) + 1}}
	case http.MethodDelete:
		all[len(all)-1].deleted = time.Now().UTC().Format(time.RFC3339Nano)
		return http.StatusNoContent, nil
	}
	if len(all) == 0 {
		return http.StatusNotFound, object{"errors": []string{}}
	}
	newest := all[len(all)-1]
	metadata := object{"version": len(all), "deletion_time": newest.deleted, "destroyed": false}
	if newest.deleted != "" {
		return http.StatusNotFound, object{"data": object{"data": nil, "metadata": metadata}}
	}
	return http.StatusOK, object{"data": object{"data": newest.data, "metadata": metadata}}
}

func (f *fake) role(method, path string, body object) (int, object) {
	name, part, _ := strings.Cut(path, "/")
	switch {
	case part == "role-id":
		return http.StatusOK, object{"data": object{"role_id": f.roles[name].id}}
	case part == "secret-id":
		return http.StatusOK, object{"data": object{"secret_id": f.roles[name].secret}}
	}
	made := &role{name: name, id: rand.Text(), secret: rand.Text()}
	made.ttl, _ = time.ParseDuration(body["token_ttl"].(string))
	if most, found := body["token_max_ttl"].(string); found {
		made.most, _ = time.ParseDuration(most)
	}
	f.roles[name] = made
	return http.StatusNoContent, nil
}

func (f *fake) login(body object) (int, object) {
	for _, one := range f.roles {
		if one.id == body["role_id"] && one.secret == body["secret_id"] {
			return http.StatusOK, f.enter(one.name, one.ttl, one.most)
		}
	}
	return failure(http.StatusBadRequest, "invalid role or secret ID")
}

func (f *fake) enter(role string, ttl, most time.Duration) object {
	made := &token{accessor: rand.Text(), role: role, ttl: ttl, expires: time.Now().Add(ttl)}
	if most > 0 {
		made.most = time.Now().Add(most)
	}
	name := newValue()
	f.tokens[name] = made
	return object{"auth": object{"client_token": name, "accessor": made.accessor, "lease_duration": int(ttl.Seconds()), "renewable": true}}
}

func (f *fake) token(what, bearer string, held *token, body object) (int, object) {
	switch what {
	case "create":
		ttl, _ := time.ParseDuration(body["ttl"].(string))
		return http.StatusOK, f.enter("", ttl, 0)
	case "lookup-self":
		if held == nil {
			return http.StatusOK, object{"data": object{"ttl": 0, "renewable": false}}
		}
		return http.StatusOK, object{"data": object{"ttl": seconds(held.expires), "renewable": true}}
	case "renew-self":
		held.expires = extended(held.ttl, held.most)
		return http.StatusOK, object{"auth": object{"client_token": bearer, "lease_duration": seconds(held.expires), "renewable": true}}
	case "revoke-self":
		delete(f.tokens, bearer)
		return http.StatusNoContent, nil
	case "accessors", "accessors/":
		keys := []string{}
		for _, one := range f.tokens {
			keys = append(keys, one.accessor)
		}
		return http.StatusOK, object{"data": object{"keys": keys}}
	case "lookup-accessor":
		for _, one := range f.tokens {
			if one.accessor == body["accessor"] {
				return http.StatusOK, object{"data": object{"meta": object{"role_name": one.role}}}
			}
		}
	}
	return failure(http.StatusForbidden, "invalid accessor")
}

func seconds(end time.Time) int { return int(time.Until(end).Round(time.Second).Seconds()) }

// extended is the end of what is renewed now.
func extended(life time.Duration, most time.Time) time.Time {
	end := time.Now().Add(life)
	if !most.IsZero() && most.Before(end) {
		return most
	}
	return end
}

const leaseLife, leaseMost = 2 * time.Second, 5 * time.Second

func (f *fake) lease(path string, life, most time.Duration) (int, object) {
	id := path + "/" + rand.Text()
	f.leases[id] = &granted{life, time.Now().Add(life), time.Now().Add(most)}
	return http.StatusOK, object{
		"lease_id": id, "lease_duration": int(life.Seconds()), "renewable": true,
		"data": object{"username": "u" + rand.Text(), "password": newValue()},
	}
}

func (f *fake) renew(body object) (int, object) {
	id, _ := body["lease_id"].(string)
	held := f.leases[id]
	if held == nil || time.Now().After(held.expires) {
		return failure(http.StatusBadRequest, "lease not found")
	}
	f.renewed++
	held.expires = extended(held.life, held.most)
	return http.StatusOK, object{"lease_id": id, "lease_duration": seconds(held.expires), "renewable": true}
}
