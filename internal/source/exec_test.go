package source_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/source"
	"github.com/superinstance/keeper/internal/vault"
)

// helper writes a program of /bin/sh and returns it.
func helper(t *testing.T, script string) source.Helper {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return source.Helper{Command: []string{path}}
}

// asked opens one secret of the helper.
func asked(t *testing.T, h source.Helper, env map[string]string) (to *slot, set *source.Set, log *logBuffer) {
	t.Helper()
	to = newSlot()
	logger, log := newLog()
	c := source.Config{
		Secrets: []source.Spec{{Provider: "openai", Label: "team", From: "exec:h#prod/key", Slot: to}},
		Exec:    map[string]source.Helper{"h": h}, Env: map[string]secret.Value{}, Mask: vault.Mask, Logger: logger,
	}
	for name, value := range env {
		c.Env[name] = secret.New([]byte(value))
	}
	return to, opened(t, c), log
}

func TestHelperIsAskedByTheContract(t *testing.T) {
	folder, value := t.TempDir(), newValue()
	h := helper(t, `cat > "$OUT/question"; env > "$OUT/env"; pwd > "$OUT/folder"
printf '{"value":"%s\\n","origin":"3"}' "$TOKEN"`)
	h.Env = []string{"OUT", "TOKEN", "UNSET"}
	t.Setenv("FROM_THE_TEST", "yes")
	to, _, log := asked(t, h, map[string]string{"OUT": folder, "TOKEN": value, "OTHER": "other"})
	to.wantHeld(t, "the helper's value", value)
	if _, _, origin := to.standing(); origin != "3" {
		t.Errorf("origin: got %q, want 3", origin)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got, want := read("question"), `{"version":1,"get":{"provider":"openai","label":"team","key":"prod/key"}}`+"\n"; got != want {
		t.Errorf("question: got %s, want %s", got, want)
	}
	env := read("env")
	if !strings.Contains(env, "PATH=/usr/local/sbin:") || strings.Contains(env, "FROM_THE_TEST") || strings.Contains(env, "OTHER") || strings.Contains(env, "UNSET") {
		t.Error("environment: got another than PATH and what is named")
	}
	if got := read("folder"); got != "/\n" {
		t.Errorf("folder: got %s, want /", got)
	}
	if log.holds(value) {
		t.Error("the log holds the value")
	}
}

func TestHelperThatFailsIsReportedWithoutAValue(t *testing.T) {
	value := newValue()
	for name, c := range map[string]struct{ script, want, said string }{
		"an error of its own":       {`echo '{"error":"no such secret"}'; exit 1`, "helper h says: no such secret", ""},
		"an error that holds a key": {`echo '{"error":"bad '$TOKEN'"}'`, "helper h says: bad …", ""},
		"an exit code":              {`echo "cannot reach it: $TOKEN" >&2; exit 3`, "helper h failed: exit code 3", `stderr="cannot reach it: …"`},
		"a value and an exit code":  {`echo '{"value":"'$TOKEN'"}'; exit 1`, "helper h failed: exit code 1", ""},
		"a signal":                  {`kill -9 $$`, "helper h failed: it was ended by a signal", ""},
		"no answer":                 {`exit 0`, "helper h failed: its answer is not the one JSON object of the contract", ""},
		"a value that is no JSON":   {`echo $TOKEN`, "helper h failed: its answer is not the one JSON object of the contract", ""},
		"too long an answer":        {`while :; do echo "$TOKEN$TOKEN$TOKEN$TOKEN$TOKEN$TOKEN"; done`, "helper h answered with more than 262144 bytes", ""},
		"no such program behind it": {`exec /nowhere/program`, "helper h failed: exit code 127", "stderr="},
	} {
		t.Run(name, func(t *testing.T) {
			h := helper(t, c.script)
			h.Env = []string{"TOKEN"}
			to, set, log := asked(t, h, map[string]string{"TOKEN": value})
			problem, since, _ := to.standing()
			if problem != c.want || since.IsZero() {
				t.Errorf("problem: got %q since %v, want %q", problem, since, c.want)
			}
			if now := set.Status()[0]; now.Serves || now.Problem != c.want || now.Name != "openai@team" || now.Source != "exec:h#prod/key" {
				t.Errorf("status: got %+v, want that it does not serve, and why", now)
			}
			if log.holds(value) || !log.holds(c.said) {
				t.Errorf("the log holds the value, or lacks %q", c.said)
			}
		})
	}
}

func TestHelperWithoutAnEndIsKilledWithItsChildren(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "alive")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { // its end comes when nobody has it open for writing any more
		f, err := os.Open(pipe)
		if err == nil {
			_, err = io.ReadAll(f)
		}
		ended <- err
	}()
	h := helper(t, `sleep 1000 3>"$PIPE" & sleep 1000`)
	h.Env, h.Timeout = []string{"PIPE"}, 300*time.Millisecond
	to, _, _ := asked(t, h, map[string]string{"PIPE": pipe})
	if problem, _, _ := to.standing(); problem != "helper h did not answer within 300ms" {
		t.Errorf("problem: got %q, want that it did not answer", problem)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("what the helper had started still runs")
	}
}

