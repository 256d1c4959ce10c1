package storetest

import (
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

var cursorTests = map[string]func(*testing.T, *bench){
	"cursors come back as they were put, sorted by name, also after reopening": func(t *testing.T, b *bench) {
		same(t, "cursors of a new database", len(read(t, b.Cursors)), 0)
		first, second := store.Cursor{Name: "a", Seq: 1 << 40, At: now().UTC()}, store.Cursor{Name: "b"}
		ok(t, "PutCursor", b.PutCursor(t.Context(), second))
		ok(t, "PutCursor", b.PutCursor(t.Context(), first))
		same(t, "cursors", read(t, b.Cursors), []store.Cursor{first, second})
		b.reopen(t)
		same(t, "cursors", read(t, b.Cursors), []store.Cursor{first, second})
	},
	"a cursor of a name that is there takes its place, whichever way it moves": func(t *testing.T, b *bench) {
		for _, seq := range []int64{7, 9, 3} {
			want := store.Cursor{Name: "a", Seq: seq, At: now().UTC().Add(time.Duration(seq))}
			ok(t, "PutCursor", b.PutCursor(t.Context(), want))
			same(t, "cursors", read(t, b.Cursors), []store.Cursor{want})
		}
	},
}
