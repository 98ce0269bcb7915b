package vhd

import (
	"bytes"
	"encoding/binary"
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

// sampleDisk has data at both ends, within and across blocks, and a hole.
func sampleDisk() *sparse.Image {
	m := sparse.New(20 << 20)
	m.Put(0, testkit.Noise(512))
	m.Put(4<<20-5, []byte("across a border"))
	m.Put(8<<20, testkit.Noise(300_000))
	m.Put(20<<20-512, testkit.Noise(512))
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

func parse(t testing.TB, s string) Options {
	t.Helper()
	o, err := ParseOptions(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var kinds = []string{"", "force_size", "subformat=fixed", "subformat=fixed,force_size"}

func TestRoundTrip(t *testing.T) {
	for _, kind := range kinds {
		image := encode(t, sampleDisk(), parse(t, kind))
		got, err := NewReader(image, image.Size())
		if err != nil {
			t.Fatal(err)
		}
		want := testkit.Contents(t, sampleDisk())
		if strings.Contains(kind, "force_size") && got.Size() != int64(len(want)) {
			t.Errorf("%q: got a disk of %d bytes, want %d", kind, got.Size(), len(want))
		}
		if b := testkit.Contents(t, got); !bytes.Equal(b[:len(want)], want) || bytes.Trim(b[len(want):], "\x00") != nil {
			t.Errorf("%q: the disk does not read as it was written", kind)
		}
	}
}

// describe lists what a footer and the table of blocks say.
func describe(t *testing.T, image []byte) string {
	t.Helper()
	var f footer
	if _, err := binary.Decode(image[len(image)-footerSize:], binary.BigEndian, &f); err != nil {
		t.Fatal(err)
	}
	s := fmt.Sprintf("file %d, disk %d, geometry %d/%d/%d, type %d, by %s, at %s, %x\n", len(image), f.CurrentSize,
		f.Cylinders, f.Heads, f.SectorsPerHead, f.DiskType, f.CreatorApp, epoch.Add(time.Duration(f.Time)*time.Second).Format(time.DateOnly), f.UniqueID)
	if f.DiskType == typeDynamic {
		for i := range uint64(f.CurrentSize+blockSize-1) / blockSize {
			s += fmt.Sprintf(" %d", int32(binary.BigEndian.Uint32(image[1536+4*i:])))
		}
		s += "\n"
	}
	return s
}

func TestLayout(t *testing.T) {
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	want := `file 10490880, disk 20971520, geometry 65535/16/255, type 3, by qem2, at 2026-01-02, 5c83bc8ccdb280eda6fe676add569baa
 4 4101 8198 -1 12295 -1 -1 -1 -1 16392
file 20972032, disk 20971520, geometry 65535/16/255, type 2, by qem2, at 2026-01-02, 5c83bc8ccdb280eda6fe676add569baa
file 20994560, disk 20994048, geometry 603/4/17, type 2, by qemu, at 2026-01-02, 5c83bc8ccdb280eda6fe676add569baa
`
	var got string
	for _, kind := range []string{"force_size", "subformat=fixed,force_size", "subformat=fixed"} {
		o := parse(t, kind)
		o.Time, o.Label = day, "node"
		got += describe(t, testkit.Contents(t, encode(t, sampleDisk(), o)))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("want (-), got (+):\n", d)
	}
}

func TestSameBytes(t *testing.T) {
	want := testkit.Contents(t, encode(t, sampleDisk(), Options{}))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if got := testkit.Contents(t, encode(t, sampleDisk(), Options{})); !bytes.Equal(got, want) {
		t.Error("another number of processors gives another image")
	}
	if got := testkit.Contents(t, encode(t, sampleDisk(), Options{Label: "other"})); bytes.Equal(got, want) {
		t.Error("another label gives the same image")
	}
}

func TestParseOptions(t *testing.T) {
	for s, want := range map[string]string{
		"":                              "false false",
		"subformat=dynamic":             "false false",
		"subformat=fixed,force_size":    "true true",
		"subformat=fixed,force_size=on": "true true",
		"force_size=off":                "false false",
		"subformat=differencing":        `option "subformat=differencing": unsupported operation, want subformat=fixed or dynamic`,
		"fixed":                         `option "fixed": unsupported operation`,
		"force_size,":                   `option "": unsupported operation`,
	} {
		o, err := ParseOptions(s)
		got := fmt.Sprint(o.Fixed, o.ForceSize)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || (err != nil) != strings.Contains(want, "unsupported") {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	for name, c := range map[string]struct {
		size int64
		o    Options
		want string
	}{
		"nothing":          {0, Options{}, "the disk has 0 bytes, want a multiple of 512"},
		"part of a sector": {513, Options{}, "the disk has 513 bytes, want a multiple of 512"},
		"part of a MiB":    {1<<20 + 512, Options{ForceSize: true}, "force_size wants a multiple of 1 MiB"},
		"too large":        {maxSize + 512, Options{}, "the format holds 2190433320960"},
		"too early":        {512, Options{Time: time.Unix(0, 0)}, "the time 1970-01-01T00:00:00Z is not within"},
	} {
		_, err := Encode(sparse.New(c.size), c.o)
		if err == nil || !strings.HasPrefix(err.Error(), "encoding a VHD image: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// alter is an image with bytes replaced and right checksums.
func alter(image []byte, at int, b ...byte) []byte {
	image = bytes.Clone(image)
	copy(image[at:], b)
	end := image[len(image)-footerSize:]
	binary.BigEndian.PutUint32(end[footerChecksum:], checksum(end, footerChecksum))
	header := image[footerSize : footerSize+dynamicHeaderSize]
	binary.BigEndian.PutUint32(header[dynamicChecksum:], checksum(header, dynamicChecksum))
	return image
}

func TestReaderErrors(t *testing.T) {
	raw := sparse.New(4 << 20)
	raw.Put(0, []byte("boot"))
	image := testkit.Contents(t, encode(t, raw, Options{ForceSize: true}))
	end := len(image) - footerSize
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"nothing":         {nil, "footer: 512 bytes at -512 lie outside"},
		"cookie":          {alter(image, end, 'X'), `the footer does not begin with "conectix"`},
		"checksum":        {append(image[:end:end], bytes.Replace(image[end:], []byte("qem2"), []byte("qemu"), 1)...), "the footer has the checksum"},
		"size":            {alter(image, end+48, 1), "a disk of 72057594042122240 bytes"},
		"type":            {alter(image, end+63, 7), "unknown type 7"},
		"fixed, too long": {alter(image, end+63, 2), "a fixed disk of 4194304 bytes in a file of"},
		"differencing":    {alter(image, end+63, 4), "difference to another one"},
		"header far away": {alter(image, end+16, 1), "dynamic header: 1024 bytes at 72057594037928448 lie outside"},
		"header cookie":   {alter(image, 512, 'X'), `the dynamic header does not begin with "cxsparse"`},
		"few entries":     {alter(image, 512+31, 1), "a disk of 4194304 bytes has 2 blocks, the table 1"},
		"block size":      {alter(image, 512+35, 3), "blocks of 2097155 bytes"},
		"many blocks":     {alter(alter(alter(image, end+50, 1), 512+28, 1), 512+32, 0, 0, 2, 0), "has 2147491840 blocks, the table 16777218, the limit is 4177920"},
		"table far away":  {alter(image, 512+16, 1), "table of blocks: 8 bytes at 72057594037929472 lie outside"},
		"block outside":   {alter(image, 1536, 1), "block 0 at sector 16777220 lies outside the file"},
	} {
		_, err := NewReader(bytes.NewReader(c.image), int64(len(c.image)))
		if err == nil || !strings.HasPrefix(err.Error(), "reading a VHD image: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func FuzzReader(f *testing.F) {
	raw := sparse.New(64 << 10)
	raw.Put(0, []byte("boot"))
	f.Add(testkit.Contents(f, encode(f, raw, Options{Fixed: true})))
	small := dynamicHeader{Cookie: [8]byte([]byte(cookieDynamic)), TableOffset: 1536, MaxTableEntries: 100, BlockSize: 512}
	image := make([]byte, 4096)
	foot, err := newFooter(raw.Size(), Options{})
	if err != nil {
		f.Fatal(err)
	}
	copy(image[512:], seal(small, dynamicChecksum))
	copy(image[len(image)-footerSize:], seal(foot, footerChecksum))
	f.Add(image)
	f.Fuzz(func(t *testing.T, image []byte) {
		if len(image) >= footerSize+dynamicHeaderSize {
			image = alter(image, 0)
		}
		m, err := NewReader(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			return
		}
		budget := int64(4 << 20)
		for e := range m.Extents() {
			n, err := io.Copy(io.Discard, io.NewSectionReader(m, e.Offset, min(e.Size, budget)))
			if err != nil {
				t.Fatal("a disk that was opened does not read:", err)
			}
			if budget -= n; budget <= 0 {
				return
			}
		}
	})
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
