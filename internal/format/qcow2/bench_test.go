package qcow2

import (
	"io"
	"os"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// largeDisk is a file of 8 GiB with 150 MiB of data in three places.
func largeDisk(b *testing.B) (*sparse.Image, string) {
	b.Helper()
	data := testkit.Noise(150 << 20)
	m := sparse.New(8 << 30)
	m.Put(1<<20, data[:1<<20])
	m.Put(100<<20, data[1<<20:120<<20])
	m.Put(4<<30, data[120<<20:])
	path := writeImage(b, m, "disk.raw")
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	onDisk := sparse.New(m.Size())
	for e := range m.Extents() {
		onDisk.Add(e.Offset, sparse.From(f, e.Offset, e.Size))
	}
	return onDisk, path
}

func BenchmarkEncode(b *testing.B) {
	raw, _ := largeDisk(b)
	for b.Loop() {
		encode(b, raw, Options{})
	}
}

func BenchmarkWriteFile(b *testing.B) {
	raw, _ := largeDisk(b)
	b.SetBytes(raw.DataSize())
	for b.Loop() {
		writeTo(b, encode(b, raw, Options{}))
	}
}

// BenchmarkCopy is the yardstick: the data alone, from file to file.
func BenchmarkCopy(b *testing.B) {
	f, err := os.Open(writeImage(b, sparse.Bytes(testkit.Noise(150<<20)), "data"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(150 << 20)
	for b.Loop() {
		writeTo(b, sparse.From(f, 0, 150<<20))
	}
}

func BenchmarkQEMUImg(b *testing.B) {
	raw, path := largeDisk(b)
	b.SetBytes(raw.DataSize())
	for b.Loop() {
		testkit.Run(b, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", path, path+".qcow2")
	}
}

func BenchmarkReader(b *testing.B) {
	raw, _ := largeDisk(b)
	image := encode(b, raw, Options{})
	b.SetBytes(raw.DataSize())
	for b.Loop() {
		disk, err := NewReader(image, image.Size())
		if err != nil {
			b.Fatal(err)
		}
		for e := range disk.Extents() {
			if _, err := io.Copy(io.Discard, io.NewSectionReader(disk, e.Offset, e.Size)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// writeTo writes an image to a file and removes it.
func writeTo(b *testing.B, m *sparse.Image) {
	b.Helper()
	if err := os.Remove(writeImage(b, m, "image")); err != nil {
		b.Fatal(err)
	}
}
