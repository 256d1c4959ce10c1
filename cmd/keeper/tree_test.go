package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// newTree is the tree of commands, with an environment in which there is nothing.
func newTree(t *testing.T, env map[string]string, in string) (a *app, root *cobra.Command) {
	t.Helper()
	a = newApp(strings.NewReader(in), new(bytes.Buffer), new(bytes.Buffer))
	a.env = env
	return a, newRoot(a)
}

// visible calls visit with each command that people are shown.
func visible(cmd *cobra.Command, visit func(*cobra.Command)) {
	if cmd.Hidden || cmd.Name() == "help" {
		return
	}
	visit(cmd)
	for _, below := range cmd.Commands() {
		visible(below, visit)
	}
}

var (
	readFrom  = regexp.MustCompile(`<\s*([\w./-]+)`)
	writtenTo = regexp.MustCompile(`>+\s*\S+`)
)

// callsIn are the arguments of each keeper that a line of shell starts.
func callsIn(t *testing.T, line string) (calls [][]string) {
	t.Helper()
	dir := t.TempDir()
	for _, file := range readFrom.FindAllStringSubmatch(line, -1) {
		if err := os.WriteFile(filepath.Join(dir, file[1]), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Each call is one write, since both ends of a pipe run at once.
	script := "keeper() { c=; for w in \"$@\"; do c=\"$c$w\036\"; done; printf '%s\035' \"$c\" >> calls; }\n" + writtenTo.ReplaceAllString(line, "> /dev/null") + "\n"
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + dir, "SHELL=/bin/sh"} // nothing but keeper can be run
	if text, err := cmd.CombinedOutput(); err != nil && strings.Contains(string(text), "yntax") {
		t.Fatalf("example %q: got %q, want what a shell can run", line, text)
	}
	text, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		return nil
	}
	for call := range strings.SplitSeq(strings.TrimSuffix(string(text), "\035"), "\035") {
		calls = append(calls, strings.Split(strings.TrimSuffix(call, "\036"), "\036"))
	}
	return calls
}

// understood says what is wrong with the arguments of a call; nil where they are right.
func understood(t *testing.T, args []string) error {
	_, root := newTree(t, map[string]string{}, "")
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	given := cmd.Flags().Args()
	if cmd.HasAvailableSubCommands() && len(operands(cmd)) == 0 && !strings.Contains(cmd.Use, "[") && len(given) > 0 {
		return fmt.Errorf("%s has no command %q", cmd.CommandPath(), given[0])
	}
	return cmd.ValidateArgs(given)
}

func TestEveryCommandHasAnExampleThatIsUnderstood(t *testing.T) {
	_, root := newTree(t, map[string]string{}, "")
	visible(root, func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: got no short text or no example, want both", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			calls := callsIn(t, strings.TrimSpace(line))
			own := false
			for _, args := range calls {
				if err := understood(t, args); err != nil {
					t.Errorf("example of %s: keeper %q: got %v, want it understood", cmd.CommandPath(), args, err)
				}
				own = own || strings.HasPrefix("keeper "+strings.Join(args, " ")+" ", cmd.CommandPath()+" ")
			}
			if !own && (len(calls) > 0 || !strings.Contains(line, cmd.CommandPath())) {
				t.Errorf("example of %s: got %q, want one that runs it", cmd.CommandPath(), strings.TrimSpace(line))
			}
		}
	})
}

// sampleOperands are arguments that each command takes in the place of the word.
var sampleOperands = map[string]string{
	"AGENT": "a", "SCOPE": "openai:chat", "PROVIDER[@LABEL]": "openai@a", "PROVIDER[:PERMISSION]": "openai", "JTI|-": "x", "SESSION|all": "x", "KEEPER": "x",
	"FINGERPRINT": "fp_" + strings.Repeat("a", 26), "FINGERPRINT|-": "fp_" + strings.Repeat("a", 26),
	"ID": "1", "REQUEST-ID": "req_1", "OPERATION": "get", "COMMAND": "true", "DIR": ".", "FILE": "-",
}

// sampleFlags are what some commands need beside.
var sampleFlags = map[string][]string{
	"keeper scan allow":              {"--rule", "generic-api-key", "--reason", "a sample", "--for", "1d"},
	"keeper scan":                    {"--remote"},
	"keeper credential-helper print": {"--agent", "a"},
	"keeper credential-helper aws":   {"--agent", "a"},
	"keeper credential-helper git":   {"--agent", "a"},
	"keeper setup":                   {"git", "--agent", "a"},
	"keeper token exchange":          {"--subject-token-file", "-"},
	"keeper backup":                  {"--passphrase-file", "-"},
}

