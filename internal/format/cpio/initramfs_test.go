package cpio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func plain(t testing.TB, name string) []byte {
	return archive(t, []entry{file(name, 0o644, "content of "+name)})
}

// packed compresses with an outside program.
func packed(t testing.TB, b []byte, name string, args ...string) []byte {
	return run(t, "", b, name, append(args, "-c")...)
}

// compressed compresses with NewCompressor, in writes of n bytes.
func compressed(t testing.TB, b []byte, c Compression, level Level, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewCompressor(&out, c, level)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		k := min(n, len(b))
		if _, err := w.Write(b[:k]); err != nil {
			t.Fatal(err)
		}
		b = b[k:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// pad4 fills b up to a multiple of four.
func pad4(b []byte) []byte { return join(b, make([]byte, PaddingTo4(int64(len(b))))) }

// segments reads a whole initramfs: a line per segment, then one per entry.
func segments(b []byte) ([]string, error) {
	var lines []string
	r := NewInitramfsReader(bytes.NewReader(b))
	for {
		entries, err := r.Next()
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		all, err := readAll(entries)
		if err != nil {
			return lines, err
		}
		s := r.Segment()
		lines = append(lines, fmt.Sprintf("%d+%d %v archives=%d unpacked=%d", s.Offset, s.Size, s.Compression, s.Archives, s.Unpacked))
		for _, e := range all {
			lines = append(lines, "  "+e.Name)
		}
	}
}

// TestInitramfs joins segments of every kind and finds each of them again,
// at the byte where it begins and with the length that it has.
func TestInitramfs(t *testing.T) {
	two := join(plain(t, "c"), make([]byte, 508), plain(t, "d"))
	parts := []struct {
		b           []byte
		compression Compression
		names       string
		archives    int
	}{
		{plain(t, "a"), Plain, "a", 1},
		{plain(t, "b"), Plain, "b", 1},
		{packed(t, two, "zstd", "-3"), Zstd, "c d", 2},
		{packed(t, plain(t, "e"), "zstd", "--no-check", "--ultra", "-22"), Zstd, "e", 1},
		{packed(t, plain(t, "f"), "xz", "--check=crc32"), XZ, "f", 1},
		{packed(t, two, "xz", "--check=none", "--block-size=100"), XZ, "c d", 2},
		{packed(t, plain(t, "g"), "gzip", "-9"), Gzip, "g", 1},
		{packed(t, plain(t, "h"), "xz", "--format=lzma"), LZMA, "h", 1},
		{compressed(t, plain(t, "i"), Zstd, Best, 1000), Zstd, "i", 1},
		{compressed(t, plain(t, "j"), XZ, Default, 1000), XZ, "j", 1},
		{plain(t, "k"), Plain, "k", 1},
		{packed(t, nil, "zstd"), Zstd, "", 0},
	}
	for _, padding := range []int{0, 4, 512} {
		var file []byte
		var want []string
		for _, p := range parts {
			file = join(pad4(file), make([]byte, padding))
			unpacked := p.archives * len(plain(t, "a"))
			if p.archives == 2 {
				unpacked += 508
			}
			want = append(want, fmt.Sprintf("%d+%d %v archives=%d unpacked=%d", len(file), len(p.b), p.compression, p.archives, unpacked))
			for _, name := range strings.Fields(p.names) {
				want = append(want, "  "+name)
			}
			file = append(file, p.b...)
		}
		got, err := segments(file)
		if err != nil {
			t.Errorf("padding %d: %v", padding, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("padding %d: segments differ (-want +got):\n%s", padding, diff)
		}
	}
}

// TestInitramfsUnaligned: compressed segments may touch, plain ones may not.
func TestInitramfsUnaligned(t *testing.T) {
	z := []byte(packed(t, plain(t, "z"), "zstd"))
	for len(z)%4 == 0 {
		z = packed(t, plain(t, strings.Repeat("z", len(z))), "zstd", "-1")
	}
	if _, err := segments(join(z, z, []byte{0}, z)); err != nil {
		t.Errorf("compressed segments at any offset: %v", err)
	}
	for name, b := range map[string][]byte{
		"plain after zstd":      join(z, plain(t, "p")),
		"zstd after plain":      join(plain(t, "p"), []byte{0}, z),
		"archives within a one": packed(t, join(plain(t, "p"), []byte{0}, plain(t, "q")), "zstd"),
	} {
		_, err := segments(b)
		if err == nil || !strings.Contains(err.Error(), "the kernel wants a multiple of four") {
			t.Errorf("%s: got %v, want an error about alignment", name, err)
		}
	}
}

func TestInitramfsRefuses(t *testing.T) {
	p := plain(t, "p")
	half := len(p) / 2
	tests := []struct {
		name  string
		input []byte
		want  string
	}{
		{"bzip2", packed(t, p, "bzip2"), "bzip2 is not supported here; recompress"},
		{"lz4", packed(t, p, "lz4", "-l"), "lz4 is not supported here; recompress"},
		{"text", []byte("hello, world"), "neither a cpio archive nor a compression that the kernel knows: it begins with 68 65 6c"},
		{"second", join(p, []byte("junk")), fmt.Sprintf("segment at offset %d: neither", len(p))},
		{"xz with CRC64", packed(t, p, "xz"), "compress with --check=crc32"},
		{"xz with x86 filter", packed(t, p, "xz", "--check=crc32", "--x86", "--lzma2"), "filters other than LZMA2"},
		{"xz with delta filter", packed(t, p, "xz", "--check=crc32", "--delta", "--lzma2"), "filters other than LZMA2"},
		{"xz with a large dictionary", packed(t, p, "xz", "--check=crc32", "--lzma2=dict=256MiB"), "a dictionary of 268435456 bytes"},
		{"zstd with a large window", []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 18 << 3, 1, 0, 0}, "a window of 268435456 bytes"},
		{"zstd with a dictionary", []byte{0x28, 0xb5, 0x2f, 0xfd, 1, 0, 1, 0, 0}, "needs a dictionary"},
		{"archive over two frames", join(packed(t, p[:half], "zstd"), packed(t, p[half:], "zstd")), "unexpected EOF"},
		{"junk in a frame", packed(t, join(p, []byte("junk")), "zstd"), "cut off before its trailer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := segments(tt.input)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestInitramfsTruncated cuts a file at every byte: an error, except where a
// segment or the padding behind it ends.
func TestInitramfsTruncated(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"plain", plain(t, "p")},
		{"zstd", packed(t, plain(t, "p"), "zstd")},
		{"xz", packed(t, plain(t, "p"), "xz", "--check=crc32", "--block-size=100")},
		{"gzip", packed(t, plain(t, "p"), "gzip")},
		{"lzma", packed(t, plain(t, "p"), "xz", "--format=lzma")},
	} {
		for n := 1; n < len(c.b); n++ {
			if _, err := segments(c.b[:n]); err == nil {
				t.Errorf("%s: first %d of %d bytes: got no error", c.name, n, len(c.b))
			}
		}
	}
}

// TestInitramfsFlipped changes every byte of compressed segments in turn: the
// reader may find the error or not see it, but it must not panic.
func TestInitramfsFlipped(t *testing.T) {
	for _, b := range [][]byte{
		packed(t, plain(t, "p"), "zstd"),
		packed(t, plain(t, "p"), "xz", "--check=crc32"),
		packed(t, plain(t, "p"), "gzip"),
	} {
		for i := range b {
			c := bytes.Clone(b)
			c[i] ^= 0x55
			segments(c)
		}
	}
}

func TestInitramfsBomb(t *testing.T) {
	zeros := bytes.Repeat(make([]byte, 1<<20), 8)
	b := compressed(t, archive(t, []entry{file("zeros", 0o644, string(zeros))}), Zstd, Default, 1<<20)
	for _, copies := range []int{1, 3} {
		r := NewInitramfsReader(bytes.NewReader(bytes.Repeat(pad4(b), copies)))
		r.MaxUnpacked = 10 << 20
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if (copies == 1) != (err == io.EOF) || (copies == 3) != errors.Is(err, ErrTooMuch) {
			t.Errorf("%d times 8 MiB, limit 10 MiB: got %v", copies, err)
		}
	}
}

// TestSkippedSegments: Next finds the next segment whatever was read.
func TestSkippedSegments(t *testing.T) {
	file := join(pad4(packed(t, plain(t, "a"), "zstd")), plain(t, "b"), packed(t, plain(t, "c"), "xz", "--check=crc32"))
	r := NewInitramfsReader(bytes.NewReader(file))
	var sizes int64
	for n := range 3 {
		entries, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := entries.Next(); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after three segments: got %v, want io.EOF", err)
	}
	s := r.Segment()
	if sizes = s.Offset + s.Size; sizes != int64(len(file)) {
		t.Errorf("the last segment ends at %d, the file at %d", sizes, len(file))
	}
}

// TestCompressor: outside programs read what it makes, and its bytes do not
// depend on the number of cores or on the calls of Write.
func TestCompressor(t *testing.T) {
	var content strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&content, "line %d %x\n", i%7777, i*i)
	}
	want := archive(t, []entry{file("text", 0o644, content.String())})
	tests := []struct {
		c       Compression
		level   Level
		program string
	}{
		{Zstd, Default, "zstd"},
		{Zstd, Best, "zstd"},
		{XZ, Default, "xz"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.c, tt.level), func(t *testing.T) {
			b := compressed(t, want, tt.c, tt.level, 1<<20)
			run(t, "", b, tt.program, "-t", "-q")
			if got := run(t, "", b, tt.program, "-d", "-c"); !bytes.Equal(got, want) {
				t.Errorf("%s -d gives other content", tt.program)
			}
			if _, err := segments(b); err != nil {
				t.Error(err)
			}
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			if !bytes.Equal(b, compressed(t, want, tt.c, tt.level, 7777)) {
				t.Error("one core and small writes give other bytes")
			}
		})
	}
}

