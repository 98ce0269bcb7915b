package zstd

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/graftlinux/graft/internal/testkit"
)

// frameOfParts is a frame of src with a window, cut in parts that see as much
// of what precedes them as they are long.
func frameOfParts(level Level, src []byte, size, window int) []byte {
	e := NewEncoder(level)
	b := appendWindowHeader(nil, window)
	for at := 0; at < len(src); at += size {
		from := max(0, at-size)
		b = e.AppendPart(b, src[from:min(at+size, len(src))], at-from, window)
	}
	return appendBlockHeader(b, blockRaw, 0, true)
}

func TestParts(t *testing.T) {
	testkit.NotUnderRace(t)
	noise := random(600_000)
	inputs := append(sources(t),
		source{"dense and repeated", slicesOf(noise, text(1000), noise[1000:])},
		source{"dense after zeros", slicesOf(make([]byte, 300_000), noise)})
	for _, in := range inputs {
		for _, level := range []Level{Default, Best, Deep} {
			for _, size := range []int{1 << 17, 1 << 20} {
				if got := decode(t, frameOfParts(level, in.data, size, 1<<20)); !bytes.Equal(got, in.data) {
					t.Errorf("%s, level %d, parts of %d: got other bytes", in.name, level, size)
				}
			}
		}
	}
}

// TestPartsWindow: dense content that occurs again is found in the window, and
// not beyond it.
func TestPartsWindow(t *testing.T) {
	noise := random(1 << 20)
	src := slicesOf(noise, noise[100_000:400_000])
	for window, want := range map[int]int{1 << 20: 1<<20 + 10_000, 1 << 18: len(src)} {
		got := len(NewEncoder(Default).AppendPart(nil, src, 0, window))
		if got < want-10_000 || got > want+10_000 {
			t.Errorf("a window of %d: got %d bytes for %d, want about %d", window, got, len(src), want)
		}
	}
}

func TestDense(t *testing.T) {
	counting := make([]byte, 1<<17)
	for i := range counting {
		counting[i] = byte(i)
	}
	hex := bytes.ReplaceAll(random(1<<17), []byte{0}, []byte("0"))
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{
		"random":               {random(1 << 17), true},
		"random, 8 KiB":        {random(1 << 13), false}, // too few: chance looks like a bias
		"random, odd length":   {random(1<<17 - 3), true},
		"one value is missing": {hex, true},
		"counting":             {counting, true}, // what repeats is not its business
		"a tenth is text":      {append(random(118_000), text(13_072)...), false},
		"text":                 {text(1 << 17), false},
		"zeros":                {make([]byte, 1<<17), false},
		"empty":                {nil, false},
		"16 MiB of one value":  {make([]byte, 16<<20), false},
	} {
		if got := Dense(c.data); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// TestCounting: bytes that look dense, but repeat, are compressed.
func TestCounting(t *testing.T) {
	src := make([]byte, 1<<20)
	for i := 0; i < len(src); i += 2 {
		binary.LittleEndian.PutUint16(src[i:], uint16(i/2))
	}
	if got := NewEncoder(Default).AppendPart(nil, src, 0, 1<<20); len(got) > len(src)/4+1000 {
		t.Errorf("got %d bytes for %d", len(got), len(src))
	}
}
