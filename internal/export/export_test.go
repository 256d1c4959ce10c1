package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/store"
)

func file(t *testing.T, f export.Format, entries []*store.AuditEntry) string {
	t.Helper()
	var b bytes.Buffer
	w := export.NewWriter(&b, f, producer)
	for _, e := range entries {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEveryFormatIsParsedByItsName(t *testing.T) {
	for _, f := range export.Formats() {
		got, err := export.ParseFormat(string(f))
		if err != nil || got != f {
			t.Errorf("ParseFormat(%q) = %q, %v", f, got, err)
		}
		if f.ContentType() == "" || f.Extension() == "" {
			t.Errorf("%s: content type %q, extension %q", f, f.ContentType(), f.Extension())
		}
	}
}

func TestUnknownFormatIsRefusedWithTheKnownOnes(t *testing.T) {
	_, err := export.ParseFormat("xml")
	if err == nil {
		t.Fatal("xml was taken")
	}
	for _, f := range export.Formats() {
		if !strings.Contains(err.Error(), string(f)) {
			t.Errorf("the error %q does not name %s", err, f)
		}
	}
}

func TestNDJSONIsTheLeaves(t *testing.T) {
	all := entries(t)
	var want []byte
	for _, e := range all {
		want = append(append(want, audit.Leaf(e)...), '\n')
	}
	if got := file(t, export.NDJSON, all); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestJSONIsAnArrayOfTheLeaves(t *testing.T) {
	for n := range 4 {
		all := entries(t)[:n]
		var got []json.RawMessage
		if err := json.Unmarshal([]byte(file(t, export.JSON, all)), &got); err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
		if len(got) != n || got == nil {
			t.Fatalf("got %d elements (nil: %t), want %d", len(got), got == nil, n)
		}
		for i, e := range all {
			if want := audit.Leaf(e); !bytes.Equal(got[i], want) {
				t.Errorf("got %s, want %s", got[i], want)
			}
		}
	}
}

func TestFileHoldsALineForEachEntry(t *testing.T) {
	all := entries(t)
	extra := map[export.Format]int{export.JSON: 2, export.CSV: 1} // brackets; the header
	for _, f := range export.Formats() {
		got := file(t, f, all)
		if n := strings.Count(got, "\n"); n != len(all)+extra[f] {
			t.Errorf("%s: got %d lines, want %d", f, n, len(all)+extra[f])
		}
		for i, e := range all {
			line := f.Append(nil, e, producer)
			if !strings.Contains(got, string(line)) {
				t.Errorf("%s: entry %d is not in the file as Append writes it", f, i+1)
			}
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	e := samples[0].entry(t, 1)
	for _, f := range export.Formats() {
		alone := f.Append(nil, e, producer)
		if got := f.Append([]byte("head "), e, producer); string(got) != "head "+string(alone) {
			t.Errorf("%s: got %q, want it after %q", f, got, "head ")
		}
	}
}

// full fails from a number of writes on.
type full struct{ left int }

var errFull = errors.New("no space left")

func (w *full) Write(p []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestFileThatFailedIsNotEnded(t *testing.T) {
	for _, f := range export.Formats() {
		under := &full{left: 1}
		w := export.NewWriter(under, f, producer)
		e := samples[0].entry(t, 1)
		if err := w.Write(e); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if err := w.Write(e); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v, want %v", f, err, errFull)
		}
		under.left = 9
		if err := errors.Join(w.Write(e), w.Close()); !errors.Is(err, errFull) || under.left != 9 {
			t.Errorf("%s: got %v with %d writes after the failure, want none", f, err, 9-under.left)
		}
	}
}

func rows(t *testing.T, text string) [][]string {
	t.Helper()
	r := csv.NewReader(strings.NewReader(text))
	all, err := r.ReadAll()
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return all
}

func TestCSVHasItsColumnsAlsoWhenEmpty(t *testing.T) {
	want := "id,timestamp,event,risk,agentId,provider,requestId,method,path,decision,outcome,code,status,scope,label,findings,by,source,details\r\n"
	if got := file(t, export.CSV, nil); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCSVHoldsTheEntries(t *testing.T) {
	all := entries(t)
	got := rows(t, file(t, export.CSV, all))
	want := map[string][]string{
		"1": {"1", "2026-11-24T05:36:29.123456789Z", "proxy.request", "0", "ci-bot", "openai", "req_0123", "POST", "/v1/chat/completions",
			"forward", "", "", "", "openai:chat", "main", "password-field", "", "10.1.2.3"},
		"3": {"3", "2026-11-24T05:36:31.123456789Z", "proxy.response", "0", "ci-bot", "openai", "req_0123", "", "",
			"", "complete", "", "200", "", "", "", "", "10.1.2.3"},
		"6": {"6", "2026-11-24T05:36:34.123456789Z", "scan.blocked", "2", "ci-bot", "openai", "req_0123", "POST", "/v1/chat/completions",
			"", "", "", "", "", "", "openai-key password-field", "", "10.1.2.3"},
	}
	for i, row := range got[1:] {
		if w, ok := want[row[0]]; ok && !slices.Equal(row[:18], w) {
			t.Errorf("got  %q\nwant %q", row[:18], w)
		}
		var details, w map[string]any
		if err := json.Unmarshal([]byte(row[18]), &details); err != nil {
			t.Fatalf("details %q: %v", row[18], err)
		}
		json.Unmarshal(all[i].Details, &w)
		if fmt.Sprint(details) != fmt.Sprint(w) {
			t.Errorf("got details %v, want %v", details, w)
		}
	}
}

func TestCSVCellsAreNoFormulas(t *testing.T) {
	for _, begin := range []string{"=", "+", "-", "@", "\t", "\r", "\n", "＝"} {
		e := &store.AuditEntry{Seq: 1, Event: begin + "1", AgentID: begin + "2", Details: []byte(begin + `{}`)}
		row := rows(t, string(export.CSV.Append(nil, e, producer)))[0]
		if !strings.HasPrefix(row[2], "'") || !strings.HasPrefix(row[4], "'") || row[18] != "{}" && row[18][0] != '{' {
			t.Errorf("after %q: got %q, %q, %q", begin, row[2], row[4], row[18])
		}
	}
}

func TestDetailsThatCannotBeReadAreLeftOut(t *testing.T) {
	for _, details := range []string{
		"", "null", "{", `{"method":"GET"`, "[1]", `"x"`, `{"method":"GET"}{}`, "\xff", "{\"a\":\"\xff\"}",
		`{"method":7,"path":["x"],"status":{},"version":[],"findings":{"rule":1},"valid":"yes","count":"many","path2":"y"}`,
		`{"findings":[null,1,"x",{"rule":2}],"status":1e400,"durationMs":1.5,"scopes":"x"}`,
	} {
		e := &store.AuditEntry{Seq: 7, Time: when, Event: "proxy.request", AgentID: "ci-bot", Details: []byte(details)}
		for _, f := range export.Formats()[2:] {
			checkLine(t, f, e)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	all := entries(b)
	for _, f := range export.Formats() {
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			w := export.NewWriter(io.Discard, f, producer)
			for i := 0; b.Loop(); i++ {
				w.Write(all[i%len(all)])
			}
		})
	}
}
