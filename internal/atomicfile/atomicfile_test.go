package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
