package testkit

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// buildEnv is from before tests move HOME, and with it the caches of go.
var buildEnv = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")

// GoProgram builds a program of others, of the version that a module of this
// repository names, and returns its file. module is the directory of that
// module's go.mod, "." that of graft; pkg is the import path of the program.
//
// It is built once: test binaries that run at the same time wait for each other,
// and the next test finds it.
func GoProgram(t testing.TB, module, pkg string) string {
	t.Helper()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(filepath.Base(module)+"-"+filepath.Base(pkg), ".-")
	file := filepath.Join(root, "out", "judges", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", file, pkg)
	cmd.Dir, cmd.Env = filepath.Join(root, module), buildEnv
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, msg)
	}
	return file
}

// repository is the directory of graft's go.mod; tests run somewhere below it.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("the test does not run in the repository")
}
