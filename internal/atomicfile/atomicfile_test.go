package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func fillWith(text string, err error) func(*os.File) error {
	return func(f *os.File) error {
		if _, werr := f.WriteString(text); werr != nil {
			return werr
		}
		return err
	}
}

// TestWrite goes both ways of making a file: without a name and with one.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "asset")
	if err := Write(name, fillWith("one", nil)); err != nil {
		t.Fatal(err)
	}
	if err := Write(name, fillWith("two", nil)); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, "asset", "two")

	broken := errors.New("disk full")
	if err := Write(name, fillWith("three", broken)); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	wantOnly(t, dir, "asset", "two")

	f, publish, err := createNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fillWith("four", nil)(f), publish(), f.Close()); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, "asset", "four")
}

func TestWriteNotAFile(t *testing.T) {
	if err := Write(os.DevNull, fillWith("gone", nil)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode()&fs.ModeDevice == 0 {
		t.Errorf("%s was replaced: %v, %v", os.DevNull, info, err)
	}
	if err := Write(t.TempDir(), fillWith("", nil)); err == nil {
		t.Error("writing over a directory: got no error")
	}
	if err := Write(filepath.Join(t.TempDir(), "missing", "asset"), fillWith("", nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

// TestWriteLink: what a link leads to is written, and the link stays.
func TestWriteLink(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(elsewhere, "asset"), link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(elsewhere, "asset"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, fillWith("new", nil)); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, elsewhere, "asset", "new")
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is now %v, %v", info, err)
	}
}

// TestWriteFIFO: a reader gets it all; without one there is an error, and no
// waiting.
func TestWriteFIFO(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(fifo, fillWith("lost", nil)); !errors.Is(err, errNoReader) {
		t.Errorf("got %v, want %v", err, errNoReader)
	}
	r, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := Write(fifo, fillWith("found", nil)); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "found" {
		t.Errorf("got %q, %v, want all, and then an end", got, err)
	}
}

// wantOnly checks that a directory has one file, and nothing left behind.
func wantOnly(t *testing.T, dir, name, content string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("got %v, %v, want only %s", entries, err, name)
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || string(data) != content {
		t.Errorf("got %q, %v, want %q", data, err, content)
	}
}
