package vmdk

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// adapters are the disk controllers that a descriptor can name, with the heads
// of their geometry.
var adapters = map[string]int64{"buslogic": 255, "ide": 16, "lsilogic": 255}

// descriptor is the text that describes an image of a disk of so many sectors.
func descriptor(sectors int64, o Options) ([]byte, error) {
	heads, ok := adapters[o.Adapter]
	if !ok {
		return nil, fmt.Errorf("unknown adapter type %q, want buslogic, ide or lsilogic", o.Adapter)
	}
	if strings.ContainsFunc(o.Name, func(r rune) bool { return r < ' ' || r == '"' }) {
		return nil, fmt.Errorf("the name %q does not fit into a descriptor", o.Name)
	}
	text := fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "63"
ddb.adapterType = "%s"
`, contentID(sectors, o), sectors, o.Name, sectors/(heads*63), heads, o.Adapter)
	if len(text) >= descriptorSectors*sectorSize {
		return nil, fmt.Errorf("the name of %d bytes is too long for a descriptor", len(o.Name))
	}
	return append([]byte(text), make([]byte, descriptorSectors*sectorSize-len(text))...), nil
}

// contentID stands for the content of the disk, by which a child knows its
// parent. The descriptor comes before the content, so it is made from what is
// known. The two largest numbers have meanings of their own.
func contentID(sectors int64, o Options) uint32 {
	sum := sha256.Sum256(fmt.Appendf(nil, "VMDK %d %s %s", sectors, o.Name, o.Label))
	return binary.LittleEndian.Uint32(sum[:]) &^ (1 << 31)
}

// checkDescriptor refuses images that need other files.
func checkDescriptor(text string) error {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "parentcid":
			if !strings.EqualFold(value, "ffffffff") {
				return fmt.Errorf("the image is the difference to another one, which is not supported")
			}
		case "createtype":
			if !slices.Contains([]string{"streamOptimized", "monolithicSparse"}, value) {
				return fmt.Errorf("the subformat %q is not supported, only streamOptimized and monolithicSparse are", value)
			}
		}
	}
	return nil
}
