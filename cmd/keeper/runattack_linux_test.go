package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// targets are what stands outside of an isolated command, and tells it so.
type targets struct {
	TCP, TCP6, Here, UDP string // addresses; Here is on none of the loopback's
	Stream, Packets      string // unix sockets' paths
	Datagrams, Abstract  string
	Swapped              string   // leads now to Stream, now elsewhere
	Secrets              []string // files that are hidden
	Pid                  int      // of a process, the second that runs in the background
	Canary               string   // is in Secrets, and in that process's environment
}

const outside = "outside"

// outsideTargets FILE SECRET...: opens everything that an isolated command must not
// reach, and writes what it is into FILE.
func outsideTargets(ts *testscript.TestScript, _ bool, args []string) {
	t := targets{Secrets: args[1:], Pid: ts.BackgroundCmds()[1].Process.Pid, Canary: ts.Getenv("CANARY")}
	greet := func(network, address string) string {
		l, err := net.Listen(network, address)
		if err != nil && network == "tcp6" {
			return "" // a machine without it
		}
		ts.Check(err)
		ts.Defer(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(conn, outside+"\n")
				conn.Close()
			}
		}()
		return l.Addr().String()
	}
	folder := ts.MkAbs("sockets")
	ts.Check(os.MkdirAll(folder, 0o777))
	t.TCP, t.TCP6 = greet("tcp4", "127.0.0.1:0"), greet("tcp6", "[::1]:0")
	t.Here = greet("tcp4", net.JoinHostPort(ownAddress(), "0"))
	t.Stream, t.Packets = greet("unix", filepath.Join(folder, "s")), greet("unixpacket", filepath.Join(folder, "p"))
	t.Abstract = greet("unix", fmt.Sprintf("@keeper-test-%d", t.Pid))
	t.Swapped, t.Datagrams = filepath.Join(folder, "w"), filepath.Join(folder, "d")
	for _, path := range []string{t.Stream, t.Packets} {
		ts.Check(os.Chmod(path, 0o777))
	}
	for network, address := range map[string]string{"udp4": "127.0.0.1:0", "unixgram": t.Datagrams} {
		conn, err := net.ListenPacket(network, address)
		ts.Check(err)
		ts.Defer(func() { conn.Close() })
		if network == "udp4" {
			t.UDP = conn.LocalAddr().String()
		}
		go func() {
			buf := make([]byte, 16)
			for {
				_, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				conn.WriteTo([]byte(outside+"\n"), from)
			}
		}()
	}
	ts.Check(os.Chmod(t.Datagrams, 0o777))
	text, err := json.Marshal(t)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o644))
}

// ownAddress is one of this machine's that is not the loopback's; the loopback's
// second where it has no other.
func ownAddress() string {
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	return "127.0.0.2"
}

// as UID PROGRAM...: runs a program as another user, to whom the script's files but
// keeper's then belong; as the same user where there is no right to choose.
func asUser(ts *testscript.TestScript, _ bool, args []string) {
	uid, err := strconv.Atoi(args[0])
	ts.Check(err)
	path, err := lookIn(ts.Getenv("PATH"), args[1])
	ts.Check(err)
	cmd := &exec.Cmd{Path: path, Args: args[1:], Dir: ts.MkAbs("."), Env: environment(ts), Stdout: ts.Stdout(), Stderr: ts.Stderr()}
	if os.Getuid() == 0 {
		open(ts, path)
		open(ts, ts.MkAbs("."))
		ts.Check(filepath.WalkDir(ts.Getenv("WORK"), func(path string, entry os.DirEntry, err error) error {
			if entry != nil && entry.Name() == "keeper" {
				return filepath.SkipDir
			}
			return errors.Join(err, os.Lchown(path, uid, uid))
		}))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	if err := cmd.Run(); err != nil {
		ts.Fatalf("%s as user %d: %v", args[1], uid, err)
	}
}

func lookIn(path, name string) (string, error) {
	for _, folder := range filepath.SplitList(path) {
		if file := filepath.Join(folder, name); unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
	}
	return "", exec.ErrNotFound
}

// open lets every user reach a path.
func open(ts *testscript.TestScript, path string) {
	for ; strings.HasPrefix(path, os.TempDir()+"/"); path = filepath.Dir(path) {
		info, err := os.Stat(path)
		ts.Check(err)
		ts.Check(os.Chmod(path, info.Mode()|0o055))
	}
}

func environment(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "WORK", "CANARY", "KEEPER_URL", "KEEPER_ADMIN_TOKEN_FILE", "KEEPER_DATA", "XDG_STATE_HOME"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// attack FILE [all]: the program of an enemy, who says "reached" of all that he
// reaches. What could harm the machine is tried with "all" alone.
func attack() {
	var t targets
	text, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		fmt.Println("reached nothing, since it failed:", err)
		os.Exit(1)
	}
	reached := 0
	all := [][]try{network(t), sockets(t), secrets(t), processes(t)}
	if len(os.Args) > 2 && os.Args[2] == "all" {
		all = append(all, system(), powers(t))
	}
	for _, tries := range all {
		for _, next := range tries {
			if next.do() {
				reached++
				fmt.Println("reached", next.what)
			}
		}
	}
	fmt.Println("done", reached)
}

type try struct {
	what string
	do   func() bool
}

func dial(network, address string) func() bool {
	return func() bool {
		if address == "" {
			return false
		}
		conn, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		if strings.HasSuffix(network, "gram") || network == "udp" {
			io.WriteString(conn, "?")
		}
		conn.SetDeadline(time.Now().Add(time.Second))
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return line == outside+"\n"
	}
}

func network(t targets) []try {
	raw := func(family, kind, protocol int) func() bool {
		return func() bool {
			fd, err := unix.Socket(family, kind, protocol)
			if err == nil {
				unix.Close(fd)
			}
			return err == nil
		}
	}
	return []try{
		{"tcp", dial("tcp", t.TCP)}, {"tcp6", dial("tcp", t.TCP6)}, {"tcp on another address", dial("tcp", t.Here)}, {"udp", dial("udp", t.UDP)},
		{"the internet", func() bool { return dial("tcp", "192.0.2.1:443")() || routes() }},
		{"raw sockets", raw(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)}, {"packet sockets", raw(unix.AF_PACKET, unix.SOCK_RAW, 0)},
		{"the machine under this one", raw(unix.AF_VSOCK, unix.SOCK_STREAM, 0)}, {"the audit socket", raw(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT)},
	}
}

// routes reports whether any network beside the loopback's is there.
func routes() bool {
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			return true
		}
	}
	return false
}

