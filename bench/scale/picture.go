package main

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"
)

// picture is a chart of lines with a logarithmic axis of keepers.
type picture struct {
	title, y string
	log      bool    // the other axis, too
	low      float64 // of the other axis
	high     float64
	ticks    []tick
	lines    []line
	mark     *tick // a level that is named
}

type tick struct {
	at   float64
	name string
}

// line is one of the lines; those of one color differ by dashes.
type line struct {
	name   string
	color  int
	dashed bool
	points []point
}

type point struct{ x, y float64 }

const (
	width, height           = 760, 400
	left, right, top, below = 120, 230, 44, 60
)

// style is for light and dark surroundings. The colors are told apart without red and
// green as well.
const style = `.paper{fill:#ffffff}text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}` +
	`.grid{stroke:#d0d7de}.axis{stroke:#59636e}.mark{stroke:#59636e;stroke-dasharray:2 4}.line{fill:none;stroke-width:2}.dashed{stroke-dasharray:7 5}` +
	`.c0{stroke:#0550ae}.c1{stroke:#bc4c00}.c2{stroke:#6639ba}.c3{stroke:#1a7f37}.d0{fill:#0550ae}.d1{fill:#bc4c00}.d2{fill:#6639ba}.d3{fill:#1a7f37}` +
	`@media(prefers-color-scheme:dark){.paper{fill:#0d1117}text{fill:#e6edf3}.grid{stroke:#30363d}.axis,.mark{stroke:#9198a1}` +
	`.c0{stroke:#79c0ff}.c1{stroke:#ffa657}.c2{stroke:#d2a8ff}.c3{stroke:#56d364}.d0{fill:#79c0ff}.d1{fill:#ffa657}.d2{fill:#d2a8ff}.d3{fill:#56d364}}`

// svg is the picture as a file.
func (p *picture) svg() string {
	var b strings.Builder
	title := html.EscapeString(p.title)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n<title>%s</title>\n<style>%s</style>\n",
		width, height, width, height, title, title, style)
	fmt.Fprintf(&b, `<rect class="paper" width="%d" height="%d"/>`+"\n"+`<text class="title" x="%d" y="26">%s</text>`+"\n", width, height, left, title)
	p.axes(&b)
	for i, l := range p.lines {
		p.line(&b, l, i)
	}
	if p.mark != nil {
		y := p.y1(p.mark.at)
		fmt.Fprintf(&b, `<line class="mark" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text x="%d" y="%.1f">%s</text>`+"\n",
			left, y, width-right, y, left+6, y-5, html.EscapeString(p.mark.name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p *picture) axes(b *strings.Builder) {
	low, high := p.ends()
	for decade := math.Pow(10, math.Ceil(math.Log10(low)-1e-9)); decade <= high*1.001; decade *= 10 {
		x := p.x1(decade)
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x, top, x, height-below, x, height-below+20, count(int(decade+.5)))
	}
	for _, t := range p.ticks {
		y := p.y1(t.at)
		fmt.Fprintf(b, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, y, width-right, y, left-8, y+4, html.EscapeString(t.name))
	}
	fmt.Fprintf(b, `<path class="axis" fill="none" d="M%d %dV%dH%d"/>`+"\n", left, top, height-below, width-right)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">keepers on one database (number)</text>`+"\n", (left+width-right)/2, height-18)
	middle := (top + height - below) / 2
	fmt.Fprintf(b, `<text x="18" y="%d" text-anchor="middle" transform="rotate(-90 18 %d)">%s</text>`+"\n", middle, middle, html.EscapeString(p.y))
}

func (p *picture) line(b *strings.Builder, l line, place int) {
	dashed := ""
	if l.dashed {
		dashed = " dashed"
	}
	var path strings.Builder
	for i, at := range l.points {
		x, y := p.x1(at.x), p.y1(at.y)
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x, y)
		fmt.Fprintf(b, `<circle class="d%d" cx="%.1f" cy="%.1f" r="3.5"/>`, l.color, x, y)
	}
	y := top + 12 + 22*place
	fmt.Fprintf(b, `<path class="line c%d%s" d="%s"/><path class="line c%d%s" d="M%d %dh28"/><text x="%d" y="%d">%s</text>`+"\n",
		l.color, dashed, path.String(), l.color, dashed, width-right+16, y, width-right+50, y+4, html.EscapeString(l.name))
}

