package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The kinds of objects that follow GRUB's kernel (include/grub/kernel.h).
const (
	objectModule = 0
	objectConfig = 2
	objectPrefix = 3
)

const (
	moduleMagic  = "mimg"
	objectHeader = 8 // type and size, 32 bits each
)

// objects returns what GRUB's kernel finds behind its own end: a header, the
// modules in an order in which each finds what it needs, the configuration and
// the prefix. The layout depends on the size of a pointer in bytes.
func (p platform) objects(o Options, pointer int) ([]byte, error) {
	names, err := p.closure(o.Modules)
	if err != nil {
		return nil, err
	}
	b := make([]byte, moduleHeader(pointer))
	for _, name := range names {
		data, err := p.read(name + ".mod")
		if err != nil {
			return nil, err
		}
		b = appendObject(b, objectModule, data, pointer)
	}
	if len(o.Config) > 0 {
		if bytes.IndexByte(o.Config, 0) >= 0 {
			return nil, errors.New("the embedded configuration of GRUB has a NUL in it")
		}
		b = appendObject(b, objectConfig, append(bytes.Clone(o.Config), 0), pointer)
	}
	if o.Prefix == "" || strings.ContainsRune(o.Prefix, 0) {
		return nil, fmt.Errorf("the prefix of GRUB is %q, want a directory such as /boot/grub", o.Prefix)
	}
	b = appendObject(b, objectPrefix, append([]byte(o.Prefix), 0), pointer)
	putModuleHeader(b, pointer)
	return b, nil
}

// moduleHeader is the size of struct grub_module_info32 or of its 64-bit twin:
// a magic word and two numbers, aligned.
func moduleHeader(pointer int) int { return 3 * pointer }

// putModuleHeader writes the offset of the first object and the size of all,
// the header included.
func putModuleHeader(b []byte, pointer int) {
	copy(b, moduleMagic)
	first, size := uint64(moduleHeader(pointer)), uint64(len(b))
	if pointer == 8 {
		binary.LittleEndian.PutUint64(b[8:], first)
		binary.LittleEndian.PutUint64(b[16:], size)
		return
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(first))
	binary.LittleEndian.PutUint32(b[8:], uint32(size))
}

func appendObject(b []byte, kind uint32, data []byte, pointer int) []byte {
	size := align(len(data), pointer)
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(objectHeader+size))
	b = append(b, data...)
	return append(b, make([]byte, size-len(data))...)
}

// align rounds up to a multiple of a power of two.
func align(n, to int) int { return (n + to - 1) &^ (to - 1) }

// closure lists modules and all that they depend on, each after its
// dependencies, as moddep.lst has them.
func (p platform) closure(modules []string) ([]string, error) {
	data, err := p.read("moddep.lst")
	if err != nil {
		return nil, err
	}
	c := closure{deps: parseDeps(data), seen: map[string]bool{}}
	for _, m := range modules {
		if err := c.add(m); err != nil {
			return nil, fmt.Errorf("collecting modules of GRUB for %s: %w", p.name, err)
		}
	}
	return c.order, nil
}

type closure struct {
	deps  map[string][]string
	seen  map[string]bool
	order []string
}

func (c *closure) add(module string) error {
	if c.seen[module] {
		return nil
	}
	c.seen[module] = true
	deps, known := c.deps[module]
	if !known {
		return fmt.Errorf("moddep.lst has no module %q", module)
	}
	for _, d := range slices.Backward(deps) { // any order would do; this is grub-mkimage's
		if err := c.add(d); err != nil {
			return fmt.Errorf("%s needs %w", module, err)
		}
	}
	c.order = append(c.order, module)
	return nil
}

// parseDeps reads moddep.lst: lines "module: dependency dependency".
func parseDeps(data []byte) map[string][]string {
	deps := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		if name, list, ok := strings.Cut(line, ":"); ok {
			deps[strings.TrimSpace(name)] = strings.Fields(list)
		}
	}
	return deps
}
