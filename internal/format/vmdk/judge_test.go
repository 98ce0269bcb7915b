package vmdk

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// qemu-img finds no fault, the size, the format and the same disk.
func TestQEMUReads(t *testing.T) {
	for name, raw := range map[string]*sparse.Image{"sample": sampleDisk(), "empty": sparse.New(8 << 30)} {
		for _, adapter := range []string{"lsilogic", "buslogic", "ide"} {
			file := writeFile(t, sparse.Bytes(encoded(t, raw, Options{Adapter: adapter})), "disk.vmdk")
			testkit.Run(t, "qemu-img", "check", "-f", "vmdk", file)
			testkit.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "vmdk", writeFile(t, raw, "disk.raw"), file)
			var info struct {
				Size     int64 `json:"virtual-size"`
				Specific struct {
					Data struct {
						CreateType string `json:"create-type"`
					}
				} `json:"format-specific"`
			}
			if err := json.Unmarshal([]byte(testkit.Run(t, "qemu-img", "info", "-f", "vmdk", "--output=json", file)), &info); err != nil {
				t.Fatal(err)
			}
			if info.Size != raw.Size() || info.Specific.Data.CreateType != "streamOptimized" {
				t.Errorf("%s: got %+v, want a disk of %d bytes", name, info, raw.Size())
			}
		}
	}
}

// The reader reads what qemu-img makes, and refuses what it does not know.
func TestQEMUWrites(t *testing.T) {
	raw := sampleDisk()
	want := testkit.Contents(t, raw)
	for options, ok := range map[string]bool{
		"subformat=streamOptimized":                       true,
		"subformat=monolithicSparse":                      true,
		"subformat=monolithicSparse,zeroed_grain=on":      true,
		"subformat=streamOptimized,adapter_type=lsilogic": true,
		"subformat=monolithicFlat":                        false,
		"subformat=twoGbMaxExtentSparse":                  false,
	} {
		file := t.TempDir() + "/disk.vmdk"
		testkit.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", options, writeFile(t, raw, "disk.raw"), file)
		image, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		disk, err := NewReader(bytes.NewReader(image), int64(len(image)))
		if (err == nil) != ok {
			t.Errorf("%s: got %v", options, err)
		}
		if ok && !bytes.Equal(testkit.Contents(t, disk), want) {
			t.Errorf("%s: the disk does not read as qemu-img wrote it", options)
		}
	}
}
