package uki

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
)

func TestKnownSections(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		want       map[string]bool
	}{
		{"systemd 252", "\x00.linux\x00.initrd\x00.cmdline\x00", map[string]bool{".linux": true, ".uname": false, ".profile": false}},
		{"systemd 257", "\x00.linux\x00.uname\x00.sbat\x00.profile\x00", map[string]bool{".uname": true, ".profile": true}},
		{"of somebody else", "code", map[string]bool{".linux": true, ".profile": true}},
	} {
		known, err := KnownSections([]Section{
			{Name: ".text", Content: sparse.Bytes([]byte(tt.code))},
			{Name: ".initrd", Content: sparse.Bytes([]byte(".profile\x00"))}, // what is added does not count
			{Name: ".linux", Content: sparse.New(1 << 40)},
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range tt.want {
			if known(name) != want {
				t.Errorf("%s: %s is known: %v, want %v", tt.name, name, known(name), want)
			}
		}
	}
	if _, err := KnownSections([]Section{{Name: ".text", Content: sparse.New(maxStub + 1)}}); err == nil {
		t.Error("a stub of any size is read")
	}
}

func TestKernelRelease(t *testing.T) {
	kernel := make([]byte, 0x400)
	copy(kernel[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(kernel[0x20e:], 0x100)
	copy(kernel[0x300:], "6.1.0-50-cloud-amd64 (debian) #1 SMP")
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"bzImage", kernel, "6.1.0-50-cloud-amd64"},
		{"arm64", append([]byte("MZ"), make([]byte, 0x400)...), ""},
		{"cut off", kernel[:0x310], ""},
		{"short", kernel[:10], ""},
	} {
		if arch, want := KernelArch(bytes.NewReader(tt.data)), map[bool]string{true: "amd64"}[len(tt.data) > 0x206 && tt.data[0] != 'M']; arch != want {
			t.Errorf("%s: got the architecture %q, want %q", tt.name, arch, want)
		}
		if got := KernelRelease(bytes.NewReader(tt.data)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
