package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/secret"
)

const (
	defaultHelperTimeout = 10 * time.Second
	maxHelperTimeout     = 5 * time.Minute
	maxHelpers           = 4 // that run at once
	maxSaidBytes         = 4 << 10
	maxShownBytes        = 300
	helperPath           = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	pipeDelay            = time.Second // for what a helper left behind to close its output
)

// Helper is a program that knows secrets. docs/secret-helpers.md is its contract.
type Helper struct {
	Command []string      // the program, by its absolute path, and its arguments
	Timeout time.Duration // zero: 10 s
	Env     []string      // names of the variables that it is given, beside PATH
}

// checkHelpers names what is wrong with Config.Exec.
func (c Config) checkHelpers() error {
	for _, name := range slices.Sorted(maps.Keys(c.Exec)) {
		if err := c.Exec[name].check(); err != nil {
			return fmt.Errorf("sources.exec.%s.%w", name, err)
		}
	}
	return nil
}

func (h Helper) check() error {
	if len(h.Command) == 0 || !filepath.IsAbs(h.Command[0]) {
		return errors.New("command: want a list that begins with the absolute path of a program; there is no shell that would find it")
	}
	if h.Timeout < 0 || h.Timeout > maxHelperTimeout {
		return fmt.Errorf("timeout: want between 0s and %s", maxHelperTimeout)
	}
	for _, name := range h.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return errors.New("env: want names of variables, without their values")
		}
	}
	info, err := os.Stat(h.Command[0])
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("command: %s is no program that can be run", h.Command[0])
	}
	return nil
}

// environment is what the helper is given: PATH, and what it names.
func (c Config) environment(h Helper) map[string]secret.Value {
	env := map[string]secret.Value{"PATH": secret.New([]byte(helperPath))}
	for _, name := range h.Env {
		if held, found := c.Env[name]; found {
			env[name] = held
		}
	}
	return env
}

// program is a secret that a helper is asked for.
type program struct {
	name    string // in the configuration
	helper  Helper
	env     map[string]secret.Value
	ask     []byte
	running chan struct{} // holds one for each helper that runs
	mask    func(string) string
	logger  *slog.Logger
}

func (p *program) timeout() time.Duration {
	if p.helper.Timeout > 0 {
		return p.helper.Timeout
	}
	return defaultHelperTimeout
}

func (p *program) fetch(ctx context.Context) (value, error) {
	select {
	case p.running <- struct{}{}:
		defer func() { <-p.running }()
	case <-ctx.Done():
		return value{}, problemf("helper %s was not asked: %d others take their time", p.name, maxHelpers)
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	out, said := &capped{limit: maxAnswerBytes, over: cancel}, &capped{limit: maxSaidBytes}
	defer func() { clear(out.text); clear(said.text) }()
	err := p.run(ctx, out, said)
	if out.full {
		return value{}, problemf("helper %s answered with more than %d bytes", p.name, maxAnswerBytes)
	}
	if ctx.Err() != nil {
		return value{}, problemf("helper %s did not answer within %s", p.name, p.timeout())
	}
	v, answered := parseAnswer(out.text, time.Now())
	switch {
	case answered == nil && err == nil:
		v.origin = p.shown([]byte(v.origin))
		return v, nil
	case answered == nil || !answered.own: // its exit code says more than half an answer
		p.repeat(ctx, said.text)
		return value{}, problemf("helper %s failed: %s", p.name, p.outcome(err, answered))
	}
	sentence := cmp.Or(p.shown([]byte(answered.sentence)), "(not shown)")
	return value{}, &problem{sentence: fmt.Sprintf("helper %s says: %s", p.name, sentence), gone: answered.gone}
}

// run runs the helper to its end, and what it started with it.
func (p *program) run(ctx context.Context, out, said *capped) error {
	cmd := exec.CommandContext(ctx, p.helper.Command[0], p.helper.Command[1:]...)
	cmd.Dir = string(filepath.Separator)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(p.ask), out, said
	cmd.WaitDelay = pipeDelay
	cmd.Env = make([]string, 0, len(p.env))
	for name, held := range p.env {
		cmd.Env = append(cmd.Env, name+"="+string(held.Expose()))
	}
	group(cmd)
	err := cmd.Run()
	if cmd.Process != nil && (ctx.Err() != nil || errors.Is(err, exec.ErrWaitDelay)) {
		killGroup(cmd.Process) // what it left behind has its output open
	}
	return err
}

// outcome says how the helper ended, without a word of its own.
func (p *program) outcome(err error, answered *refusal) string {
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return fmt.Sprintf("exit code %d", exit.ExitCode())
	case errors.As(err, &exit):
		return "it was ended by a signal"
	case errors.Is(err, exec.ErrWaitDelay):
		return "it left a program behind that kept its output open"
	case err != nil:
		return "it could not be started"
	}
	return answered.sentence
}

// repeat logs what the helper wrote to standard error, as much of it as cannot be a
// secret.
func (p *program) repeat(ctx context.Context, said []byte) {
	if text := p.shown(said); text != "" {
		p.logger.WarnContext(ctx, "helper of a secret failed", "helper", p.name, "stderr", text)
	}
}

// shown is a helper's text on one line, short, and with what could be a secret
// masked.
func (p *program) shown(text []byte) string {
	if p.mask == nil || len(text) == 0 {
		return ""
	}
	line := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(text), "?"), func(r rune) bool { return r == ' ' || isControl(r) }), " ")
	line = p.mask(line)
	if len(line) > maxShownBytes {
		line = strings.ToValidUTF8(line[:maxShownBytes], "") + "…"
	}
	return line
}

// capped keeps the beginning of what is written to it.
type capped struct {
	text  []byte
	limit int
	full  bool
	over  func() // called when there is more; may be nil
}

// Write never fails, so that the program is not kept from ending.
func (c *capped) Write(b []byte) (int, error) {
	take := min(len(b), c.limit-len(c.text))
	c.text = append(c.text, b[:take]...)
	if take < len(b) && !c.full {
		c.full = true
		if c.over != nil {
			c.over()
		}
	}
	return len(b), nil
}
