package isolate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// devices are those that a program may count on.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// kernelFiles are the parts of /proc by which root can change the system, also where
// it has no capability.
var kernelFiles = []string{"sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "mtrr", "scsi"}

// goToFolder is the step that fails for no reason of the isolation's.
const goToFolder = "going to the working folder"

// quiet are the flags of a mount in which there is nothing to run and no device.
const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// tree is a part of the file system, detached, that goes to a path later.
type tree struct {
	file int
	path string
}

// view are the steps that give the command its own view of the files. The order
// counts: what stays writable and the devices are set aside before all is made
// read-only; what is hidden is covered last, wherever it is seen.
func (s settings) view() []step {
	var writable, nodes []tree
	return []step{
		{"shielding the first process", func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }},
		{"keeping mounts apart", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"setting folders aside", func() (err error) { writable, err = s.setAside(); return err }},
		{"setting devices aside", func() (err error) { nodes, err = setDevicesAside(); return err }},
		{"making the files read-only", func() error {
			return unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{
				Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
			})
		}},
		{"keeping folders writable", func() error { return attach(writable) }},
		{"mounting /proc", mountProc},
		{"mounting /dev", func() error { return mountDev(nodes) }},
		{"hiding files", s.hide},
		{goToFolder, func() error { return os.Chdir(s.Folder) }},
	}
}

// setAside detaches the folders that stay as they are.
func (s settings) setAside() ([]tree, error) {
	var trees []tree
	for _, path := range outermost(s.Writable) {
		file, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		err = unix.MountSetattr(file, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
			Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		trees = append(trees, tree{file, path})
	}
	return trees, nil
}

// outermost returns the folders that exist, without links and without those that lie
// in another. The root is none of them: it would be everything.
func outermost(paths []string) []string {
	var found []string
	for _, path := range paths {
		real, err := filepath.EvalSymlinks(path)
		if err != nil || !filepath.IsAbs(real) || real == "/" {
			continue
		}
		if info, err := os.Stat(real); err == nil && info.IsDir() {
			found = append(found, real)
		}
	}
	slices.Sort(found)
	var outer []string
	for _, path := range found {
		if len(outer) == 0 || path != outer[len(outer)-1] && !strings.HasPrefix(path, outer[len(outer)-1]+"/") {
			outer = append(outer, path)
		}
	}
	return outer
}

func setDevicesAside() ([]tree, error) {
	var nodes []tree
	for _, name := range devices {
		file, err := unix.OpenTree(unix.AT_FDCWD, "/dev/"+name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("/dev/%s: %w", name, err)
		}
		nodes = append(nodes, tree{file, "/dev/" + name})
	}
	return nodes, nil
}

func attach(trees []tree) error {
	for _, t := range trees {
		if err := unix.MoveMount(t.file, "", unix.AT_FDCWD, t.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
		unix.Close(t.file)
	}
	return nil
}

// mountProc shows the namespace's own processes, and keeps the kernel's settings from
// being changed. No namespaces of users can be made in this one: in them the command
// would have capabilities again.
func mountProc() error {
	if err := unix.Mount("proc", "/proc", "proc", quiet, ""); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return err
	}
	for _, name := range kernelFiles {
		path := "/proc/" + name
		if err := unix.Mount(path, path, "", unix.MS_BIND, ""); errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|quiet, ""); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// mountDev makes a /dev without the system's disks, terminals and memory.
func mountDev(nodes []tree) error {
	if err := unix.Mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755,size=64k"); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := os.WriteFile(n.path, nil, 0o666); err != nil {
			return err
		}
	}
	if err := attach(nodes); err != nil {
		return err
	}
	for link, to := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(to, "/dev/"+link); err != nil {
			return err
		}
	}
	for _, m := range []struct{ name, kind, data string }{
		{"pts", "devpts", "newinstance,ptmxmode=0666,mode=0620"}, {"shm", "tmpfs", "mode=1777"},
	} {
		if err := os.Mkdir("/dev/"+m.name, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, "/dev/"+m.name, m.kind, unix.MS_NOSUID|unix.MS_NOEXEC, m.data); err != nil {
			return fmt.Errorf("/dev/%s: %w", m.name, err)
		}
	}
	return nil
}

// hide covers files and folders with what is empty and closed. A cover cannot be
// lifted by who has no capability in this namespace of mounts.
func (s settings) hide() error {
	const cover = "/dev/.hidden"
	if err := os.WriteFile(cover, nil, 0); err != nil {
		return err
	}
	defer os.Remove(cover)
	for _, path := range s.Hidden {
		real, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, fs.ErrPermission) {
			continue // what lies behind another user's permissions stays there
		} else if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		info, err := os.Stat(real)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if s.Folder == real || strings.HasPrefix(s.Folder, real+"/") {
			return fmt.Errorf("%s is hidden from the command, and the working folder lies in it", real)
		}
		if info.IsDir() {
			err = unix.Mount("tmpfs", real, "tmpfs", quiet|unix.MS_RDONLY, "mode=0,size=4k")
		} else {
			err = unix.Mount(cover, real, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", real, err)
		}
	}
	return nil
}