// local are the commands that ask no keeper.
var local = []string{
	"keeper dev", "keeper serve", "keeper demo", "keeper version", "keeper ca trust", "keeper doctor",
	"keeper restore", "keeper migrate status", "keeper migrate-store",
	"keeper providers", "keeper providers ls", "keeper providers explain",
	"keeper completion bash", "keeper completion zsh", "keeper completion fish", "keeper completion powershell",
}

// sampleCall is a call of the command that lacks nothing.
func sampleCall(cmd *cobra.Command) []string {
	args := strings.Fields(cmd.CommandPath())[1:]
	args = append(args, sampleFlags[cmd.CommandPath()]...)
	for _, word := range operands(cmd) {
		args = append(args, sampleOperands[word])
	}
	return args
}

// asksKeeper says whether the command is one that asks a keeper.
func asksKeeper(cmd *cobra.Command) bool {
	group := cmd.HasAvailableSubCommands() && !slices.Contains([]string{"scan", "ca", "cluster"}, cmd.Name())
	return !group && !slices.Contains(local, cmd.CommandPath())
}

// exitsWith runs the command with such arguments, and returns its exit code and what
// it said.
func (s sampleRun) exitsWith(t *testing.T, args []string) (int, string) {
	t.Helper()
	a, root := newTree(t, map[string]string{"HOME": s.home, "KEEPER_URL": s.url, "KEEPER_TOKEN": "a.b.c", "PATH": "/bin:/usr/bin"}, s.in)
	root.SetArgs(args)
	code := a.report(root.Execute())
	return code, a.err.(*bytes.Buffer).String()
}

type sampleRun struct{ home, url, in string }

func TestEveryCommandTellsByItsExitCodeHowKeeperAnswered(t *testing.T) {
	home := t.TempDir()
	if err := writePrivate(filepath.Join(home, ".config", "keeper", "agents", "a.secret"), []byte("a-secret\n")); err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int]int{
		http.StatusInternalServerError: exitError, http.StatusBadRequest: exitError, http.StatusNotFound: exitNotFound, http.StatusUnauthorized: exitUnauthenticated,
		http.StatusForbidden: exitRefused, http.StatusServiceUnavailable: exitUnavailable, http.StatusTooManyRequests: exitUnavailable,
	} {
		keeper := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Keeper-Request-Id", "req_1")
			w.WriteHeader(status)
			fmt.Fprint(w, `{"error":"It is so.","code":"a_code","requestId":"req_1"}`)
		}))
		_, tree := newTree(t, map[string]string{}, "")
		visible(tree, func(cmd *cobra.Command) {
			if !asksKeeper(cmd) {
				return
			}
			in := "a-value-of-no-vendor-71c5b0aa"
			if cmd.Name() == "git" {
				in = "protocol=http\nhost=" + strings.TrimPrefix(keeper.URL, "http://") + "\n\n"
			}
			got, said := sampleRun{home, keeper.URL, in}.exitsWith(t, sampleCall(cmd))
			if got != want {
				t.Errorf("%q when keeper answers %d: got %d (%s), want %d", sampleCall(cmd), status, got, strings.TrimSpace(said), want)
			}
		})
		keeper.Close()
	}
}

func TestEveryCommandTellsThatNoKeeperIsThere(t *testing.T) {
	home := t.TempDir()
	if err := writePrivate(filepath.Join(home, ".config", "keeper", "agents", "a.secret"), []byte("a-secret\n")); err != nil {
		t.Fatal(err)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	_, tree := newTree(t, map[string]string{}, "")
	visible(tree, func(cmd *cobra.Command) {
		if !asksKeeper(cmd) {
			return
		}
		in := "a-value-of-no-vendor-71c5b0aa"
		if cmd.Name() == "git" {
			in = "protocol=http\nhost=" + strings.TrimPrefix(gone.URL, "http://") + "\n\n"
		}
		if got, said := (sampleRun{home, gone.URL, in}).exitsWith(t, sampleCall(cmd)); got != exitUnavailable {
			t.Errorf("%q without a keeper: got %d (%s), want %d", sampleCall(cmd), got, strings.TrimSpace(said), exitUnavailable)
		}
	})
}

func TestEveryCommandRefusesAFlagThatItDoesNotKnow(t *testing.T) {
	_, tree := newTree(t, map[string]string{}, "")
	visible(tree, func(cmd *cobra.Command) {
		args := append(strings.Fields(cmd.CommandPath())[1:], "--nosuch")
		if got, _ := (sampleRun{t.TempDir(), "", ""}).exitsWith(t, args); got != exitUsage {
			t.Errorf("%q: got %d, want %d", args, got, exitUsage)
		}
	})
}
