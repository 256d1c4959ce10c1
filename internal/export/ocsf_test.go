package export_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/export"
)

//go:embed testdata/ocsf-1.5.0.txt
var ocsfText string

// ocsfSchema is a schema by class or object and then by attribute; a required one
// ends with "!".
type ocsfSchema map[string]map[string]string

// readOCSF reads the table. What all classes have is added to each that does not
// have it in its own way.
var readOCSF = sync.OnceValue(func() ocsfSchema {
	schema, object := ocsfSchema{}, ""
	for line := range strings.Lines(ocsfText) {
		name, typ, attribute := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case name == "" || name == "#":
		case attribute:
			schema[object][name] = typ
		default:
			object = name
			schema[object] = map[string]string{}
		}
	}
	for _, class := range ocsfClassNames {
		for name, typ := range schema["base"] {
			if _, own := schema[class][name]; !own {
				schema[class][name] = typ
			}
		}
	}
	return schema
})

// check reports what in value, at path, is not as the schema has it.
func (s ocsfSchema) check(path, typ string, value any) []string {
	wrong := func(ok bool) []string {
		if ok {
			return nil
		}
		return []string{fmt.Sprintf("%s is %v, want %s", path, value, typ)}
	}
	element, list := strings.CutPrefix(typ, "[]")
	switch attributes, isObject := s[typ]; {
	case isObject:
		return s.object(path, attributes, value)
	case list:
		all, ok := value.([]any)
		problems := wrong(ok && len(all) > 0)
		for i, v := range all {
			problems = append(problems, s.check(fmt.Sprintf("%s[%d]", path, i), element, v)...)
		}
		return problems
	}
	text, isText := value.(string)
	number, _ := value.(json.Number)
	switch typ {
	case "string":
		return wrong(isText)
	case "ip":
		_, err := netip.ParseAddr(text)
		return wrong(err == nil)
	case "int":
		_, err := number.Int64()
		return wrong(err == nil)
	case "bool":
		_, ok := value.(bool)
		return wrong(ok)
	case "object":
		_, ok := value.(map[string]any)
		return wrong(ok)
	}
	return wrong(slices.Contains(strings.Split(typ, "|"), fmt.Sprint(value)))
}

func (s ocsfSchema) object(path string, attributes map[string]string, value any) []string {
	members, ok := value.(map[string]any)
	if !ok {
		return []string{path + " is no object"}
	}
	var problems []string
	for name, typ := range attributes {
		required, is := strings.CutSuffix(name, "!")
		if _, there := members[required]; is && !there {
			problems = append(problems, path+"."+required+" is missing")
		}
		if name == "any" && !slices.ContainsFunc(strings.Split(typ, "|"), func(n string) bool { return members[n] != nil }) {
			problems = append(problems, path+" has none of "+typ)
		}
	}
	for name, v := range members {
		typ := attributes[name] + attributes[name+"!"]
		if typ == "" {
			problems = append(problems, path+"."+name+" is not in the schema")
			continue
		}
		problems = append(problems, s.check(path+"."+name, typ, v)...)
	}
	return problems
}

var ocsfClassNames = map[string]string{
	"6003": "api_activity", "3002": "authentication", "3001": "account_change", "6002": "application_lifecycle", "2004": "detection_finding",
}

// checkOCSF returns the event in line and what in it is not as the schema has it.
func checkOCSF(line []byte) (map[string]any, []string) {
	var event map[string]any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&event); err != nil {
		return nil, []string{err.Error()}
	}
	class := ocsfClassNames[fmt.Sprint(event["class_uid"])]
	problems := readOCSF().check("event", class, event)
	uid, _ := strconv.Atoi(fmt.Sprint(event["class_uid"]))
	activity, _ := strconv.Atoi(fmt.Sprint(event["activity_id"]))
	if want := strconv.Itoa(uid*100 + activity); fmt.Sprint(event["type_uid"]) != want {
		problems = append(problems, fmt.Sprintf("type_uid is %v, want %s", event["type_uid"], want))
	}
	return event, problems
}

func TestOCSFFitsThePublishedSchema(t *testing.T) {
	each(t, export.OCSF, func(t *testing.T, _ sample, line []byte) {
		if _, problems := checkOCSF(line); len(problems) > 0 {
			t.Errorf("%s\nin %s", strings.Join(problems, "\n"), line)
		}
	})
}

// path is the value at a path such as "actor.user.uid"; nil where there is none.
func at(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		if i, err := strconv.Atoi(name); err == nil {
			list, _ := v.([]any)
			if i >= len(list) {
				return nil
			}
			v = list[i]
			continue
		}
		members, _ := v.(map[string]any)
		v = members[name]
	}
	return v
}