// TestCompressorSettings shows what the kernel depends on.
func TestCompressorSettings(t *testing.T) {
	empty := archive(t, nil)
	frame := compressed(t, bytes.Repeat(empty, 1<<17), Zstd, Best, 1<<20)
	c := newZstdFrame(newSource(bytes.NewReader(frame)))
	n, err := io.Copy(io.Discard, c)
	if err != nil || n != int64(len(frame)) {
		t.Errorf("the first frame has %d bytes of %d (%v), want a single frame", n, len(frame), err)
	}
	if window := 1 << (10 + frame[5]>>3); window > writeWindow {
		t.Errorf("window of %d bytes, want at most %d", window, writeWindow)
	}
	stream := compressed(t, empty, XZ, Default, 1<<20)
	if stream[7] != xzCheckCRC32 {
		t.Errorf("xz check type %d, want CRC32", stream[7])
	}
	if _, err := NewCompressor(io.Discard, Gzip, Default); err == nil {
		t.Error("NewCompressor(Gzip): got no error")
	}
}

func FuzzInitramfs(f *testing.F) {
	p := plain(f, "p")
	f.Add(join(p, p))
	f.Add(compressed(f, p, Zstd, Default, 1<<20))
	f.Add(compressed(f, p, XZ, Default, 1<<20))
	f.Add(packed(f, p, "gzip"))
	f.Add(packed(f, p, "xz", "--format=lzma", "--lzma1=dict=64KiB"))
	f.Add(packed(f, p, "xz", "--check=none", "--block-size=100", "--lzma2=dict=64KiB"))
	f.Add(packed(f, p, "zstd", "--no-check"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewInitramfsReader(bytes.NewReader(b))
		r.MaxUnpacked = 16 << 20
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
		if s := r.Segment(); s.Offset+s.Size > int64(len(b)) {
			t.Errorf("segment at %d of %d bytes in a file of %d", s.Offset, s.Size, len(b))
		}
	})
}

// BenchmarkInitramfs reads the entries and contents of a compressed segment;
// MB/s of its decompressed bytes.
func BenchmarkInitramfs(b *testing.B) {
	content := benchContent()
	plain := archive(b, []entry{file("content", 0o644, content)})
	for _, c := range []Compression{Plain, Zstd, XZ} {
		b.Run(c.String(), func(b *testing.B) {
			packed := compressed(b, plain, c, Default, 1<<20)
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				r := NewInitramfsReader(bytes.NewReader(packed))
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Next(); err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompressor(b *testing.B) {
	content := []byte(benchContent())
	for _, level := range []Level{Default, Best} {
		b.Run(fmt.Sprint("zstd", level), func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				compressed(b, content, Zstd, level, 1<<20)
			}
		})
	}
}

// benchContent is 16 MiB that compress about as well as programs do.
func benchContent() string {
	var b strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for b.Len() < 16<<20 {
		fmt.Fprintf(&b, "%x %d ", r.IntN(1<<30), r.IntN(1000))
	}
	return b.String()
}
