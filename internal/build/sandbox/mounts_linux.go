package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// deviceNames are the devices of the host that a command can use.
var deviceNames = []string{"null", "zero", "full", "random", "urandom", "tty"}

// deviceLinks are symlinks in /dev.
var deviceLinks = map[string]string{
	"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "core": "/proc/kcore",
	"stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
}

// hidden and readOnly are what Docker hides and protects. Some exist on some
// kernels only.
var (
	hidden = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readOnly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

const (
	noFiles   = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC // for file systems of the kernel's own
	smallSize = "size=65536k"                                   // of /dev and /dev/shm, in memory
)

// mount says what it does, and that the machine is in the way if it is.
func mount(source, target, kind string, flags uintptr, options string) error {
	err := unix.Mount(source, target, kind, flags, options)
	if err == nil {
		return nil
	}
	what := kind
	if kind == "" {
		what = "a directory"
	}
	err = fmt.Errorf("mounting %s on %s: %w", what, target, err)
	if !byHost(err) || errors.Is(err, unix.ENOSPC) { // the disk, not a limit
		return err
	}
	return &hostFault{err}
}

// openHost opens what is needed of the host once its files are out of sight.
func (b *box) openHost() (err error) {
	if err := mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if b.old, err = openDir("/"); err != nil {
		return err
	}
	b.devices = map[string]int{}
	for _, name := range deviceNames {
		if b.devices[name], err = unix.Open("/dev/"+name, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return &hostFault{fmt.Errorf("opening /dev/%s of the host: %w", name, err)}
		}
	}
	for _, m := range b.Mounts {
		dir, err := openDir(m.Source)
		if err != nil {
			return fmt.Errorf("mounting on %s: %w", m.Target, err)
		}
		b.sources = append(b.sources, dir)
	}
	return nil
}

// openDir gives a handle of a directory, not for reading it.
func openDir(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fd, nil
}

// mountRoot mounts the root, where it lies: only this process sees it there.
func (b *box) mountRoot() error {
	if b.Root != "" {
		if err := mount(b.Root, b.Root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		return os.Chdir(b.Root)
	}
	if err := b.mountOverlay(); err != nil {
		return err
	}
	return os.Chdir(b.Upper)
}

// mountOverlay names the directories by the numbers of open files, relative to
// /proc/self/fd: the kernel has 4 KiB for all names, and gives a meaning to some
// characters.
func (b *box) mountOverlay() error {
	var lower []string
	for _, dir := range slices.Backward(b.Lower) { // the kernel wants the highest first
		fd, err := openDir(dir)
		if err != nil {
			return fmt.Errorf("opening a layer: %w", err)
		}
		defer unix.Close(fd)
		lower = append(lower, strconv.Itoa(fd))
	}
	var own [2]int
	for i, dir := range []string{b.Upper, b.Work} {
		fd, err := openDir(dir)
		if err != nil {
			return fmt.Errorf("opening the overlay's directories: %w", err)
		}
		defer unix.Close(fd)
		own[i] = fd
	}
	if err := os.Chdir("/proc/self/fd"); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%d,workdir=%d,userxattr,volatile,index=off,metacopy=off", strings.Join(lower, ":"), own[0], own[1])
	return mount("overlay", b.Upper, "overlay", 0, options)
}

// enterRoot makes the current directory the root. The host's stays mounted
// beneath it, reachable by b.old alone.
func (b *box) enterRoot() error {
	if err := unix.PivotRoot(".", "."); err != nil {
		return &hostFault{fmt.Errorf("changing the root: %w", err)}
	}
	return os.Chdir("/")
}

// leaveHost takes the host's files away.
func (b *box) leaveHost() error {
	if err := unix.Fchdir(b.old); err != nil {
		return fmt.Errorf("leaving the host's root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return &hostFault{fmt.Errorf("unmounting the host's root: %w", err)}
	}
	for _, fd := range b.sources {
		_ = unix.Close(fd)
	}
	for _, fd := range b.devices {
		_ = unix.Close(fd)
	}
	return errors.Join(unix.Close(b.old), os.Chdir("/"))
}

// mountAt mounts a file system of the kernel's own on a mount point of the root.
func (b *box) mountAt(target, kind string, flags uintptr, options string) error {
	place, err := b.mountPoint(target, true)
	if err != nil {
		return err
	}
	if err := mount(kind, place, kind, flags, options); err != nil {
		return err
	}
	b.mounted = append(b.mounted, place)
	return nil
}

func (b *box) mountProc() error {
	err := b.mountAt("/proc", "proc", noFiles, "")
	b.openPIDs()
	return err
}

func (b *box) mountDev() error {
	if err := b.mountAt("/dev", "tmpfs", unix.MS_NOSUID|unix.MS_STRICTATIME, "mode=755,"+smallSize); err != nil {
		return err
	}
	for _, name := range deviceNames {
		if err := bindDevice(b.devices[name], "/dev/"+name); err != nil {
			return err
		}
	}
	for name, target := range deviceLinks {
		if err := os.Symlink(target, "/dev/"+name); err != nil {
			return fmt.Errorf("filling /dev: %w", err)
		}
	}
	return b.mountBelowDev()
}

func bindDevice(fd int, name string) error {
	if err := os.WriteFile(name, nil, 0o666); err != nil {
		return fmt.Errorf("filling /dev: %w", err)
	}
	return mount(fmt.Sprintf("/proc/self/fd/%d", fd), name, "", unix.MS_BIND, "")
}

func (b *box) mountBelowDev() error {
	terminals := "newinstance,ptmxmode=0666,mode=0620"
	if !b.OneUser {
		terminals += ",gid=5"
	}
	mounts := []struct {
		target, kind, options string
		flags                 uintptr
	}{
		{"/dev/pts", "devpts", terminals, unix.MS_NOSUID | unix.MS_NOEXEC},
		{"/dev/shm", "tmpfs", "mode=1777," + smallSize, noFiles},
		{"/dev/mqueue", "mqueue", "", noFiles},
	}
	for _, m := range mounts {
		if err := os.Mkdir(m.target, 0o755); err != nil {
			return fmt.Errorf("filling /dev: %w", err)
		}
		err := mount(m.kind, m.target, m.kind, m.flags, m.options)
		if err != nil && !(m.kind == "mqueue" && errors.Is(err, unix.ENODEV)) { // few kernels lack it, and few programs need it
			return err
		}
	}
	return nil
}

// mountSys shows the kernel's objects if the network is ours: the kernel refuses
// otherwise. Then an empty directory has to do.
func (b *box) mountSys() error {
	if b.Network == None {
		if err := b.mountAt("/sys", "sysfs", noFiles|unix.MS_RDONLY, ""); err != nil {
			return err
		}
	} else if _, err := b.mountPoint("/sys", true); err != nil {
		return err
	}
	return protect()
}

// protect hides and protects what a build has no business with.
func protect() error {
	for _, name := range hidden {
		if err := hide(name); err != nil {
			return err
		}
	}
	for _, name := range readOnly {
		if err := bindReadOnly(name, name, noFiles); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

func hide(name string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return nil // this kernel has no such thing
	}
	if info.IsDir() {
		return mount("tmpfs", name, "tmpfs", noFiles|unix.MS_RDONLY, "size=0k")
	}
	return mount("/dev/null", name, "", unix.MS_BIND, "")
}

// bindReadOnly needs two calls: the kernel ignores flags when it binds.
func bindReadOnly(source, target string, flags uintptr) error {
	if err := mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, "")
}

// mountFiles mounts the files in /etc that are not the root's own, as BuildKit
// does.
func (b *box) mountFiles() error {
	hosts := fmt.Sprintf("127.0.0.1\tlocalhost %s\n::1\tlocalhost ip6-localhost ip6-loopback\n", b.hostname())
	if err := b.mountFile("/etc/hosts", []byte(hosts)); err != nil {
		return err
	}
	return b.mountFile("/etc/resolv.conf", b.Resolv)
}

// mountFile needs a file system to put the file in: it is in that of /dev, from
// where its name goes away.
func (b *box) mountFile(target string, data []byte) error {
	place, err := b.mountPoint(target, false)
	if err != nil {
		return err
	}
	source := "/dev/." + path.Base(target)
	if err := os.WriteFile(source, data, 0o644); err != nil {
		return fmt.Errorf("making %s: %w", target, err)
	}
	if err := bindReadOnly(source, place, unix.MS_NOSUID); err != nil {
		return err
	}
	b.mounted = append(b.mounted, place)
	return os.Remove(source)
}

// mountCaches mounts the directories of the host, those further up first.
func (b *box) mountCaches() error {
	type cache struct {
		source int
		target string
	}
	var caches []cache
	for i, m := range b.Mounts {
		caches = append(caches, cache{b.sources[i], path.Clean(m.Target)})
	}
	slices.SortFunc(caches, func(a, b cache) int { return strings.Compare(a.target, b.target) })
	for _, c := range caches {
		place, err := b.mountPoint(c.target, true)
		if err != nil {
			return err
		}
		// With what is mounted below: the kernel does not split up what belongs to others.
		if err := mount(fmt.Sprintf("/proc/self/fd/%d", c.source), place, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		b.mounted = append(b.mounted, place)
	}
	return nil
}
