package export

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const csvHead = "id,timestamp,event,risk,agentId,provider,requestId,method,path,decision,outcome,code," +
	"status,scope,label,findings,by,source,details"

// appendCSV writes e as a record of RFC 4180 with the columns of csvHead. Findings
// are their rules, each once, with spaces between them; details are the JSON, from
// which what the other columns leave out can be read. A cell that begins with what
// a spreadsheet would take for a formula (=, +, -, @, tab or line break, also in
// full width) has a single quote before it. What would break a line or a terminal
// is written as JSON escapes it, such as \u001b.
func appendCSV(b []byte, e *store.AuditEntry, _ Producer) []byte {
	r := read(e)
	cells := [...]string{
		strconv.FormatInt(e.Seq, 10), e.Time.UTC().Format(time.RFC3339Nano), e.Event, strconv.Itoa(e.Risk),
		e.AgentID, e.Provider, e.RequestID,
		r.Method, r.Path, r.Decision, r.Outcome, r.Code, statusCell(r), r.Scope, r.Label,
		strings.Join(r.rules(), " "), r.By, r.Source, detailsCell(e.Details),
	}
	for i, cell := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCell(b, cell)
	}
	return b
}

func statusCell(r *record) string {
	if code := r.httpStatus(); code != 0 {
		return strconv.Itoa(code)
	}
	return r.standing()
}

// detailsCell is the details in one line, or an empty object where they are none.
func detailsCell(details []byte) string {
	var line bytes.Buffer
	if json.Compact(&line, details) != nil || !bytes.HasPrefix(line.Bytes(), []byte("{")) {
		return "{}"
	}
	return line.String()
}

// appendCell quotes as RFC 4180 section 2 demands.
func appendCell(b []byte, text string) []byte {
	guard := ""
	if formula(text) {
		guard = "'"
	}
	text = guard + shown(text)
	if !strings.ContainsAny(text, "\",") && strings.TrimSpace(text) == text {
		return append(b, text...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(text, `"`, `""`)...)
	return append(b, '"')
}

func formula(text string) bool {
	for _, r := range text {
		return strings.ContainsRune("=+-@\t\r\n＝＋－＠", r)
	}
	return false
}
