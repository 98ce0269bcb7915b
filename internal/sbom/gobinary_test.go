package sbom

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
)

// goELF is the smallest ELF file with Go's build information in its data segment: a
// header, one segment, the toolchain's version and the module's text. Without a
// version it is no Go program.
func goELF(version, info string) []byte {
	const offset = 128
	var data bytes.Buffer
	if version != "" {
		data.WriteString("\xff Go buildinf:\x08\x02")
		data.Write(make([]byte, 16))
		data.Write(binary.AppendUvarint(nil, uint64(len(version))))
		data.WriteString(version)
		if info != "" {
			info = "the sixteen open" + info + "the sixteen end."
		}
		data.Write(binary.AppendUvarint(nil, uint64(len(info))))
		data.WriteString(info)
	}
	data.Write(make([]byte, 32))
	return append(elfHeader(offset, uint64(data.Len())), data.Bytes()...)
}

// elfHeader is an ELF file up to the only segment, which has these bytes of it.
func elfHeader(offset, size uint64) []byte {
	var b bytes.Buffer
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	prog := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W),
		Off: offset, Vaddr: 1<<22 + offset, Filesz: size, Memsz: size, Align: 16,
	}
	for _, part := range []any{header, prog} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err)
		}
	}
	return append(b.Bytes(), make([]byte, int(offset)-b.Len())...)
}

// endless begins with some bytes, and then has as many as anyone likes.
type endless struct {
	head []byte
	read int64
}

func (e *endless) ReadAt(p []byte, off int64) (int, error) {
	e.read += int64(len(p))
	clear(p)
	if off < int64(len(e.head)) {
		copy(p, e.head[off:])
	}
	return len(p), nil
}

// TestReadProgramBounded: files of a terabyte that promise much.
func TestReadProgramBounded(t *testing.T) {
	const size = 1 << 40
	segment := elfHeader(128, size-128)
	infoTo := func(lengths ...uint64) []byte {
		file := append(elfHeader(128, size-128), "\xff Go buildinf:\x08\x02"...)
		file = append(file, make([]byte, 16)...)
		for _, n := range lengths {
			file = binary.AppendUvarint(file, n)
		}
		return file
	}
	sections := elfHeader(128, 64)
	binary.LittleEndian.PutUint64(sections[0x28:], 4096) // e_shoff; e_shnum is 0: section 0 says how many there are
	binary.LittleEndian.PutUint16(sections[0x3a:], 64)
	sections = append(sections, make([]byte, 4096-len(sections)+64)...)
	binary.LittleEndian.PutUint64(sections[4096+0x20:], 1<<32)
	progs := elfHeader(128, 64)
	binary.LittleEndian.PutUint16(progs[0x36:], 0xffff)
	binary.LittleEndian.PutUint16(progs[0x38:], 0xffff)
	for name, head := range map[string][]byte{
		"a segment of nothing": segment,
		"a version of 900 GB":  infoTo(900 << 30),
		"a version of 2^63":    infoTo(1<<63 + 5),
		"a version of 9 MB":    infoTo(9 << 20),
		"modules of 900 GB":    infoTo(0, 900<<30),
		"4 billion sections":   sections,
		"4 GB of segments":     progs,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := &endless{head: head}
		isELF, p, err := readProgram(r, size)
		runtime.ReadMemStats(&after)
		if !isELF || p != nil || err != nil {
			t.Errorf("%s: got %v, %v, %v", name, isELF, p, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 256<<20 || r.read > maxReads+1<<20 {
			t.Errorf("%s: took %d bytes of memory for %d that were read", name, used, r.read)
		}
	}
}

type broken struct{ io.ReaderAt }

var errDisk = errors.New("the disk is gone")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off > 0 {
		return 0, errDisk
	}
	return b.ReaderAt.ReadAt(p, off)
}

// TestReadProgramError: a file that cannot be read is not taken for one without
// modules.
func TestReadProgramError(t *testing.T) {
	file := goELF("go1.26.8", toolInfo)
	if _, _, err := readProgram(broken{bytes.NewReader(file)}, int64(len(file))); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want %v", err, errDisk)
	}
	if isELF, _, err := readProgram(bytes.NewReader([]byte("\x7fEL")), 3); isELF || err != nil {
		t.Errorf("a short file: got %v, %v", isELF, err)
	}
}

// TestReadProgramCut: every beginning of a good file.
func TestReadProgramCut(t *testing.T) {
	file := goELF("go1.26.8", toolInfo)
	for n := range file {
		if _, _, err := readProgram(bytes.NewReader(file[:n]), int64(n)); err != nil {
			t.Errorf("the first %d bytes: got %v", n, err)
		}
	}
}