// ends are the least and the most keepers.
func (p *picture) ends() (low, high float64) {
	low, high = math.Inf(1), 0
	for _, l := range p.lines {
		for _, at := range l.points {
			low, high = min(low, at.x), max(high, at.x)
		}
	}
	return low, max(high, low*10)
}

func (p *picture) x1(x float64) float64 {
	low, high := p.ends()
	return left + (width-right-left)*math.Log(x/low)/math.Log(high/low)
}

func (p *picture) y1(y float64) float64 {
	y = min(max(y, p.low), p.high)
	part := (y - p.low) / (p.high - p.low)
	if p.log {
		part = math.Log(y/p.low) / math.Log(p.high/p.low)
	}
	return float64(height-below) - (height-below-top)*part
}

// pictures are the pictures, by the names of their files.
func (r *results) pictures() map[string]string {
	times := []tick{{.01, "10 ms"}, {.1, "100 ms"}, {1, "1 s"}, {10, "10 s"}}
	longer := []tick{{1, "1 s"}, {2, "2 s"}, {5, "5 s"}, {10, "10 s"}, {20, "20 s or never"}}
	lease := &tick{r.lease.Seconds(), "the lease ends: a keeper without the change refuses all"}
	return map[string]string{
		"spread.svg": (&picture{
			title: "Until 99 of 100 keepers refuse a revoked token", y: "time since the commit (log)",
			log: true, low: .01, high: 10, ticks: times, mark: lease,
			lines: r.spreadLines(func(s spreadResult) time.Duration { return s.Most }, true, false),
		}).svg(),
		"again.svg": (&picture{
			title: "Until all keepers serve with the change", y: "time since the commit (log)",
			log: true, low: 1, high: giveUp.Seconds(), ticks: longer,
			lines: r.spreadLines(func(s spreadResult) time.Duration { return s.Again }, true),
		}).svg(),
		"limits.svg": (&picture{
			title: "How exactly a bound is kept", y: "share of the bound (%)",
			high: 125, ticks: []tick{{0, "0"}, {25, "25"}, {50, "50"}, {75, "75"}, {100, "100"}, {125, "125"}},
			lines: r.limitLines(),
		}).svg(),
	}
}

// spreadLines are a line for each number of rows, and each way in which keepers hear.
func (r *results) spreadLines(of func(spreadResult) time.Duration, ways ...bool) []line {
	var lines []line
	var rows []int
	for _, s := range r.Spread {
		if len(rows) == 0 || rows[len(rows)-1] != s.Rows {
			rows = append(rows, s.Rows)
		}
	}
	for i, n := range rows {
		for _, notify := range ways {
			unit := " rows"
			if n == 1 {
				unit = " row"
			}
			l := line{name: count(n) + unit + ", polls", color: i % 4, dashed: true}
			if notify {
				l.name, l.dashed = count(n)+unit+", NOTIFY", false
			}
			for _, s := range r.Spread {
				if s.Rows == n && s.Notify == notify {
					l.points = append(l.points, point{float64(s.Keepers), of(s).Seconds()})
				}
			}
			lines = append(lines, l)
		}
	}
	return lines
}

func (r *results) limitLines() []line {
	var lines []line
	add := func(name string, color int, dashed bool, of string, portioned bool, value func(limitsResult) float64) {
		l := line{name: name, color: color, dashed: dashed}
		for _, one := range r.Limits {
			if one.Of == of && (one.small() == portioned || one.Keepers == 1) {
				l.points = append(l.points, point{float64(one.Keepers), 100 * value(one)})
			}
		}
		lines = append(lines, l)
	}
	over := func(l limitsResult) float64 { return l.Over }
	unused := func(l limitsResult) float64 { return l.Unused }
	add("requests: over", 0, false, "requests", false, over)
	add("requests: unused", 0, true, "requests", false, unused)
	add("tokens: over", 1, false, "modelTokens", false, over)
	add("tokens: unused", 1, true, "modelTokens", false, unused)
	add("small draws: over", 2, false, "modelTokens", true, over)
	add("small draws: unused", 2, true, "modelTokens", true, unused)
	return lines
}
