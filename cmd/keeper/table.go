package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/clipperhouse/displaywidth"
	"golang.org/x/term"
)

const (
	columnGap   = 2
	leastColumn = 8 // to which a column is cut at most
)

// column is one of a list.
type column struct {
	name    string
	wide    bool              // shown with --wide alone
	whole   bool              // never cut, since people copy what is in it
	right   bool              // of numbers
	colours map[string]string // of its values, where they have one
}

// The colours of values that several lists have.
var (
	statusColours = map[string]string{"active": green, "pending": yellow, "disabled": yellow, "revoked": red, "expired": yellow, "invalid": red}
	riskColours   = map[string]string{"1": yellow, "2": red}

	confidenceColours = map[string]string{"high": red, "medium": yellow}
)

// table prints a list for eyes. A cell is a text, a number or a time. On a terminal
// the list is as wide as that at most, unless the user asked for --wide.
func (a *app) table(columns []column, rows [][]any) error {
	now, terminal := time.Now(), isTerminal(a.out)
	show := func(cell any) string {
		if t, ok := cell.(time.Time); ok && terminal && !a.wide && !t.IsZero() {
			return distance(t, now)
		}
		return cellText(cell)
	}
	l := layout{paint: a.paint}
	for i, c := range columns {
		if c.wide && !a.wide {
			continue
		}
		texts := make([]string, len(rows))
		for j, row := range rows {
			texts[j] = firstOf(printable(show(row[i])), "-")
		}
		l.add(c, texts)
	}
	if terminal && !a.wide {
		l.fit(a.columns())
	}
	return l.write(a.out, len(rows))
}

// fields prints what there is to say of one thing, whole.
func (a *app) fields(rows [][]any) error {
	return a.table([]column{{name: "FIELD", whole: true}, {name: "VALUE", whole: true}}, rows)
}

func cellText(cell any) string {
	if t, ok := cell.(time.Time); ok {
		return when(t)
	}
	return fmt.Sprint(cell)
}

// columns is the width of the terminal; 0 where it is not known.
func (a *app) columns() int {
	if n, err := strconv.Atoi(a.env["COLUMNS"]); err == nil && n > 0 {
		return n
	}
	if f, ok := a.out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// layout is a table on its way to the screen.
type layout struct {
	columns []column
	texts   [][]string // by column
	widths  []int
	paint   func(colour, text string) string
}

func (l *layout) add(c column, texts []string) {
	width := displaywidth.String(c.name)
	for _, text := range texts {
		width = max(width, displaywidth.String(text))
	}
	l.columns, l.texts, l.widths = append(l.columns, c), append(l.texts, texts), append(l.widths, width)
}

// fit narrows the widest columns until the table is so many cells wide, as far as they
// can be cut. 0 is no bound.
func (l *layout) fit(room int) {
	excess := columnGap*(len(l.widths)-1) - room
	for _, width := range l.widths {
		excess += width
	}
	for ; room > 0 && excess > 0; excess-- {
		widest := -1
		for i, c := range l.columns {
			least := max(leastColumn, displaywidth.String(c.name))
			if !c.whole && l.widths[i] > least && (widest < 0 || l.widths[i] > l.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		l.widths[widest]--
	}
}

func (l *layout) write(w io.Writer, rows int) error {
	var b strings.Builder
	for i, c := range l.columns {
		l.cell(&b, i, c.name, bold)
	}
	for j := range rows {
		for i, c := range l.columns {
			text := l.texts[i][j]
			l.cell(&b, i, text, c.colours[text])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cell writes one cell and what follows it: a gap, or the line's end.
func (l *layout) cell(b *strings.Builder, i int, text, colour string) {
	text = displaywidth.TruncateString(text, l.widths[i], "…")
	pad := strings.Repeat(" ", max(0, l.widths[i]-displaywidth.String(text)))
	if colour != "" {
		text = l.paint(colour, text)
	}
	if l.columns[i].right {
		text, pad = pad+text, ""
	}
	b.WriteString(text)
	if i == len(l.columns)-1 {
		b.WriteByte('\n')
		return
	}
	b.WriteString(pad + strings.Repeat(" ", columnGap))
}

// distance says how far a time is from now, such as 3m ago or in 2h.
func distance(t, now time.Time) string {
	past := now.Sub(t).Round(time.Second)
	if past == 0 {
		return "now"
	}
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	far, text := past.Abs(), ""
	switch {
	case far < 2*time.Minute:
		text = fmt.Sprintf("%ds", far/time.Second)
	case far < 2*time.Hour:
		text = fmt.Sprintf("%dm", far/time.Minute)
	case far < 2*day:
		text = fmt.Sprintf("%dh", far/time.Hour)
	case far < 2*year:
		text = fmt.Sprintf("%dd", far/day)
	default:
		text = fmt.Sprintf("%dy", far/year)
	}
	if past < 0 {
		return "in " + text
	}
	return text + " ago"
}
