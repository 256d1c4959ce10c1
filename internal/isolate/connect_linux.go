package isolate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Structures of linux/seccomp.h.
type (
	notification struct {
		id    uint64
		pid   uint32 // a thread's
		flags uint32
		data  struct {
			call    int32
			arch    uint32
			pointer uint64
			args    [6]uint64
		}
	}
	response struct {
		id    uint64
		value int64
		errno int32
		flags uint32
	}
	newFile struct {
		id         uint64
		flags      uint32
		source     uint32
		target     uint32
		targetFlag uint32
	}
)

const (
	setFile        = 1 // SECCOMP_ADDFD_FLAG_SETFD
	maxAddressSize = 128
)

// supervise makes the connections that the command asks for. It never lets the kernel
// go on with the command's own call, whose arguments could be changed meanwhile.
//
// Should nobody supervise any more, everything ends: the command would wait forever.
func supervise(listener *os.File) {
	defer os.Exit(exitStage)
	defer runtime.KeepAlive(listener) // its finalizer would close it
	fd := listener.Fd()
	for {
		var n notification
		if _, _, no := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); no != 0 {
			if no == unix.EINTR || no == unix.ENOENT { // who asked was interrupted
				continue
			}
			return
		}
		go func() {
			r := response{id: n.id}
			if err := (request{n, fd}).serve(); err != nil {
				var number unix.Errno
				if !errors.As(err, &number) || number == 0 {
					number = unix.EACCES
				}
				r.errno = -int32(number)
			}
			unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r))) // it may have ended meanwhile
		}()
	}
}

// request is one connection that the command asks for.
type request struct {
	notification
	listener uintptr
}

func (r request) serve() error {
	socket, err := r.socket()
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	address, err := r.address()
	if err != nil {
		return err
	}
	domain, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	if domain != unix.AF_UNIX {
		return connect(socket, address) // the network namespace confines it
	}
	return r.serveUnix(socket, address)
}

// socket is the command's, as a file of this process.
func (r request) socket() (int, error) {
	leader, err := r.leader()
	if err != nil {
		return -1, err
	}
	process, err := unix.PidfdOpen(leader, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(process)
	if err := r.stillThere(); err != nil { // else the number may be another's by now
		return -1, err
	}
	return unix.PidfdGetfd(process, int(int32(r.data.args[0])), 0)
}

// leader is the process of the thread that asks.
func (r request) leader() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "\nTgid:")
	line, _, _ := strings.Cut(rest, "\n")
	return strconv.Atoi(strings.TrimSpace(line))
}

func (r request) stillThere() error {
	id := r.id
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, r.listener, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&id))); no != 0 {
		return no
	}
	return nil
}

// address is the one to connect to, copied once.
func (r request) address() ([]byte, error) {
	size := int(int32(r.data.args[2]))
	if size < 2 || size > maxAddressSize {
		return nil, unix.EINVAL
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", r.pid))
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	address := make([]byte, size)
	if _, err := unix.Pread(int(memory.Fd()), address, int64(r.data.args[1])); err != nil {
		return nil, unix.EFAULT
	}
	return address, r.stillThere()
}

func connect(socket int, address []byte) error {
	_, _, no := unix.Syscall(unix.SYS_CONNECT, uintptr(socket), uintptr(unsafe.Pointer(&address[0])), uintptr(len(address)))
	if no != 0 {
		return no
	}
	return nil
}

// serveUnix connects another socket in the place of the command's, and hands it over
// once it is known that the peer is in this namespace. The command's own would be
// connected for a moment before that.
func (r request) serveUnix(socket int, address []byte) error {
	kind, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return err
	}
	flags, err := r.fileFlags()
	if err != nil {
		return err
	}
	fresh, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|flags&unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fresh)
	if err := r.connectAs(fresh, address); err != nil {
		return err
	}
	peer, err := unix.GetsockoptUcred(fresh, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	if peer.Pid == 0 { // it listens outside of this namespace of processes
		return unix.EACCES
	}
	file := newFile{
		id: r.id, flags: setFile, source: uint32(fresh), target: uint32(r.data.args[0]), targetFlag: uint32(flags & unix.O_CLOEXEC),
	}
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, r.listener, unix.SECCOMP_IOCTL_NOTIF_ADDFD, uintptr(unsafe.Pointer(&file))); no != 0 {
		return no
	}
	return nil
}

// connectAs connects from the command's folder and without capabilities, on a thread
// that is used for nothing else and ends with the goroutine.
func (r request) connectAs(socket int, address []byte) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Chdir(fmt.Sprintf("/proc/%d/cwd", r.pid)); err != nil {
				return err
			}
			if err := dropThread(); err != nil {
				return err
			}
			return connect(socket, address)
		}()
	}()
	return <-done
}

// fileFlags are those of the command's socket, of its file and of its number.
func (r request) fileFlags() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", r.pid, int32(r.data.args[0])))
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), "flags:"); found {
			flags, err := strconv.ParseInt(strings.TrimSpace(value), 8, 64)
			return int(flags), err
		}
	}
	return 0, unix.EBADF
}
