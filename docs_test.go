package keeper_test

import (
	"flag"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write llms.txt anew")

// filesOf are the files of the repository with one of the suffixes, but for what is
// not its own.
func filesOf(t *testing.T, suffixes ...string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{"node_modules", ".git", ".keeper", "dist", "out", "testdata", "vendor"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(path, s) }) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func text(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

var (
	fence     = regexp.MustCompile("(?ms)^ *(```|~~~).*?^ *(```|~~~) *$")
	indented  = regexp.MustCompile(`(?m)^(    |\t).*$`)
	spanned   = regexp.MustCompile("`[^`]*`")
	linked    = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	defined   = regexp.MustCompile(`(?m)^\[[^\]]+\]:\s*<?(\S+?)>?\s*$`)
	heading   = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *#*$`)
	named     = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	inSources = regexp.MustCompile(`https://github\.com/superinstance/keeper/(?:blob|tree)/main/[\w./#-]*[\w#]`)
)

// anchors are what can stand behind # in a link to a page, as GitHub makes them of
// its headings.
func anchors(page string) map[string]bool {
	page = fence.ReplaceAllString(page, "")
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		words := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(match[1], "$1")
		slug := strings.ReplaceAll(regexp.MustCompile(`[^\p{L}\p{N}\p{M} _-]`).ReplaceAllString(strings.ToLower(words), ""), " ", "-")
		again := slug
		for n := 1; found[again]; n++ {
			again = fmt.Sprintf("%s-%d", slug, n)
		}
		found[again] = true
	}
	for _, match := range named.FindAllStringSubmatch(page, -1) {
		found[match[1]] = true
	}
	return found
}

// broken says what is wrong with a link of a file; "" where nothing is. Addresses
// elsewhere are not asked.
func broken(t *testing.T, file, target string) string {
	t.Helper()
	target = strings.TrimPrefix(target, "mailto:")
	u, err := url.Parse(target)
	if err != nil {
		return err.Error()
	}
	if rest, own := strings.CutPrefix(target, "https://github.com/superinstance/keeper/blob/main/"); own {
		return broken(t, "README.md", rest)
	}
	if u.Scheme != "" {
		if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
			return "it is no address of the web"
		}
		return ""
	}
	path := file
	if u.Path != "" {
		path = filepath.Join(filepath.Dir(file), u.Path)
	}
	if _, err := os.Stat(path); err != nil || strings.HasPrefix(path, "..") {
		return "there is no such file"
	}
	if u.Fragment != "" && strings.HasSuffix(path, ".md") && !anchors(text(t, path))[u.Fragment] {
		return "there is no such heading"
	}
	return ""
}

func TestLinksOfThePagesLeadSomewhere(t *testing.T) {
	count := 0
	for _, file := range filesOf(t, ".md") {
		page := fence.ReplaceAllString(text(t, file), "")
		page = spanned.ReplaceAllString(indented.ReplaceAllString(page, ""), "code")
		for _, match := range slices.Concat(linked.FindAllStringSubmatch(page, -1), defined.FindAllStringSubmatch(page, -1)) {
			count++
			if wrong := broken(t, file, match[1]); wrong != "" {
				t.Errorf("%s: link to %s: %s", file, match[1], wrong)
			}
		}
	}
	if count < 40 {
		t.Errorf("got %d links, want those of all pages: are they still found?", count)
	}
}

func TestLinksOfTheSourcesToPagesLeadSomewhere(t *testing.T) {
	for _, file := range filesOf(t, ".go", ".yaml", ".yml", ".service", ".txt", ".tpl", ".js", ".ts") {
		for _, target := range inSources.FindAllString(text(t, file), -1) {
			if wrong := broken(t, "README.md", target); wrong != "" && !strings.HasSuffix(file, "docs_test.go") {
				t.Errorf("%s: link to %s: %s", file, target, wrong)
			}
		}
	}
}

func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	got := anchors("# A `code`, and *more*!\n## Twice\n## Twice\n```\n# no heading\n```\n## `--isolate`\n## [Linked](x.md) naïve\n")
	for _, want := range []string{"a-code-and-more", "twice", "twice-1", "--isolate", "linked-naïve"} {
		if !got[want] {
			t.Errorf("got %v, want %s among them", got, want)
		}
	}
	if len(got) != 5 {
		t.Errorf("got %v, want 5", got)
	}
}

// llms is llms.txt as the pages have it: the README's beginning, and each page with
// its own. https://llmstxt.org describes the form.
func llms(t *testing.T) string {
	var out strings.Builder
	title, first := beginning(t, "README.md")
	fmt.Fprintf(&out, "# %s\n\n> %s\n", title, first)
	list := func(heading string, files []string) {
		fmt.Fprintf(&out, "\n## %s\n\n", heading)
		for _, file := range files {
			title, first := beginning(t, file)
			line := fmt.Sprintf("- [%s](https://github.com/superinstance/keeper/blob/main/%s): %s", title, filepath.ToSlash(file), first)
			fmt.Fprintln(&out, strings.TrimSuffix(line, ": "))
		}
	}
	var using []string
	for _, file := range filesOf(t, ".md") {
		if strings.HasPrefix(filepath.ToSlash(file), "docs/") {
			using = append(using, file)
		}
	}
	list("Using keeper", append([]string{"README.md"}, using...))
	list("What it protects, and how it is built", []string{"SECURITY.md", "ARCHITECTURE.md", "CONTRIBUTING.md"})
	list("Optional", []string{"CHANGELOG.md"})
	return out.String()
}

// beginning is the title of a page and the first sentences of its text, in one line
// and without links.
func beginning(t *testing.T, file string) (title, first string) {
	t.Helper()
	page := fence.ReplaceAllString(text(t, file), "")
	if match := heading.FindStringSubmatch(page); match != nil {
		title = match[1]
	}
	for paragraph := range strings.SplitSeq(page, "\n\n") {
		paragraph = strings.TrimRight(paragraph, "\n")
		if strings.TrimSpace(paragraph) == "" || regexp.MustCompile(`^\s*(#|\||- |<|!\[|    )`).MatchString(paragraph) {
			continue
		}
		paragraph = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(paragraph, "$1")
		first = strings.Join(strings.Fields(paragraph), " ")
		break
	}
	if match := regexp.MustCompile(`^.{60,}?[.:](?: |$)`).FindString(first); match != "" {
		first = strings.TrimRight(match, " :")
	}
	return title, first
}

func TestLLMsTxtListsEveryPage(t *testing.T) {
	want := llms(t)
	if *update {
		if err := os.WriteFile("llms.txt", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := text(t, "llms.txt"); got != want {
		t.Errorf("llms.txt is not what the pages say; run `go test . -run LLMsTxt -update`. Got\n%s\nwant\n%s", got, want)
	}
}
