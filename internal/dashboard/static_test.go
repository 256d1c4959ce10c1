package dashboard_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// sources returns the dashboard's own files whose name ends so.
func sources(t *testing.T, ending string) map[string]string {
	t.Helper()
	folder := os.DirFS("static")
	all := map[string]string{}
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(name, "vendor/") || !strings.HasSuffix(name, ending) {
			return err
		}
		content, err := fs.ReadFile(folder, name)
		all[name] = string(content)
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("got %d files that end in %s, error %v", len(all), ending, err)
	}
	return all
}

// What an agent calls itself reaches the page as text. These are the ways in which it
// could become markup or code; the content policy forbids most of them besides.
func TestPagesHaveNoWayToMarkupOrCode(t *testing.T) {
	markup := regexp.MustCompile(`(?i)innerHTML|outerHTML|insertAdjacent|document\.write|createContextualFragment|srcdoc|\beval\(|new Function|javascript:|style=|trustedTypes`)
	for name, text := range sources(t, ".js") {
		if found := markup.FindString(text); found != "" {
			t.Errorf("%s: got %q, want none of it", name, found)
		}
	}
	inline := regexp.MustCompile(`(?i)<script(?:>|[^>]*>[^<])|<style|\son[a-z]+=|\sstyle=`)
	for name, text := range sources(t, ".html") {
		if found := inline.FindString(text); found != "" {
			t.Errorf("%s: got %q, want no inline code or style", name, found)
		}
	}
}

func TestPagesNameOnlyFilesThatAreThere(t *testing.T) {
	inPage := regexp.MustCompile(`(?:src|href)="([^"#]+)"`)
	for name, text := range sources(t, ".html") {
		checkNamed(t, name, text, inPage)
	}
	inModule := regexp.MustCompile(`(?:from|import\() ?"(\.[^"]+)"`)
	for name, text := range sources(t, ".js") {
		checkNamed(t, name, text, inModule)
	}
}

func checkNamed(t *testing.T, name, text string, references *regexp.Regexp) {
	t.Helper()
	for _, found := range references.FindAllStringSubmatch(text, -1) {
		named := path.Join("static", path.Dir(name), found[1])
		if _, err := os.Stat(named); err != nil {
			t.Errorf("%s: %q leads to %s, which is not there", name, found[1], named)
		}
	}
}

func TestStoriesKnowEveryCodeAndEvent(t *testing.T) {
	words := sources(t, "js/lib/events.js")["js/lib/events.js"]
	codes := regexp.MustCompile(`(?m)^## ([a-z_]+)$`)
	for _, code := range codes.FindAllStringSubmatch(read(t, "../../docs/errors.md"), -1) {
		if !regexp.MustCompile(`(?m)^  ` + code[1] + `: "`).MatchString(words) {
			t.Errorf("got no words for the code %s, which docs/errors.md explains", code[1])
		}
	}
	list := regexp.MustCompile(`query:"event" enum:"([^"]+)"`).FindStringSubmatch(read(t, "../api/audit.go"))
	if list == nil {
		t.Fatal("got no list of events in internal/api/audit.go")
	}
	for event := range strings.SplitSeq(list[1], ",") {
		if !strings.Contains(words, `"`+event+`": "`) && !strings.Contains(words, "  "+event+`: "`) {
			t.Errorf("got no words for the event %s", event)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Else the browser learns of them one after the other.
func TestTheFirstViewIsAskedForAtOnce(t *testing.T) {
	scripts, page := sources(t, ".js"), sources(t, ".html")["index.html"]
	static := regexp.MustCompile(`from "(\.[^"]+)"`)
	seen := map[string]bool{}
	var follow func(name string)
	follow = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		if !strings.Contains(page, `"`+name+`"`) {
			t.Errorf("index.html does not preload %s, which it needs", name)
		}
		for _, found := range static.FindAllStringSubmatch(scripts[name], -1) {
			follow(path.Join(path.Dir(name), found[1]))
		}
	}
	follow("js/app.js")
}
