package cpio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// judge returns the path of an outside program that checks our bytes.
func judge(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("the judge %s is not installed: %v", name, err)
	}
	return path
}

// run feeds stdin to a program and returns what it prints; dir may be empty.
func run(t testing.TB, dir string, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(judge(t, name), args...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, bytes.NewReader(stdin), &stderr
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return out
}

// entry is a header with its content.
type entry struct {
	Header
	content string
}

func file(name string, mode fs.FileMode, content string) entry {
	return entry{Header{Name: name, Mode: mode, Size: int64(len(content)), ModTime: epoch, Nlink: 1}, content}
}

func other(h Header) entry {
	h.ModTime, h.Nlink = epoch, max(h.Nlink, 1)
	return entry{h, ""}
}

var epoch = time.Unix(1700000000, 0).UTC()

// sample has one entry of every kind, and contents of every length modulo 4.
var sample = []entry{
	other(Header{Name: ".", Mode: fs.ModeDir | 0o755, Nlink: 2}),
	other(Header{Name: "dev", Mode: fs.ModeDir | 0o755, Nlink: 2}),
	other(Header{Name: "dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1}),
	other(Header{Name: "dev/disk", Mode: fs.ModeDevice | 0o660, UID: 0, GID: 6, Major: 259, Minor: 70000}),
	other(Header{Name: "dev/pipe", Mode: fs.ModeNamedPipe | 0o644}),
	other(Header{Name: "dev/socket", Mode: fs.ModeSocket | 0o644}),
	file("empty", 0o644, ""),
	file("one", 0o644, "1"),
	file("two", 0o600, "22"),
	file("three", 0o755, "333"),
	file("four", 0o755|fs.ModeSetuid, "4444"),
	other(Header{Name: "link", Mode: fs.ModeSymlink | 0o777, Linkname: "/somewhere/else"}),
	{Header{Name: "first", Mode: 0o644, Size: 6, ModTime: epoch, Nlink: 3}, "shared"},
	other(Header{Name: "second", Mode: 0o644, Hardlink: "first", Nlink: 3}),
	other(Header{Name: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777, Nlink: 2}),
	other(Header{Name: "tmp/third", Mode: 0o644, Hardlink: "first", Nlink: 3}),
	{Header{Name: "tmp/owner", Mode: fs.ModeSetgid | 0o710, UID: 1000, GID: 4294967295, ModTime: epoch, Nlink: 1}, ""},
}

func writeAll(t testing.TB, w io.Writer, entries []entry) {
	t.Helper()
	cw := NewWriter(w)
	for _, e := range entries {
		if err := cw.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(cw, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := cw.Close(); err != nil {
		t.Fatal(err)
	}
}

func archive(t testing.TB, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	writeAll(t, &b, entries)
	return b.Bytes()
}

func readAll(r *Reader) ([]entry, error) {
	var all []entry
	for {
		h, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return all, err
		}
		all = append(all, entry{*h, string(content)})
	}
}

var cmpEntry = cmp.AllowUnexported(entry{})

func TestRoundTrip(t *testing.T) {
	got, err := readAll(newReader(newSource(bytes.NewReader(archive(t, sample)))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample, got, cmpEntry); diff != "" {
		t.Errorf("entries differ (-written +read):\n%s", diff)
	}
}

// TestListing shows the archive as GNU cpio sees it.
func TestListing(t *testing.T) {
	const want = `
drwxr-xr-x   2 0        0               0 Nov 14  2023 .
drwxr-xr-x   2 0        0               0 Nov 14  2023 dev
crw-------   1 0        0          5,   1 Nov 14  2023 dev/console
brw-rw----   1 0        6        259, 70000 Nov 14  2023 dev/disk
prw-r--r--   1 0        0               0 Nov 14  2023 dev/pipe
srw-r--r--   1 0        0               0 Nov 14  2023 dev/socket
-rw-r--r--   1 0        0               0 Nov 14  2023 empty
-rw-r--r--   1 0        0               1 Nov 14  2023 one
-rw-------   1 0        0               2 Nov 14  2023 two
-rwxr-xr-x   1 0        0               3 Nov 14  2023 three
-rwsr-xr-x   1 0        0               4 Nov 14  2023 four
lrwxrwxrwx   1 0        0              15 Nov 14  2023 link -> /somewhere/else
-rw-r--r--   3 0        0               6 Nov 14  2023 first
-rw-r--r--   3 0        0               0 Nov 14  2023 second
drwxrwxrwt   2 0        0               0 Nov 14  2023 tmp
-rw-r--r--   3 0        0               0 Nov 14  2023 tmp/third
-rwx--s---   1 1000     4294967295        0 Nov 14  2023 tmp/owner
`
	got := run(t, "", archive(t, sample), "cpio", "-itvn", "--quiet")
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), string(got)); diff != "" {
		t.Errorf("cpio -itv differs (-want +got):\n%s", diff)
	}
}

// makeTree makes real files in a new directory, for programs to archive.
func makeTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	must(os.Mkdir(in("a"), 0o755))
	must(os.WriteFile(in("a/data"), []byte("hello"), 0o640))
	must(os.WriteFile(in("linked"), []byte("shared"), 0o644))
	must(os.Link(in("linked"), in("a/linked")))
	must(os.Symlink("../linked", in("a/symlink")))
	for _, name := range []string{"a/data", "linked", "a"} {
		must(os.Chtimes(in(name), epoch, epoch))
	}
	must(os.Chmod(in("a/data"), 0o640))
	return dir
}

// TestSameBytesAsGNU: for the same entries, cpio --reproducible writes the same
// bytes, up to the place of hard-linked contents and the final padding.
func TestSameBytesAsGNU(t *testing.T) {
	want := run(t, makeTree(t), []byte("a\na/data\n"), "cpio", "-o", "-H", "newc", "--reproducible", "-R", "+0:+0", "--quiet")
	got := archive(t, []entry{
		other(Header{Name: "a", Mode: fs.ModeDir | 0o755, Nlink: 2}),
		file("a/data", 0o640, "hello"),
	})
	got = append(got, make([]byte, -len(got)&511)...) // GNU pads to blocks
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("archive differs (-GNU +ours):\n%s", diff)
	}
}

// TestUnpackedByGNU unpacks with cpio and looks at the files.
func TestUnpackedByGNU(t *testing.T) {
	dir := t.TempDir()
	plain := []entry{
		file("first", 0o640, "content"),
		other(Header{Name: "d", Mode: fs.ModeDir | 0o750, Nlink: 2}),
		file("d/x", 0o755, "x"),
		other(Header{Name: "d/link", Mode: fs.ModeSymlink | 0o777, Linkname: "x"}),
		{Header{Name: "d/h1", Mode: 0o644, Size: 3, Nlink: 2, ModTime: epoch}, "abc"},
		other(Header{Name: "d/h2", Mode: 0o644, Hardlink: "d/h1", Nlink: 2}),
	}
	run(t, dir, archive(t, plain), "cpio", "-id", "-m", "--quiet", "--no-preserve-owner")
	var got []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, _ := os.ReadFile(filepath.Join(dir, path))
		if d.IsDir() {
			content = nil
		}
		got = append(got, fmt.Sprintf("%v %s %q", info.Mode(), path, content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`drwxr-x--- d ""`,
		`-rw-r--r-- d/h1 "abc"`,
		`-rw-r--r-- d/h2 "abc"`,
		`Lrwxrwxrwx d/link "x"`,
		`-rwxr-xr-x d/x "x"`,
		`-rw-r----- first "content"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unpacked files differ (-want +got):\n%s", diff)
	}
	h1, _ := os.Stat(filepath.Join(dir, "d/h1"))
	h2, _ := os.Stat(filepath.Join(dir, "d/h2"))
	if !os.SameFile(h1, h2) {
		t.Error("d/h1 and d/h2 are different files, want one with two names")
	}
}

func TestWriterRefuses(t *testing.T) {
	long := strings.Repeat("n", PathMax)
	tests := []struct {
		name string
		h    Header
		want string
	}{
		{"absolute", Header{Name: "/etc"}, "clean relative path"},
		{"dotdot", Header{Name: "../etc"}, "clean relative path"},
		{"unclean", Header{Name: "./etc"}, "clean relative path"},
		{"empty", Header{}, "clean relative path"},
		{"nul", Header{Name: "a\x00b"}, "clean relative path"},
		{"long name", Header{Name: long}, "the kernel takes at most 4095"},
		{"trailer", Header{Name: "TRAILER!!!"}, "end of an archive"},
		{"no parent", Header{Name: "usr/lib"}, `no directory "usr"`},
		{"parent is a file", Header{Name: "file/x"}, `no directory "file"`},
		{"irregular", Header{Name: "x", Mode: fs.ModeIrregular}, "no entries of the type"},
		{"4 GiB", Header{Name: "x", Size: MaxFileSize + 1}, "at most 4294967295 bytes, this one has 4294967296"},
		{"negative size", Header{Name: "x", Size: -1}, "size -1"},
		{"directory with content", Header{Name: "x", Mode: fs.ModeDir, Size: 4}, "size 4"},
		{"negative owner", Header{Name: "x", UID: -1}, "owner -1"},
		{"large group", Header{Name: "x", GID: 1 << 32}, "group 4294967296"},
		{"before 1970", Header{Name: "x", ModTime: time.Unix(-1, 0)}, "modification time -1"},
		{"after 2106", Header{Name: "x", ModTime: time.Unix(1<<32, 0)}, "modification time 4294967296"},
		{"no target", Header{Name: "x", Mode: fs.ModeSymlink}, `link target ""`},
		{"long target", Header{Name: "x", Mode: fs.ModeSymlink, Linkname: long}, "the kernel takes at most 4095"},
		{"target of a file", Header{Name: "x", Linkname: "y"}, "not a symbolic link"},
		{"hard link to nothing", Header{Name: "x", Hardlink: "y"}, `hard link to "y"`},
		{"hard link to a single", Header{Name: "x", Hardlink: "file"}, "Nlink is less than 2"},
		{"hard link with content", Header{Name: "x", Hardlink: "double", Size: 1}, "belongs to the first name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := NewWriter(io.Discard)
			for _, h := range []Header{{Name: "file"}, {Name: "double", Nlink: 2}} {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			err := w.WriteHeader(&tt.h)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("WriteHeader: got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestWriterErrorKinds(t *testing.T) {
	w := NewWriter(io.Discard)
	if err := w.WriteHeader(&Header{Name: "a/b"}); !errors.Is(err, ErrNoParent) {
		t.Errorf("entry without parent: got %v, want ErrNoParent", err)
	}
	if err := w.WriteHeader(&Header{Name: "a", Size: 1 << 40}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("1 TiB: got %v, want ErrTooLarge", err)
	}
}

func TestWriterChecksLength(t *testing.T) {
	w := NewWriter(io.Discard)
	if err := w.WriteHeader(&Header{Name: "x", Size: 3}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), `"x": 3 bytes less`) {
		t.Errorf("Close of a short entry: got %v, want 3 bytes less", err)
	}
	w = NewWriter(io.Discard)
	if err := w.WriteHeader(&Header{Name: "x", Size: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("1234")); err == nil || !strings.Contains(err.Error(), "1 bytes more") {
		t.Errorf("Write of 4 bytes for 3: got %v, want 1 bytes more", err)
	}
}

func TestReadFrom(t *testing.T) {
	for _, tt := range []struct {
		content string
		want    string
	}{
		{"12345", ""},
		{"1234", "1 bytes less than its header announced"},
		{"123456", "1 bytes more than its header announced"},
	} {
		source := filepath.Join(t.TempDir(), "source")
		if err := os.WriteFile(source, []byte(tt.content), 0o644); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(source)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := os.Create(filepath.Join(t.TempDir(), "archive"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		w := NewWriter(out)
		if err := w.WriteHeader(&Header{Name: "x", Size: 5}); err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(w, in)
		if err == nil {
			err = w.Close()
		}
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%d bytes for 5: got %v, want an error with %q", len(tt.content), err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, want := readFile(t, out.Name()), archive(t, []entry{{Header{Name: "x", Size: 5}, "12345"}}); !bytes.Equal(got, want) {
			t.Errorf("ReadFrom gives other bytes than Write:\n%q\n%q", got, want)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMkdirAll(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	like := Header{Mode: 0o751, UID: 7, ModTime: epoch}
	for _, dir := range []string{"usr/lib/firmware", "usr/lib", "usr/share"} {
		if err := w.MkdirAll(dir, like); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.MkdirAll("../x", like); err == nil {
		t.Error(`MkdirAll("../x"): got no error`)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := readAll(newReader(newSource(&b)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.Mode, " ", e.UID, " ", e.Name))
	}
	want := []string{"drwxr-x--x 7 usr", "drwxr-x--x 7 usr/lib", "drwxr-x--x 7 usr/lib/firmware", "drwxr-x--x 7 usr/share"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("directories differ (-want +got):\n%s", diff)
	}
}

func TestWriterSize(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := w.WriteHeader(&Header{Name: "odd", Size: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(b.Len()) || w.Size()%4 != 0 {
		t.Errorf("Size is %d with %d bytes written, want equal multiples of four", w.Size(), b.Len())
	}
	if err := w.WriteHeader(&Header{Name: "late"}); err == nil {
		t.Error("WriteHeader after Close: got no error")
	}
}
