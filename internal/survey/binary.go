package survey

import (
	"bytes"
	"debug/elf"
	"io"
	"strings"

	"github.com/graftlinux/graft/internal/tree"
)

// Binary is an ELF file.
type Binary struct {
	Path    string   `json:"path"`
	Arch    string   `json:"arch"` // Go's name (amd64, arm64, 386, arm, …), or ELF's
	Type    string   `json:"type"` // exec, dyn, rel or core
	Interp  string   `json:"interp,omitempty"`
	Needed  []string `json:"needed,omitempty"`
	Runpath []string `json:"runpath,omitempty"`
	Soname  string   `json:"soname,omitempty"`
	Error   string   `json:"error,omitempty"` // the file begins as ELF, but is damaged
}

// maxSection bounds what is read of a section: an interpreter is a path, and
// the names of shared libraries and dynamic symbols of real programs take
// less than 1 MiB.
const maxSection = 8 << 20

// readBinary returns nil for a file that is not ELF. The error is one of
// reading, not of what is read.
func readBinary(e tree.Entry) (*Binary, error) {
	if e.Size < 52 { // the smallest ELF header
		return nil, nil
	}
	f, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil || string(magic[:]) != elf.ELFMAG {
		return nil, ignoreEOF(err)
	}
	b := &Binary{Path: e.Path}
	if err := b.read(io.NewSectionReader(f, 0, e.Size)); err != nil {
		b.Error = err.Error()
	}
	return b, nil
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func (b *Binary) read(r io.ReaderAt) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return err
	}
	b.Arch = archName(f.Machine)
	b.Type = strings.ToLower(strings.TrimPrefix(f.Type.String(), "ET_"))
	b.Interp = interpreter(f)
	if tooLarge(f) {
		return nil
	}
	b.Needed, _ = f.ImportedLibraries() // no dynamic section: a static program
	b.Runpath = dynamicPaths(f)
	if names, _ := f.DynString(elf.DT_SONAME); len(names) > 0 {
		b.Soname = names[0]
	}
	return nil
}

func tooLarge(f *elf.File) bool {
	for _, name := range []string{".dynamic", ".dynstr"} {
		if s := f.Section(name); s != nil && s.Size > maxSection {
			return true
		}
	}
	return false
}

func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > tree.MaxPath {
			continue
		}
		data := make([]byte, p.Filesz)
		if _, err := p.ReadAt(data, 0); err == nil {
			return string(bytes.TrimRight(data, "\x00"))
		}
	}
	return ""
}

func dynamicPaths(f *elf.File) []string {
	var paths []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, _ := f.DynString(tag)
		for _, v := range values {
			paths = append(paths, strings.Split(v, ":")...)
		}
	}
	return paths
}

var archNames = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_386: "386", elf.EM_ARM: "arm",
	elf.EM_RISCV: "riscv64", elf.EM_PPC64: "ppc64le", elf.EM_S390: "s390x", elf.EM_BPF: "bpf",
}

func archName(m elf.Machine) string {
	if name, ok := archNames[m]; ok {
		return name
	}
	return m.String()
}
