package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/superinstance/keeper/internal/isolate"
)

// process is a command that can be started, signalled and waited for.
type process interface {
	start() error
	signal(os.Signal)
	wait() (code int, err error)
}

// process is the command, isolated or not.
func (r *running) process(path string, args, env []string) process {
	if r.box != nil {
		return &isolated{r.box, isolate.Command{Path: path, Args: args, Env: env}}
	}
	return &plain{&exec.Cmd{Path: path, Args: args, Env: env, Stdin: r.in, Stdout: r.out, Stderr: r.app.err}}
}

type plain struct{ cmd *exec.Cmd }

func (p *plain) start() error {
	if err := p.cmd.Start(); err != nil {
		return &failure{code: exitNotExecutable, message: fmt.Sprintf("running %s: %v", p.cmd.Args[0], err)}
	}
	return nil
}

func (p *plain) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended meanwhile

func (p *plain) wait() (int, error) {
	err := p.cmd.Wait()
	if p.cmd.ProcessState == nil {
		return 0, fmt.Errorf("waiting for %s: %w", p.cmd.Args[0], err)
	}
	return exitCode(p.cmd.ProcessState), nil
}

type isolated struct {
	box     *isolate.Box
	command isolate.Command
}

func (i *isolated) start() error       { return i.box.Start(i.command) }
func (i *isolated) signal(s os.Signal) { i.box.Signal(s) }
func (i *isolated) wait() (int, error) { return i.box.Wait() }

// supervise runs the command, hands signals on to it, and returns its exit code. A
// command that took the terminal leaves it to this process again.
func (r *running) supervise(p process) (int, error) {
	defer keepForeground()()
	if err := p.start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-r.signals:
				if !alreadyDelivered(s) {
					p.signal(s)
				}
			case <-ended:
				return
			}
		}
	}()
	code, err := p.wait()
	close(ended)
	return code, err
}

// box makes the isolation, where one is asked for: never is a command run without it
// that was to have it.
func (a *app) box(f runFlags) (*isolate.Box, error) {
	if !f.isolate {
		return nil, nil
	}
	config, err := a.isolation(f)
	if err != nil {
		return nil, err
	}
	box, err := isolate.Open(config)
	if errors.Is(err, isolate.ErrUnsupported) {
		return nil, &failure{code: exitError, message: fmt.Sprintf("--isolate: %v; run the command in a container or a virtual machine whose network reaches keeper alone", err)}
	}
	if err != nil {
		return nil, fmt.Errorf("--isolate: %w", err)
	}
	return box, nil
}
