package registry

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnwritable opens a registry as a user who may only read it.
func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(dir+"/..", 0o755)); err != nil {
		t.Fatal(err)
	}
	s, err := New(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if os.Geteuid() != 0 {
		for _, sub := range []string{"uploads", "locks", "repositories", "blobs/sha256"} {
			if err := os.Chmod(dir+"/"+sub, 0o555); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(dir+"/"+sub, 0o755)
		}
	}
	asNobody(func() {
		if _, err := New(dir, Options{}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v, want %v", err, fs.ErrPermission)
		}
		if _, err := New(dir, Options{ReadOnly: true}); err != nil {
			t.Errorf("read-only: %v", err)
		}
	})
}

// asNobody runs fn in a thread that root's rights over files are taken from, and
// that ends with it.
func asNobody(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			_ = unix.Setfsuid(65534) // whose effect the test sees
		}
		fn()
	}()
	<-done
}
