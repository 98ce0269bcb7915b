package compress

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

var streams = []Format{Gzip, XZ, Zstd}

// noise returns n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// words returns n bytes that do.
func words(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %d\n", strings.Repeat("piece ", rng.IntN(4)), rng.IntN(1000))
	}
	return b.Bytes()[:n]
}

// disk looks like a disk image, small: a head, text, content that was
// compressed before, and a backup of the head at the end.
func disk(size int64) *sparse.Image {
	m := sparse.New(size)
	m.Put(0, words(700))
	m.Put(1<<20, append(noise(300_000), words(100_000)...))
	m.Put(size-5000, words(600))
	return m
}

// solid is the same image without a hole.
func solid(t testing.TB, m *sparse.Image) *sparse.Image {
	t.Helper()
	b, err := io.ReadAll(m.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return sparse.Bytes(b)
}

func packed(t testing.TB, m *sparse.Image, f Format, o Options) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	if f == TarGz {
		err = WriteTarGz(context.Background(), &b, "disk.raw", m, time.Unix(1_700_000_000, 0), o)
	} else {
		err = Write(context.Background(), &b, m, f, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readsAs checks that r reads as the image.
func readsAs(t testing.TB, r io.Reader, m *sparse.Image) {
	t.Helper()
	want := m.Reader()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := 0; ; {
		n, err := io.ReadFull(r, a)
		k, _ := io.ReadFull(want, b)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Fatalf("after %d bytes: %v", at, err)
		}
		if !bytes.Equal(a[:n], b[:k]) {
			t.Fatalf("got other %d bytes than the %d in the image at %d", n, k, at)
		}
		if at += n; n < len(a) {
			return
		}
	}
}

func samples() map[string]*sparse.Image {
	repeated := noise(200_000)
	return map[string]*sparse.Image{
		"empty":           sparse.New(0),
		"one byte":        sparse.Bytes([]byte("x")),
		"text":            sparse.Bytes(words(50_000)),
		"zeros":           sparse.New(17 << 20),
		"less than piece": sparse.New(1<<20 - 1),
		"piece of gzip":   sparse.Bytes(append(noise(1<<20-10), words(10)...)),
		"piece of zstd":   sparse.Concat(1, sparse.Bytes(words(10)), sparse.New(4<<20-10)),
		"and a byte":      sparse.Concat(1, sparse.New(8<<20), sparse.Bytes([]byte("x"))),
		"dense":           sparse.Bytes(noise(300_000)),
		"dense, repeated": sparse.Concat(1, sparse.Bytes(repeated), sparse.New(4<<20-250_000), sparse.Bytes(repeated)),
		"disk":            disk(17<<20 + 512),
	}
}

func TestRoundTrip(t *testing.T) {
	for name, m := range samples() {
		for _, f := range []Format{Gzip, XZ, Zstd, TarGz} {
			t.Run(fmt.Sprintf("%s/%v", name, f), func(t *testing.T) { roundTrip(t, m, f, Default) })
		}
	}
	for _, f := range streams {
		for _, level := range []Level{Fast, Best} {
			t.Run(fmt.Sprintf("level %d/%v", level, f), func(t *testing.T) { roundTrip(t, disk(5<<20), f, level) })
		}
	}
}

func roundTrip(t *testing.T, m *sparse.Image, f Format, level Level) {
	r, got, err := NewReader(bytes.NewReader(packed(t, m, f, Options{Level: level})), m.Size())
	if err != nil || got != f {
		t.Fatalf("got %v, %v, want %v", got, err, f)
	}
	readsAs(t, r, m)
}

// TestSameBytes: neither the number of workers nor where the holes are shows.
func TestSameBytes(t *testing.T) {
	m := disk(33<<20 + 512)
	for _, f := range []Format{Gzip, XZ, Zstd, TarGz} {
		want := packed(t, m, f, Options{Workers: 1})
		for name, got := range map[string][]byte{
			"two workers":    packed(t, m, f, Options{Workers: 2}),
			"eight workers":  packed(t, m, f, Options{Workers: 8}),
			"too many":       packed(t, m, f, Options{Workers: 1000}),
			"no known holes": packed(t, solid(t, m), f, Options{}),
		} {
			if !bytes.Equal(got, want) {
				t.Errorf("%v, %s: got other bytes than with one worker", f, name)
			}
		}
	}
}

// TestHoles: what is a hole is not read, and hardly takes room.
func TestHoles(t *testing.T) {
	m := sparse.New(4 << 30)
	m.Put(3<<30, noise(1000))
	for f, most := range map[Format]int{Gzip: 4<<30/1000 + 10_000, XZ: 4<<30/4500 + 10_000, Zstd: 4<<30/30_000 + 10_000} {
		if got := len(packed(t, m, f, Options{})); got > most {
			t.Errorf("%v: 4 GiB of nearly nothing take %d bytes, want %d at most", f, got, most)
		}
	}
}

func TestProgress(t *testing.T) {
	m := disk(33 << 20)
	for _, f := range streams {
		sum := int64(0)
		packed(t, m, f, Options{Progress: func(n int64) { sum += n }})
		if sum != m.DataSize() {
			t.Errorf("%v: was told of %d bytes, want %d", f, sum, m.DataSize())
		}
	}
}

// TestZstdBlocks shows what an image is made of.
func TestZstdBlocks(t *testing.T) {
	m := sparse.New(9 << 20)
	m.Put(0, words(300_000))
	m.Put(5<<20, noise(256<<10))
	want := `window 8 MiB, size 9437184, checksum
compressed x3
128 KiB of 0x00 x37
raw 128 KiB x2
128 KiB of 0x00 x30
raw 0 KiB x1
`
	if got := listZstd(t, packed(t, m, Zstd, Options{})); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// listZstd lists the blocks of a frame, equal ones in a row on one line.
func listZstd(t *testing.T, b []byte) string {
	t.Helper()
	if binary.LittleEndian.Uint32(b) != zstdMagic || b[4] != 0xc4 {
		t.Fatalf("the frame begins with % x", b[:5])
	}
	list := fmt.Sprintf("window %d MiB, size %d, checksum\n", 1<<(b[5]>>3)>>10, binary.LittleEndian.Uint64(b[6:]))
	last, times := "", 0
	for b = b[14:]; ; {
		h := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		size := h >> 3
		line := "compressed"
		switch h >> 1 & 3 {
		case 0:
			line = fmt.Sprintf("raw %d KiB", size>>10)
		case 1:
			line = fmt.Sprintf("%d KiB of %#02x", size>>10, b[3:4])
			size = 1
		}
		if line != last && times > 0 {
			list += fmt.Sprintf("%s x%d\n", last, times)
			times = 0
		}
		last = line
		times++
		b = b[3+size:]
		if h&1 != 0 {
			if len(b) != 4 {
				t.Errorf("%d bytes follow the last block, want 4", len(b))
			}
			return list + fmt.Sprintf("%s x%d\n", last, times)
		}
	}
}

func TestTrouble(t *testing.T) {
	gone := errors.New("the disk is gone")
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	background := context.Background()
	good := disk(33 << 20)
	for name, try := range map[string]struct {
		err  error
		want error
	}{
		"source":   {Write(background, io.Discard, sparse.From(badReader{gone}, 0, 9<<20), Zstd, Options{}), gone},
		"short":    {Write(background, io.Discard, sparse.From(strings.NewReader("abc"), 0, 9<<20), XZ, Options{}), io.ErrUnexpectedEOF},
		"target":   {Write(background, badWriter{gone}, good, Gzip, Options{}), gone},
		"canceled": {Write(canceled, io.Discard, good, Zstd, Options{}), context.Canceled},
	} {
		if !errors.Is(try.err, try.want) {
			t.Errorf("%s: got %v, want %v", name, try.err, try.want)
		}
	}
	for _, f := range []Format{Raw, TarGz, -1, 9} {
		if err := Write(background, io.Discard, good, f, Options{}); err == nil {
			t.Errorf("%v: it was written", f)
		}
	}
	if err := Write(background, io.Discard, good, Zstd, Options{Level: 7}); err == nil {
		t.Error("there is no level 7, but it was used")
	}
	if err := WriteTarGz(background, io.Discard, strings.Repeat("x", 200), good, time.Time{}, Options{}); err == nil {
		t.Error("a name of 200 bytes was taken")
	}
}

type badReader struct{ err error }

func (b badReader) ReadAt([]byte, int64) (int, error) { return 0, b.err }

type badWriter struct{ err error }

func (b badWriter) Write([]byte) (int, error) { return 0, b.err }

func TestFormatNames(t *testing.T) {
	for _, s := range []string{"raw", ".gz", ".xz", ".zst", ".tar.gz"} {
		if f, err := ParseFormat(s); err != nil || f.String() != s {
			t.Errorf("%s: got %v, %v", s, f, err)
		}
	}
	if f, err := ParseFormat("zst"); err != nil || f != Zstd {
		t.Errorf("zst: got %v, %v", f, err)
	}
	for _, s := range []string{"", ".", "..gz", "bz2"} {
		if f, err := ParseFormat(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, f)
		}
	}
}

func TestCRC(t *testing.T) {
	b := words(5000)
	for _, n := range []int{0, 1, 2, 31, 4096, 5000} {
		first, second := crc32.ChecksumIEEE(b[:n]), crc32.ChecksumIEEE(b[n:])
		got := shiftBy(uint64(len(b)-n)).of(first) ^ second
		if want := crc32.ChecksumIEEE(b); got != want {
			t.Errorf("cut at %d: got %#x, want %#x", n, got, want)
		}
	}
}

// TestXXH64 has the values of xxhsum -H1.
func TestXXH64(t *testing.T) {
	for s, want := range map[string]uint64{
		"":    0xef46db3751d8e999,
		"a":   0xd24ec4f1a98c6e5b,
		"abc": 0x44bc2cf5ad770999,
		"The quick brown fox jumps over the lazy dog": 0x0b242d361fda71bc,
	} {
		whole, parts := newXXH64(), newXXH64()
		whole.write([]byte(s))
		for i := range s {
			parts.write([]byte(s[i : i+1]))
		}
		if whole.sum() != want || parts.sum() != want {
			t.Errorf("%q: got %#x and %#x, want %#x", s, whole.sum(), parts.sum(), want)
		}
	}
	a, b := newXXH64(), newXXH64()
	a.write(append(words(64), make([]byte, 4096)...))
	b.write(words(64))
	b.zeros(4096)
	if a.sum() != b.sum() {
		t.Errorf("zeros: got %#x, want %#x", b.sum(), a.sum())
	}
}
