package inspect

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/uki"
)

// Kind is what a file or directory is.
type Kind string

// The kinds. Those from KindQCOW2 to KindCompressed hold one of the others.
const (
	KindUnknown    Kind = ""
	KindInitramfs  Kind = "initramfs" // cpio archives, compressed or not
	KindUKI        Kind = "uki"       // an EFI program with a section .linux
	KindEFI        Kind = "efi"       // any other EFI program
	KindKernel     Kind = "kernel"    // bzImage, or Image of arm64
	KindISO        Kind = "iso"
	KindDisk       Kind = "disk" // with a GUID partition table
	KindQCOW2      Kind = "qcow2"
	KindVHD        Kind = "vhd"
	KindVMDK       Kind = "vmdk"
	KindOVA        Kind = "ova"
	KindArchive    Kind = "tar"        // of a raw disk
	KindCompressed Kind = "compressed" // with gzip, xz or zstd, and no initramfs
	KindContainer  Kind = "container"  // OCI layout or image tarball
	KindExtension  Kind = "extension"  // directory with manifest.yaml
	KindPXE        Kind = "pxe"        // directory with a kernel and an initramfs
	KindInstaller  Kind = "installer"  // container image with usr/install/<arch>
	KindBase       Kind = "base"       // the same with systemd-stub, to make boot assets of
)

// probe looks at a few places of a file.
type probe struct {
	r    io.ReaderAt
	size int64
}

// has says whether the bytes at an offset are these. What is not there, or
// cannot be read, has nothing.
func (p probe) has(offset int64, magic string) bool {
	if offset < 0 || offset > p.size-int64(len(magic)) {
		return false
	}
	b := make([]byte, len(magic))
	n, _ := p.r.ReadAt(b, offset)
	return n == len(b) && string(b) == magic
}

// signatures tell kinds apart, the first that fits: an ISO may have a partition
// table, a kernel is an EFI program too, and a fixed VHD begins as a raw disk.
var signatures = []struct {
	kind Kind
	fits func(probe) bool
}{
	{KindISO, func(p probe) bool { return p.has(0x8001, "CD001") }},
	{KindKernel, probe.isKernel},
	{KindUKI, func(p probe) bool { return p.has(0, "MZ") && p.hasKernelSection() }},
	{KindEFI, probe.isPE},
	{KindQCOW2, func(p probe) bool { return p.has(0, "QFI\xfb") }},
	{KindVMDK, func(p probe) bool { return p.has(0, "KDMV") }},
	{KindVHD, func(p probe) bool { return p.has(0, "conectix") || p.has(p.size-512, "conectix") }},
	{KindDisk, probe.isDisk},
	{KindInitramfs, probe.isInitramfs},
	{KindCompressed, func(p probe) bool { return p.compression() != "" }},
}

// Identify says what a file of size bytes is, by its content alone and from a
// few places of it. What a compressed file holds is only told for an initramfs:
// the others are KindCompressed.
func Identify(r io.ReaderAt, size int64) Kind {
	p := probe{r, size}
	if p.has(257, "ustar") {
		return p.archiveKind()
	}
	for _, s := range signatures {
		if s.fits(p) {
			return s.kind
		}
	}
	return KindUnknown
}

// isKernel knows the boot protocols of x86 and arm64, and the EFI program that
// unpacks itself (Documentation/arch/x86/boot.rst,
// Documentation/arch/arm64/booting.rst, drivers/firmware/efi/libstub/zboot).
func (p probe) isKernel() bool {
	return p.has(0x1fe, "\x55\xaa") && p.has(0x202, "HdrS") || p.has(0x38, "ARM\x64") || p.has(0, "MZ") && p.has(4, "zimg")
}

func (p probe) hasKernelSection() bool {
	program, err := uki.Read(p.r, p.size)
	if err != nil {
		return false
	}
	_, ok := uki.Find(program.Sections, ".linux")
	return ok
}

