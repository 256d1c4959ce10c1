package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// What makes keeper build its search index anew.
var emptyIndex = []string{"DELETE FROM audit_blocks", "DELETE FROM audit_filters", "DELETE FROM audit_groups", "DELETE FROM audit_slices"}

// fill appends the entries first to last, some of which are needles.
func fill(t *testing.T, db *sqlite.DB, first, last int64, needles ...int64) {
	t.Helper()
	const batch = 8192
	for ; first <= last; first += batch {
		entries := sampleEntries(first, int(min(batch, last-first+1)))
		for _, seq := range needles {
			if i := seq - first; i >= 0 && i < int64(len(entries)) {
				entries[i] = needle(entries[i])
				entries[i].Event = "proxy.request"
			}
		}
		if err := db.AppendAudit(t.Context(), entries); err != nil {
			t.Fatal(err)
		}
	}
}

// beginAt makes a log of the entry of that number alone, as if those before it had been
// pruned.
func beginAt(t *testing.T, dir string, seq int64) {
	t.Helper()
	db := openIn(t, dir)
	fill(t, db, 1, 1)
	mustClose(t, db)
	execIn(t, dir, fmt.Sprint("UPDATE audit SET seq = ", seq))
}

// filled makes a database with the entries 1 to last.
func filled(t *testing.T, dir string, last int64, needles ...int64) {
	t.Helper()
	db := openIn(t, dir)
	fill(t, db, 1, last, needles...)
	mustClose(t, db)
}

func mustClose(t *testing.T, db *sqlite.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// allFound says by which filters the entries are not found that are of one kind.
func allFound(t *testing.T, db *sqlite.DB, state string, want ...string) {
	t.Helper()
	for name, f := range needles {
		f.Limit = len(want) + 1
		got, err := db.AuditEntries(t.Context(), f)
		if err != nil || !reflect.DeepEqual(numbersOf(got.Entries), want) {
			t.Errorf("%s, by %s: got entries %v, %v; want %v", state, name, numbersOf(got.Entries), err, want)
		}
	}
}

func TestEmptiedIndexOfAPrunedLogIsBuiltAnew(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	fill(t, db, 1, 3000, 1024, 1025, 1280, 2000)
	if err := db.PruneAudit(t.Context(), 1024); err != nil {
		t.Fatal(err)
	}
	mustClose(t, db)
	execIn(t, dir, emptyIndex...)
	db = openIn(t, dir)
	allFound(t, db, "before it is built", "2000", "1280", "1025")
	if err := db.AppendAudit(t.Context(), sampleEntries(3001, 300)); err != nil {
		t.Fatal(err)
	}
	allFound(t, db, "built", "2000", "1280", "1025")
	if totals, err := db.AuditTotals(t.Context()); err != nil || totals != (store.AuditTotals{Entries: 3300, HighRisk: 3, First: 1025, LastSeq: 3300}) {
		t.Errorf("totals: got %+v, %v", totals, err)
	}
	if err := db.CheckIndex(t.Context(), nil); err != nil {
		t.Errorf("CheckIndex: got %v, want none", err)
	}
}

func TestABlockWithoutAFilterIsSearched(t *testing.T) {
	dir := t.TempDir()
	const first, block, sought = groupEntries - 1023, 1021, 1021*256 + 7
	beginAt(t, dir, first)
	db := openIn(t, dir)
	fill(t, db, first+1, groupEntries-256, sought)
	mustClose(t, db)
	execIn(t, dir, fmt.Sprint("DELETE FROM audit_filters WHERE block = ", block))
	db = openIn(t, dir)
	allFound(t, db, "its filter is gone", fmt.Sprint(sought))
	fill(t, db, groupEntries-255, groupEntries)
	allFound(t, db, "its group's filters are turned over", fmt.Sprint(sought))
}

func TestAFilterOfAnotherSizeStopsNothing(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 1024, 300)
	execIn(t, dir, "UPDATE audit_filters SET facets = randomblob(9000), trigrams = x''")
	db := openIn(t, dir)
	if err := db.AppendAudit(t.Context(), sampleEntries(1025, 1)); err != nil {
		t.Fatal(err)
	}
	allFound(t, db, "its filter is of another size", "300")
}

