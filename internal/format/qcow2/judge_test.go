package qcow2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// qemu-img finds no fault, the size and the same disk.
func TestQEMUReads(t *testing.T) {
	for name, raw := range map[string]*sparse.Image{"sample": sampleDisk(), "empty": sparse.New(8 << 30), "nothing": sparse.New(0)} {
		rawFile := writeImage(t, raw, "disk.raw")
		for _, size := range clusterSizes {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				file := writeImage(t, encode(t, raw, Options{ClusterSize: size}), "disk.qcow2")
				testkit.Run(t, "qemu-img", "check", "-f", "qcow2", file)
				testkit.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", rawFile, file)
				var info struct {
					Size    int64 `json:"virtual-size"`
					Cluster int64 `json:"cluster-size"`
				}
				if err := json.Unmarshal([]byte(testkit.Run(t, "qemu-img", "info", "--output=json", file)), &info); err != nil {
					t.Fatal(err)
				}
				if info.Size != raw.Size() || info.Cluster != size {
					t.Errorf("got %+v, want a disk of %d bytes and clusters of %d", info, raw.Size(), size)
				}
			})
		}
	}
}

// The reader reads all that qemu-img makes.
func TestQEMUWrites(t *testing.T) {
	raw := sampleDisk()
	want := testkit.Contents(t, raw)
	rawFile := writeImage(t, raw, "disk.raw")
	for _, args := range [][]string{
		{},
		{"-c"},
		{"-c", "-o", "compression_type=zstd"},
		{"-c", "-o", "compression_type=zstd,cluster_size=2M"},
		{"-c", "-o", "cluster_size=512"},
		{"-c", "-o", "compat=0.10,cluster_size=4k"},
		{"-o", "compat=0.10"},
		{"-o", "preallocation=metadata"},
		{"-o", "lazy_refcounts=on"},
		{"-S", "0"},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			file := t.TempDir() + "/disk.qcow2"
			testkit.Run(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), rawFile, file)...)
			image, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			disk := open(t, image)
			if !bytes.Equal(testkit.Contents(t, disk), want) {
				t.Error("the disk does not read as qemu-img wrote it")
			}
			for at := int64(0); at < 64<<10; at += 1000 { // in small steps, backwards
				p := make([]byte, 1000)
				off := 8<<20 + 64<<10 - at
				if _, err := disk.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:off+1000]) {
					t.Fatalf("reading at %d: not the same, %v", off, err)
				}
			}
		})
	}
}

func TestQEMUOverlay(t *testing.T) {
	dir := t.TempDir()
	testkit.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", dir+"/base", "1M")
	testkit.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", dir+"/base", "-F", "qcow2", dir+"/overlay")
	image, err := os.ReadFile(dir + "/overlay")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewReader(bytes.NewReader(image), int64(len(image))); err == nil {
		t.Error("an image with a backing file was read")
	}
}
