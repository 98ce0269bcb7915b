package zstd

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/graftlinux/graft/internal/testkit"
)

// levelNames are the levels as subtests name them.
var levelNames = map[Level]string{Default: "default", Best: "best"}

// A source is input of one kind.
type source struct {
	name string
	data []byte
}

// random returns n bytes that do not compress.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// text returns n bytes of words.
func text(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the of and a to in is you that it he was for on are as with his they at be this have from or one had by word but not what all were we when your can said")
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[rng.IntN(len(words))])
		b.WriteByte(" \n"[rng.IntN(20)/19])
	}
	return b.Bytes()[:n]
}

// recentOnes returns records of which only a field or two change, so that
// nearly every match has one of the three recent offsets.
func recentOnes(n int) []byte {
	rng := rand.New(rand.NewPCG(3, 4))
	var b bytes.Buffer
	records := [3][]byte{random(20), random(25)[1:], random(31)[2:]}
	for b.Len() < n {
		r := bytes.Clone(records[rng.IntN(3)])
		r[rng.IntN(len(r))] = byte(rng.Int())
		if rng.IntN(4) == 0 {
			r[rng.IntN(len(r))]++
		}
		b.Write(r)
	}
	return b.Bytes()[:n]
}

// mixed alternates what compresses and what does not, so that raw blocks stand
// between compressed ones.
func mixed(n int) []byte {
	var b []byte
	noise, words := random(n), text(n)
	for i := 0; len(b) < n; i++ {
		piece := 100_000 + 30_000*i%70_000
		from := min(len(b), n-1)
		to := min(from+piece, n)
		switch i % 3 {
		case 0:
			b = append(b, words[from:to]...)
		case 1:
			b = append(b, noise[from:to]...)
		case 2:
			b = append(b, make([]byte, to-from)...)
		}
	}
	return b[:n]
}

// program returns the head of this test's own program.
func program(t testing.TB, n int) []byte {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	n, err = io.ReadFull(f, b)
	if err != nil && err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	return b[:n]
}

func sources(t testing.TB) []source {
	noise := random(300_000)
	return []source{
		{"empty", nil},
		{"one byte", []byte("x")},
		{"two bytes", []byte("xy")},
		{"three bytes", []byte("aaa")},
		{"short text", []byte("a rose is a rose is a rose is a rose")},
		{"zeros", make([]byte, 200_000)},
		{"two values", bytes.Repeat([]byte("ab"), 50_000)},
		{"text", text(200_000)},
		{"random", random(200_000)},
		{"mixed", mixed(900_000)},
		{"recent offsets", recentOnes(300_000)},
		{"program", program(t, 1_300_000)},
		{"long match", append(bytes.Clone(noise), noise...)},
		{"long match after others", slicesOf(noise[:100_000], text(50_000), noise[:100_000], noise[:99_999])},
		{"all bytes once", allBytes()},
	}
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func allBytes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// decoder is an independent implementation.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<maxWindowLog))
})

// decode returns what the decoder makes of one frame.
func decode(t testing.TB, frame []byte) []byte {
	t.Helper()
	d, err := decoder()
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.DecodeAll(frame, nil)
	if err != nil {
		t.Fatalf("decoding: %v", err)
	}
	return got
}

func wantSame(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		n := 0
		for n < min(len(got), len(want)) && got[n] == want[n] {
			n++
		}
		t.Fatalf("decoded to %d bytes, want %d; they differ from byte %d on", len(got), len(want), n)
	}
}

func eachLevel(t *testing.T, f func(t *testing.T, level Level)) {
	for level, name := range levelNames {
		t.Run(name, func(t *testing.T) { f(t, level) })
	}
}

// maxGrowth is what a frame may be larger than its input: the header, and
// three bytes for each block.
func maxGrowth(n int) int { return 16 + 3*(n/maxBlock+1) }

func TestAppend(t *testing.T) {
	testkit.NotUnderRace(t)
	eachLevel(t, func(t *testing.T, level Level) {
		e := NewEncoder(level)
		for _, s := range sources(t) {
			t.Run(s.name, func(t *testing.T) {
				frame := e.Append([]byte("before"), s.data)
				frame, ok := bytes.CutPrefix(frame, []byte("before"))
				if !ok {
					t.Fatal("what was in dst is lost")
				}
				wantSame(t, decode(t, frame), s.data)
				if grown := len(frame) - len(s.data); grown > maxGrowth(len(s.data)) {
					t.Errorf("%d bytes became %d", len(s.data), len(frame))
				}
				if again := NewEncoder(level).Append(nil, s.data); !bytes.Equal(again, frame) {
					t.Error("a new encoder makes other bytes than one that was used before")
				}
			})
		}
	})
}

// Sizes around those at which the headers and the number of blocks change.
func TestAppendSizes(t *testing.T) {
	testkit.NotUnderRace(t)
	data := program(t, 1<<20+100)
	eachLevel(t, func(t *testing.T, level Level) {
		e := NewEncoder(level)
		for _, border := range []int{0, 32, 64, 256, 1024, 4096, 1<<16 + 256, maxBlock, 2 * maxBlock, 1 << 20} {
			for n := max(0, border-9); n <= border+9; n += 3 {
				src := data[1000%max(1, len(data)-n):][:n]
				wantSame(t, decode(t, e.Append(nil, src)), src)
			}
		}
		for n := range 300 {
			wantSame(t, decode(t, e.Append(nil, data[:n])), data[:n])
			wantSame(t, decode(t, e.Append(nil, data[9999-n:9999])), data[9999-n:9999])
		}
	})
}