func TestAnIndexThatIsNotTheEntriesIsFound(t *testing.T) {
	for statement, entries := range map[string]string{
		"UPDATE audit_filters SET facets = zeroblob(1024)":                       "1 to 256",
		"UPDATE audit_filters SET trigrams = zeroblob(1024) WHERE block = 3":     "769 to 1024",
		"DELETE FROM audit_filters WHERE block = 2":                              "513 to 768",
		"DELETE FROM audit_blocks WHERE block = 2":                               "513 to 768",
		"DELETE FROM audit_blocks WHERE block = 10":                              "2561 to 2816",
		"DELETE FROM audit_blocks":                                               "1 to 256",
		"UPDATE audit_blocks SET max_time = min_time WHERE block = 1":            "257 to 512",
		"UPDATE audit_blocks SET min_time = 0 WHERE block = 1":                   "257 to 512",
		"UPDATE audit_blocks SET max_risk = 0 WHERE block = 1":                   "257 to 512",
		"UPDATE audit_blocks SET high_risk = high_risk + 1 WHERE block >= 1":     "257 to 512",
		"INSERT INTO audit_blocks VALUES (9999, 0, 0, 0, 0)":                     "2817 to 3072",
		"INSERT INTO audit_filters VALUES (11, zeroblob(1024), zeroblob(1024))":  "2817 to 3072",
		"INSERT INTO audit_groups VALUES (0, 0, 0, 0)":                           "1 to 262144",
		"INSERT INTO audit_slices VALUES (0, 0, zeroblob(2048), zeroblob(2048))": "1 to 262144",
	} {
		dir := t.TempDir()
		filled(t, dir, 3000, 300)
		execIn(t, dir, statement)
		checkIndex(t, dir, statement, entries)
		execIn(t, dir, emptyIndex...)
		checkIndex(t, dir, "emptied after "+statement, "")
		db := openIn(t, dir)
		fill(t, db, 3001, 3001)
		mustClose(t, db)
		checkIndex(t, dir, "built anew after "+statement, "")
	}
}

// Block 1019 was pruned after it was turned over, the ones before it before that.
func TestATurnedOverIndexThatIsNotTheEntriesIsFound(t *testing.T) {
	dir := t.TempDir()
	const first, sought = 1019*256 + 1, groupEntries - 300
	beginAt(t, dir, first)
	db := openIn(t, dir)
	fill(t, db, first+1, groupEntries+1000, first+7, sought)
	if err := db.PruneAudit(t.Context(), first+255); err != nil {
		t.Fatal(err)
	}
	mustClose(t, db)
	sound, err := os.ReadFile(filepath.Join(dir, "keeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	const kept = "261121 to 262144"
	for statement, entries := range map[string]string{
		"SELECT 1":                                                             "",
		"UPDATE audit_groups SET max_time = 0":                                 kept,
		"UPDATE audit_groups SET max_risk = 0":                                 kept,
		"DELETE FROM audit_groups":                                             kept,
		"DELETE FROM audit_slices":                                             kept,
		"DELETE FROM audit_slices WHERE slice = 511":                           kept,
		"UPDATE audit_slices SET facets = zeroblob(2048)":                      kept,
		"UPDATE audit_slices SET trigrams = zeroblob(2048)":                    kept,
		"UPDATE audit_slices SET facets = x'' WHERE slice = 5":                 kept,
		"UPDATE audit_blocks SET high_risk = high_risk + 1 WHERE block = 1022": "261633 to 261888",
		"INSERT INTO audit_groups VALUES (1, 0, 0, 0)":                         "262145 to 524288",
		"INSERT INTO audit_slices VALUES (0, 512, x'', x'')":                   "1 to 262144",
		"INSERT INTO audit_slices VALUES (7, 0, x'', x'')":                     "1835009 to 2097152",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "keeper.db"), sound, 0o600); err != nil {
			t.Fatal(err)
		}
		execIn(t, dir, statement)
		checkIndex(t, dir, statement, entries)
		if entries == "" {
			continue
		}
		execIn(t, dir, emptyIndex...)
		db := openIn(t, dir)
		fill(t, db, groupEntries+1001, groupEntries+1001)
		checkIndex(t, dir, "built anew after "+statement, "")
		allFound(t, db, "built anew after "+statement, fmt.Sprint(sought))
	}
}

// Neither what is appended nor what is pruned meanwhile is taken for harm.
func TestAnIndexIsCheckedWhileTheLogGoesOn(t *testing.T) {
	dir := t.TempDir()
	live := openIn(t, dir)
	fill(t, live, 1, 8192)
	db, err := readIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	next, pruned := int64(8193), int64(0)
	var told []int64
	progress := func(entries int64) {
		told = append(told, entries)
		if err := live.AppendAudit(t.Context(), sampleEntries(next, 3000)); err != nil {
			t.Error(err)
		}
		next, pruned = next+3000, pruned+3*4096/2
		if err := live.PruneAudit(t.Context(), pruned); err != nil {
			t.Error(err)
		}
	}
	if err := db.CheckIndex(t.Context(), progress); err != nil {
		t.Errorf("got %v, want none", err)
	}
	if len(told) == 0 || !slices.IsSorted(told) {
		t.Errorf("progress: got %v", told)
	}
	if err := db.CheckIndex(t.Context(), nil); err != nil {
		t.Errorf("once more: got %v, want none", err)
	}
}

// checkIndex holds the index against the entries; entries are those that it must name.
func checkIndex(t *testing.T, dir, state, entries string) {
	t.Helper()
	db, err := readIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.CheckIndex(t.Context(), nil)
	if entries == "" && err != nil {
		t.Errorf("%s: got %v, want none", state, err)
	}
	if entries != "" && (!errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "the entries "+entries+" is not theirs")) {
		t.Errorf("%s: got %v, want %v of the entries %s", state, err, store.ErrDamaged, entries)
	}
}
