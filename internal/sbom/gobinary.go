package sbom

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
)

const (
	// maxRead bounds one read of a binary's headers or build information, and so the
	// memory for it: programs with a thousand modules need 100 KiB.
	maxRead = 4 << 20
	// maxReads bounds all reads of one binary: in a program without section
	// headers, the build information is looked for in the data segment.
	maxReads = 64 << 20
	// maxModules bounds the modules of one binary.
	maxModules = 20_000
	// maxText bounds a module's path and version: those of real ones have less than
	// 200 bytes.
	maxText = 1024
)

// program is what a Go binary says of how it was built.
type program struct {
	main      source // Path is "" if it was built without a module
	modules   []source
	toolchain string // "1.26.8"
	skipped   string // why not all of it is here
}

// readProgram says whether a file is of the ELF format, and if it is a Go program how
// that was built. The error is one of reading, not of what is read.
func readProgram(r io.ReaderAt, size int64) (isELF bool, p *program, err error) {
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := r.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, nil, err
	}
	if string(magic) != elf.ELFMAG {
		return false, nil, nil
	}
	b := &bounded{r: io.NewSectionReader(r, 0, size), left: maxReads}
	info := buildInfo(b)
	if info == nil || b.err != nil {
		return true, nil, b.err
	}
	return true, newProgram(info), nil
}

// buildInfo reads the build information, nil if there is none. Its parser is not made
// for hostile files (see the comment of package debug/elf) and may panic.
func buildInfo(r io.ReaderAt) (info *debug.BuildInfo) {
	defer func() {
		if recover() != nil {
			info = nil
		}
	}()
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil
	}
	return info
}

var errTooMuch = errors.New("more than build information needs")

// bounded is a file of which little is read.
type bounded struct {
	r    io.ReaderAt
	left int64
	err  error // of the file, if it is not just its end
}

func (b *bounded) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > maxRead || int64(len(p)) > b.left {
		return 0, errTooMuch
	}
	b.left -= int64(len(p))
	n, err := b.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) && off >= 0 {
		b.err = err
	}
	return n, err
}

func newProgram(info *debug.BuildInfo) *program {
	p := &program{toolchain: toolchain(info.GoVersion)}
	if !usable(&info.Main) {
		p.skipped = "the name of its main module is too long"
	} else if info.Main.Path != "" {
		p.main = sourceOf(&info.Main)
	}
	for _, m := range info.Deps {
		switch {
		case len(p.modules) == maxModules:
			p.skipped = fmt.Sprintf("it names more than %d modules", maxModules)
			return p.sorted()
		case m.Path == "" || !usable(m):
			p.skipped = "a module without a name, or with one that is too long"
		default:
			p.modules = append(p.modules, sourceOf(m))
		}
	}
	return p.sorted()
}

func (p *program) sorted() *program {
	slices.SortFunc(p.modules, source.compare)
	p.modules = slices.Compact(p.modules)
	return p
}

// usable says whether a module's names have a length that names have.
func usable(m *debug.Module) bool {
	return max(len(m.Path), len(m.Version), len(m.Sum)) <= maxText && (m.Replace == nil || m.Replace.Path != "" && usable(m.Replace))
}

// toolchain is Go's version without "go" and what follows it.
func toolchain(version string) string {
	version, _, _ = strings.Cut(version, " ")
	if version = strings.TrimPrefix(version, "go"); len(version) > maxText {
		return ""
	}
	return version
}

// sourceOf is where a module's code is from: if it was replaced, from elsewhere.
func sourceOf(m *debug.Module) source {
	r := m.Replace
	switch {
	case r == nil:
		return source{Module: moduleOf(m)}
	case r.Version == "" || r.Version == devel: // a directory
		return source{Module: Module{Path: m.Path}, info: fmt.Sprintf("built from the directory %s in the place of %s %s", r.Path, m.Path, m.Version)}
	}
	return source{Module: moduleOf(r), info: fmt.Sprintf("in the place of %s %s", m.Path, m.Version)}
}

// devel is the version of code that has none.
const devel = "(devel)"

// moduleOf leaves out a version that is none.
func moduleOf(m *debug.Module) Module {
	version := m.Version
	if version == devel {
		version = ""
	}
	return Module{Path: m.Path, Version: version, Sum: m.Sum}
}