// TestAppendManyFrames uses one encoder until the places in its tables have
// gone all the way round.
func TestAppendManyFrames(t *testing.T) {
	e := NewEncoder(Default)
	src := text(20_000)
	want := e.Append(nil, src)
	for _, base := range []uint32{1<<31 - 30_000, 1<<31 - 1, 1 << 31, 1<<31 + 1} {
		e.parser.finder.base = base
		for range 4 {
			if got := e.Append(nil, src); !bytes.Equal(got, want) {
				t.Fatalf("after base %d the encoder makes other bytes", base)
			}
		}
	}
}

// oddWrites writes b in pieces of changing sizes.
func oddWrites(w io.Writer, b []byte) error {
	for i := 0; len(b) > 0; i++ {
		n := min(len(b), []int{1, 70_001, 0, 333, 1 << 17, 500_000}[i%6])
		if m, err := w.Write(b[:n]); err != nil || m != n {
			return fmt.Errorf("writing %d bytes: %d, %w", n, m, err)
		}
		b = b[n:]
	}
	return nil
}

func stream(t testing.TB, level Level, window int, src []byte, write func(io.Writer, []byte) error) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, level, window)
	if err := write(w, src); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func oneWrite(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

func TestWriter(t *testing.T) {
	noise := random(1 << 20)
	all := []source{{"exactly two parts", slicesOf(noise, noise)}, {"several parts", mixed(2_500_000)}}
	if !testing.Short() { // of less than a part, and so of one goroutine
		all = append(all, sources(t)...)
	}
	eachLevel(t, func(t *testing.T, level Level) {
		for _, s := range all {
			t.Run(s.name, func(t *testing.T) {
				for _, window := range []int{1 << 10, 1 << 18, 4 << 20} {
					wantSame(t, decode(t, stream(t, level, window, s.data, oddWrites)), s.data)
				}
			})
		}
	})
}

// TestWriterSameBytes cuts a stream in other writes, and lets other numbers of
// processors compress it.
func TestWriterSameBytes(t *testing.T) {
	const window = 1 << 18
	src := program(t, 4<<20)
	want := stream(t, Default, window, src, oneWrite)
	if got := stream(t, Default, window, src, oddWrites); !bytes.Equal(got, want) {
		t.Error("other writes make other bytes")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, n := range []int{1, 2, 5} {
		runtime.GOMAXPROCS(n)
		if got := stream(t, Default, window, src, oneWrite); !bytes.Equal(got, want) {
			t.Errorf("%d processors make other bytes", n)
		}
	}
}

// A failing writer takes a few bytes.
type failing struct{ left int }

func (f *failing) Write(b []byte) (int, error) {
	if len(b) > f.left {
		return 0, io.ErrShortWrite
	}
	f.left -= len(b)
	return len(b), nil
}

func TestWriterErrors(t *testing.T) {
	for _, window := range []int{-1, 0, 1, 512, 1<<20 + 1, 1 << 28} {
		w := NewWriter(io.Discard, Default, window)
		if _, err := w.Write([]byte("x")); err == nil {
			t.Errorf("window %d: no error on writing", window)
		}
		if err := w.Close(); err == nil {
			t.Errorf("window %d: no error on closing", window)
		}
	}
	for _, left := range []int{0, 6, 1_000_000} {
		w := NewWriter(&failing{left}, Default, 1<<20)
		err := oneWrite(w, random(4<<20))
		if closing := w.Close(); err == nil {
			err = closing
		}
		if err != io.ErrShortWrite {
			t.Errorf("a writer for %d bytes: got %v, want %v", left, err, io.ErrShortWrite)
		}
	}
	w := NewWriter(io.Discard, Default, 1<<20)
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("writing after Close: no error")
	}
}

// TestJudge lets the reference implementation read all kinds of frames at once.
func TestJudge(t *testing.T) {
	testkit.NotUnderRace(t)
	program := testkit.Judge(t, "zstd")
	eachLevel(t, func(t *testing.T, level Level) {
		e := NewEncoder(level)
		var frames, want []byte
		for _, s := range sources(t) {
			frames = e.Append(frames, s.data)
			want = append(want, s.data...)
		}
		for _, window := range []int{1 << 10, 8 << 20} {
			for _, s := range sources(t) {
				frames = append(frames, stream(t, level, window, s.data, oneWrite)...)
				want = append(want, s.data...)
			}
		}
		path := filepath.Join(t.TempDir(), "frames.zst")
		if err := os.WriteFile(path, frames, 0o644); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd := exec.Command(program, "-dc", path)
		cmd.Stderr = &stderr
		got, err := cmd.Output()
		if err != nil {
			t.Fatalf("zstd -d: %v: %s", err, stderr.Bytes())
		}
		wantSame(t, got, want)
	})
}

func FuzzRoundTrip(f *testing.F) {
	for _, s := range sources(f) {
		f.Add(s.data[:min(len(s.data), 5000)])
	}
	encoders := []*Encoder{NewEncoder(Default), NewEncoder(Best)}
	f.Fuzz(func(t *testing.T, src []byte) {
		for level, e := range encoders {
			wantSame(t, decode(t, e.Append(nil, src)), src)
			wantSame(t, decode(t, stream(t, Level(level), 1<<minWindowLog, src, oddWrites)), src)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for level, name := range levelNames {
		b.Run(name, func(b *testing.B) {
			src := program(b, 1<<20)
			e := NewEncoder(level)
			var out []byte
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				out = e.Append(out[:0], src)
			}
			b.ReportMetric(float64(len(src))/float64(len(out)), "ratio")
		})
	}
}
