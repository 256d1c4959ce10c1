package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/clipperhouse/displaywidth"
)

// laidOut is a list in a terminal so many cells wide; 0 is no terminal.
func laidOut(t *testing.T, width int, columns []column, rows [][]string) []string {
	t.Helper()
	l := layout{paint: func(colour, text string) string { return "<" + colour + ">" + text }}
	for i, c := range columns {
		texts := make([]string, len(rows))
		for j, row := range rows {
			texts[j] = printable(row[i])
		}
		l.add(c, texts)
	}
	l.fit(width)
	var b bytes.Buffer
	if err := l.write(&b, len(rows)); err != nil {
		t.Fatalf("writing the table: got %v, want no error", err)
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func TestWideCharactersKeepColumnsInLine(t *testing.T) {
	columns := []column{{name: "AGENT"}, {name: "STATUS"}}
	lines := laidOut(t, 0, columns, [][]string{{"plain", "x"}, {"漢字漢字", "x"}, {"e\u0301te\u0301", "x"}, {"👩‍💻👍🏽", "x"}, {"\x1b[31m", "x"}})
	want := displaywidth.String(lines[1][:strings.LastIndex(lines[1], "x")])
	for _, line := range lines[2:] {
		if got := displaywidth.String(line[:strings.LastIndex(line, "x")]); got != want {
			t.Errorf("cells before the second column of %q: got %d, want %d", line, got, want)
		}
	}
}

func TestListIsNoWiderThanTheTerminal(t *testing.T) {
	columns := []column{{name: "AGENT", whole: true}, {name: "NAME"}, {name: "SCOPES"}}
	rows := [][]string{{"researcher-of-the-north", strings.Repeat("名", 40), strings.Repeat("openai:chat ", 20)}}
	for width := 45; width < 400; width += 7 {
		lines := laidOut(t, width, columns, rows)
		for _, line := range lines {
			if got := displaywidth.String(strings.ReplaceAll(line, "<1>", "")); got > width {
				t.Fatalf("cells of %q: got %d, want at most %d", line, got, width)
			}
		}
		if !strings.Contains(lines[1], "researcher-of-the-north") {
			t.Fatalf("line at %d cells: got %q, want the agent's id whole", width, lines[1])
		}
	}
	if got := laidOut(t, 0, columns, rows)[1]; strings.Contains(got, "…") {
		t.Errorf("line without a terminal: got %q, want it whole", got)
	}
}

func TestColoursAreOfTheWholeCellAndNumbersStandRight(t *testing.T) {
	columns := []column{{name: "VERSION", right: true}, {name: "STATUS", colours: statusColours}}
	got := laidOut(t, 0, columns, [][]string{{"7", "revoked"}})
	if want := "      7  <31>revoked"; got[1] != want {
		t.Errorf("line: got %q, want %q", got[1], want)
	}
}

func TestDistanceSaysHowFarATimeIs(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for past, want := range map[time.Duration]string{
		0: "now", 400 * time.Millisecond: "now", 90 * time.Second: "90s ago", 3 * time.Minute: "3m ago", -3 * time.Hour: "in 3h",
		47 * time.Hour: "47h ago", 72 * time.Hour: "3d ago", 3 * 365 * 24 * time.Hour: "3y ago",
	} {
		if got := distance(now.Add(-past), now); got != want {
			t.Errorf("distance of %v: got %q, want %q", past, got, want)
		}
	}
}
