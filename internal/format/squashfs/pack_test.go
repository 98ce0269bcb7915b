package squashfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// An entry is a header with its content, as the tests hand it to a Writer.
type entry struct {
	Header
	content []byte
}

func dir(name string) entry {
	return entry{Header: Header{Name: name, Mode: fs.ModeDir | 0o755, ModTime: testTime}}
}

func file(name string, content []byte) entry {
	return entry{
		Header:  Header{Name: name, Mode: 0o644, ModTime: testTime, Size: int64(len(content))},
		content: content,
	}
}

func link(name, target string) entry {
	return entry{Header: Header{Name: name, Mode: fs.ModeSymlink | 0o777, ModTime: testTime, Linkname: target}}
}

func hardlink(name, target string) entry {
	return entry{Header: Header{Name: name, Hardlink: target}}
}

func node(name string, mode fs.FileMode, major, minor uint32) entry {
	return entry{Header: Header{Name: name, Mode: mode, ModTime: testTime, Major: major, Minor: minor}}
}

// with returns e after a change.
func (e entry) with(change func(*Header)) entry {
	change(&e.Header)
	return e
}

var testTime = time.Date(2026, 9, 5, 12, 30, 15, 0, time.UTC)

// noise returns n bytes that compress badly, text n bytes that compress well.
// Both depend on the seed only.
func noise(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

func text(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "line %d of %d\n", r.IntN(1000), seed)
	}
	return b.Bytes()[:n]
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// sampleTree has everything that the format can hold, and sizes around the
// borders of blocks of the given size.
func sampleTree(blockSize int) []entry {
	bs := blockSize
	tree := []entry{
		dir(".").with(func(h *Header) { h.Mode = fs.ModeDir | fs.ModeSticky | 0o777; h.UID, h.GID = 3, 4 }),
		dir("bin"),
		file("bin/suid", text(300, 1)).with(func(h *Header) { h.Mode = fs.ModeSetuid | fs.ModeSetgid | 0o755 }),
		file("bin/tool", text(3*bs+77, 2)).with(func(h *Header) { h.Mode = 0o755; h.UID, h.GID = 1<<32-2, 70000 }),
		hardlink("bin/tool2", "bin/tool"),
		dir("dev"),
		node("dev/console", fs.ModeDevice|fs.ModeCharDevice|0o600, 5, 1),
		node("dev/disk", fs.ModeDevice|0o660, 259, 0xfedcb),
		node("dev/fifo", fs.ModeNamedPipe|0o644, 0, 0),
		node("dev/socket", fs.ModeSocket|0o755, 0, 0),
		hardlink("dev/fifo2", "dev/fifo"),
		dir("empty").with(func(h *Header) { h.Mode = fs.ModeDir | fs.ModeSetgid | 0o700; h.ModTime = time.Unix(1<<32-1, 0) }),
		dir("links"),
		link("links/dangling", "/no/such/thing"),
		link("links/long", strings.Repeat("x/", 2047)+"y"),
		link("links/rel", "../bin/tool"),
		hardlink("links/rel2", "links/rel"),
		dir("sizes"),
		dir("sparse"),
		file("sparse/all", make([]byte, 4*bs)),
		file("sparse/all+tail", make([]byte, 4*bs+5)),
		file("sparse/front", join(make([]byte, 2*bs), text(bs, 4))),
		file("sparse/middle", join(text(bs, 3), make([]byte, 3*bs), text(9, 3))),
		file("sparse/small", make([]byte, 100)),
		dir("twins"),
		file("twins/large1", text(2*bs+5, 9)),
		file("twins/large2", text(2*bs+5, 9)),
		file("twins/large3", text(2*bs+5, 10)), // same size, other content
		file("twins/small1", text(500, 9)),
		file("twins/small2", text(500, 9)),
		dir("xattr").with(func(h *Header) { h.Xattrs = map[string]string{"security.selinux": "dir_t\x00"} }),
		file("xattr/big", nil).with(func(h *Header) { h.Xattrs = map[string]string{"user.big": string(noise(60000, 5))} }),
		file("xattr/many", []byte("x")).with(func(h *Header) {
			h.Xattrs = map[string]string{"security.selinux": "bin_t\x00", "trusted.a": "1", "user.b": "", "user.a": "\x00\xff"}
		}),
		file("xattr/same1", nil).with(func(h *Header) { h.Xattrs = map[string]string{"security.selinux": "bin_t\x00"} }),
		file("xattr/same2", nil).with(func(h *Header) { h.Xattrs = map[string]string{"security.selinux": "bin_t\x00"} }),
		link("xattr/symlink", "many").with(func(h *Header) { h.Xattrs = map[string]string{"trusted.l": "link"} }),
		node("xattr/null", fs.ModeDevice|fs.ModeCharDevice|0o666, 1, 3).with(func(h *Header) { h.Xattrs = map[string]string{"trusted.n": "node"} }),
		file("z"+strings.Repeat("n", 254), []byte("the longest name")),
	}
	for i, size := range []int{0, 1, 2, bs - 1, bs, bs + 1, 2*bs - 1, 2 * bs, 2*bs + 1, 5 * bs} {
		tree = append(tree,
			file(fmt.Sprintf("sizes/noise%d", i), noise(size, uint64(i))),
			file(fmt.Sprintf("sizes/text%d", i), text(size, uint64(i))))
	}
	return tree
}

