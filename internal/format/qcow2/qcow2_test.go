package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// sampleDisk has data at both ends, within and across clusters, and a large hole.
func sampleDisk() *sparse.Image {
	m := sparse.New(16<<20 + 512)
	m.Put(0, testkit.Noise(512))
	m.Put(64<<10-1, []byte("across a border"))
	m.Put(1<<20, testkit.Noise(300_000))
	m.Put(8<<20, bytes.Repeat([]byte("compresses well "), 10_000))
	m.Put(16<<20, testkit.Noise(512))
	return m
}

func encode(t testing.TB, raw *sparse.Image, o Options) *sparse.Image {
	t.Helper()
	m, err := Encode(raw, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func open(t testing.TB, image []byte) *sparse.Image {
	t.Helper()
	m, err := NewReader(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var clusterSizes = []int64{512, 4 << 10, 8 << 10, 64 << 10, 2 << 20}

func TestRoundTrip(t *testing.T) {
	for name, raw := range map[string]*sparse.Image{
		"sample":  sampleDisk(),
		"nothing": sparse.New(0),
		"empty":   sparse.New(1 << 30),
		"full":    sparse.Bytes(testkit.Noise(3 << 20)),
	} {
		for _, size := range clusterSizes {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				image := encode(t, raw, Options{ClusterSize: size})
				got, err := NewReader(image, image.Size())
				if err != nil {
					t.Fatal(err)
				}
				if name == "empty" {
					if got.Size() != raw.Size() || got.DataSize() != 0 {
						t.Errorf("got %d bytes of data in %d", got.DataSize(), got.Size())
					}
				} else if !bytes.Equal(testkit.Contents(t, got), testkit.Contents(t, raw)) {
					t.Error("the disk does not read as it was written")
				}
			})
		}
	}
}

// layoutOf lists what is where in an image, by clusters.
func layoutOf(t *testing.T, image []byte) string {
	t.Helper()
	var h header
	if _, err := binary.Decode(image, binary.BigEndian, &h); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	cluster := func(offset uint64) uint64 { return offset & entryOffset >> h.ClusterBits }
	fmt.Fprintf(&b, "version %d, disk %d, clusters %d\n", h.Version, h.Size, len(image)>>h.ClusterBits)
	fmt.Fprintf(&b, "L1 %d entries at %d\n", h.L1Size, cluster(h.L1TableOffset))
	fmt.Fprintf(&b, "refcount table %d at %d\n", h.RefcountTableClusters, cluster(h.RefcountTableOffset))
	for i := range h.L1Size {
		l2 := binary.BigEndian.Uint64(image[h.L1TableOffset+8*uint64(i):]) & entryOffset
		if l2 == 0 {
			continue
		}
		fmt.Fprintf(&b, "L2 table %d at %d:", i, cluster(l2))
		for j := range uint64(1) << (h.ClusterBits - 3) {
			if entry := binary.BigEndian.Uint64(image[l2+8*j:]); entry != 0 {
				fmt.Fprintf(&b, " %d=%d", uint64(i)<<(h.ClusterBits-3)+j, cluster(entry))
			}
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

func TestLayout(t *testing.T) {
	raw := sparse.New(1 << 20)
	raw.Put(0, []byte("boot"))
	raw.Put(1000, testkit.Noise(1500)) // ends within the fifth cluster
	raw.Put(1<<20-1, []byte("z"))
	want := `version 3, disk 1048576, clusters 12
L1 32 entries at 1
refcount table 1 at 2
L2 table 0 at 4: 0=6 1=7 2=8 3=9 4=10
L2 table 31 at 5: 2047=11
`
	got := layoutOf(t, testkit.Contents(t, encode(t, raw, Options{ClusterSize: 512})))
	if d := cmp.Diff(want, got); d != "" {
		t.Error("want (-), got (+):\n", d)
	}
}

// The tables of a large disk with little in it are small, and holes within a
// cluster stay holes.
func TestSmallMetadata(t *testing.T) {
	raw := sparse.New(100 << 30)
	for at := int64(0); at < raw.Size(); at += 10 << 30 {
		raw.Put(at, []byte("partition"))
	}
	image := encode(t, raw, Options{})
	if got := image.DataSize(); got > 1<<20 {
		t.Errorf("got %d bytes, want less than 1 MiB", got)
	}
}

func TestSameBytes(t *testing.T) {
	want := testkit.Contents(t, encode(t, sampleDisk(), Options{}))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if got := testkit.Contents(t, encode(t, sampleDisk(), Options{})); !bytes.Equal(got, want) {
		t.Error("another number of processors gives another image")
	}
}

func TestParseOptions(t *testing.T) {
	for s, want := range map[string]string{
		"":                            "0",
		"cluster_size=8k":             "8192",
		"cluster_size=2M":             "2097152",
		"cluster_size=512":            "512",
		"cluster_size=65536b":         "65536",
		"compat=1.1,cluster_size=64K": "65536",
		"preallocation=off,lazy_refcounts=off,compression_type=zlib,refcount_bits=16,extended_l2=off": "0",
		"cluster_size=8.5k":      "want a whole number of bytes",
		"cluster_size=":          "want a whole number of bytes",
		"cluster_size=-1k":       "want a whole number of bytes",
		"cluster_size=9999999T":  "want a whole number of bytes",
		"cluster_size=1000":      "want a power of two from 512 to 2M",
		"cluster_size=0":         "want a power of two from 512 to 2M",
		"cluster_size=4M":        "want a power of two from 512 to 2M",
		"preallocation=full":     `option "preallocation=full": unsupported operation, want preallocation=off`,
		"compression_type=zstd":  "want compression_type=zlib",
		"compat=0.10":            "want compat=1.1 or v3",
		"lazy_refcounts":         "want lazy_refcounts=off",
		"cluster_size=8k,fluff=": `option "fluff": unsupported operation, want one of cluster_size, compat, compression_type,`,
		"subformat=fixed":        "unsupported operation",
	} {
		o, err := ParseOptions(s)
		got := fmt.Sprint(o.ClusterSize)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || err == nil && got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	for name, c := range map[string]struct {
		raw  *sparse.Image
		o    Options
		want string
	}{
		"part of a sector": {sparse.New(1000), Options{}, "the disk has 1000 bytes, want a multiple of 512"},
		"cluster size":     {sparse.New(512), Options{ClusterSize: 1000}, "cluster size 1000"},
		"L1 table":         {sparse.New(1 << 40), Options{ClusterSize: 512}, "too large for clusters of 512 bytes"},
		"refcount table":   {sparse.From(zeros{}, 0, 512<<30), Options{ClusterSize: 1 << 10}, "too many for clusters of 1024 bytes"},
	} {
		_, err := Encode(c.raw, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// alter is an image with bytes at an offset replaced.
func alter(image []byte, at int, b ...byte) []byte {
	image = bytes.Clone(image)
	copy(image[at:], b)
	return image
}

func TestReaderErrors(t *testing.T) {
	raw := sparse.New(1 << 20)
	raw.Put(0, testkit.Noise(1024))
	raw.Put(512<<10, testkit.Noise(512))
	image := testkit.Contents(t, encode(t, raw, Options{ClusterSize: 512}))
	l1, l2 := 512, 4*512
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"nothing":         {nil, "does not begin with a qcow2 header"},
		"magic":           {alter(image, 0, 'X'), "does not begin with a qcow2 header"},
		"header cut":      {image[:100], "L1 table of 256 bytes at 512 lies outside"},
		"version":         {alter(image, 7, 1), "version 1, want 2 or 3"},
		"backing file":    {alter(image, 15, 100), "has a backing file"},
		"cluster bits":    {alter(image, 23, 40), "clusters of 1<<40 bytes"},
		"disk size":       {alter(image, 24, 0x7f), "too large for clusters"},
		"encryption":      {alter(image, 35, 2), "is encrypted"},
		"few L1 entries":  {alter(image, 39, 1), "L1 table has 1 entries"},
		"L1 far away":     {alter(image, 40, 0x80), "L1 table of 256 bytes at 9223372036854776320 lies outside"},
		"corrupt":         {alter(image, 79, 2), "marked as corrupt"},
		"data file":       {alter(image, 79, 4), "external data file"},
		"extended L2":     {alter(image, 79, 16), "extended L2 entries"},
		"unknown feature": {alter(image, 72, 1), "unknown incompatible features 0x100000000000000"},
		"compression":     {alter(image, 103, 112, 7), "unknown type of compression 7"},
		"L2 far away":     {alter(image, l1+1, 1), "the L2 table at 281474976712704 is not a cluster of the file"},
		"L2 twice":        {alter(image, l1+8, image[l1:l1+8]...), "two entries of the L1 table point to the L2 table at 2048"},
		"cluster outside": {alter(image, l2+1, 1), "the cluster for offset 0 of the disk is at 281474976713728"},
	} {
		_, err := NewReader(bytes.NewReader(c.image), int64(len(c.image)))
		if err == nil || !strings.HasPrefix(err.Error(), "reading a qcow2 image: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// packedImage has two compressed clusters of 512 bytes one after the other, of
// which the second begins within a sector.
func packedImage(t testing.TB, compression byte, first, second []byte) []byte {
	t.Helper()
	pack := deflated
	if compression == compressionZstd {
		pack = zstdFrame
	}
	raw := sparse.New(1024)
	raw.Put(0, testkit.Noise(1))
	image := testkit.Contents(t, encode(t, raw, Options{ClusterSize: 512}))
	image = alter(image, 103, 112, compression)
	image[79] = featureCompression
	at := len(image) - 512
	one, two := pack(t, first), pack(t, second)
	image = append(image[:at], append(one, two...)...)
	l2 := 4 * 512
	for i, e := range []struct{ at, n int }{{at, len(one)}, {at + len(one), len(two)}} {
		sectors := (e.at+e.n-1)/512 - e.at/512
		binary.BigEndian.PutUint64(image[l2+8*i:], entryCompressed|uint64(sectors)<<61|uint64(e.at))
	}
	return image
}

func deflated(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 9)
	if err == nil {
		_, err = w.Write(b)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdFrame(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func TestCompressedClusters(t *testing.T) {
	first, second := bytes.Repeat([]byte("first  "), 74)[:512], testkit.Noise(512)
	for _, compression := range []byte{compressionZlib, compressionZstd} {
		image := packedImage(t, compression, first, second)
		if got := testkit.Contents(t, open(t, image)); !bytes.Equal(got, append(bytes.Clone(first), second...)) {
			t.Errorf("compression %d: the clusters do not read as they were written", compression)
		}
		for name, c := range map[string]struct {
			image []byte
			want  string
		}{
			"cut":     {image[:len(image)-20], "decompressing the cluster at"},
			"outside": {alter(image, 4*512+8, 0x5f), "lies outside the file"},
			"short":   {packedImage(t, compression, first, second[:100]), "unexpected EOF"},
		} {
			_, err := io.ReadAll(open(t, c.image).Reader())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("compression %d, %s: got %v, want %q", compression, name, err, c.want)
			}
		}
	}
}

// Whatever is cut off, there is an error or a disk of the right size.
func TestTruncated(t *testing.T) {
	raw := sparse.New(1 << 20)
	raw.Put(4000, testkit.Noise(3000))
	image := testkit.Contents(t, encode(t, raw, Options{ClusterSize: 512}))
	for n := range image {
		m, err := NewReader(bytes.NewReader(image[:n]), int64(n))
		if err == nil && m.Size() != raw.Size() {
			t.Errorf("%d bytes: got a disk of %d bytes", n, m.Size())
		}
	}
}

// exercise reads a disk as far as is quick.
func exercise(image []byte) {
	m, err := NewReader(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		return
	}
	budget := int64(4 << 20)
	for e := range m.Extents() {
		n, _ := io.Copy(io.Discard, io.NewSectionReader(m, e.Offset, min(e.Size, budget)))
		if budget -= n; budget <= 0 {
			return
		}
	}
}

func FuzzReader(f *testing.F) {
	raw := sparse.New(256 << 10)
	raw.Put(1000, testkit.Noise(700))
	raw.Put(200<<10, []byte("data"))
	image := testkit.Contents(f, encode(f, raw, Options{ClusterSize: 512}))
	f.Add(image)
	f.Add(packedImage(f, compressionZlib, testkit.Noise(512), make([]byte, 512)))
	f.Add(packedImage(f, compressionZstd, testkit.Noise(512), make([]byte, 512)))
	f.Add(alter(image, 7, 2))                           // version 2
	f.Add(alter(image, 4*512, image[4*512+8:5*512]...)) // other clusters
	f.Fuzz(func(_ *testing.T, image []byte) { exercise(image) })
}

// writeImage writes an image to a file for an outside judge.
func writeImage(t testing.TB, m *sparse.Image, name string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := m.WriteFile(t.Context(), f, nil); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
