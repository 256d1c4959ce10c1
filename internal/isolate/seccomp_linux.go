package isolate

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// architectures are those whose system calls the filter knows, by Go's name.
var architectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// Offsets in struct seccomp_data (linux/seccomp.h); arguments are little-endian, and
// their low halves are what the kernel takes of an int.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArgs = 16
	x32        = 0x40000000 // of the calls of another ABI on amd64
	typeMask   = 0xf        // of a socket's type, without its flags
)

// program is a filter (BPF); each part of it ends in a return.
type program []unix.SockFilter

func op(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func load(offset uint32) unix.SockFilter { return op(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset) }

func argument(n uint32) unix.SockFilter { return load(offsetArgs + 8*n) }

func answer(k uint32) unix.SockFilter { return op(unix.BPF_RET|unix.BPF_K, k) }

func fail(errno unix.Errno) program {
	return program{answer(unix.SECCOMP_RET_ERRNO | uint32(errno))}
}

// when is the part then where the value that was loaded is k, else goes on.
func when(k uint32, then ...unix.SockFilter) program {
	skip := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(len(then)), K: k}
	return append(program{skip}, then...)
}

func join(parts ...program) (all program) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// socketRule lets sockets be made of the kinds that this isolation holds: those whose
// peers the network namespace confines, and unix sockets that must connect before
// they can send, which is supervised. Sockets to the machine under this one (vsock),
// Bluetooth and the like are outside of every namespace.
func socketRule() program {
	allow := answer(unix.SECCOMP_RET_ALLOW)
	unixTypes := join(
		program{argument(1), op(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, typeMask)},
		when(unix.SOCK_STREAM, allow), when(unix.SOCK_SEQPACKET, allow), fail(unix.EPERM),
	)
	netlink := join(program{argument(2)}, when(unix.NETLINK_ROUTE, allow), fail(unix.EPROTONOSUPPORT))
	return join(
		program{argument(0)},
		when(unix.AF_UNIX, unixTypes...), when(unix.AF_INET, allow), when(unix.AF_INET6, allow),
		when(unix.AF_NETLINK, netlink...), fail(unix.EAFNOSUPPORT),
	)
}

// ioctlRule keeps the command from typing into its terminal, which the user's shell
// would take for the user's words once the command has ended.
func ioctlRule() program {
	refused := answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	return join(program{argument(1)}, when(unix.TIOCSTI, refused), when(unix.TIOCLINUX, refused), program{answer(unix.SECCOMP_RET_ALLOW)})
}

// rules is the whole filter.
func rules(arch uint32) program {
	allow := answer(unix.SECCOMP_RET_ALLOW)
	parts := []program{
		{load(offsetArch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: arch}, answer(unix.SECCOMP_RET_KILL_PROCESS)},
		{load(offsetCall)},
		{{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, Jf: 1, K: x32}, answer(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))},
		when(unix.SYS_CONNECT, answer(unix.SECCOMP_RET_USER_NOTIF)),
		when(unix.SYS_SOCKET, socketRule()...), when(unix.SYS_SOCKETPAIR, socketRule()...),
		when(unix.SYS_IOCTL, ioctlRule()...),
	}
	for _, call := range []uint32{
		unix.SYS_IO_URING_SETUP,                                 // it connects without the call that is supervised
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, // the session's keys are the user's
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, // the usual way to flaws of the kernel
	} {
		parts = append(parts, when(call, fail(unix.ENOSYS)...))
	}
	return join(append(parts, program{allow})...)
}

// filter applies the rules to this thread and what becomes of it. It returns the file
// that tells of connections.
func filter() (int, error) {
	p := rules(architectures[runtime.GOARCH])
	fprog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	fd, _, no := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&fprog)))
	if no != 0 {
		return -1, no
	}
	return int(fd), nil
}
