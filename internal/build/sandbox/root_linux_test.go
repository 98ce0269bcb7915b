package sandbox

import (
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programs of this machine that scripts in tests use.
var programs = []string{
	"sh", "cat", "chmod", "chown", "cp", "dd", "id", "install", "ln", "ls", "mkdir", "mknod", "mount", "mv", "ps", "readlink", "rm", "rmdir",
	"setsid", "sleep", "stat", "sync", "tar", "touch", "true", "tty", "umount", "uname", "unshare", "env", "kill", "chroot", "nohup", "seq", "test", "grep", "sort", "wc",
}

var libraryDirs = []string{"/lib64", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib", "/usr/lib", "/usr/lib64"}

// machine is a root file system with programs of this machine, and this test as
// /bin/helper. It is made once.
var machineRoot struct {
	once sync.Once
	dir  string
	err  error
}

func machine(t testing.TB) string {
	t.Helper()
	m := &machineRoot
	m.once.Do(func() { m.dir, m.err = makeMachine() })
	if m.err != nil {
		t.Fatal(m.err)
	}
	return m.dir
}

func makeMachine() (string, error) {
	dir, err := os.MkdirTemp("", "machine-")
	if err != nil {
		return "", err
	}
	err = errors.Join(os.Chmod(dir, 0o755), os.MkdirAll(dir+"/bin", 0o755), copyFile("/proc/self/exe", dir+"/bin/helper"))
	for _, p := range programs {
		file, lookErr := exec.LookPath(p)
		if lookErr != nil {
			continue // the test that needs it fails
		}
		err = errors.Join(err, copyProgram(dir, file, "/bin/"+p))
	}
	return dir, err
}

// copyProgram copies a program and the libraries that it needs.
func copyProgram(dir, file, name string) error {
	if _, err := os.Lstat(dir + name); err == nil {
		return nil
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(dir+name), 0o755), copyFile(file, dir+name)); err != nil {
		return err
	}
	program, err := elf.Open(file)
	if err != nil {
		return nil // a script
	}
	defer program.Close()
	if loader := loaderOf(mustOpen(file)); loader != "" {
		err = copyProgram(dir, loader, loader)
	}
	libraries, _ := program.ImportedLibraries()
	for _, l := range libraries {
		for _, d := range libraryDirs {
			if _, statErr := os.Stat(filepath.Join(d, l)); statErr == nil {
				err = errors.Join(err, copyProgram(dir, filepath.Join(d, l), filepath.Join("/lib", l)))
				break
			}
		}
	}
	return err
}

func mustOpen(file string) io.ReaderAt {
	f, err := os.Open(file)
	if err != nil {
		panic(err)
	}
	return f
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func removeMachine() {
	if machineRoot.dir != "" {
		_ = os.RemoveAll(machineRoot.dir)
	}
}
