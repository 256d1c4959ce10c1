package fake

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// controlRoot is the path below which a test in another process steers the
// provider; no vendor has it.
const controlRoot = "_fake"

// control answers
//
//	GET  requests            all that arrived
//	GET  violations          what arrived that must not
//	POST reset               forgets both
//	POST forbid              {values}
//	POST plant               {name, value}
//	POST gate/{name}         ?release=N, or without it: open
func (p *Provider) control(w http.ResponseWriter, r *http.Request, path string) {
	action, name, _ := strings.Cut(path, "/")
	switch r.Method + " " + action {
	case "GET requests":
		reply(w, append([]*Request{}, p.Requests()...)) // [] and never null
	case "GET violations":
		reply(w, append([]string{}, p.Violations()...))
	case "POST reset":
		p.Reset()
		reply(w, object{})
	case "POST forbid":
		var asked struct{ Values []string }
		if decoded(w, r, &asked) {
			p.Forbid(asked.Values...)
			reply(w, object{})
		}
	case "POST plant":
		var asked struct{ Name, Value string }
		if decoded(w, r, &asked) {
			p.Plant(asked.Name, asked.Value)
			reply(w, object{})
		}
	case "POST gate":
		p.steer(name, r.URL.Query().Get("release"))
		reply(w, object{})
	default:
		http.NotFound(w, r)
	}
}

func (p *Provider) steer(gate, release string) {
	n, err := strconv.Atoi(release)
	if err != nil {
		p.Gate(gate).Open()
		return
	}
	p.Gate(gate).Release(n)
}

func decoded(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, "the body is no such JSON", http.StatusBadRequest)
		return false
	}
	return true
}

func reply(w http.ResponseWriter, v any) {
	body, err := marshal(v)
	if err != nil {
		http.Error(w, "encoding failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(body) // a caller that is gone needs no answer
}