func TestProgramThatAHelperLeavesBehindIsKilled(t *testing.T) {
	h := helper(t, `sleep 1000 & echo '{"value":"'$TOKEN'"}'`)
	h.Env = []string{"TOKEN"}
	to, _, _ := asked(t, h, map[string]string{"TOKEN": newValue()})
	if problem, _, _ := to.standing(); problem != "helper h failed: it left a program behind that kept its output open" {
		t.Errorf("problem: got %q, want that it left a program behind", problem)
	}
}

func TestManyHelpersRunFourAtATime(t *testing.T) {
	folder := t.TempDir()
	h := helper(t, `cat >/dev/null; : > "$OUT/$$"; ls "$OUT" | wc -l >> "$OUT.counts"; sleep 0.1; rm "$OUT/$$"; echo '{"value":"'$TOKEN'"}'`)
	h.Env = []string{"OUT", "TOKEN"}
	value := newValue()
	logger, _ := newLog()
	c := source.Config{
		Exec: map[string]source.Helper{"h": h}, Logger: logger,
		Env: map[string]secret.Value{"OUT": secret.New([]byte(folder)), "TOKEN": secret.New([]byte(value))},
	}
	var slots []*slot
	for i := range 12 {
		slots = append(slots, newSlot())
		c.Secrets = append(c.Secrets, source.Spec{Provider: fmt.Sprint("p", i), Label: "default", From: "exec:h", Slot: slots[i]})
	}
	opened(t, c)
	for _, one := range slots {
		one.wantHeld(t, "a helper's value", value)
	}
	counts, err := os.ReadFile(folder + ".counts")
	if err != nil {
		t.Fatal(err)
	}
	for _, count := range strings.Fields(string(counts)) {
		if len(count) > 1 || count > "4" {
			t.Errorf("helpers at once: got %s, want 4 at most", count)
		}
	}
}

