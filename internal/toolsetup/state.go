package toolsetup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/rogpeppe/go-internal/lockedfile"
)

// State is the folder in which it is kept what was set up, with what was there
// before. Its files are the user's alone, as they repeat files of his.
type State string

// record is what was done for one tool.
type record struct {
	Tool    string   `json:"tool"`
	Agent   string   `json:"agent"`
	URL     string   `json:"url"`
	Files   []done   `json:"files"`
	Folders []string `json:"folders,omitempty"` // that were made, the uppermost first
}

// done is one file that was edited.
type done struct {
	Edit    Edit   `json:"edit"`
	Existed bool   `json:"existed"`
	Before  []byte `json:"before,omitempty"`
	After   string `json:"after"` // SHA-256
	Was     string `json:"was"`   // SHA-256 of what was replaced, itself of an earlier setup maybe
}

// Plan is what is to be done to files, of which nothing is done yet.
type Plan struct {
	Changes []Change
	state   State
	tool    string
	files   []*file
	next    *record // nil: the tool is not set up after it
	folders []string
}

// Change is a file that the plan changes.
type Change struct {
	Path   string `json:"path"`
	Action string `json:"action"` // create, change or remove
	before []byte
	after  []byte
}

// Diff is the change in the unified format.
func (c Change) Diff() []byte {
	from, to := c.Path, c.Path
	switch c.Action {
	case "create":
		from = "/dev/null"
	case "remove":
		to = "/dev/null"
	}
	return diff.Diff(from, c.before, to, c.after)
}

// Status says whether a tool is set up.
type Status struct {
	SetUp   bool   `json:"setUp"`
	Agent   string `json:"agent,omitempty"`
	URL     string `json:"url,omitempty"`
	Changed bool   `json:"changed,omitempty"` // by others, since
}

// Status of the tool.
func (s State) Status(tool string) (Status, error) {
	r, err := s.load(tool)
	if err != nil || r == nil {
		return Status{}, err
	}
	status := Status{SetUp: true, Agent: r.Agent, URL: r.URL}
	for _, d := range r.Files {
		f, err := open(d.Edit.Path, d.Edit.Root)
		if err != nil || !f.onDisk || hash(f.disk) != d.After {
			status.Changed = true
		}
	}
	return status, nil
}

// Setup plans to set the tool up for the site, in place of how it was set up
// before.
func (s State) Setup(t Tool, site Site) (*Plan, error) {
	if err := site.check(); err != nil {
		return nil, err
	}
	edits, err := t.edits(site)
	if err != nil {
		return nil, err
	}
	p, err := s.Undo(t.Name)
	if err != nil {
		return nil, err
	}
	p.next = &record{Tool: t.Name, Agent: site.Agent, URL: site.URL, Folders: p.folders}
	for _, e := range edits {
		f, err := p.open(e)
		if err != nil {
			return nil, err
		}
		d := done{Edit: e, Existed: f.exists, Before: f.now}
		after, err := e.apply(f.now)
		if err != nil {
			return nil, fmt.Errorf("editing %s: %w", e.Path, err)
		}
		if !f.onDisk {
			f.mode = e.Mode
		}
		f.now, f.exists, d.After, d.Was = after, true, hash(after), hash(f.disk)
		p.next.Files = append(p.next.Files, d)
	}
	p.summarise()
	return p, nil
}

// Undo plans to put back what was there before the tool was set up. In files
// that others changed since, it takes back what was written and nothing else.
func (s State) Undo(tool string) (*Plan, error) {
	p := &Plan{state: s, tool: tool}
	r, err := s.load(tool)
	if err != nil || r == nil {
		return p, err
	}
	p.folders = r.Folders
	for _, d := range slices.Backward(r.Files) {
		f, err := p.open(d.Edit)
		if err != nil {
			return nil, err
		}
		if err := f.undo(d); err != nil {
			return nil, fmt.Errorf("undoing %s, which others have changed since: %w", d.Edit.Path, err)
		}
	}
	p.summarise()
	return p, nil
}

func (f *file) undo(d done) error {
	switch {
	case !f.exists, d.Existed && bytes.Equal(f.now, d.Before):
		return nil
	case hash(f.now) == d.After, hash(f.now) == d.Was: // the latter where writing it failed
		f.now, f.exists = d.Before, d.Existed
		return nil
	}
	now, err := d.Edit.revert(f.now, d.Before)
	if err != nil {
		return err
	}
	f.now = now
	if rest := string(bytes.TrimSpace(now)); !d.Existed && (rest == "" || rest == "{}") {
		f.now, f.exists = nil, false
	}
	return nil
}

// open is the file of an edit as the plan has it so far.
func (p *Plan) open(e Edit) (*file, error) {
	f, err := open(e.Path, e.Root)
	if err != nil {
		return nil, err
	}
	for _, known := range p.files {
		if known.target == f.target {
			return known, nil
		}
	}
	p.files = append(p.files, f)
	return f, nil
}

func (p *Plan) summarise() {
	p.Changes = nil
	for _, f := range p.files {
		c := Change{Path: f.path, Action: "change", before: f.disk, after: f.now}
		switch {
		case f.exists == f.onDisk && bytes.Equal(f.now, f.disk):
			continue
		case !f.onDisk:
			c.Action = "create"
		case !f.exists:
			c.Action = "remove"
		}
		p.Changes = append(p.Changes, c)
	}
}

// Do carries the plan out. What it did before an error stays on record, so that
// it can be undone.
func (p *Plan) Do() error {
	if p.next == nil && len(p.files) == 0 {
		return nil // it was not set up
	}
	if _, err := makeFolders(string(p.state)); err != nil {
		return err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(string(p.state), "lock")).Lock()
	if err != nil {
		return fmt.Errorf("locking %s: %w", p.state, err)
	}
	defer unlock()
	for _, f := range p.files { // before the first of them is written
		if err := f.unchanged(); err != nil {
			return err
		}
	}
	if p.next != nil {
		if err := p.makeFolders(); err != nil {
			return err
		}
		if err := p.state.save(p.next); err != nil {
			return err
		}
	}
	for _, f := range p.files {
		if f.exists == f.onDisk && bytes.Equal(f.now, f.disk) {
			continue
		}
		if err := f.write(); err != nil {
			return err
		}
	}
	if p.next == nil {
		return p.forget()
	}
	return nil
}

func (p *Plan) makeFolders() error {
	for _, f := range p.files {
		if !f.exists {
			continue
		}
		made, err := makeFolders(filepath.Dir(f.target))
		if err != nil {
			return err
		}
		p.next.Folders = append(p.next.Folders, made...)
	}
	return nil
}

// forget removes the record, and the folders that were made and are empty.
func (p *Plan) forget() error {
	for _, folder := range slices.Backward(p.folders) {
		_ = os.Remove(folder) // one that others use stays
	}
	err := os.Remove(p.state.file(p.tool))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the record of what was set up: %w", err)
	}
	return nil
}

func (s State) file(tool string) string { return filepath.Join(string(s), tool+".json") }

// load returns the record of the tool, nil where it is not set up.
func (s State) load(tool string) (*record, error) {
	text, err := read(s.file(tool), maxRecordBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was set up: %w", err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil || r.Tool != tool {
		return nil, fmt.Errorf("reading what was set up: %s is damaged", s.file(tool))
	}
	return &r, nil
}

func (s State) save(r *record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("recording what is set up: %w", err)
	}
	if err := replace(s.file(r.Tool), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("recording what is set up: %w", err)
	}
	return nil
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
