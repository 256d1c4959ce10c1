package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/store"
)

// FuzzEveryFormatIsOneParseableLine: whatever an entry holds. The leaf, which is
// written as the log has it, is held to it where the details are an object.
func FuzzEveryFormatIsOneParseableLine(f *testing.F) {
	for i, s := range samples {
		e := s.entry(f, int64(i))
		f.Add(e.Event, e.AgentID, e.Provider, e.RequestID, e.Details, s.source, i%4, int64(i))
	}
	f.Add("\r\n|=", "=\x1b]0;x\a", "\xff\xfe", "\u2028", []byte(`{"path":"\u0000\ud800","status":-1,"b":{"c":[1e999]}}`), "fe80::1%eth0", -1, int64(-1))
	f.Add("", "", "", "", []byte("{\n}"), "::ffff:1.2.3.4", 0, int64(0))
	f.Fuzz(func(t *testing.T, event, agent, provider, request string, details []byte, path string, risk int, seq int64) {
		e := &store.AuditEntry{
			Seq: seq, Time: when.Add(time.Duration(seq)), Event: event, AgentID: agent, Provider: provider,
			RequestID: request, Risk: risk, Details: details,
		}
		for _, f := range export.Formats()[2:] {
			checkLine(t, f, e)
		}
		var all map[string]any
		if json.Unmarshal(details, &all) != nil || all == nil {
			all = map[string]any{}
		}
		all["path"], all["label"], all["source"] = path, path, path
		e.Details, _ = json.Marshal(all)
		for _, f := range export.Formats() {
			checkLine(t, f, e)
		}
	})
}

// checkLine holds e, written in f, against its format.
func checkLine(t *testing.T, f export.Format, e *store.AuditEntry) {
	t.Helper()
	line := f.Append(nil, e, producer)
	var problems []string
	shown := true
	switch f {
	case export.JSON, export.NDJSON:
		shown = false
		if !json.Valid(line) {
			problems = []string{"no JSON"}
		}
	case export.CSV:
		rows, err := csv.NewReader(bytes.NewReader(line)).ReadAll()
		switch {
		case err != nil:
			problems = []string{err.Error()}
		case len(rows) != 1 || len(rows[0]) != 19 || !json.Valid([]byte(rows[0][18])):
			problems = []string{"not one record of 19 cells, the last of them JSON"}
		}
	case export.OCSF:
		_, problems = checkOCSF(line)
	case export.ECS:
		_, problems = checkECS(line)
	case export.CEF:
		_, _, problems = checkCEF(line)
	}
	if bytes.ContainsAny(line, "\r\n") || !utf8.Valid(line) || shown && bytes.ContainsFunc(line, unicode.IsControl) {
		problems = append(problems, "more than a line, or not fit to be shown")
	}
	if len(problems) > 0 {
		t.Errorf("%s of %+v: %s\nin %q", f, e, strings.Join(problems, "\n"), line)
	}
}
