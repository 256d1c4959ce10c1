package api_test

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/api"
)

func TestEveryEventOfTheLogCanBeFilteredFor(t *testing.T) {
	source, err := os.ReadFile("../audit/event.go")
	must(t, err)
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`facts\{"([a-z.]+)"`).FindAllSubmatch(source, -1) {
		names[string(m[1])] = true
	}
	field, _ := reflect.TypeFor[api.AuditFilters]().FieldByName("Event")
	got, want := strings.Split(field.Tag.Get("enum"), ","), slices.Sorted(maps.Keys(names))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("events that can be filtered for:\ngot  %v\nwant %v", got, want)
	}
}

func TestTheStoryOfACallIsToldWithItsEntries(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	auditor, reader := k.token("auditor", "keeper:audit"), k.token("reader", "keeper:read")
	scanned := k.want(k.call("POST", "/scan", k.admin, `{"text":"key = `+gitHubToken()+`"}`), 200)
	id := scanned.header.Get("Keeper-Request-Id")
	told := k.want(k.call("GET", "/audit/calls/"+id, auditor, ""), 200)
	sentences, entries := told.body["story"].([]any), told.body["entries"].([]any)
	if len(sentences) != 1 || len(entries) != 1 || told.body["verdict"] != nil || told.text("requestId") != id {
		t.Fatalf("got %s, want one sentence of one entry that is no call's", told.raw)
	}
	first := sentences[0].(map[string]any)
	if text, _ := first["text"].(string); !strings.HasPrefix(text, "Secret blocked by admin token") || first["kind"] != "bad" && first["kind"] != "warn" || first["entry"] != entries[0].(map[string]any)["id"] {
		t.Errorf("got %v, want that a secret was found, by whom, and in which entry", first)
	}
	k.want(k.call("GET", "/audit/calls/req_none", auditor, ""), 404, "not_found")
	k.want(k.call("GET", "/audit/calls/"+id, reader, ""), 403, "scope_denied")
}