func sockets(t targets) []try {
	return []try{
		{"a unix socket", dial("unix", t.Stream)}, {"a packet socket", dial("unixpacket", t.Packets)}, {"an abstract socket", dial("unix", t.Abstract)},
		{"a unix socket by a relative path", func() bool {
			back, _ := os.Getwd()
			defer os.Chdir(back)
			return os.Chdir(filepath.Dir(t.Stream)) == nil && dial("unix", filepath.Base(t.Stream))()
		}},
		{"a datagram socket", func() bool {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
			return err == nil && unix.Sendto(fd, []byte("?"), 0, &unix.SockaddrUnix{Name: t.Datagrams}) == nil
		}},
		{"a datagram socket by a pair", func() bool {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
			return err == nil && unix.Sendto(pair[0], []byte("?"), 0, &unix.SockaddrUnix{Name: t.Datagrams}) == nil
		}},
		{"a unix socket by a swapped name", func() bool { return swap(t) }},
		{"a unix socket by io_uring", func() bool {
			var params [120]byte
			_, _, no := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
			return no == 0
		}},
	}
}

// swap connects again and again to a name that leads now to a listener of its own and
// now to one outside, and writes all the while.
func swap(t targets) bool {
	own := t.Swapped + ".own"
	l, err := net.Listen("unix", own)
	if err != nil {
		return false
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "own\n")
			conn.Close()
		}
	}()
	stop := make(chan struct{})
	defer close(stop)
	var swaps atomic.Int64
	go func() {
		for i := 0; ; i++ {
			swaps.Store(int64(i))
			select {
			case <-stop:
				return
			default:
			}
			os.Remove(t.Swapped + ".new")
			os.Symlink([]string{own, t.Stream}[i%2], t.Swapped+".new")
			os.Rename(t.Swapped+".new", t.Swapped)
		}
	}()
	for swaps.Load() < 2000 {
		if dial("unix", t.Swapped)() {
			return true
		}
	}
	return false
}

func system() []try {
	return []try{
		{"the kernel's settings", func() bool { return writes("/proc/sys/kernel/core_pattern") || writes("/proc/sysrq-trigger") }},
		{"the system's files", func() bool { return writes("/etc/hosts") || creates("/usr/attack") || creates("/etc/attack") }},
		{"the system's disks", func() bool {
			found, _ := filepath.Glob("/dev/[snv][dmv]*")
			return len(found) > 0
		}},
		{"other terminals", func() bool {
			found, _ := filepath.Glob("/dev/pts/[0-9]*")
			return len(found) > 0
		}},
		{"control groups", func() bool { return creates("/sys/fs/cgroup/attack") }},
	}
}

func secrets(t targets) []try {
	tries := []try{{"a file that was left open", func() bool { return leftOpen(t.Canary) }}}
	for i, path := range t.Secrets {
		tries = append(tries, try{fmt.Sprint("a hidden file, ", i), func() bool {
			for _, way := range []string{path, "/proc/1/root" + path, "/proc/self/root" + path} {
				if text, err := os.ReadFile(way); err == nil && strings.Contains(string(text), t.Canary) {
					return true
				}
			}
			return false
		}})
	}
	return tries
}

