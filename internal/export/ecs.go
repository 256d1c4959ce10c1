package export

import (
	"strconv"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const ecsVersion = "9.4.0"

// ecsTypes are the values of event.type by act; each fits the categories in which
// kinds has that act.
var ecsTypes = map[act]string{
	other: "info", create: "creation", look: "access", update: "change", remove: "deletion",
	enable: "change", disable: "change", begin: "start", end: "end",
}

// ecsMapped are the details that have a field of the schema. All others are in
// keeper, under the names that they have in the log.
var ecsMapped = []string{"method", "path", "requestBytes", "responseBytes", "durationMs", "source", "by", "status"}

// appendECS writes e as a document of the Elastic Common Schema.
func appendECS(b []byte, e *store.AuditEntry, p Producer) []byte {
	r := read(e)
	d := ecsDocument{
		Timestamp: e.Time.UTC().Format(time.RFC3339Nano), Message: r.kind.title, ECS: ecsSchema{ecsVersion},
		Event: ecsEventOf(r), Service: ecsService{Name: product, Type: product, Version: p.Version},
		User: ecsUserOf(r), HTTP: ecsHTTPOf(r),
	}
	if r.Provider != "" {
		d.Service.Target = &ecsName{r.Provider}
	}
	if p.Host != "" {
		d.Host = &ecsName{p.Host}
	}
	if r.Path != "" {
		d.URL = &ecsURL{r.Path}
	}
	if rules := append(r.rules(), r.Rule); rules[0] != "" {
		d.Rule = &ecsName{rules[0]} // keeper.findings has all of them
	}
	d.source(r)
	d.Keeper = keeperFields(r)
	return appendJSON(b, d)
}

func ecsEventOf(r *record) ecsEvent {
	kind := "event"
	if r.kind.class == detection {
		kind = "alert"
	}
	return ecsEvent{
		Kind: kind, Category: []string{r.kind.category}, Type: ecsTypesOf(r),
		Action: r.Event, Outcome: r.result().String(), ID: strconv.FormatInt(r.Seq, 10),
		Module: product, Dataset: product + ".audit", Severity: r.Risk, Duration: r.DurationMS * int64(time.Millisecond),
		Reason: r.why(),
	}
}

func ecsTypesOf(r *record) []string {
	switch {
	case r.Event == "scan.blocked":
		return []string{"denied"}
	case r.kind.class == detection:
		return []string{"info"}
	case r.Event == "proxy.request" && r.Decision == "forward":
		return []string{"access", "allowed"}
	case r.Event == "proxy.request", r.Event == "error" && r.kind.category == "api":
		return []string{"access", "denied"}
	case r.Event == "proxy.response":
		return []string{"end"}
	case r.kind.category == "iam":
		return []string{"user", ecsTypes[r.kind.act]}
	}
	return []string{ecsTypes[r.kind.act]}
}

func ecsUserOf(r *record) *ecsUser {
	u := &ecsUser{ID: r.actor()}
	if target := r.target(); target != "" {
		u.Target = &ecsID{target}
	}
	if *u == (ecsUser{}) {
		return nil
	}
	return u
}

// ecsHTTPOf is nil for entries that no request caused.
func ecsHTTPOf(r *record) *ecsHTTP {
	var h ecsHTTP
	if r.RequestID != "" || r.Method != "" {
		h.Request = &ecsRequest{ID: r.RequestID, Method: r.Method, Body: ecsBodyOf(r.RequestBytes)}
	}
	if code := r.httpStatus(); code != 0 {
		h.Response = &ecsResponse{Status: code, Body: ecsBodyOf(r.ResponseBytes)}
	}
	if h == (ecsHTTP{}) {
		return nil
	}
	return &h
}

func ecsBodyOf(bytes int64) *ecsBody {
	if bytes == 0 {
		return nil
	}
	return &ecsBody{bytes}
}

// source sets where the entry came from and what is related to it.
func (d *ecsDocument) source(r *record) {
	var related ecsRelated
	for _, user := range []string{r.actor(), r.target()} {
		if user != "" {
			related.User = append(related.User, user)
		}
	}
	if r.Source != "" {
		d.Source = &ecsSource{Address: r.Source}
	}
	if a, ok := r.address(); ok {
		d.Source.IP = a.String()
		related.IP = []string{a.String()}
	}
	if related.User != nil || related.IP != nil {
		d.Related = &related
	}
}

// keeperFields are the details without a field of the schema. A field must be of
// one type in all documents: the status of an agent, and the version of a keeper
// that started, have names of their own.
func keeperFields(r *record) map[string]any {
	fields := r.rest(ecsMapped...)
	if fields == nil {
		fields = map[string]any{}
	}
	fields["risk"] = r.Risk
	if r.standing() != "" {
		fields["agentStatus"] = r.standing()
	}
	if r.release() != "" {
		delete(fields, "version")
		fields["release"] = r.release()
	}
	return fields
}

// The fields of the schema that keeper fills.
type (
	ecsDocument struct {
		Timestamp string         `json:"@timestamp"`
		Message   string         `json:"message"`
		ECS       ecsSchema      `json:"ecs"`
		Event     ecsEvent       `json:"event"`
		Service   ecsService     `json:"service"`
		Host      *ecsName       `json:"host,omitempty"`
		User      *ecsUser       `json:"user,omitempty"`
		Related   *ecsRelated    `json:"related,omitempty"`
		Source    *ecsSource     `json:"source,omitempty"`
		HTTP      *ecsHTTP       `json:"http,omitempty"`
		URL       *ecsURL        `json:"url,omitempty"`
		Rule      *ecsName       `json:"rule,omitempty"`
		Keeper    map[string]any `json:"keeper"`
	}
	ecsSchema struct {
		Version string `json:"version"`
	}
	ecsEvent struct {
		Kind     string   `json:"kind"`
		Category []string `json:"category"`
		Type     []string `json:"type"`
		Action   string   `json:"action"`
		Outcome  string   `json:"outcome"`
		ID       string   `json:"id"`
		Module   string   `json:"module"`
		Dataset  string   `json:"dataset"`
		Severity int      `json:"severity"`           // the risk
		Duration int64    `json:"duration,omitempty"` // in ns
		Reason   string   `json:"reason,omitempty"`
	}
	ecsService struct {
		Name    string   `json:"name"`
		Type    string   `json:"type"`
		Version string   `json:"version,omitempty"`
		Target  *ecsName `json:"target,omitempty"`
	}
	ecsName struct {
		Name string `json:"name"`
	}
	ecsID struct {
		ID string `json:"id"`
	}
	ecsUser struct {
		ID     string `json:"id,omitempty"`
		Target *ecsID `json:"target,omitempty"`
	}
	ecsRelated struct {
		User []string `json:"user,omitempty"`
		IP   []string `json:"ip,omitempty"`
	}
	ecsSource struct {
		Address string `json:"address"`
		IP      string `json:"ip,omitempty"`
	}
	ecsHTTP struct {
		Request  *ecsRequest  `json:"request,omitempty"`
		Response *ecsResponse `json:"response,omitempty"`
	}
	ecsRequest struct {
		ID     string   `json:"id,omitempty"`
		Method string   `json:"method,omitempty"`
		Body   *ecsBody `json:"body,omitempty"`
	}
	ecsResponse struct {
		Status int      `json:"status_code"`
		Body   *ecsBody `json:"body,omitempty"`
	}
	ecsBody struct {
		Bytes int64 `json:"bytes"`
	}
	ecsURL struct {
		Path string `json:"path"`
	}
)
