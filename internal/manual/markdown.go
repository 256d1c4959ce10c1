package manual

import (
	"bytes"
	"fmt"
	"html/template"
	"regexp"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/superinstance/keeper/docs"
)

// source is where the files are that the binary does not serve.
const source = "https://github.com/superinstance/keeper/blob/main/docs/"

// statuses begin paragraphs about errors: "404. There is no such …" is no list.
var statuses = regexp.MustCompile(`(?m)^([1-5][0-9]{2})\. `)

// converter writes Markdown as HTML. HTML in the Markdown is left out.
func converter() goldmark.Markdown {
	return goldmark.New(
		goldmark.WithExtensions(
			extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)), // a style would not be allowed
		),
		goldmark.WithParserOptions(parser.WithAutoHeadingID(), parser.WithASTTransformers(util.Prioritized(links{}, 100))),
	)
}

// markdown is a text as HTML. The texts are the project's own; what cannot be written
// is shown as it is.
func markdown(source []byte) template.HTML {
	source = statuses.ReplaceAll(source, []byte(`$1\. `))
	var out bytes.Buffer
	if err := converter().Convert(source, &out, parser.WithContext(parser.NewContext(parser.WithIDs(ids{})))); err != nil {
		return template.HTML(template.HTMLEscapeString(string(source)))
	}
	return template.HTML(reachable.Replace(out.String())) // goldmark escapes what is no Markdown
}

// reachable lets what may be wider than a screen be scrolled by key. These tags are
// goldmark's own: those of a text are left out.
var reachable = strings.NewReplacer(
	"<pre>", `<pre tabindex="0">`,
	"<table>", `<div class="scroller" tabindex="0"><table>`, "</table>", "</table></div>",
)

// ids are those of headings, as GitHub makes them of the same texts.
type ids map[string]bool

// Generate implements parser.IDs.
func (i ids) Generate(heading []byte, _ ast.NodeKind) []byte {
	id := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(string(heading)))
	unique := id
	for n := 1; i[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", id, n)
	}
	i[unique] = true
	return []byte(unique)
}

// Put implements parser.IDs.
func (i ids) Put(id []byte) { i[string(id)] = true }

// prose is a description of the document as HTML.
func prose(source string) template.HTML { return markdown([]byte(source)) }

// unlinked is prose without its links, for places that act on a click themselves.
func unlinked(source string) template.HTML {
	return template.HTML(anchors.ReplaceAllString(string(prose(source)), ""))
}

var anchors = regexp.MustCompile(`</?a\b[^>]*>`)

// linked says whether a description has links.
func linked(source string) bool { return strings.Contains(source, "](") }

// title is the first heading of a text.
func title(source []byte) string {
	for line := range strings.Lines(string(source)) {
		if heading, found := strings.CutPrefix(line, "# "); found {
			return strings.TrimSpace(heading)
		}
	}
	return "Untitled"
}

// links leads references between files to where the binary serves them, or else to the
// project's sources; an image becomes a link, as none is in the binary.
type links struct{}

// Transform implements parser.ASTTransformer.
func (links) Transform(doc *ast.Document, _ text.Reader, _ parser.Context) {
	var images []*ast.Image
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // it fails where the function does
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			n.Destination = []byte(served(string(n.Destination)))
		case *ast.Image:
			images = append(images, n)
		}
		return ast.WalkContinue, nil
	})
	for _, image := range images {
		to := ast.NewLink()
		to.Destination = []byte(served(string(image.Destination)))
		for child := image.FirstChild(); child != nil; child = image.FirstChild() {
			to.AppendChild(to, child)
		}
		image.Parent().ReplaceChild(image.Parent(), image, to)
	}
}

// served is where a reference leads from a page of the manual.
func served(to string) string {
	if to == "" || to[0] == '#' || to[0] == '/' || strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
		return to
	}
	file, fragment, _ := strings.Cut(to, "#")
	if fragment != "" {
		fragment = "#" + fragment
	}
	if f, err := docs.Pages.Open(file); err == nil {
		f.Close()
		return pathOf(file) + fragment
	}
	return source + to
}
