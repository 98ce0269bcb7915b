package vhd

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// qemuWrites has qemu-img convert a raw disk.
func qemuWrites(t *testing.T, raw *sparse.Image, options string) []byte {
	t.Helper()
	file := t.TempDir() + "/disk.vhd"
	args := []string{"convert", "-f", "raw", "-O", "vpc"}
	if options != "" {
		args = append(args, "-o", options)
	}
	testkit.Run(t, "qemu-img", append(args, writeImage(t, raw, "disk.raw"), file)...)
	image, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// qemu-img finds the size and the same disk.
func TestQEMUReads(t *testing.T) {
	for _, kind := range kinds {
		raw := sampleDisk()
		image := encode(t, raw, parse(t, kind))
		file := writeImage(t, image, "disk.vhd")
		testkit.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "vpc", writeImage(t, raw, "disk.raw"), file)
		var info struct {
			Size int64 `json:"virtual-size"`
		}
		if err := json.Unmarshal([]byte(testkit.Run(t, "qemu-img", "info", "-f", "vpc", "--output=json", file)), &info); err != nil {
			t.Fatal(err)
		}
		disk, err := NewReader(image, image.Size())
		if err != nil {
			t.Fatal(err)
		}
		if info.Size != disk.Size() {
			t.Errorf("%q: QEMU sees a disk of %d bytes, the reader of %d", kind, info.Size, disk.Size())
		}
	}
}

// blank clears what qemu-img draws at random or from the clock.
func blank(image []byte, dynamic bool) {
	clearFooter := func(b []byte) {
		clear(b[24:28]) // time
		clear(b[64:84]) // checksum and unique ID
	}
	clearFooter(image[len(image)-footerSize:])
	if dynamic {
		clearFooter(image)
	}
}

// The images are those of qemu-img, byte for byte but for time and ID.
func TestQEMUWritesTheSame(t *testing.T) {
	for _, kind := range kinds {
		raw := sampleDisk()
		want := qemuWrites(t, raw, kind)
		disk, err := NewReader(bytes.NewReader(want), int64(len(want)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(testkit.Contents(t, disk)[:raw.Size()], testkit.Contents(t, raw)) {
			t.Errorf("%q: the disk does not read as qemu-img wrote it", kind)
		}
		got := testkit.Contents(t, encode(t, raw, parse(t, kind)))
		dynamic := !strings.Contains(kind, "fixed")
		blank(want, dynamic)
		blank(got, dynamic)
		if !bytes.Equal(got, want) {
			t.Errorf("%q: not the image of qemu-img:\n%sand\n%s", kind, describe(t, got), describe(t, want))
		}
	}
}

// The geometry is that of qemu-img on both sides of each of its steps.
func TestQEMUGeometry(t *testing.T) {
	for _, sectors := range []int64{
		1, 67, 68, 69, 1000, 4*1024*17 - 1, 4 * 1024 * 17, 8*1024*17 - 4, 16*1024*17 - 1, 16 * 1024 * 17, 16*1024*17 + 16*31,
		16*1024*31 - 1, 16 * 1024 * 31, 1 << 21, 1 << 24, 65535*16*63 - 1, 65535 * 16 * 63, 65535*16*63 + 1,
		65535*16*255 - 1, 65535 * 16 * 255, 65535*16*255 + 1, 1 << 31,
	} {
		raw := sparse.New(sectors * sectorSize)
		file := t.TempDir() + "/disk.vhd"
		testkit.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", writeImage(t, raw, "disk.raw"), file)
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		want, err := readFooter(f, info.Size())
		if err != nil {
			t.Fatal(err)
		}
		got, err := newFooter(raw.Size(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got.CurrentSize != want.CurrentSize || got.Cylinders != want.Cylinders || got.Heads != want.Heads || got.SectorsPerHead != want.SectorsPerHead {
			t.Errorf("%d sectors: got %d/%d/%d and %d bytes, qemu-img says %d/%d/%d and %d", sectors, got.Cylinders, got.Heads,
				got.SectorsPerHead, got.CurrentSize, want.Cylinders, want.Heads, want.SectorsPerHead, want.CurrentSize)
		}
	}
}
