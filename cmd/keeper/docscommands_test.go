package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// words takes a line of shell apart into its simple commands: what stands between
// pipes, semicolons and the like, word by word, without quotes, comments and
// redirections. What stands in $( ) is a command of its own.
func words(line string) (commands [][]string) {
	for _, inner := range regexp.MustCompile(`\$\(([^()]*)\)`).FindAllStringSubmatch(line, -1) {
		commands = append(commands, words(inner[1])...)
	}
	var current []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	endWord := func() {
		if inWord {
			current = append(current, word.String())
		}
		word.Reset()
		inWord = false
	}
	endCommand := func() {
		endWord()
		if len(current) > 0 {
			commands = append(commands, current)
		}
		current = nil
	}
	for i, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == '#' && !inWord && (i == 0 || line[i-1] == ' '):
			endCommand()
			return commands
		case r == ' ' || r == '\t':
			endWord()
		case strings.ContainsRune("|;&()", r):
			endCommand()
		default:
			inWord = true
			word.WriteRune(r)
		}
	}
	endCommand()
	return commands
}

var (
	assignment  = regexp.MustCompile(`^[A-Za-z_]\w*=`)
	redirection = regexp.MustCompile(`^\d*(>>?|<)(.*)$`)
)

// keeperCall returns the arguments of a simple command that starts keeper, by itself
// or, by its whole path, through another program such as docker exec.
func keeperCall(command []string) (args []string, ok bool) {
	for len(command) > 0 && (assignment.MatchString(command[0]) || slices.Contains([]string{"sudo", "exec", "!", "do", "then"}, command[0])) {
		command = command[1:]
	}
	for i, word := range command {
		if (i == 0 && word == "keeper") || word == "bin/keeper" || word == "/usr/bin/keeper" {
			return withoutRedirections(command[i+1:]), true
		}
	}
	return nil, false
}

func withoutRedirections(args []string) (kept []string) {
	for i := 0; i < len(args); i++ {
		match := redirection.FindStringSubmatch(args[i])
		switch {
		case match == nil:
			kept = append(kept, args[i])
		case match[2] == "":
			i++ // the file is the next word
		}
	}
	return kept
}

// accepts says what keeper finds wrong with the arguments, which it is not started with.
func accepts(args []string) error {
	root := newRoot(newApp(strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer)))
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.HasAvailableSubCommands() && cmd.Name() == "keeper" && len(cmd.Flags().Args()) > 0 {
		return fmt.Errorf("there is no command %q", cmd.Flags().Args()[0])
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// shellLines are the lines of a page that its readers would type: those of ```sh
// blocks, and those that are indented as code.
func shellLines(page string) (lines []string) {
	page = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(page, " ")
	inside := ""
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		if language, fence := strings.CutPrefix(strings.TrimSpace(line), "```"); fence {
			if inside != "" {
				inside = ""
			} else {
				inside = "```" + language
			}
			continue
		}
		if inside == "```sh" || inside == "```console" || (inside == "" && strings.HasPrefix(line, "    ")) {
			lines = append(lines, strings.TrimPrefix(strings.TrimSpace(line), "$ "))
		}
	}
	return lines
}

func TestCommandsOfThePagesAreKeepers(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, "../../README.md", "../../SECURITY.md", "../../CONTRIBUTING.md")
	count := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range shellLines(string(text)) {
			for _, command := range words(line) {
				args, ok := keeperCall(command)
				if !ok {
					continue
				}
				count++
				if err := accepts(args); err != nil {
					t.Errorf("%s: %q: %v", filepath.Base(page), line, err)
				}
			}
		}
	}
	if count < 40 {
		t.Errorf("got %d commands, want those of all pages: are they still found?", count)
	}
}

func TestCommandsAreFoundInShell(t *testing.T) {
	for line, want := range map[string]string{
		`make build && bin/keeper dev      # comment`:                    "dev",
		`A=b sudo keeper secret set x --file - < key | jq`:               "secret set x --file -",
		`docker exec -it keeper /usr/bin/keeper status`:                  "status",
		`T="$(keeper token issue 'a b')"`:                                "token issue a b",
		`git clone x && cd keeper; systemctl start keeper`:               "none",
		`echo keeper dev | tee out`:                                      "none",
		`keeper agent add coder --json | keeper setup claude --agent c `: "agent add coder --json+setup claude --agent c",
	} {
		var calls []string
		for _, command := range words(line) {
			if args, ok := keeperCall(command); ok {
				calls = append(calls, strings.Join(args, " "))
			}
		}
		if got := firstOf(strings.Join(calls, "+"), "none"); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
	for _, wrong := range [][]string{{"agnet"}, {"agent", "add", "x", "--scope"}, {"status", "extra"}} {
		if err := accepts(wrong); err == nil {
			t.Errorf("keeper %v: got it accepted, want an error", wrong)
		}
	}
}