func TestOCSFSaysWhatHappened(t *testing.T) {
	want := map[string]map[string]string{
		"forwarded call": {"type_uid": "600301", "status": "Success", "severity": "Informational", "time": "1795498589123",
			"metadata.uid": "1", "metadata.correlation_uid": "req_0123", "metadata.product.version": "1.2.3",
			"actor.user.uid": "ci-bot", "actor.session.uid": "jti-1", "api.operation": "proxy.request", "api.service.name": "openai",
			"src_endpoint.ip": "10.1.2.3", "http_request.http_method": "POST", "http_request.url.path": "/v1/chat/completions",
			"resources.0.name": "main", "unmapped.scope": "openai:chat", "unmapped.decision": "forward", "unmapped.version": "2"},
		"refused call": {"type_uid": "600303", "status": "Failure", "status_code": "token_missing", "severity": "Medium", "count": "41",
			"actor.user.name": "unknown", "src_endpoint.ip": "2001:db8::7", "http_request.url.path": "/v1/x", "unmapped.method": "PATCH"},
		"complete answer":     {"type_uid": "600399", "http_response.code": "200", "http_response.body_length": "4711", "duration": "1503"},
		"unknown outcome":     {"status": "Unknown", "src_endpoint.svc_name": "keeper", "unmapped.outcome": "unknown"},
		"blocked request":     {"type_uid": "200401", "severity": "Critical", "action": "Denied", "disposition": "Blocked", "finding_info.analytic.name": "openai-key", "finding_info.related_analytics.0.name": "password-field", "evidences.0.data.findings.0.location": "body", "evidences.0.actor.user.uid": "ci-bot"},
		"redacted answer":     {"type_uid": "200401", "severity": "Medium", "disposition": "Corrected", "finding_info.types.0": "Secret in response"},
		"text with a secret":  {"disposition": "Detected", "finding_info.types.0": "Secret in text"},
		"secret deleted":      {"type_uid": "600304", "actor.user.uid": "admin token"},
		"vault denied":        {"type_uid": "600302", "status": "Failure"},
		"token issued":        {"type_uid": "300201", "user.uid": "ci-bot", "actor.user.uid": "admin token", "session.uid": "jti-1"},
		"token revoked":       {"type_uid": "300202"},
		"invalid token":       {"type_uid": "300299", "status": "Failure", "status_detail": "token_expired"},
		"agent registered":    {"type_uid": "300101", "user.uid": "ci-bot", "unmapped.status": "active"},
		"agent disabled":      {"type_uid": "300105"},
		"agent renamed":       {"type_uid": "300199", "activity_name": "agent.updated"},
		"keeper started":      {"type_uid": "600203", "app.version": "1.2.3"},
		"keeper stopped":      {"type_uid": "600204", "status_detail": "signal"},
		"state changed":       {"type_uid": "600303", "actor.app_name": "keeper", "unmapped.objects.0.id": "ci-bot"},
		"stranger at a route": {"type_uid": "300201", "status": "Failure", "status_code": "token_invalid", "user.name": "unknown", "unmapped.route": "GET /api/v1/vault"},
		"scope lacking":       {"type_uid": "600399", "api.operation": "GET /api/v1/vault", "actor.user.uid": "ci-bot"},
		"disputed log":        {"type_uid": "200401", "severity": "Critical", "status": "New", "is_alert": "true", "unmapped.witness": "w1"},
		"pruned log":          {"type_uid": "600304", "status_detail": "age", "unmapped.last": "500"},
		"event of tomorrow":   {"type_uid": "600303", "src_endpoint.name": "socket", "unmapped.setting": "scan.mode"},
		"hostile path":        {"http_request.url.path": hostile, "unmapped.method": "GET\r\nX"},
	}
	each(t, export.OCSF, func(t *testing.T, s sample, line []byte) {
		event, _ := checkOCSF(line)
		for path, w := range want[s.name] {
			if got := at(event, path); fmt.Sprint(got) != w {
				t.Errorf("%s: got %v, want %s", path, got, w)
			}
		}
	})
}

// Whatever an event says is in an attribute or in unmapped, once.
func TestOCSFLosesNoDetail(t *testing.T) {
	each(t, export.OCSF, func(t *testing.T, s sample, line []byte) {
		b, _ := json.Marshal(s.details)
		var details map[string]any
		json.Unmarshal(b, &details)
		for name, v := range details {
			if text, ok := v.(string); ok && !bytes.Contains(line, fmt.Appendf(nil, "%s", quoted(text))) {
				t.Errorf("the detail %s, %q, is not in %s", name, text, line)
			}
		}
	})
}

// quoted is text in JSON as the formats write it, without its quotes.
func quoted(text string) string {
	b, _ := json.Marshal(text)
	return strings.NewReplacer("\u0085", `\u0085`, "\u009b", `\u009b`, "\u202e", `\u202e`).Replace(string(b[1 : len(b)-1]))
}