// isPE also knows a program that is damaged: its report says how.
func (p probe) isPE() bool {
	at := make([]byte, 4)
	if n, _ := p.r.ReadAt(at, 60); !p.has(0, "MZ") || n < len(at) {
		return false
	}
	return p.has(int64(at[0])|int64(at[1])<<8|int64(at[2])<<16|int64(at[3])<<24, "PE\x00\x00")
}

// isDisk finds either table, with sectors of either size.
func (p probe) isDisk() bool {
	const table = "EFI PART"
	return p.has(512, table) || p.has(4096, table) || p.has(p.size-512, table) || p.has(p.size-4096, table)
}

// compressions are what a compressed file begins with.
var compressions = []struct{ name, magic string }{
	{"gzip", "\x1f\x8b"},
	{"xz", "\xfd7zXZ\x00"},
	{"zstd", "\x28\xb5\x2f\xfd"},
}

// compression is "" without one.
func (p probe) compression() string {
	for _, c := range compressions {
		if p.has(0, c.magic) {
			return c.name
		}
	}
	return ""
}

// peekLimit is how much of a compressed file is unpacked to see what it is.
const peekLimit = 1 << 20

// isInitramfs finds the header of a first file, packed or not.
func (p probe) isInitramfs() bool {
	if !p.has(0, "07070") && p.compression() == "" {
		return false
	}
	archives := cpio.NewInitramfsReader(io.NewSectionReader(p.r, 0, p.size))
	archives.MaxUnpacked = peekLimit
	archive, err := archives.Next()
	if err != nil {
		return false
	}
	_, err = archive.Next()
	return err == nil
}

// maxMembers is how many members of a tar are looked at.
const maxMembers = 1 << 16

// archiveKind tells an appliance, a disk in a tar, and an image tarball by the
// names of their members.
func (p probe) archiveKind() Kind {
	archive := tar.NewReader(io.NewSectionReader(p.r, 0, p.size))
	kind := KindUnknown
	for i := range maxMembers {
		h, err := archive.Next()
		if err != nil {
			break
		}
		name := path.Clean(h.Name)
		switch {
		case name == "oci-layout", name == "manifest.json":
			return KindContainer
		case i == 0 && path.Ext(name) == ".ovf":
			return KindOVA
		case i == 0 && isDiskName(name):
			kind = KindArchive
		}
	}
	return kind
}

// isDiskName knows the member of a .tar.gz that clouds take.
func isDiskName(name string) bool { return strings.HasSuffix(name, ".raw") }

// IdentifyDir says what a directory is, from the files at its top.
func IdentifyDir(dir fs.FS) Kind {
	switch {
	case isFile(dir, "oci-layout"):
		return KindContainer
	case isFile(dir, extension.ManifestName):
		return KindExtension
	}
	kinds := map[Kind]bool{}
	entries, _ := fs.ReadDir(dir, ".") // what cannot be read is of no known kind
	for _, e := range entries[:min(len(entries), maxMembers)] {
		if e.Type().IsRegular() {
			kinds[identifyFile(dir, e.Name())] = true
		}
	}
	if kinds[KindKernel] && kinds[KindInitramfs] {
		return KindPXE
	}
	return KindUnknown
}

func isFile(dir fs.FS, name string) bool {
	info, err := fs.Stat(dir, name)
	return err == nil && info.Mode().IsRegular()
}

func identifyFile(dir fs.FS, name string) Kind {
	f, err := openAt(dir, name)
	if err != nil {
		return KindUnknown
	}
	defer f.Close()
	return Identify(f, f.size)
}

// file is an open file that can be read at any place.
type file struct {
	fs.File
	io.ReaderAt
	size int64
}

// openAt opens a regular file of a file system whose files are io.ReaderAt.
func openAt(fsys fs.FS, name string) (*file, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	at, ok := f.(io.ReaderAt)
	if !ok || !info.Mode().IsRegular() {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}, f.Close())
	}
	return &file{f, at, info.Size()}, nil
}
