package kmod

import (
	"fmt"
	"io"
	"strings"
)

// Info holds the facts of one module that depmod, a validator or a person wants
// to know. It depends on the content of the module alone, not on its path, so
// it can be cached by a digest of the content.
type Info struct {
	// Machine is the architecture as Go names it: amd64 or arm64.
	Machine string `json:"machine"`

	// Name is the name that the module gives itself, or empty before Linux 4.15.
	Name string `json:"name,omitempty"`

	// Vermagic says for which kernel the module is: see KernelRelease.
	Vermagic string `json:"vermagic,omitempty"`

	License     string `json:"license,omitempty"`
	Version     string `json:"version,omitempty"`
	Description string `json:"description,omitempty"`

	// Depends lists the modules that this one needs, as the kernel build saw them.
	Depends []string `json:"depends,omitempty"`

	// Aliases, Softdeps and Weakdeps are the values as they are in the module.
	Aliases  []string `json:"aliases,omitempty"`
	Softdeps []string `json:"softdeps,omitempty"`
	Weakdeps []string `json:"weakdeps,omitempty"`

	// Firmware lists the files below lib/firmware that the module may request.
	Firmware []string `json:"firmware,omitempty"`

	// Exports are the symbols that other modules may use, Needs those that the
	// module takes from the kernel or from other modules.
	Exports []Symbol `json:"exports,omitempty"`
	Needs   []Symbol `json:"needs,omitempty"`

	// Signed reports that a signature is appended; it is not verified. Signer
	// is the common name of the key's certificate.
	Signed bool   `json:"signed,omitempty"`
	Signer string `json:"signer,omitempty"`
}

// Symbol is a name that one module exports and others need.
type Symbol struct {
	Name string `json:"name"`

	// CRC is a checksum of the symbol's type, 0 if the module has none.
	CRC uint32 `json:"crc,omitempty"`

	// Weak says that the module loads without the symbol.
	Weak bool `json:"weak,omitempty"`
}

// Module is a module at its place.
type Module struct {
	// Path is relative to lib/modules/VERSION, with slashes.
	Path string `json:"path"`
	Info
}

// KernelRelease returns the release of the kernel that the module is for, the
// first word of Vermagic.
func (i *Info) KernelRelease() string {
	release, _, _ := strings.Cut(i.Vermagic, " ")
	return release
}

// ParseInfo reads the facts of the module in the size bytes of r. Of a plain
// module it reads only the parts that it needs.
func ParseInfo(r io.ReaderAt, size int64) (*Info, error) {
	var magic [6]byte
	n, err := r.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if decompressor(magic[:n]) == nil {
		return parseELF(r, size)
	}
	return ReadInfo(io.NewSectionReader(r, 0, size))
}

// parseELF reads a module that is not compressed.
func parseELF(r io.ReaderAt, size int64) (*Info, error) {
	f, err := openELF(r, size)
	if err != nil {
		return nil, err
	}
	info := &Info{Machine: f.machine}
	if err := f.readModinfo(info); err != nil {
		return nil, fmt.Errorf("reading .modinfo: %w", err)
	}
	if err := f.readSymbols(info); err != nil {
		return nil, err
	}
	if err := readSignature(r, size, info); err != nil {
		return nil, fmt.Errorf("reading the signature: %w", err)
	}
	return info, nil
}

// readModinfo reads the key=value strings of a module.
func (f *elfFile) readModinfo(info *Info) error {
	b, err := f.data(".modinfo")
	if err != nil {
		return err
	}
	for s := range splitNUL(b) {
		key, value, _ := strings.Cut(string(s), "=")
		info.set(key, value)
	}
	return nil
}

func (i *Info) set(key, value string) {
	switch key {
	case "name":
		i.Name = value
	case "vermagic":
		i.Vermagic = value
	case "license":
		i.License = value
	case "version":
		i.Version = value
	case "description":
		i.Description = value
	case "depends":
		i.Depends = append(i.Depends, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
	case "alias":
		i.Aliases = append(i.Aliases, value)
	case "softdep":
		i.Softdeps = append(i.Softdeps, value)
	case "weakdep":
		i.Weakdeps = append(i.Weakdeps, value)
	case "firmware":
		i.Firmware = append(i.Firmware, value)
	}
}