func leftOpen(canary string) bool {
	for fd := 3; fd < 64; fd++ {
		buf := make([]byte, 4096)
		if n, err := unix.Pread(fd, buf, 0); err == nil && strings.Contains(string(buf[:n]), canary) {
			return true
		}
	}
	return false
}

func writes(path string) bool {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	return err == nil
}

func creates(path string) bool {
	err := os.Mkdir(path, 0o755)
	if err == nil {
		os.Remove(path)
	}
	return err == nil
}

func processes(t targets) []try {
	environ := func(pid string) func() bool {
		return func() bool {
			text, err := os.ReadFile("/proc/" + pid + "/environ")
			return err == nil && strings.Contains(string(text), t.Canary)
		}
	}
	memory := func(pid string) bool {
		f, err := os.OpenFile("/proc/"+pid+"/mem", os.O_RDWR, 0)
		if err == nil {
			f.Close()
		}
		return err == nil
	}
	return []try{
		{"the environment of a process outside", environ(fmt.Sprint(t.Pid))}, {"the environment of the first process", environ("1")},
		{"the memory of the first process", func() bool { return memory("1") }},
		{"the files of the first process", func() bool {
			files, _ := filepath.Glob("/proc/1/fd/*")
			for _, file := range files {
				if _, err := os.Readlink(file); err == nil {
					return true
				}
			}
			return false
		}},
		{"tracing the first process", func() bool { return unix.PtraceAttach(1) == nil }},
		{"processes outside", func() bool {
			commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, file := range commands {
				if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "\x00serve\x00") {
					return true
				}
			}
			return false
		}},
	}
}

func powers(t targets) []try {
	namespaces := func(flag int) func() bool { return func() bool { return unix.Unshare(flag) == nil } }
	return []try{
		{"another network", func() bool {
			fd, err := unix.Open("/proc/1/ns/net", unix.O_RDONLY, 0)
			return err == nil && unix.Setns(fd, 0) == nil
		}},
		{"capabilities", namespaces(unix.CLONE_NEWUSER)}, {"a network of its own", namespaces(unix.CLONE_NEWNET)},
		{"mounts of its own", namespaces(unix.CLONE_NEWNS)},
		{"mounting", func() bool { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") == nil }},
		{"making files writable", func() bool { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") == nil }},
		{"lifting a cover", func() bool {
			return len(t.Secrets) > 0 && (unix.Unmount(filepath.Dir(t.Secrets[0]), unix.MNT_DETACH) == nil || unix.Unmount(t.Secrets[0], unix.MNT_DETACH) == nil)
		}},
		{"the session's keys", func() bool {
			_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
			return err == nil
		}},
		{"typing into the terminal", func() bool {
			letter := byte('x')
			_, _, no := unix.Syscall(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&letter)))
			return no != unix.EPERM
		}},
		{"setting the user", func() bool { return unix.Setuid(1) == nil && os.Getuid() != 1 }},
	}
}

// inside is an honest program: what it needs must work in the isolation.
func inside() {
	failed := false
	for _, next := range []struct {
		what string
		do   func() error
	}{
		{"tcp", func() error { return talk("tcp", "127.0.0.1:0") }},
		{"unix", func() error {
			return talk("unix", filepath.Join(os.TempDir(), fmt.Sprintf("inside-%d", time.Now().UnixNano())))
		}},
		{"unixpacket", func() error {
			return talk("unixpacket", filepath.Join(os.TempDir(), fmt.Sprintf("inside-%d", time.Now().UnixNano())))
		}},
		{"abstract", func() error { return talk("unix", fmt.Sprintf("@inside-%d", time.Now().UnixNano())) }},
		{"pair", func() error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err }},
		{"working folder", func() error { return os.WriteFile("written", nil, 0o600) }},
		{"temporary folder", func() error { f, err := os.CreateTemp("", "inside"); defer os.Remove(f.Name()); return err }},
		{"random", func() error { _, err := os.ReadFile("/dev/null"); return err }},
		{"terminals", func() error { _, err := os.Open("/dev/ptmx"); return err }},
		{"shared memory", func() error { return os.WriteFile("/dev/shm/inside", nil, 0o600) }},
		{"processes", func() error { return exec.Command("true").Run() }},
	} {
		if err := next.do(); err != nil {
			failed = true
			fmt.Printf("%s: %v\n", next.what, err)
		}
	}
	if failed {
		os.Exit(1)
	}
	fmt.Println("all works")
}

func talk(network, address string) error {
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err == nil {
			io.WriteString(conn, "own\n")
			conn.Close()
		}
	}()
	conn, err := net.Dial(network, l.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if line != "own\n" {
		return fmt.Errorf("got %q, %w", line, err)
	}
	return nil
}
