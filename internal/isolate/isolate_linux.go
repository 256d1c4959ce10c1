package isolate

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces are those that the command gets.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// needed are the capabilities, within the namespaces alone, by which they are made
// ready. The command has none.
var needed = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP, unix.CAP_SYS_PTRACE, unix.CAP_SYS_RESOURCE, unix.CAP_DAC_READ_SEARCH}

const control = 3 // the file by which a stage talks to the one before

// Box is an isolation that is ready for its command.
type Box struct {
	// Listener is at an address of the isolation's network, the only one that it has,
	// and is served from outside of it.
	Listener net.Listener

	stage   *exec.Cmd
	control *net.UnixConn
	out     *gob.Encoder
}

// Open makes the namespaces ready. It must be called while this process may be traced
// by its user, since the kernel asks that of who maps users.
//
// Errors: ErrUnsupported, *Error.
func Open(c Config) (*Box, error) {
	if _, known := architectures[runtime.GOARCH]; !known {
		return nil, ErrUnsupported
	}
	ours, theirs, err := pair()
	if err != nil {
		return nil, &Error{Step: "making a socket", Err: err}
	}
	defer theirs.Close()
	b := &Box{control: ours, out: gob.NewEncoder(ours), stage: &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"keeper", Stage, "init"}, Env: []string{},
		Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags:  namespaces,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
			AmbientCaps: needed,
		},
	}}
	if err := b.stage.Start(); err != nil {
		ours.Close()
		return nil, &Error{"making namespaces", err, mend(err)}
	}
	if err := b.prepare(c); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// prepare has the first stage make the namespaces ready, and takes its listener.
func (b *Box) prepare(c Config) error {
	if err := b.out.Encode(settings{c.Hidden, c.Writable, c.Folder}); err != nil {
		return &Error{"making namespaces", err, mend(err)}
	}
	said, socket, err := receive(b.control)
	if err != nil {
		return &Error{"making namespaces", err, mend(err)}
	}
	if said.Step != "" {
		return said.failure()
	}
	if socket == nil {
		return &Error{Step: "making namespaces", Err: errors.New("there is no listener")}
	}
	defer socket.Close()
	b.Listener, err = net.FileListener(socket)
	if err != nil {
		return &Error{Step: "taking the listener", Err: err}
	}
	return nil
}

// settings are what the first stage is told.
type settings struct {
	Hidden, Writable []string
	Folder           string
}

// said is what a stage answers: which step failed, and how, if any.
type said struct {
	Step  string
	Text  string
	Errno int // the system's, if it is one of its errors
}

func failed(step string, err error) said {
	var number syscall.Errno
	errors.As(err, &number)
	return said{step, err.Error(), int(number)}
}

func (s said) failure() error {
	e := &Error{Step: s.Step, Err: errors.New(s.Text)}
	if s.Step != goToFolder && s.Errno != 0 { // a folder needs no namespaces
		e.Mend = mend(syscall.Errno(s.Errno))
	}
	return e
}

// order is what the first stage is told once it is ready: to run the command, then to
// pass on a signal.
type order struct {
	Command *Command
	Signal  int
}

// Start starts the command.
func (b *Box) Start(c Command) error {
	if err := b.out.Encode(order{Command: &c}); err != nil {
		return fmt.Errorf("starting the command: %w", err)
	}
	return nil
}

// Signal passes a signal on to the command.
func (b *Box) Signal(s os.Signal) {
	if n, ok := s.(syscall.Signal); ok {
		_ = b.out.Encode(order{Signal: int(n)}) // the command may have ended meanwhile
	}
}

// Wait waits for the command to end, and with it all that it has started, and returns
// its exit code: 128+n where signal n ended it.
func (b *Box) Wait() (int, error) {
	err := b.stage.Wait()
	if b.stage.ProcessState == nil {
		return 0, fmt.Errorf("waiting for the command: %w", err)
	}
	if status, ok := b.stage.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return b.stage.ProcessState.ExitCode(), nil
}

// Close ends the isolation and all that runs in it. It may be called more than once.
func (b *Box) Close() {
	if b.Listener != nil {
		b.Listener.Close()
	}
	b.control.Close() // at which the first stage ends
	if b.stage.ProcessState == nil {
		_ = b.stage.Process.Kill() // it may have ended meanwhile
		_ = b.stage.Wait()
	}
}

// mend says what an administrator can do about err; "" where that is not known.
func mend(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "this system lets users make no namespaces. An administrator allows it with " +
			"`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu) or `sysctl -w kernel.unprivileged_userns_clone=1` (Debian); " +
			"in a container, its seccomp and AppArmor profiles must allow it"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return "there may be no more namespaces. An administrator allows them with `sysctl -w user.max_user_namespaces=10000`"
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return "it needs Linux 5.14 or later, with namespaces and seccomp"
	case errors.Is(err, unix.EBUSY):
		return "this process runs under a seccomp supervisor itself, of which there can be only one"
	}
	return ""
}

// pair returns two connected sockets, of which theirs is to be inherited.
func pair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs = os.NewFile(uintptr(fds[1]), "control")
	ours, err = connOf(fds[0])
	if err != nil {
		theirs.Close()
	}
	return ours, theirs, err
}

// connOf takes over the file of a unix socket.
func connOf(fd int) (*net.UnixConn, error) {
	file := os.NewFile(uintptr(fd), "control")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("it is no unix socket")
	}
	return unixConn, nil
}

// send says something, with a file where fd is not negative.
func send(conn *net.UnixConn, what said, fd int) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, err = conn.WriteMsgUnix(text, rights, nil)
	return err
}

// receive takes what send sent; the file is nil where none came.
func receive(conn *net.UnixConn) (what said, file *os.File, err error) {
	text, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil {
		return what, nil, err
	}
	if messages, err := unix.ParseSocketControlMessage(rights[:m]); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			unix.CloseOnExec(fds[0])
			file = os.NewFile(uintptr(fds[0]), "received")
		}
	}
	if n == 0 {
		return what, file, errors.New("it ended before it was ready")
	}
	return what, file, json.Unmarshal(text[:n], &what)
}
