package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

var _ = []action{MountPseudo{}, LoadModule{}, Verify{}, MountImage{}, MountOverlay{}, Detach{}, Bind{}, Move{}, Free{}, SwitchRoot{}, Exec{}}

// confined are the flags of a mount that has no business with programs that
// change their user, or with devices.
const confined = unix.MS_NOSUID | unix.MS_NODEV

func (s MountPseudo) run(*machine) error {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV)
	if s.Type == "devtmpfs" {
		flags = unix.MS_NOSUID // programs may map /dev/zero to execute
	}
	return mount(s.Type, s.Target, s.Type, flags, "")
}

func (s MountImage) run(*machine) error {
	dev, err := attachLoop(s.File)
	if err != nil {
		return err
	}
	defer dev.Close() // the mount keeps the device
	flags := uintptr(unix.MS_RDONLY)
	if s.Lower {
		flags |= confined
	}
	err = mount(dev.Name(), s.Target, "squashfs", flags, "")
	if errors.Is(err, unix.ENODEV) {
		return advise(err, "the kernel must have squashfs: built in, or by its module in "+ModuleDir)
	}
	return advise(err, "the image may be damaged, or compressed in a way that this kernel cannot read (its log says which): make the boot asset again")
}

// mount makes the mount point first.
func mount(source, target, fstype string, flags uintptr, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	return unix.Mount(source, target, fstype, flags, options)
}

func (s MountOverlay) run(*machine) error {
	if err := os.MkdirAll(s.Target, 0o755); err != nil {
		return err
	}
	mount := s.inOneOption
	if s.OneByOne {
		mount = s.oneByOne
	}
	err := mount()
	if errors.Is(err, unix.ENODEV) {
		return advise(err, "the kernel must have overlay: built in, or by its module in "+ModuleDir)
	}
	return err
}

// inOneOption names the directories relative to where they are, since all of
// them must fit in a page.
func (s MountOverlay) inOneOption() error {
	if err := os.Chdir(layersDir); err != nil {
		return err
	}
	defer os.Chdir("/")
	return unix.Mount("overlay", s.Target, "overlay", unix.MS_RDONLY, lowerdir(s.Lowers))
}

func (s MountOverlay) oneByOne() error {
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fsfd)
	for _, name := range s.Lowers {
		if err := unix.FsconfigSetString(fsfd, "lowerdir+", path.Join(layersDir, name)); err != nil {
			return withReason(fsfd, fmt.Errorf("adding %s: %w", name, err))
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return withReason(fsfd, err)
	}
	mnt, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return withReason(fsfd, err)
	}
	defer unix.Close(mnt)
	return unix.MoveMount(mnt, "", unix.AT_FDCWD, s.Target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// withReason adds what the kernel says about an error: a mount in the making
// keeps messages to be read, each with a letter in front ("e" for error). The
// last one is the cause.
func withReason(fsfd int, err error) error {
	var last string
	for buf := make([]byte, 512); ; {
		n, readErr := unix.Read(fsfd, buf)
		if readErr != nil || n <= 0 {
			break
		}
		last = strings.TrimPrefix(strings.TrimSpace(string(buf[:n])), "e ")
	}
	if last == "" {
		return err
	}
	return fmt.Errorf("%w (kernel: %s)", err, last)
}

func (s Detach) run(*machine) error {
	for _, name := range s.Names {
		if err := unix.Unmount(path.Join(layersDir, name), unix.MNT_DETACH); err != nil {
			return fmt.Errorf("detaching %s: %w", name, err)
		}
	}
	return nil
}

// run clones the mount of the source, cut to it, and puts the clone in place
// when it is read-only (Linux 5.12), so that nobody ever sees it writable.
func (s Bind) run(m *machine) error {
	target, err := openInRoot(s.Path, 0)
	if errors.Is(err, fs.ErrNotExist) && s.Optional {
		m.log.warn("the root filesystem has no /" + s.Path + ": " + s.Source + " of the initramfs stays hidden")
		return nil
	}
	if err != nil {
		return err
	}
	defer target.Close()
	if err := m.bindOnce(s.Source, target); err != nil {
		return err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, s.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &readOnly); err != nil {
		return err
	}
	return attach(fd, target)
}

// bindOnce refuses to hide what is bound already: firmware below /lib behind
// that below /usr/lib, if these are one in the root.
func (m *machine) bindOnce(name string, target *os.File) error {
	source, err := os.Stat(name)
	if err != nil {
		return err
	}
	there, err := target.Stat()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(m.bound, func(b os.FileInfo) bool { return os.SameFile(b, there) }) {
		return advise(errors.New("something is bound there already"), "all firmware of the initramfs must be in one directory")
	}
	m.bound = append(m.bound, source)
	return nil
}

func (s Move) run(*machine) error {
	target, err := openInRoot(s.Path, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer target.Close()
	fd, err := unix.OpenTree(unix.AT_FDCWD, s.From, unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return attach(fd, target)
}

func attach(mount int, target *os.File) error {
	return unix.MoveMount(mount, "", int(target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// openInRoot finds a path of the new root as it will be seen from inside: its
// symbolic links (/lib, if /usr is merged) must not lead into the initramfs.
func openInRoot(name string, flags uint64) (*os.File, error) {
	root, err := os.Open(newRoot)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, advise(fmt.Errorf("finding /%s in the root filesystem: %w", name, err),
			"the base's root filesystem must have it, for it is read-only")
	}
	return os.NewFile(uintptr(fd), newRoot+"/"+name), nil
}
