package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// file, dir, link and so on are the lines of a tar under test.
func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), Uname: content}
}

func dir(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}

func hardlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

func special(name string, typ byte) tar.Header {
	return tar.Header{Typeflag: typ, Name: name, Mode: 0o666}
}

// tarBytes writes the headers; the content of a file travels in Uname.
func tarBytes(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := h.Uname
		h.Uname = ""
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// contents lists a tree in a form that is easy to write down.
func contents(t testing.TB, tr *Tree) []string {
	t.Helper()
	var got []string
	err := tr.Walk(func(e Entry) error {
		line := e.Path
		switch {
		case e.Mode.IsDir():
			line += "/"
		case e.Hardlink != "":
			line += " = " + e.Hardlink
		case e.Mode&fs.ModeSymlink != 0:
			line += " -> " + e.Target
		case e.Mode.IsRegular():
			data, err := tr.ReadFile(e.Path, 1<<20)
			if err != nil {
				return err
			}
			line += ": " + string(data)
		default:
			line += " " + e.Mode.Type().String()
		}
		if e.Path != "." {
			got = append(got, line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != tr.Len() {
		t.Errorf("got %d entries, Len says %d", len(got), tr.Len())
	}
	return got
}

func applied(t testing.TB, layers ...[]byte) *Tree {
	t.Helper()
	tr := New()
	for _, l := range layers {
		if err := tr.ApplyLayer(bytes.NewReader(l), int64(len(l))); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func TestApplyLayer(t *testing.T) {
	base := []tar.Header{dir("a/"), file("a/x", "x"), file("a/y", "y"), dir("a/sub/"), file("a/sub/z", "z"), symlink("a/l", "x")}
	all := []string{"a/", "a/l -> x", "a/sub/", "a/sub/z: z", "a/x: x", "a/y: y"}
	for _, tt := range []struct {
		name string
		top  []tar.Header
		want []string
	}{
		{"nothing", nil, all},
		{"whiteout of a file", []tar.Header{file("a/.wh.x", "")}, []string{"a/", "a/l -> x", "a/sub/", "a/sub/z: z", "a/y: y"}},
		{"whiteout of a symlink spares its target", []tar.Header{file("a/.wh.l", "")}, []string{"a/", "a/sub/", "a/sub/z: z", "a/x: x", "a/y: y"}},
		{"whiteout of a directory", []tar.Header{file(".wh.a", "")}, nil},
		{"whiteout of nothing", []tar.Header{file("b/.wh.x", "")}, all},
		{"whiteout, then new", []tar.Header{file("a/.wh.x", ""), file("a/x", "new")}, []string{"a/", "a/l -> x", "a/sub/", "a/sub/z: z", "a/x: new", "a/y: y"}},
		{"new, then whiteout", []tar.Header{file("a/x", "new"), file("a/.wh.x", "")}, []string{"a/", "a/l -> x", "a/sub/", "a/sub/z: z", "a/x: new", "a/y: y"}},
		{"opaque", []tar.Header{dir("a/"), file("a/.wh..wh..opq", ""), file("a/new", "n")}, []string{"a/", "a/new: n"}},
		{"opaque at the end", []tar.Header{dir("a/"), file("a/sub/new", "n"), file("a/.wh..wh..opq", "")}, []string{"a/", "a/sub/", "a/sub/new: n"}},
		{"opaque root", []tar.Header{file(".wh..wh..opq", ""), file("b", "b")}, []string{"b: b"}},
		{"file over a directory", []tar.Header{file("a", "now a file")}, []string{"a: now a file"}},
		{"directory over a file", []tar.Header{dir("a/x/"), file("a/x/in", "i")}, []string{"a/", "a/l -> x", "a/sub/", "a/sub/z: z", "a/x/", "a/x/in: i", "a/y: y"}},
		{"hard link to a lower layer", []tar.Header{hardlink("b", "a/x")}, append(all[:4:4], "a/x: x", "a/y: y", "b = a/x")},
		{"leading dots and slashes", []tar.Header{dir("./"), file("/b", "b"), file("./a/./c", "c")}, []string{"a/", "a/c: c", "a/l -> x", "a/sub/", "a/sub/z: z", "a/x: x", "a/y: y", "b: b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := applied(t, tarBytes(t, base...), tarBytes(t, tt.top...))
			if diff := cmp.Diff(tt.want, contents(t, tr)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if ps := tr.Problems(); len(ps) > 0 {
				t.Errorf("got problems %v", ps)
			}
		})
	}
}

// TestPlainTarKeepsWhiteouts: only layers have whiteouts, a plain tar has files.
func TestPlainTarKeepsWhiteouts(t *testing.T) {
	data := tarBytes(t, file("x", "x"), file(".wh.x", ""), special("null", tar.TypeChar), special("pipe", tar.TypeFifo))
	tr, err := FromTar(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".wh.x: ", "null Dc---------", "pipe p---------", "x: x"}, contents(t, tr)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestTarProblems puts in what no tree can hold: it is left out, and told.
func TestTarProblems(t *testing.T) {
	xattr := file("x", "x")
	xattr.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b", "SCHILY.xattr.security.selinux": "label\x00"}
	deep := strings.Repeat("d/", MaxDepth) + "x"
	for _, tt := range []struct {
		name string
		in   []tar.Header
		want []string
		kind ProblemKind
		path string
	}{
		{"climbs", []tar.Header{file("../x", "x")}, nil, Traversal, "../x"},
		{"climbs in the middle", []tar.Header{file("a/../../x", "x")}, nil, Traversal, "a/../../x"},
		{"below a symlink", []tar.Header{symlink("etc", "/etc"), file("etc/passwd", "x")}, []string{"etc -> /etc"}, BelowLink, "etc/passwd"},
		{"below a file", []tar.Header{file("a", "a"), file("a/b", "b")}, []string{"a: a"}, BelowLink, "a/b"},
		{"hard link to nothing", []tar.Header{hardlink("a", "b"), file("b", "later")}, []string{"b: later"}, BadLink, "a"},
		{"hard link to a directory", []tar.Header{dir("d/"), hardlink("a", "d")}, []string{"d/"}, BadLink, "a"},
		{"hard link that climbs", []tar.Header{hardlink("a", "../etc/passwd")}, nil, Traversal, "a"},
		{"root as a file", []tar.Header{file(".", "x")}, nil, BadName, "."},
		{"long name", []tar.Header{file(strings.Repeat("n", MaxName+1), "x")}, nil, BadName, strings.Repeat("n", MaxName+1)},
		{"too deep", []tar.Header{file(deep, "x")}, nil, BadName, deep},
		{"long target", []tar.Header{symlink("l", strings.Repeat("t", MaxTarget+1))}, nil, BadName, "l"},
		{"unknown type", []tar.Header{special("x", 'V')}, nil, BadName, "x"},
		{"an attribute", []tar.Header{xattr}, []string{"x: x"}, DroppedAttr, "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := applied(t, tarBytes(t, tt.in...))
			if diff := cmp.Diff(tt.want, contents(t, tr)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			ps := tr.Problems()
			if len(ps) != 1 || ps[0].Kind != tt.kind || ps[0].Path != tt.path || ps[0].Detail == "" {
				t.Errorf("got problems %+v, want one of kind %s for %q", ps, tt.kind, tt.path)
			}
		})
	}
}

func TestManyProblems(t *testing.T) {
	var in []tar.Header
	for range maxProblems + 5 {
		in = append(in, file("../x", ""))
	}
	ps := applied(t, tarBytes(t, in...)).Problems()
	if len(ps) != maxProblems+1 || !strings.Contains(ps[maxProblems].Detail, "5 more") {
		t.Errorf("got %d problems, the last one %+v", len(ps), ps[len(ps)-1])
	}
}

// TestTarModes keeps mode bits and the SELinux label, and drops owner and time.
func TestTarModes(t *testing.T) {
	h := tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o6751, Uid: 1000, Gid: 1000,
		PAXRecords: map[string]string{"SCHILY.xattr.security.selinux": "system_u:object_r:bin_t:s0\x00"}}
	sticky := dir("tmp/")
	sticky.Mode = 0o1777
	tr := applied(t, tarBytes(t, h, sticky))
	n := tr.Get("x")
	if want := fs.ModeSetuid | fs.ModeSetgid | 0o751; n.Mode != want {
		t.Errorf("got mode %v, want %v", n.Mode, want)
	}
	if want := "system_u:object_r:bin_t:s0"; n.Label != want {
		t.Errorf("got label %q, want %q", n.Label, want)
	}
	if got, want := tr.Get("tmp").Mode, fs.ModeDir|fs.ModeSticky|0o777; got != want {
		t.Errorf("got mode %v, want %v", got, want)
	}
}

// TestTarErrors: where the tar itself is broken, reading ends.
func TestTarErrors(t *testing.T) {
	good := tarBytes(t, file("x", strings.Repeat("x", 1000)), file("y", "y"))
	for name, data := range map[string][]byte{
		"cut in a header":  good[:100],
		"cut in a content": good[:700],
		"bad checksum":     append([]byte("X"), good[1:]...),
		"garbage":          bytes.Repeat([]byte("garbage!"), 200),
	} {
		if err := New().ApplyLayer(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), "at byte") {
			t.Errorf("%s: got %v, want an error with its place", name, err)
		}
	}
}

// TestSparse refuses what GNU tar --sparse writes, the old way and the new one.
func TestSparse(t *testing.T) {
	old := tarBytes(t, file("x", "x"))
	old[156] = tar.TypeGNUSparse
	copy(old[257:], "ustar  \x00")
	fixChecksum(old[:512])
	pax := file("x", "x")
	pax.PAXRecords = map[string]string{"XXX.sparse.size": "1"} // Go does not write the real one
	for _, data := range [][]byte{old, bytes.Replace(tarBytes(t, pax), []byte("XXX.sparse"), []byte("GNU.sparse"), 1)} {
		tr := applied(t, data)
		if ps := tr.Problems(); len(ps) != 1 || ps[0].Kind != SparseFile {
			t.Errorf("got problems %+v, want one of kind %s", ps, SparseFile)
		}
	}
}

// fixChecksum makes a changed header a valid one.
func fixChecksum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// TestTooManyEntries stops a tar of nothing but names.
func TestTooManyEntries(t *testing.T) {
	tr := New()
	tr.count = MaxEntries - 1
	data := tarBytes(t, file("a", ""), file("b", ""))
	if err := tr.ApplyLayer(bytes.NewReader(data), int64(len(data))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
}

// repaired gives every header its right checksum, so that a fuzzer gets to what
// is behind it.
func repaired(data []byte) []byte {
	data = bytes.Clone(data)
	for at := 0; at+512 <= len(data); {
		h := data[at : at+512]
		if bytes.Count(h, []byte{0}) == len(h) {
			break
		}
		fixChecksum(h)
		size, err := strconv.ParseUint(strings.Trim(string(h[124:136]), " \x00"), 8, 32)
		if err != nil {
			break
		}
		at += 512 + int(size+511)/512*512
	}
	return data
}

// FuzzApplyLayer applies two layers of any bytes. Whatever they are, a tree
// without an error is whole: every path is clean, the count is right, contents can be read.
func FuzzApplyLayer(f *testing.F) {
	base := tarBytes(f, dir("a/"), file("a/x", "x"), symlink("a/l", "x"), hardlink("a/h", "a/x"))
	label := file("a/x", "labelled")
	label.PAXRecords = map[string]string{"SCHILY.xattr.security.selinux": "l"}
	for _, top := range [][]tar.Header{
		{file("a/.wh.x", "")}, {file("a/.wh..wh..opq", ""), file("a/n", "n")}, {label}, {file("../x", "x")},
		{file(strings.Repeat("long/", 40)+"x", "x")}, {special("a", tar.TypeBlock)}, {hardlink("b", "a/h")},
	} {
		f.Add(base, tarBytes(f, top...))
	}
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		tr := New()
		for _, l := range [][]byte{repaired(lower), repaired(upper)} {
			if tr.ApplyLayer(bytes.NewReader(l), int64(len(l))) != nil {
				return
			}
		}
		count := -1 // for the root
		err := tr.Walk(func(e Entry) error {
			count++
			if p, err := clean(e.Path); err != nil || p != e.Path && e.Path != "." {
				t.Errorf("path %q is not clean: %v", e.Path, err)
			}
			if e.Mode.IsRegular() && e.Size < 1<<20 {
				_, err := tr.ReadFile(e.Path, e.Size)
				return err
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if count != tr.Len() {
			t.Errorf("got %d entries, Len says %d", count, tr.Len())
		}
	})
}
