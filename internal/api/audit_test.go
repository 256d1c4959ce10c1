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
