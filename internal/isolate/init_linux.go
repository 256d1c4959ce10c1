package isolate

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const exitStage = 125 // of a stage that failed, when nobody is there to tell

// Main is a stage: "init", the first process of the namespaces, makes them ready and
// looks after what runs in them; "exec" gives up what the command must not have, and
// becomes it. It returns the exit code.
func Main(args []string) int {
	if len(args) != 1 {
		return exitStage
	}
	switch args[0] {
	case "init":
		return initStage()
	case "exec":
		return execStage()
	}
	return exitStage
}

// step is a part of making the namespaces ready.
type step struct {
	name string
	do   func() error
}

func initStage() int {
	// What the shell or its parents left open is not the command's.
	if err := unix.CloseRange(control+1, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return exitStage
	}
	conn, err := connOf(control)
	if err != nil {
		return exitStage
	}
	ignoreSignals()
	orders := gob.NewDecoder(conn)
	var s settings
	if err := orders.Decode(&s); err != nil {
		return exitStage
	}
	var socket *os.File
	steps := append(s.view(), step{"opening the network", func() (err error) {
		socket, err = network()
		return err
	}})
	for _, next := range steps {
		if err := next.do(); err != nil {
			_ = send(conn, failed(next.name, err), -1) // else it sees the end
			return exitStage
		}
	}
	if err := send(conn, said{}, int(socket.Fd())); err != nil {
		return exitStage
	}
	socket.Close()
	var first order
	if err := orders.Decode(&first); err != nil || first.Command == nil {
		return exitStage
	}
	pid, err := begin(*first.Command)
	if err != nil {
		fmt.Fprintf(os.Stderr, "keeper: isolating the command: %v\n", err)
		return exitStage
	}
	go obey(orders, pid)
	return reap(pid)
}

// ignoreSignals lets the first process live: what the terminal sends it, the command
// gets as well, and what is passed on comes as an order. A signal that is caught, not
// ignored, is as usual again for the command.
func ignoreSignals() {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for range caught {
		}
	}()
}

// obey passes signals on. Once nobody gives orders any more, everything ends: the
// kernel kills all that runs in the namespace with its first process.
func obey(orders *gob.Decoder, pid int) {
	for {
		var next order
		if err := orders.Decode(&next); err != nil {
			os.Exit(exitStage)
		}
		if next.Signal > 0 {
			_ = syscall.Kill(pid, syscall.Signal(next.Signal)) // it may have ended meanwhile
		}
	}
}

// reap waits for every process that is left to the first one, until the command ends.
func reap(command int) int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return exitStage
		case pid == command && status.Signaled():
			return 128 + int(status.Signal())
		case pid == command && status.Exited():
			return status.ExitStatus()
		}
	}
}

// network brings the loopback device up, the only one there is, and listens on it.
func network() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	request := struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{name: [unix.IFNAMSIZ]byte{'l', 'o'}, flags: unix.IFF_UP | unix.IFF_RUNNING}
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); no != 0 {
		return nil, no
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// begin starts the second stage, which becomes the command, and the supervision of
// its connections. It returns the command's process id.
func begin(c Command) (int, error) {
	ours, theirs, err := pair()
	if err != nil {
		return 0, err
	}
	defer ours.Close()
	process, err := os.StartProcess("/proc/self/exe", []string{"keeper", Stage, "exec"}, &os.ProcAttr{
		Env: []string{}, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, theirs},
	})
	theirs.Close()
	if err != nil {
		return 0, err
	}
	if err := gob.NewEncoder(ours).Encode(c); err != nil {
		return 0, err
	}
	what, listener, err := receive(ours)
	if err != nil {
		return 0, err
	}
	if what.Step != "" {
		return 0, what.failure()
	}
	if listener == nil {
		return 0, errors.New("there is nothing to supervise connections by")
	}
	go supervise(listener)
	return process.Pid, nil
}

// execStage becomes the command, on the one thread to which all restrictions apply.
func execStage() int {
	runtime.LockOSThread()
	conn, err := connOf(control)
	if err != nil {
		return exitStage
	}
	var c Command
	if err := gob.NewDecoder(conn).Decode(&c); err != nil {
		return exitStage
	}
	listener := -1
	for _, next := range []step{
		{"giving up capabilities", giveUp},
		{"filtering system calls", func() (err error) { listener, err = filter(); return err }},
		{"keeping files closed", func() error { return unix.CloseRange(control, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) }},
	} {
		if err := next.do(); err != nil {
			_ = send(conn, failed(next.name, err), -1) // else it sees the end
			return exitStage
		}
	}
	if err := send(conn, said{}, listener); err != nil {
		return exitStage
	}
	err = syscall.Exec(c.Path, c.Args, c.Env)
	fmt.Fprintf(os.Stderr, "keeper: running %s: %v\n", c.Args[0], err)
	if errors.Is(err, syscall.ENOENT) {
		return 127
	}
	return 126
}

// giveUp drops every capability, for good, and all ways to gain one.
func giveUp() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) { // a newer kernel's
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	return dropThread()
}

// dropThread leaves the calling thread without capabilities.
func dropThread() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&head, &none[0])
}
