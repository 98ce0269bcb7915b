package readfs

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"
)

var errTest = errors.New("test")

func names(entries []fs.DirEntry) string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// TestDir: ReadDir goes on where it was, as fs.ReadDirFile has it.
func TestDir(t *testing.T) {
	listed := 0
	d := Dir(Header{Name: "dir", Mode: fs.ModeDir}.Info(), func() ([]fs.DirEntry, error) {
		listed++
		var all []fs.DirEntry
		for _, name := range []string{"a", "b", "c", "d"} {
			all = append(all, Header{Name: name}.Info())
		}
		return all, nil
	})
	if listed > 0 {
		t.Error("it was listed before anybody asked")
	}
	for _, c := range []struct {
		n    int
		want string
		err  error
	}{{1, "a", nil}, {2, "b c", nil}, {2, "d", nil}, {2, "", io.EOF}, {0, "", nil}, {-1, "", nil}} {
		got, err := d.ReadDir(c.n)
		if names(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("ReadDir(%d): got %q, %v, want %q, %v", c.n, names(got), err, c.want, c.err)
		}
	}
	if listed != 1 {
		t.Errorf("it was listed %d times", listed)
	}
	if _, err := d.Read(nil); err == nil {
		t.Error("a directory was read")
	}
}

func TestDirErrors(t *testing.T) {
	d := Dir(Header{Name: "dir"}.Info(), func() ([]fs.DirEntry, error) { return nil, errTest })
	for range 2 {
		if _, err := d.ReadDir(1); !errors.Is(err, errTest) || err.Error() != "readdir dir: test" {
			t.Errorf("got %v", err)
		}
	}
}

func TestFile(t *testing.T) {
	h := Header{Name: "file", Size: 7, Mode: 0o640, ModTime: time.Unix(1, 0), Sys: "more"}
	f := File(h.Info(), io.NewSectionReader(strings.NewReader("content"), 0, 7))
	if all, err := io.ReadAll(f); err != nil || string(all) != "content" {
		t.Errorf("got %q, %v", all, err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	got := Header{info.Name(), info.Size(), info.Mode(), info.ModTime(), info.Sys()}
	if got != h || info.IsDir() {
		t.Errorf("got %v, want %v", got, h)
	}
	if entry, ok := info.(fs.DirEntry); !ok || entry.Type() != 0 {
		t.Error("it is no entry of a directory")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
