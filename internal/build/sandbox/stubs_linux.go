package sandbox

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

// stub is a mount point that was not there. It is removed after the command,
// unless something has been put into it.
type stub struct {
	name          string
	before, after unix.Timespec // when its directory was last modified
}

// mountPoint makes a mount point if it is missing, and the directories above it,
// and gives its name without symlinks.
func (b *box) mountPoint(target string, dir bool) (string, error) {
	place, err := resolve(target)
	if err != nil {
		return "", fmt.Errorf("making the mount point %s: %w", target, err)
	}
	info, err := os.Lstat(place)
	switch {
	case err == nil && info.IsDir() != dir:
		return "", fmt.Errorf("making the mount point %s: %s is there and a %s", target, place, kindOf(info))
	case err == nil:
		return place, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("making the mount point %s: %w", target, err)
	}
	if err := b.makeStub(place, dir); err != nil {
		return "", fmt.Errorf("making the mount point %s: %w", target, err)
	}
	return place, nil
}

func kindOf(info fs.FileInfo) string {
	if info.IsDir() {
		return "directory"
	}
	return "file"
}

func (b *box) makeStub(place string, dir bool) error {
	parent := path.Dir(place)
	if _, err := os.Lstat(parent); errors.Is(err, fs.ErrNotExist) {
		if err := b.makeStub(parent, true); err != nil {
			return err
		}
	}
	s := stub{name: place}
	var err error
	if s.before, err = modified(parent); err != nil {
		return err
	}
	if dir {
		err = os.Mkdir(place, 0o755)
	} else {
		err = os.WriteFile(place, nil, 0o644)
	}
	if err != nil {
		return err
	}
	b.stubs = append(b.stubs, s)
	b.stubs[len(b.stubs)-1].after, err = modified(parent)
	return err
}

// removeStubs undoes what mountPoint made, in the reverse order, with all mounts
// gone. No process is left that could come in between. What was made within a
// mounted directory stays there: another sandbox may use it, and for the kernel a
// removed mount point is reason enough to unmount.
func (b *box) removeStubs() error {
	for _, place := range slices.Backward(b.mounted) {
		_ = unix.Unmount(place, unix.MNT_DETACH) // the command may have moved a directory above it
	}
	for _, s := range slices.Backward(b.stubs) {
		if err := s.remove(); err != nil {
			return fmt.Errorf("removing the mount point %s: %w", s.name, err)
		}
	}
	return nil
}

// remove leaves the times of the directory above as they would be had there been
// no stub.
func (s *stub) remove() error {
	info, err := os.Lstat(s.name)
	if err != nil || info.Mode().IsRegular() && info.Size() > 0 || !info.IsDir() && !info.Mode().IsRegular() {
		return nil // the command's now
	}
	parent := path.Dir(s.name)
	at, err := modified(parent)
	if err != nil {
		return err
	}
	switch err := os.Remove(s.name); {
	case errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY):
		return nil
	case err != nil:
		return err
	}
	if at == s.after {
		at = s.before
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, parent, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, at}, 0)
}

func modified(name string) (unix.Timespec, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return unix.Timespec{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return st.Mtim, nil
}

// maxLinks is how many symlinks the kernel follows in a name.
const maxLinks = 40

// resolve follows symlinks as far as files are there, and takes the rest of the
// name as it is: a link may lead to what is missing.
func resolve(name string) (string, error) {
	done, links := "/", 0
	for rest := name; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		next := path.Join(done, part) // also "", "." and "..", which are no symlinks
		link, err := os.Readlink(next)
		if err != nil {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", unix.ELOOP
		}
		if path.IsAbs(link) {
			done = "/"
		}
		rest = link + "/" + rest
	}
	return done, nil
}
