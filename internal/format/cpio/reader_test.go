package cpio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadGNU reads what cpio writes: names with "./", content with the last
// of the hard links, checksums.
func TestReadGNU(t *testing.T) {
	want := []string{
		`drwxr-xr-x a ""`,
		`-rw-r----- a/data "hello"`,
		`Lrwxrwxrwx a/symlink -> ../linked ""`,
		`-rw-r--r-- a/linked ""`, // GNU cpio puts names of one file together
		`-rw-r--r-- linked = a/linked "shared"`,
	}
	for _, format := range []string{"newc", "crc"} {
		t.Run(format, func(t *testing.T) {
			names := "./a\na/data\na/linked\na/symlink\nlinked\n"
			b := run(t, makeTree(t), []byte(names), "cpio", "-o", "-H", format, "--quiet")
			entries, err := readAll(newReader(newSource(bytes.NewReader(b))))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, list(t, entries)); diff != "" {
				t.Errorf("entries differ (-want +got):\n%s", diff)
			}
		})
	}
}

// list has a line per entry: mode, name, link target, content.
func list(t *testing.T, entries []entry) []string {
	t.Helper()
	var lines []string
	for _, e := range entries {
		name, err := LocalName(e.Name)
		if err != nil {
			t.Error(err)
		}
		if e.Linkname != "" {
			name += " -> " + e.Linkname
		}
		if e.Hardlink != "" {
			name += " = " + e.Hardlink
		}
		lines = append(lines, fmt.Sprintf("%v %s %q", e.Mode, name, e.content))
	}
	return lines
}

func TestReadChecksum(t *testing.T) {
	b := run(t, makeTree(t), []byte("a/data\n"), "cpio", "-o", "-H", "crc", "--quiet")
	i := bytes.Index(b, []byte("hello"))
	b[i] = 'j'
	_, err := readAll(newReader(newSource(bytes.NewReader(b))))
	if err == nil || !strings.Contains(err.Error(), "checksum is 00000216, want 00000214") {
		t.Errorf("changed content: got %v, want a checksum error", err)
	}
}

func TestReadTruncated(t *testing.T) {
	whole := archive(t, sample)
	for n := range len(whole) {
		_, err := readAll(newReader(newSource(bytes.NewReader(whole[:n]))))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("first %d of %d bytes: got %v, want io.ErrUnexpectedEOF", n, len(whole), err)
		}
		if !strings.Contains(err.Error(), "at offset ") {
			t.Fatalf("first %d of %d bytes: %q does not name the offset", n, len(whole), err)
		}
	}
}

// edit returns an archive with one entry whose header fields are overwritten.
// Field numbers are those of the format: 1 mode, 4 links, 6 size, 11 name size.
func edit(t *testing.T, e entry, field int, value string) []byte {
	b := archive(t, []entry{e})
	copy(b[6+8*field:], value)
	return b
}

func TestReadRefuses(t *testing.T) {
	x := file("x", 0o644, "abcd")
	link := other(Header{Name: "x", Mode: fs.ModeSymlink, Linkname: "abcd"})
	tests := []struct {
		name  string
		input []byte
		want  string
	}{
		{"empty", nil, "cut off before its trailer"},
		{"text", bytes.Repeat([]byte("text"), 50), `no cpio magic: got "textte"`},
		{"old format", append([]byte("070707"), make([]byte, 200)...), "cpio -H newc"},
		{"not hexadecimal", edit(t, x, 6, "0000000g"), `field 7 is "0000000g"`},
		{"name of no bytes", edit(t, x, 11, "00000000"), "the name has 0 bytes"},
		{"name of 4 GiB", edit(t, x, 11, "ffffffff"), "the name has 4294967295 bytes"},
		{"name without NUL", edit(t, x, 11, "00000001"), "does not end with NUL"},
		{"content of 4 GiB", edit(t, x, 6, "ffffffff"), "unexpected EOF"},
		{"directory with content", edit(t, x, 1, "000041ed"), "the kernel skips such an entry"},
		{"target of 4 GiB", edit(t, link, 6, "ffffffff"), "has 4294967295 bytes, want 1 to 4096"},
		{"empty target", edit(t, link, 6, "00000000"), "has 0 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readAll(newReader(newSource(bytes.NewReader(tt.input))))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestReadPaddedName: gen_init_cpio -a fills names with NUL to align contents.
func TestReadPaddedName(t *testing.T) {
	b := edit(t, file("padded", 0o644, "data"), 11, fmt.Sprintf("%08x", len("padded")+1+3))
	b = append(b[:110+7:110+7], append(make([]byte, 3), b[110+7:]...)...)
	// 110+7+3 is a multiple of four, as 110+7+3 padding bytes were before.
	b = append(b[:120:120], b[123:]...)
	entries, err := readAll(newReader(newSource(bytes.NewReader(b))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`-rw-r--r-- padded "data"`}, list(t, entries)); diff != "" {
		t.Errorf("entries differ (-want +got):\n%s", diff)
	}
}

func TestNextSkipsContent(t *testing.T) {
	r := newReader(newSource(bytes.NewReader(archive(t, sample))))
	var got []string
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name)
	}
	var want []string
	for _, e := range sample {
		want = append(want, e.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names differ (-want +got):\n%s", diff)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("Next after the end: got %v, want io.EOF", err)
	}
}

func TestLocalName(t *testing.T) {
	tests := []struct{ name, want string }{
		{"a/b", "a/b"},
		{"./a/b/", "a/b"},
		{".", "."},
		{"./", "."},
		{"a//b", "a/b"},
		{"a..b", "a..b"},
		{"", ""},
		{"/a", ""},
		{"..", ""},
		{"a/../b", ""},
		{"a/..", ""},
	}
	for _, tt := range tests {
		got, err := LocalName(tt.name)
		if got != tt.want || errors.Is(err, ErrUnsafeName) != (tt.want == "") {
			t.Errorf("LocalName(%q) = %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(archive(f, sample))
	f.Add(archive(f, nil))
	f.Add(edit(&testing.T{}, file("x", 0o644, "abcd"), 0, "00000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := readAll(newReader(newSource(bytes.NewReader(b))))
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Mode.IsRegular() && e.Size != int64(len(e.content)) {
				t.Errorf("%q: read %d bytes, the header says %d", e.Name, len(e.content), e.Size)
			}
			if len(e.Name) >= PathMax || strings.ContainsRune(e.Name, 0) {
				t.Errorf("bad name %q", e.Name)
			}
		}
	})
}
