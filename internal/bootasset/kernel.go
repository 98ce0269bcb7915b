package bootasset

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// kernelRelease is what a kernel says "uname -r" will print, "" if its format
// does not tell: only that of x86 does (Documentation/arch/x86/boot.rst).
func kernelRelease(kernel *sparse.Image) string {
	const (
		magicAt   = 0x202 // "HdrS"
		pointerAt = 0x20e // of the version, less 0x200
		longest   = 1024
	)
	var head [pointerAt + 2]byte
	if _, err := kernel.ReadAt(head[:], 0); err != nil || string(head[magicAt:magicAt+4]) != "HdrS" {
		return ""
	}
	at := int64(binary.LittleEndian.Uint16(head[pointerAt:]))
	if at == 0 {
		return ""
	}
	text := make([]byte, longest)
	n, err := kernel.ReadAt(text, at+0x200)
	if err != nil && err != io.EOF {
		return ""
	}
	end := bytes.IndexByte(text[:n], 0)
	if end < 0 {
		return ""
	}
	release, _, _ := strings.Cut(string(text[:end]), " ") // then who built it, and when
	return release
}
