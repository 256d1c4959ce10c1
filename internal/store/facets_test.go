package store_test

import (
	"reflect"
	"testing"

	"github.com/superinstance/keeper/internal/store"
)

func TestFacetsAreWhatDetailsSayAndNothingIsGuessed(t *testing.T) {
	for details, want := range map[string]store.AuditFacets{
		`{"code":"c","findings":[{"form":"plain","rule":"a"},{"rule":"b\n"},{"type":"x"}],"path":"/v1/x","status":404}`: {
			Path: "/v1/x", Code: "c", Status: 404, Rules: []string{"a", "b\n", ""},
		},
		`{ "deep" : {"path":"/no","status":1} , "path" : "/\u00e9\"" }`: {Path: `/é"`},
		`{"path":"a` + "\xff" + `b"}`:                                   {Path: "a\ufffdb"},
		`{"path":null,"code":5,"status":"revoked","findings":3}`:        {},
		`{"status":2.5}`:             {},
		`{"findings":[1,[],"rule"]}`: {Rules: []string{"", "", ""}},
		`{"path":"/v1/x","status":`:  {},
		`["path"]`:                   {},
		`{}`:                         {},
		``:                           {},
	} {
		e := store.AuditEntry{Details: []byte(details)}
		if got := e.Facets(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", details, got, want)
		}
	}
}
