package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ulikunitz/xz/lzma"
)

// sectorSize is that of the disks that a BIOS boots from with GRUB.
const sectorSize = 512

// Offsets of what is filled in in GRUB's first stages, which load the others
// (grub-core/boot/i386/pc/*.S, include/grub/i386/pc/*.h, include/grub/offsets.h).
const (
	// diskboot.img ends in a list of runs of sectors, read from its end: where
	// on the disk (64 bits), how many (16 bits), to which segment (16 bits).
	blockStart  = sectorSize - 12
	blockCount  = sectorSize - 4
	blockTarget = sectorSize - 2

	// lzma_decompress.img
	compressedSize   = 0x8
	decompressedSize = 0xc
	noReedSolomon    = 0x14
)

const (
	// kernelAddress is where GRUB's kernel is linked to; cores are loaded below
	// maxCore-kernelAddress, where the BIOS has its own data.
	kernelAddress = 0x9000
	maxCore       = 0x78000 - kernelAddress

	// coreSegment is where the second sector of a core is loaded to.
	coreSegment = 0x820
)

// Offsets in what CDCore returns, for the writer of an ISO. A boot image of El
// Torito with a boot information table (option -boot-info-table of mkisofs)
// has the table at offset 8; cdboot.img reads there where the file is and how
// large. If the ISO is to boot as a disk too, by HybridMBR, the 64-bit
// little-endian number at CDBlockList is to be the 512-byte sector of the
// file's sixth such sector: four times the block of the ISO, plus 5 (what
// xorriso does for --grub2-boot-info).
const (
	CDBootInfo  = 8
	CDBlockList = cdSectorSize + blockStart
)

// cdSectorSize is that of the blocks of a CD; cdboot.img fills one.
const cdSectorSize = 2048

// DiskCore returns the core image for a partition of the type "BIOS boot", from
// the files of i386-pc. Before it is written there, InstallDisk tells it where
// that is.
func DiskCore(files fs.FS, o Options) ([]byte, error) {
	return pc(files).core(o)
}

// CDCore returns the boot image of El Torito, without emulation, for a CD with
// the files of i386-pc; four of its 512-byte sectors are for the BIOS to load.
// CDBootInfo and CDBlockList say what the writer of the ISO is to fill in.
func CDCore(files fs.FS, o Options) ([]byte, error) {
	boot, err := pc(files).readSized("cdboot.img", cdSectorSize)
	if err != nil {
		return nil, err
	}
	core, err := pc(files).core(o)
	if err != nil {
		return nil, err
	}
	return append(boot, core...), nil
}

// core returns diskboot.img and what it loads. On a CD it loads nothing, and
// only its room is needed.
func (p platform) core(o Options) ([]byte, error) {
	boot, err := p.readSized("diskboot.img", sectorSize)
	if err != nil {
		return nil, err
	}
	body, err := p.body(o)
	if err != nil {
		return nil, err
	}
	if len(body) > maxCore {
		return nil, fmt.Errorf("the core image of GRUB has %d bytes, %d are possible: it wants fewer modules", len(body), maxCore)
	}
	binary.LittleEndian.PutUint16(boot[blockCount:], uint16(sectors(len(body))))
	return append(boot, body...), nil
}

func sectors(size int) int { return (size + sectorSize - 1) / sectorSize }

// body is the decompressor and what it decompresses.
func (p platform) body(o Options) ([]byte, error) {
	body, err := p.read("lzma_decompress.img")
	if err != nil {
		return nil, err
	}
	if len(body) < noReedSolomon+2 || int(binary.LittleEndian.Uint16(body[noReedSolomon:])) > len(body) {
		return nil, fmt.Errorf("reading GRUB's file lzma_decompress.img: it is not that of GRUB 2.06 or 2.12")
	}
	payload, err := p.payload(o)
	if err != nil {
		return nil, err
	}
	packed, err := compress(payload)
	if err != nil {
		return nil, fmt.Errorf("compressing the kernel of GRUB: %w", err)
	}
	binary.LittleEndian.PutUint32(body[compressedSize:], uint32(len(packed)))
	binary.LittleEndian.PutUint32(body[decompressedSize:], uint32(len(payload)))
	return append(body, packed...), nil
}

// payload is GRUB's kernel with what follows it in memory.
func (p platform) payload(o Options) ([]byte, error) {
	data, err := p.read("kernel.img")
	if err != nil {
		return nil, err
	}
	kernel, err := flatten(data)
	if err != nil {
		return nil, fmt.Errorf("reading GRUB's file kernel.img for %s: %w", p.name, err)
	}
	objects, err := p.objects(o, 4)
	if err != nil {
		return nil, err
	}
	return append(kernel, objects...), nil
}

// flatten returns the memory from kernelAddress on that the sections of an
// executable describe, without what is zero at its end: there GRUB's kernel
// looks for its modules.
func flatten(data []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_386 || f.Entry != kernelAddress {
		return nil, fmt.Errorf("it is an ELF file of type %v for %v with entry %#x, want an executable for i386 with %#x", f.Type, f.Machine, f.Entry, kernelAddress)
	}
	var memory []byte
	for _, s := range f.Sections {
		if s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		from := len(memory)
		if s.Addr < uint64(kernelAddress+from) || s.Addr-kernelAddress > maxFile || s.Size > maxFile {
			return nil, fmt.Errorf("the section %s at %#x is out of place", s.Name, s.Addr)
		}
		content, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("reading the section %s: %w", s.Name, err)
		}
		memory = append(memory, make([]byte, int(s.Addr-kernelAddress)-from)...)
		memory = append(memory, content...)
	}
	if len(memory) == 0 {
		return nil, errors.New("it has no sections")
	}
	return memory, nil
}

// GRUB's decompressor has these parameters built in (grub-core/boot/i386/pc/
// startup_raw.S and lzma_decode.S), and knows the end by the size alone. It
// keeps no dictionary beside its output, so that any size of one would do; this
// is grub-mkimage's.
var lzmaConfig = lzma.WriterConfig{
	Properties: &lzma.Properties{LC: 3, LP: 0, PB: 2},
	DictCap:    1 << 16,
	Matcher:    lzma.HashTable4,
}

// compress returns a bare LZMA stream: no header, no end marker.
func compress(data []byte) ([]byte, error) {
	config := lzmaConfig
	config.Size = int64(len(data))
	var b bytes.Buffer
	w, err := config.NewWriter(&b)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes()[lzma.HeaderLen:], nil
}