func TestConfigurationOfAHelperNamesTheMend(t *testing.T) {
	good := helper(t, "exit 0")
	plain := filepath.Join(t.TempDir(), "plain")
	write(t, plain, "text")
	for want, h := range map[string]source.Helper{
		"sources.exec.h.command: want a list that begins with the absolute path": {Command: []string{"helper"}},
		"sources.exec.h.command: " + plain + " is no program":                    {Command: []string{plain}},
		"sources.exec.h.timeout: want between":                                   {Command: good.Command, Timeout: time.Hour},
		"sources.exec.h.env: want names of variables":                            {Command: good.Command, Env: []string{"A=b"}},
	} {
		_, err := source.Open(t.Context(), source.Config{Exec: map[string]source.Helper{"h": h}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAnswerOfAHelper(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		`{"value":"v"}`: "",
		`{"value":"v","expiresAt":"2026-11-29T13:00:00Z","origin":"4"}`: "",
		`{"value":"v","expiresAt":"2026-11-29T12:00:00Z"}`:              "its answer has expired already",
		`{"value":"v","error":"e"}`:                                     "its answer has a value and an error",
		`{"value":""}`:                                                  "its answer has neither a value nor an error",
		`{"gone":true}`:                                                 "its answer says that the secret is gone without an error",
		`{"error":"e","gone":true}`:                                     "e",
		`{"Value":"v"}`:                                                 "its answer is not the one JSON object of the contract",
		`{"value":"v","expires":"2026-11-29T13:00:00Z"}`:                "its answer is not the one JSON object of the contract",
		`{"value":"v","value":"w"}`:                                     "its answer is not the one JSON object of the contract",
		`{"value":"v"} {"value":"w"}`:                                   "its answer is not the one JSON object of the contract",
		`{"value":7}`:                                                   "its answer is not the one JSON object of the contract",
		`["v"]`:                                                         "its answer is not the one JSON object of the contract",
		`{"value":"v","origin":"` + strings.Repeat("9", 65) + `"}`:      "its answer's origin is longer than 64 bytes, or holds control characters",
	} {
		held, _, got := source.ParseAnswer([]byte(text), now)
		if got != want || (want == "") != held.Equal(secret.New([]byte("v"))) {
			t.Errorf("%s: got %q with %d bytes, want %q", text, got, held.Len(), want)
		}
	}
	_, expires, _ := source.ParseAnswer([]byte(`{"value":"v","expiresAt":"2026-11-29T13:00:00Z"}`), now)
	if !expires.Equal(now.Add(time.Hour)) {
		t.Errorf("expiry: got %v, want an hour later", expires)
	}
}

// FuzzAnswerIsAValueOrARefusal: never both and never neither, and a refusal that is
// not the helper's own sentence repeats nothing of the answer.
func FuzzAnswerIsAValueOrARefusal(f *testing.F) {
	for _, seed := range []string{`{"value":"v"}`, `{"error":"e"}`, `{"value":"v","expiresAt":"2026-11-29T13:00:00Z"}`, `{"value":null}`, `null`, `{"value":"\u0000"}`, ``} {
		f.Add([]byte(seed))
	}
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text []byte) {
		held, expires, refused := source.ParseAnswer(text, now)
		if (held.Len() > 0) == (refused != "") {
			t.Fatalf("got %d bytes and %q, want one of the two", held.Len(), refused)
		}
		if !expires.IsZero() && !expires.After(now) {
			t.Fatalf("got a value that expired at %v", expires)
		}
		var own struct{ Error string }
		if refused != "" && !strings.HasPrefix(refused, "its answer") && (json.Unmarshal(text, &own) != nil || own.Error == "") {
			t.Fatalf("got %q, which is no sentence of keeper's", refused)
		}
	})
}

func TestSourceThatIsRequiredMustGiveAValue(t *testing.T) {
	h := helper(t, `echo '{"error":"out of order"}'`)
	logger, _ := newLog()
	c := source.Config{
		Secrets: []source.Spec{{Provider: "openai", Label: "default", From: "exec:h", Slot: newSlot(), Required: true}},
		Exec:    map[string]source.Helper{"h": h}, Mask: vault.Mask, Logger: logger,
	}
	_, err := source.Open(context.Background(), c)
	if want := "secrets[0]: openai@default is required, and exec:h gives no value: helper h says: out of order"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestReferencesThatNameNothingAreRefused(t *testing.T) {
	for from, want := range map[string]string{
		"env:NOT_SET":                  "the variable NOT_SET is not set in keeper's environment",
		"env:":                         "want env:NAME",
		"file:":                        "want env:NAME",
		"exec:none#key":                `it names the helper "none", which sources.exec does not have`,
		"openbao:kv/data/openai#key":   "sources.openbao must say the address",
		"vault:kv/data/openai":         "want env:NAME, file:PATH, openbao:PATH#FIELD or exec:HELPER#KEY",
		newValue():                     "want env:NAME",
		"file:/a\nb":                   "holds control characters",
		"":                             "want env:NAME",
		strings.Repeat("file:/a", 200): "longer than",
	} {
		_, err := source.Open(t.Context(), source.Config{Secrets: []source.Spec{{Provider: "openai", From: from, Slot: newSlot()}}})
		if err == nil || !strings.Contains(err.Error(), "secrets[0].from: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v, want %q", from, err, want)
		} else if strings.HasPrefix(from, "sk-") && strings.Contains(err.Error(), from) {
			t.Error("the error repeats what stands in the place of a reference")
		}
	}
}
