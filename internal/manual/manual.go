// Package manual is the documentation in the binary: the pages of docs, one for each
// code of an error, and the description of the routes for people. Its one invariant:
// a page is made of the project's own texts alone, and needs no script, no style of its
// own and nothing from elsewhere. It knows nothing of HTTP and imports nothing internal.
package manual

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/superinstance/keeper/docs"
)

// Root is the path below which the pages are.
const Root = "/docs"

//go:embed static
var static embed.FS

//go:embed templates
var templateFiles embed.FS

// Page is a page, or a file that pages need.
type Page struct {
	Type string // media type
	Body []byte
	ETag string
}

// Manual is the pages. They are made when the first one is asked for. It is safe for
// concurrent use.
type Manual struct {
	make func() (map[string]Page, error)
}

// New makes a manual that shows a description of routes in OpenAPI 3.1.
func New(document []byte) *Manual {
	return &Manual{sync.OnceValues(func() (map[string]Page, error) { return render(document) })}
}

// Page returns the page at a path. An error means that this build's texts are broken.
func (m *Manual) Page(at string) (page Page, found bool, err error) {
	pages, err := m.make()
	if err != nil {
		return Page{}, false, err
	}
	page, found = pages[at]
	return page, found, nil
}

// Paths are those of all pages, sorted.
func (m *Manual) Paths() ([]string, error) {
	pages, err := m.make()
	return slices.Sorted(maps.Keys(pages)), err
}

// sheet is what every page has.
type sheet struct {
	Title   string
	Here    string // its path
	Script  string // of the page; empty: none
	Content any
}

// press makes the pages.
type press struct {
	templates *template.Template
	pages     map[string]Page
}

func render(document []byte) (map[string]Page, error) {
	templates, err := template.New("").Funcs(template.FuncMap{"lower": strings.ToLower, "prose": prose, "unlinked": unlinked, "linked": linked, "shown": shown}).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("reading the manual's templates: %w", err)
	}
	p := &press{templates, map[string]Page{}}
	for _, step := range []func() error{
		p.files, p.articles, p.errors, func() error { return p.reference(document) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("making the manual: %w", err)
		}
	}
	return p.pages, nil
}

func (p *press) put(at, mediaType string, body []byte) {
	digest := sha256.Sum256(body)
	p.pages[at] = Page{mediaType, body, `"` + base64.RawURLEncoding.EncodeToString(digest[:12]) + `"`}
}

func (p *press) print(name string, s sheet) error {
	var out bytes.Buffer
	if err := p.templates.ExecuteTemplate(&out, name, s); err != nil {
		return fmt.Errorf("%s: %w", s.Here, err)
	}
	p.put(s.Here, "text/html; charset=utf-8", out.Bytes())
	return nil
}

var fileTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func (p *press) files() error {
	entries, err := fs.ReadDir(static, "static")
	for _, e := range entries {
		text, err := static.ReadFile("static/" + e.Name())
		if err != nil {
			return err
		}
		p.put(Root+"/"+e.Name(), fileTypes[path.Ext(e.Name())], text)
	}
	return err
}

// link is a page in a list.
type link struct{ Title, Path, About string }

// contents is the order in which pages are listed, and what each is about. One that it
// lacks comes last.
var contents = []struct{ file, about string }{
	{"quickstart.md", "The first call, for each client."},
	{"install.md", "Packages, containers, Kubernetes, and a hardened service."},
	{"run.md", "One command whose calls go through keeper."},
	{"setup.md", "Claude Code, git and other tools, pointed at keeper for good."},
	{"clients.md", "Which clients work, and how far."},
	{"proxy.md", "Clients that know no base URL."},
	{"streams.md", "Calls whose messages go both ways."},
	{"dashboard.md", "Signing in, what each page is for, and its limits."},
	{"operations.md", "Backup, upgrade, rotation, and what to do in trouble."},
	{"monitoring.md", "Figures, alerts, traces and probes."},
	{"configuration.md", "Every setting."},
	{"cli.md", "Every command."},
	{"errors.md", "Every error code, and what to do about it."},
	{"oidc.md", "CI jobs and pods that prove themselves by what they have."},
	{"secret-helpers.md", "Secrets that another program keeps."},
	{"scale.md", "What one keeper and one database carry, and where the walls are."},
	{"audit-format.md", "For whoever verifies the log with a program of his own."},
}

// articles are the pages of docs, and the list of them.
func (p *press) articles() error {
	names, err := fs.Glob(docs.Pages, "*.md")
	if err != nil {
		return err
	}
	place := func(name string) int {
		i := slices.IndexFunc(contents, func(one struct{ file, about string }) bool { return one.file == name })
		return cmp.Or(i+1, len(contents)+1) - 1
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	var list []link
	for _, name := range names {
		text, err := docs.Pages.ReadFile(name)
		if err != nil {
			return err
		}
		one := link{Title: title(text), Path: pathOf(name)}
		if i := place(name); i < len(contents) {
			one.About = contents[i].about
		}
		list = append(list, one)
		if err := p.print("article.html", sheet{Title: one.Title, Here: one.Path, Content: markdown(text)}); err != nil {
			return err
		}
	}
	list = append(list, link{Title: "The HTTP API", Path: Root + "/api", About: "Every route with its fields, examples and errors."})
	return p.print("index.html", sheet{Title: "Documentation", Here: Root, Content: list})
}

// pathOf is where a file of docs is served.
func pathOf(file string) string { return Root + "/" + strings.TrimSuffix(file, ".md") }

// errors are a page for each code: what the page of all says of it.
func (p *press) errors() error {
	text, err := docs.Pages.ReadFile("errors.md")
	if err != nil {
		return err
	}
	for code, section := range Codes(text) {
		s := sheet{Title: code, Here: Root + "/errors/" + code, Content: markdown(bytes.ReplaceAll(section, []byte("](#"), []byte("](errors.md#")))}
		if err := p.print("error.html", s); err != nil {
			return err
		}
	}
	return nil
}

// Codes are the sections of a page that are headed by a code ("## not_found"), by it.
func Codes(page []byte) map[string][]byte {
	sections := map[string][]byte{}
	for _, section := range strings.Split("\n"+string(page), "\n## ")[1:] {
		code, text, _ := strings.Cut(section, "\n")
		text, _, _ = strings.Cut(text, "\n# ") // the next chapter
		sections[strings.TrimSpace(code)] = []byte(strings.TrimSpace(text) + "\n")
	}
	return sections
}
