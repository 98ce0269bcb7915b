package compress

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// unpack reads all of what is packed.
func unpack(b []byte, limit int64) ([]byte, Format, error) {
	r, f, err := NewReader(bytes.NewReader(b), limit)
	if err != nil {
		return nil, f, err
	}
	got, err := io.ReadAll(r)
	return got, f, err
}

func TestReadRaw(t *testing.T) {
	for _, s := range []string{"", "x", "not packed at all", "\x28\xb5\x2f"} {
		got, f, err := unpack([]byte(s), 100)
		if string(got) != s || f != Raw || err != nil {
			t.Errorf("%q: got %q, %v, %v", s, got, f, err)
		}
	}
}

func TestLimit(t *testing.T) {
	m := disk(2 << 20)
	all := []Format{Raw, Gzip, XZ, Zstd, TarGz}
	for _, f := range all {
		b, err := io.ReadAll(m.Reader())
		if f != Raw {
			b = packed(t, m, f, Options{})
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, limit := range []int64{0, 1, 1000, m.Size() - 1} {
			got, _, err := unpack(b, limit)
			if err == nil || !strings.Contains(err.Error(), "which is the limit") || int64(len(got)) != limit {
				t.Errorf("%v, %d: got %d bytes, %v", f, limit, len(got), err)
			}
		}
		if got, _, err := unpack(b, m.Size()); err != nil || int64(len(got)) != m.Size() {
			t.Errorf("%v: got %d bytes, %v", f, len(got), err)
		}
	}
}

// small is an image with blocks of all kinds, which packs to little.
func small() *sparse.Image {
	return sparse.Concat(1, sparse.Bytes(words(1000)), sparse.New(blockSize-1000), sparse.New(2*blockSize), sparse.Bytes(noise(5000)))
}

func TestTruncated(t *testing.T) {
	testkit.NotUnderRace(t)
	for _, f := range []Format{Gzip, XZ, Zstd, TarGz} {
		b := packed(t, small(), f, Options{})
		for n := 8; n < len(b); n += 1 + n/50 {
			got, _, err := unpack(b[:n], 1<<20)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%v: %d of %d bytes: got %d bytes, %v", f, n, len(b), len(got), err)
			}
		}
	}
}

// TestDamaged: a bit that is not what it was is found, or does not matter.
func TestDamaged(t *testing.T) {
	testkit.NotUnderRace(t)
	want, err := io.ReadAll(small().Reader())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []Format{Gzip, XZ, Zstd, TarGz} {
		b := packed(t, small(), f, Options{})
		for i := 0; i < len(b); i += 1 + i/40 {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << (i % 8)
			got, seen, err := unpack(bad, 1<<20)
			if err == nil && seen == f && !bytes.Equal(got, want) {
				t.Errorf("%v: byte %d was changed, and other content came out", f, i)
			}
		}
	}
}

func TestXZDictionary(t *testing.T) {
	b := packed(t, sparse.Bytes(words(100)), XZ, Options{})
	b[xzStreamHeader+2+1+1+2] = 40 // 4 GiB - 1, behind sizes of one byte each
	if _, _, err := unpack(b, 1<<20); err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("got %v, want that the dictionary is too large", err)
	}
}

func TestTarWithoutFile(t *testing.T) {
	for n, want := range map[int]string{1: "no file in the archive", 1000: "no file among the first 16 members"} {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		for range n {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "dir/"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Close(), z.Close()); err != nil {
			t.Fatal(err)
		}
		if _, f, err := unpack(b.Bytes(), 1<<20); f != TarGz || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d directories: got %v, %v, want %s", n, f, err, want)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, format := range []Format{Gzip, XZ, Zstd, TarGz} {
		f.Add(packed(f, small(), format, Options{}))
		f.Add(packed(f, sparse.Bytes(words(100)), format, Options{}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		if got, _, _ := unpack(b, limit); len(got) > limit {
			t.Errorf("got %d bytes, the limit is %d", len(got), limit)
		}
	})
}
