package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// sampleDisk has data at both ends, within and across grains, zeros that are no
// hole, and a whole grain table without data. Its last grain is not whole.
func sampleDisk() *sparse.Image {
	m := sparse.New(80<<20 + 512)
	m.Put(0, testkit.Noise(512))
	m.Put(64<<10-1, []byte("across a border"))
	m.Put(1<<20, testkit.Noise(300_000))
	m.Put(2<<20, make([]byte, 200_000))
	m.Put(3<<20, bytes.Repeat([]byte("compresses well "), 10_000))
	m.Put(80<<20, testkit.Noise(512))
	return m
}

func encoded(t testing.TB, raw *sparse.Image, o Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(t.Context(), &b, raw, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t testing.TB, image []byte) *sparse.Image {
	t.Helper()
	m, err := NewReader(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	for name, raw := range map[string]*sparse.Image{
		"sample": sampleDisk(),
		"sector": sparse.Bytes(testkit.Noise(512)),
		"empty":  sparse.New(40 << 20),
		"full":   sparse.Bytes(testkit.Noise(3 << 20)),
	} {
		disk := open(t, encoded(t, raw, Options{}))
		if !bytes.Equal(testkit.Contents(t, disk), testkit.Contents(t, raw)) {
			t.Errorf("%s: the disk does not read as it was written", name)
		}
		if name == "empty" && disk.DataSize() > 0 {
			t.Errorf("an empty disk has %d bytes of data", disk.DataSize())
		}
	}
}

// listing walks a stream from marker to marker.
func listing(t *testing.T, image []byte) string {
	t.Helper()
	var b strings.Builder
	var h header
	if _, err := binary.Decode(image, binary.LittleEndian, &h); err != nil {
		t.Fatal(err)
	}
	text, _, _ := bytes.Cut(image[descriptorSector*sectorSize:], []byte{0})
	fmt.Fprintf(&b, "header: version %d, flags %#x, capacity %d, grains %d, overhead %d\n%s", h.Version, h.Flags, h.Capacity, h.GrainSectors, h.Overhead, text)
	for at := int(h.Overhead) * sectorSize; at < len(image); {
		var m marker
		if _, err := binary.Decode(image[at:], binary.LittleEndian, &m); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d: ", at/sectorSize)
		if m.Size > 0 {
			n := len(padSector(make([]byte, grainHeaderSize+m.Size))) / sectorSize
			fmt.Fprintf(&b, "grain for sector %d, %d sectors\n", m.Value, n)
			at += n * sectorSize
			continue
		}
		fmt.Fprintf(&b, "%s of %d sectors\n", []string{"end", "table", "directory", "footer"}[m.Type], m.Value)
		at += (1 + int(m.Value)) * sectorSize
	}
	return b.String()
}

func TestLayout(t *testing.T) {
	raw := sparse.New(100 << 20)
	raw.Put(0, testkit.Noise(grainSize))
	raw.Put(64<<10, make([]byte, grainSize)) // left out
	raw.Put(128<<10+5, []byte("in the third grain"))
	raw.Put(99<<20, []byte("in the last table"))
	want := `header: version 3, flags 0x30001, capacity 204800, grains 128, overhead 128
# Disk DescriptorFile
version=1
CID=2e33518a
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW 204800 SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "12"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
128: grain for sector 0, 129 sectors
257: grain for sector 256, 1 sectors
258: table of 4 sectors
263: grain for sector 202752, 1 sectors
264: table of 4 sectors
269: directory of 1 sectors
271: footer of 1 sectors
273: end of 0 sectors
`
	if d := cmp.Diff(want, listing(t, encoded(t, raw, Options{}))); d != "" {
		t.Error("want (-), got (+):\n", d)
	}
}

func TestSameBytes(t *testing.T) {
	for level := 1; level <= 9; level++ {
		want := encoded(t, sampleDisk(), Options{Workers: 1, Level: level})
		for _, workers := range []int{0, 2, 7} {
			if got := encoded(t, sampleDisk(), Options{Workers: workers, Level: level}); !bytes.Equal(got, want) {
				t.Errorf("level %d: %d workers write another image than one", level, workers)
			}
		}
	}
	want := encoded(t, sampleDisk(), Options{})
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if !bytes.Equal(encoded(t, sampleDisk(), Options{}), want) {
		t.Error("another number of processors gives another image")
	}
}

// What a compressor has seen before does not matter, or workers would.
func TestCompressorForgets(t *testing.T) {
	testkit.NotUnderRace(t)
	text := strings.Repeat("package vmdk writes and reads disk images in VMware's format\n", 9000)
	raw := sparse.Bytes(append([]byte(text)[:4*grainSize], testkit.Noise(4*grainSize)...))
	for level := 1; level <= 9; level++ {
		used, err := newCompressor(raw, level)
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(80) {
			fresh, err := newCompressor(raw, level)
			if err != nil {
				t.Fatal(err)
			}
			got, want := &packed{number: i * 3 % 8}, &packed{number: i * 3 % 8}
			if err := errors.Join(used.compress(got), fresh.compress(want)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.data, want.data) {
				t.Fatalf("level %d: grain %d is compressed otherwise after others", level, got.number)
			}
		}
	}
}

func TestWriteErrors(t *testing.T) {
	for name, c := range map[string]struct {
		size int64
		o    Options
		want string
	}{
		"nothing":          {0, Options{}, "the disk has 0 bytes, want a multiple of 512"},
		"part of a sector": {513, Options{}, "the disk has 513 bytes, want a multiple of 512"},
		"too large":        {maxSize + 512, Options{}, "and at most 68169720922112"},
		"adapter":          {512, Options{Adapter: "nvme"}, `unknown adapter type "nvme", want buslogic, ide or lsilogic`},
		"name":             {512, Options{Name: "a\"\n"}, "does not fit into a descriptor"},
		"long name":        {512, Options{Name: strings.Repeat("n", 20_000)}, "the name of 20000 bytes is too long"},
		"level":            {512, Options{Level: 10}, "compression level 10, want 1 to 9"},
	} {
		err := Write(t.Context(), io.Discard, sparse.New(c.size), c.o)
		if err == nil || !strings.HasPrefix(err.Error(), "writing a VMDK image: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// fullPipe takes so many bytes.
type fullPipe int

var errFull = errors.New("full")

func (p *fullPipe) Write(b []byte) (int, error) {
	if *p -= fullPipe(len(b)); *p < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// brokenDisk fails behind the first MiB.
type brokenDisk struct{}

var errBroken = errors.New("broken")

func (brokenDisk) ReadAt(p []byte, off int64) (int, error) {
	if off > 1<<20 {
		return 0, errBroken
	}
	return len(p), nil
}

// Write ends with the error of either end, and leaves no goroutine.
func TestWriteStops(t *testing.T) {
	before := runtime.NumGoroutine()
	raw := sparse.Bytes(testkit.Noise(8 << 20))
	for n := fullPipe(0); n < 8<<20; n += 1 << 20 {
		p := n
		if err := Write(t.Context(), &p, raw, Options{}); !errors.Is(err, errFull) {
			t.Errorf("after %d bytes: got %v, want %v", n, err, errFull)
		}
	}
	if err := Write(t.Context(), io.Discard, sparse.From(brokenDisk{}, 0, 8<<20), Options{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, io.Discard, raw, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	deadline := time.Now().Add(10 * time.Second) // the last ones may be on their way out
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		}
		time.Sleep(time.Millisecond)
	}
}

// alter is an image with bytes at an offset replaced.
func alter(image []byte, at int, b ...byte) []byte {
	image = bytes.Clone(image)
	copy(image[at:], b)
	return image
}

func TestReaderErrors(t *testing.T) {
	raw := sparse.New(64 << 20)
	raw.Put(0, []byte("boot"))
	raw.Put(40<<20, []byte("data"))
	image := encoded(t, raw, Options{})
	// 128 grain, 129 table, 134 grain, 135 table, 140 directory, 142 footer, 144 end
	directory, table := 141*512, 130*512
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"nothing":           {nil, "does not begin with a VMDK header"},
		"several files":     {[]byte("# Disk DescriptorFile\n"), "only describes an image of several files"},
		"magic":             {alter(image, 0, 'X'), "does not begin with a VMDK header"},
		"version":           {alter(image, 4, 4), "version 4, want 1 to 3"},
		"text":              {alter(image, 0x4b, '\n'), "damaged by a transfer as text"},
		"capacity":          {alter(image, 19, 1), "the limit is 133143986176"},
		"no grains":         {alter(image, 20, 0), "grains of 0 sectors"},
		"odd grains":        {alter(image, 20, 9), "grains of 9 sectors"},
		"large grains":      {alter(image, 27, 0x80), "grains of 9223372036854775936 sectors"},
		"table entries":     {alter(image, 46, 1), "grain tables of 66048 entries"},
		"many tables":       {alter(alter(image, 16, 16), 44, 1, 0), "the disk has 536871936 grain tables, the limit is 2031616"},
		"no tables":         {alter(image, 44, 0, 0), "grain tables of 0 entries"},
		"compression":       {alter(image, 0x4d, 2), "compressed by method 2"},
		"no descriptor":     {alter(image, 28, 0), "one of several of an image"},
		"descriptor away":   {alter(image, 31, 1), "descriptor: sector 16777217 lies outside"},
		"parent":            {bytes.Replace(image, []byte("parentCID=ffffffff"), []byte("parentCID=00000000"), 1), "difference to another one"},
		"subformat":         {bytes.Replace(image, []byte("streamOptimized"), []byte("monolithicFlat "), 1), `the subformat "monolithicFlat " is not supported`},
		"no footer":         {image[:len(image)-512], "no footer: it is not complete"},
		"directory outside": {alter(image, len(image)-1024+60, 1), "grain directory: sector 4294967437 lies outside"},
		"table outside":     {alter(image, directory+3, 1), "grain table: sector 16777346 lies outside"},
		"table twice":       {alter(image, directory+4, image[directory:directory+4]...), "two entries of the grain directory point to sector 130"},
		"grain outside":     {alter(image, table+3, 1), "the grain for offset 0 of the disk is at sector 16777344, outside"},
	} {
		_, err := NewReader(bytes.NewReader(c.image), int64(len(c.image)))
		if err == nil || !strings.HasPrefix(err.Error(), "reading a VMDK image: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestDamagedGrains(t *testing.T) {
	raw := sparse.New(1 << 20)
	raw.Put(0, []byte("boot"))
	image := encoded(t, raw, Options{})
	grain := 128 * 512
	size := int(image[grain+8]) | int(image[grain+9])<<8
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"place":    {alter(image, grain, 128), "it says that it belongs to sector 128 of the disk, not to 0"},
		"size":     {alter(image, grain+10, 4), "more than twice those of a grain"},
		"header":   {alter(image, grain+12, 0), "zlib: invalid header"},
		"checksum": {alter(image, grain+12+size-1, 0), "zlib: invalid checksum"},
		"cut off":  {alter(image, grain+8, 20), "unexpected EOF"},
	} {
		_, err := io.ReadAll(open(t, c.image).Reader())
		if err == nil || !strings.Contains(err.Error(), "decompressing the grain at sector 128: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// Whatever is cut off, there is an error: the end of an image is its root.
func TestTruncated(t *testing.T) {
	raw := sparse.New(1 << 20)
	raw.Put(4000, testkit.Noise(3000))
	image := encoded(t, raw, Options{})
	for n := 0; n < len(image); n += 13 {
		if _, err := NewReader(bytes.NewReader(image[:n]), int64(n)); err == nil {
			t.Errorf("%d bytes of %d are a whole image", n, len(image))
		}
	}
}

func FuzzReader(f *testing.F) {
	raw := sparse.New(256 << 10)
	raw.Put(1000, testkit.Noise(70))
	raw.Put(200<<10, []byte("data"))
	image := encoded(f, raw, Options{})
	image = append(image[:8*sectorSize:8*sectorSize], image[overheadSectors*sectorSize:]...) // without most zeros
	f.Add(image)
	f.Add(alter(image, 10, 0)) // not compressed
	f.Add(alter(image, 0x38, image[len(image)-1024+0x38:][:8]...))
	f.Fuzz(func(_ *testing.T, image []byte) {
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
	})
}

// writeFile writes an image to a file for an outside judge.
func writeFile(t testing.TB, m *sparse.Image, name string) string {
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