// wideTree has one directory with n files of a few bytes.
func wideTree(n int) []entry {
	tree := []entry{dir("."), dir("wide")}
	for i := range n {
		tree = append(tree, file(fmt.Sprintf("wide/file-with-a-longer-name-%06d", i), fmt.Appendf(nil, "content %d", i)))
	}
	return tree
}

// addAll puts the entries into w.
func addAll(w *Writer, tree []entry) error {
	for _, e := range tree {
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(e.content)), nil }
		if err := w.Add(&e.Header, open); err != nil {
			return err
		}
	}
	return nil
}

// image returns an image of the entries in memory.
func image(tb testing.TB, o Options, tree []entry) []byte {
	tb.Helper()
	var out memory
	w, err := NewWriter(&out, o)
	if err != nil {
		tb.Fatal(err)
	}
	err = addAll(w, tree)
	if err := errors.Join(err, w.Close()); err != nil {
		tb.Fatal(err)
	}
	return out
}

// imageFile writes an image of the entries into a temporary file.
func imageFile(tb testing.TB, o Options, tree []entry) string {
	tb.Helper()
	path := tb.TempDir() + "/image.sqsh"
	if err := os.WriteFile(path, image(tb, o, tree), 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}

// memory is an io.WriterAt that grows.
type memory []byte

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	if need := int(at) + len(p); need > len(*m) {
		*m = append(*m, make([]byte, need-len(*m))...)
	}
	return copy((*m)[at:], p), nil
}

func reader(tb testing.TB, img []byte) *Reader {
	tb.Helper()
	r, err := NewReader(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// line describes one entry completely, for comparison: all that a Header says,
// the number of links, and the digest of the content or what stands for it.
func line(h *Header, nlink uint32, content string) string {
	var attrs []string
	for name, value := range h.Xattrs {
		attrs = append(attrs, fmt.Sprintf("%s=%s", name, short(value)))
	}
	slices.Sort(attrs)
	return fmt.Sprintf("%s %v %d:%d %d links, time %d, %s %v",
		short(h.Name), h.Mode, h.UID, h.GID, nlink, h.ModTime.Unix(), content, attrs)
}

// short is s, or a digest of it if it is long.
func short(s string) string {
	if len(s) <= 64 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%.20q... %d bytes %x", s, len(s), sha256.Sum256([]byte(s)))[:100]
}

// describe is the last part of a line for an entry without known content.
func describe(h *Header, content []byte) string {
	switch {
	case h.Mode.IsRegular():
		return fmt.Sprintf("%d bytes %.8x", len(content), sha256.Sum256(content))
	case h.Mode&fs.ModeSymlink != 0:
		return "-> " + short(h.Linkname)
	case h.Mode&fs.ModeDevice != 0:
		return fmt.Sprintf("device %d:%d", h.Major, h.Minor)
	}
	return ""
}

// wantListing is the listing that the entries must lead to.
func wantListing(tree []entry) []string {
	nlink := map[string]uint32{}
	byName := map[string]entry{}
	for _, e := range tree {
		target := e.Name
		if e.Hardlink != "" {
			target = e.Hardlink
		} else {
			byName[e.Name] = e
		}
		nlink[target]++
		if e.Mode.IsDir() {
			nlink[e.Name]++
			if parent, _ := splitName(e.Name); e.Name != "." {
				nlink[parent]++
			}
		}
	}
	var lines []string
	for _, e := range tree {
		inode := e
		if e.Hardlink != "" {
			inode = byName[e.Hardlink]
			inode.Name = e.Name
		}
		n := nlink[byName[firstOf(e)].Name]
		lines = append(lines, line(&inode.Header, n, describe(&inode.Header, inode.content)))
	}
	slices.Sort(lines)
	return lines
}

func firstOf(e entry) string {
	if e.Hardlink != "" {
		return e.Hardlink
	}
	return e.Name
}

// readListing is the listing of what a Reader finds, with all content.
func readListing(tb testing.TB, r *Reader) []string {
	tb.Helper()
	var lines []string
	for f, err := range r.Files() {
		if err != nil {
			tb.Fatal(err)
		}
		var content []byte
		if f.Mode.IsRegular() {
			content = readFile(tb, f)
		}
		lines = append(lines, line(&f.Header, f.nlink, describe(&f.Header, content)))
	}
	slices.Sort(lines)
	return lines
}

func readFile(tb testing.TB, f *File) []byte {
	tb.Helper()
	rc, err := f.Open()
	if err != nil {
		tb.Fatal(err)
	}
	defer rc.Close()
	content, err := io.ReadAll(rc)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

func run(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}
