// Package atomicfile writes files that appear whole or not at all.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Write lets fill write a file of mode 0644 (less the umask) that then takes
// the place of name. If fill fails, or the process is killed, name is as it was. On
// Linux nothing else is left behind either, where the file system can make
// files without a name; elsewhere a kill leaves a file ".<name>.*". A link to a
// file stays one.
func Write(name string, fill func(*os.File) error) error {
	if info, err := os.Stat(name); err == nil {
		if !info.Mode().IsRegular() {
			return writeThrough(name, info, fill)
		}
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return err
		}
	}
	f, publish, err := create(name)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := fill(f); err != nil {
		return errors.Join(err, discard(f))
	}
	if err := publish(); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", name, err), discard(f))
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// writeThrough writes to what is no regular file, such as /dev/null or a FIFO:
// it must not be replaced.
func writeThrough(name string, info fs.FileInfo, fill func(*os.File) error) error {
	if info.IsDir() {
		return fmt.Errorf("writing %s: it is a directory; name a file in it", name)
	}
	if info.Mode()&fs.ModeNamedPipe != 0 {
		held, err := holdFIFO(name)
		if err != nil {
			return err
		}
		defer held.Close()
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}

// holdFIFO refuses a FIFO that nobody reads from: to open it would be to wait
// for a reader, deaf to whatever a person does meanwhile.
func holdFIFO(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) {
		err = &fs.PathError{Op: "writing", Path: name, Err: errNoReader}
	}
	return f, err
}

var errNoReader = errors.New("nobody reads from this FIFO: start the reader first")

// createNamed makes a file beside name, for systems and file systems that know
// no files without a name.
func createNamed(name string) (*os.File, func() error, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return nil, nil, err
	}
	if err := f.Chmod(0o644); err != nil {
		return nil, nil, errors.Join(err, discard(f))
	}
	return f, func() error { return os.Rename(f.Name(), name) }, nil
}

// discard closes a file and removes its name, if it has one.
func discard(f *os.File) error {
	err := os.Remove(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
