package export_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/export"
)

//go:embed testdata/ecs-9.4.0.txt
var ecsText string

type ecsSchema struct {
	fields     map[string][]string // type, "array" where it is one, allowed values
	categories map[string][]string // the types that go with it
}

var readECS = sync.OnceValue(func() ecsSchema {
	s := ecsSchema{map[string][]string{}, map[string][]string{}}
	for line := range strings.Lines(ecsText) {
		words := strings.Fields(line)
		if words[0] == "category" {
			s.categories[words[1]] = strings.Split(words[2], "|")
		} else {
			s.fields[words[0]] = words[1:]
		}
	}
	return s
})

// checkECS returns the document in line and what in it is not as the schema has it.
func checkECS(line []byte) (map[string]any, []string) {
	var document map[string]any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&document); err != nil {
		return nil, []string{err.Error()}
	}
	schema := readECS()
	var problems []string
	flatten("", document, func(path string, value any) {
		if field := schema.fields[path]; !ecsFits(field, value) {
			problems = append(problems, fmt.Sprintf("%s is %v, want %q", path, value, field))
		}
	})
	event, _ := document["event"].(map[string]any)
	allowed := schema.categories[fmt.Sprint(at(event, "category.0"))]
	types, _ := event["type"].([]any)
	for _, typ := range types {
		if !slices.Contains(allowed, fmt.Sprint(typ)) {
			problems = append(problems, fmt.Sprintf("the type %v does not go with the category %v", typ, event["category"]))
		}
	}
	for _, path := range []string{"@timestamp", "message", "ecs.version", "event.id", "event.action", "keeper.risk"} {
		if at(document, path) == nil {
			problems = append(problems, path+" is missing")
		}
	}
	return document, problems
}

// flatten calls leaf on every field but those of keeper's own.
func flatten(path string, members map[string]any, leaf func(path string, value any)) {
	for name, v := range members {
		object, is := v.(map[string]any)
		switch {
		case path == "" && name == "keeper":
		case is:
			flatten(path+name+".", object, leaf)
		default:
			leaf(path+name, v)
		}
	}
}

// ecsFits says whether value is of the field's type, which is nil for no field.
func ecsFits(field []string, value any) bool {
	if len(field) == 0 {
		return false
	}
	list, is := value.([]any)
	if is != slices.Contains(field, "array") {
		return false
	}
	if !is {
		list = []any{value}
	}
	allowed := strings.Split(field[len(field)-1], "|")
	for _, v := range list {
		if !ecsIs(field[0], v) || len(allowed) > 1 && !slices.Contains(allowed, v.(string)) {
			return false
		}
	}
	return len(list) > 0
}

func ecsIs(typ string, v any) bool {
	text, isText := v.(string)
	var err error
	switch typ {
	case "date":
		_, err = time.Parse(time.RFC3339Nano, text)
	case "ip":
		_, err = netip.ParseAddr(text)
	case "long":
		n, _ := v.(json.Number)
		_, err := n.Int64()
		return err == nil
	}
	return isText && err == nil
}

func TestECSFitsThePublishedSchema(t *testing.T) {
	each(t, export.ECS, func(t *testing.T, _ sample, line []byte) {
		if _, problems := checkECS(line); len(problems) > 0 {
			t.Errorf("%s\nin %s", strings.Join(problems, "\n"), line)
		}
	})
}

func TestECSSaysWhatHappened(t *testing.T) {
	want := map[string]map[string]string{
		"forwarded call": {"@timestamp": "2026-11-24T05:36:29.123456789Z", "event.kind": "event", "event.category": "[api]",
			"event.type": "[access allowed]", "event.action": "proxy.request", "event.outcome": "success", "event.id": "1",
			"user.id": "ci-bot", "source.ip": "10.1.2.3", "http.request.id": "req_0123", "http.request.method": "POST",
			"http.request.body.bytes": "812", "url.path": "/v1/chat/completions", "service.target.name": "openai", "host.name": "vault-1.example",
			"keeper.scope": "openai:chat", "keeper.version": "2", "keeper.mode": "transparent", "rule.name": "password-field"},
		"refused call":        {"event.type": "[access denied]", "event.outcome": "failure", "event.reason": "token_missing", "keeper.code": "token_missing"},
		"complete answer":     {"http.response.status_code": "200", "http.response.body.bytes": "4711", "event.duration": "1503000000"},
		"unknown outcome":     {"event.outcome": "unknown"},
		"blocked request":     {"event.kind": "alert", "event.category": "[intrusion_detection]", "event.type": "[denied]", "event.severity": "2", "rule.name": "openai-key"},
		"secret deleted":      {"event.category": "[configuration]", "event.type": "[deletion]", "user.id": "admin token"},
		"token issued":        {"event.category": "[authentication]", "event.type": "[start]", "user.target.id": "ci-bot", "related.user": "[admin token ci-bot]"},
		"agent disabled":      {"event.category": "[iam]", "event.type": "[user change]", "keeper.agentStatus": "disabled"},
		"keeper started":      {"event.category": "[process]", "event.type": "[start]", "keeper.release": "1.2.3", "keeper.version": "<nil>"},
		"stranger at a route": {"event.category": "[authentication]", "event.outcome": "failure", "keeper.route": "GET /api/v1/vault"},
		"disputed log":        {"event.kind": "alert", "event.type": "[info]", "event.outcome": "unknown", "keeper.witness": "w1"},
		"exception":           {"rule.name": "password-field", "event.reason": "a fixture"},
		"hostile path":        {"url.path": hostile, "http.request.method": "GET\r\nX"},
	}
	each(t, export.ECS, func(t *testing.T, s sample, line []byte) {
		document, _ := checkECS(line)
		for path, w := range want[s.name] {
			if got := at(document, path); fmt.Sprint(got) != w {
				t.Errorf("%s: got %v, want %s", path, got, w)
			}
		}
	})
}

// A field that is of two types is refused by the index that has it.
func TestECSFieldsOfKeeperHaveOneTypeEach(t *testing.T) {
	types := map[string]string{}
	each(t, export.ECS, func(t *testing.T, _ sample, line []byte) {
		document, _ := checkECS(line)
		fields, _ := document["keeper"].(map[string]any)
		for name, v := range fields {
			typ := fmt.Sprintf("%T", v)
			if types[name] == "" {
				types[name] = typ
			}
			if v != nil && types[name] != typ {
				t.Errorf("keeper.%s is %s and %s", name, types[name], typ)
			}
		}
	})
}
