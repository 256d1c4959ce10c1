package scanner

import "slices"

// maxShown is how many bytes of an event are read for the place of one finding.
const maxShown = 64 << 10

// locationOf is the location of n bytes that stand at the given place of ev.
func (e *eventStream) locationOf(ev *event, at, n int) string {
	if at > maxShown || len(e.found.list) >= maxFindings {
		return e.location
	}
	f := []Finding{{Start: at, End: at + n}}
	e.locate(ev.raw, f)
	return f[0].Location
}

// report notes what was found in an event as it leaves.
func (e *eventStream) report(ev *event, found []Finding) {
	e.locate(e.rewritten(ev), found)
	for i := range found {
		e.found.add(&found[i])
	}
}

// locate gives findings in an event their locations, by the path in its data. They
// are in order.
func (e *eventStream) locate(raw []byte, found []Finding) {
	var d eventData
	e.frames.data(raw, &d)
	places := e.scanner.NewPlaces("")
	for _, l := range d.lines {
		at := l.start
		for i := range found {
			f := &found[i]
			if f.Start < at || f.Start >= l.end {
				continue
			}
			places.Write(raw[at:f.Start])
			at = f.Start
			f.Location = e.location + places.Mark(min(f.End, l.end)-f.Start).Path
		}
		places.Write(raw[at:l.end])
		places.Write([]byte{'\n'})
	}
	for i := range found {
		if !slices.ContainsFunc(d.lines, func(l extent) bool { return l.start <= found[i].Start && found[i].Start < l.end }) {
			found[i].Location = e.location
		}
	}
}
