package sparse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

func tempFile(t *testing.T, data []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	return f
}

// sample is an image of all kinds of extents, and what it must read as.
func sample(t *testing.T) (*Image, []byte) {
	t.Helper()
	file := tempFile(t, []byte("0123456789"))
	inner := New(20)
	inner.Put(2, []byte("ab"))
	inner.Add(10, From(file, 3, 4))
	m := New(64)
	m.Add(40, inner)
	m.Put(0, []byte("head"))
	m.Add(4, From(file, 0, 2))
	m.Add(63, Bytes([]byte("z")))
	want := make([]byte, 64)
	copy(want, "head01")
	copy(want[42:], "ab")
	copy(want[50:], "3456")
	want[63] = 'z'
	return m, want
}

func TestReader(t *testing.T) {
	m, want := sample(t)
	if err := iotest.TestReader(m.Reader(), want); err != nil {
		t.Error(err)
	}
	got := slices.Collect(m.Extents())
	if want := []Extent{{0, 6}, {42, 2}, {50, 4}, {63, 1}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if m.DataSize() != 13 {
		t.Errorf("got %d bytes of data, want 13", m.DataSize())
	}
}

func TestSection(t *testing.T) {
	m, want := sample(t)
	for from := range int64(65) {
		for to := from; to <= 64; to++ {
			got, err := io.ReadAll(m.Section(from, to-from).Reader())
			if err != nil || !bytes.Equal(got, want[from:to]) {
				t.Fatalf("%d to %d: got %q, %v, want %q", from, to, got, err, want[from:to])
			}
		}
	}
}

func TestConcat(t *testing.T) {
	m := Concat(4, Bytes([]byte("a")), New(0), Bytes([]byte("bcdef")), New(1))
	got, err := io.ReadAll(m.Reader())
	if want := "a\x00\x00\x00bcdef\x00\x00\x00\x00"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestWrite(t *testing.T) {
	m, want := sample(t)
	var b bytes.Buffer
	if n, err := m.WriteTo(&b); err != nil || n != 64 || !bytes.Equal(b.Bytes(), want) {
		t.Errorf("WriteTo: got %q, %d, %v", b.Bytes(), n, err)
	}
	f, told := tempFile(t, nil), int64(0)
	if err := m.WriteFile(context.Background(), f, func(n int64) { told += n }); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("WriteFile: got %q, %v, want %q", got, err, want)
	}
	if told != m.DataSize() {
		t.Errorf("progress is told of %d bytes, want %d", told, m.DataSize())
	}
}

// TestHoles: an image of 8 GiB with 3 MiB in it takes the room of 3 MiB.
func TestHoles(t *testing.T) {
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	m := New(8 << 30)
	m.Add(5<<30, From(tempFile(t, data), 0, int64(len(data))))
	f := tempFile(t, nil)
	if err := m.WriteFile(context.Background(), f, nil); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != 8<<30 {
		t.Errorf("got %d bytes, want 8 GiB", info.Size())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Blocks*512 > 4<<20 {
		t.Errorf("the file takes %d bytes of the disk, want 3 MiB", st.Blocks*512)
	}
	got := make([]byte, len(data))
	if _, err := f.ReadAt(got, 5<<30); err != nil || !bytes.Equal(got, data) {
		t.Errorf("other bytes came back, %v", err)
	}
}

func TestShortSource(t *testing.T) {
	m := From(strings.NewReader("abc"), 0, 5)
	if _, err := m.WriteTo(io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("memory: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
	m = From(tempFile(t, []byte("abc")), 0, 5)
	if err := m.WriteFile(context.Background(), tempFile(t, nil), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("file: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m, _ := sample(t)
	if err := m.WriteFile(ctx, tempFile(t, nil), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestMistakesPanic(t *testing.T) {
	for name, do := range map[string]func(*Image){
		"overlap":  func(m *Image) { m.Put(1, []byte("x")) },
		"covers":   func(m *Image) { m.Put(0, make([]byte, 10)) },
		"beyond":   func(m *Image) { m.Put(10, []byte("x")) },
		"negative": func(m *Image) { m.Put(-1, []byte("x")) },
		"too big":  func(m *Image) { m.Add(0, New(11)) },
		"shrink":   func(m *Image) { m.Resize(2) },
		"section":  func(m *Image) { m.Section(5, 6) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it went through")
				}
			}()
			m := New(10)
			m.Put(1, []byte("abc"))
			do(m)
		})
	}
}

// TestFill: a stream becomes a file with its holes.
func TestFill(t *testing.T) {
	m := New(3 << 20)
	m.Put(1<<20, []byte("data"))
	m.Put(3<<20-1, []byte("!"))
	f := tempFile(t, nil)
	if size, err := Fill(f, m.Reader(), 1<<20); err != nil || size != m.Size() {
		t.Fatalf("got %d, %v", size, err)
	}
	want, _ := io.ReadAll(m.Reader())
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d other bytes, %v", len(got), err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Blocks*512 > 1<<20 {
		t.Errorf("the file takes %d bytes of the disk", st.Blocks*512)
	}
	if _, err := Fill(tempFile(t, nil), m.Reader(), 64<<10); !errors.Is(err, ErrTooMuch) {
		t.Errorf("got %v, want %v", err, ErrTooMuch)
	}
	broken := errors.New("broken")
	if _, err := Fill(tempFile(t, nil), iotest.ErrReader(broken), 1); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
