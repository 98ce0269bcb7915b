package kmod

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// The numbers of buckets in depmod's hash tables.
const (
	moduleBuckets = 512
	symbolBuckets = 2048
)

// hashOrder sorts names in the order in which kmod walks a hash table that
// holds them: by bucket, within a bucket by name. It shows in modules.symbols
// and in the place of modules that modules.order does not list.
func hashOrder(names []string, buckets uint32) {
	type hashed struct {
		bucket uint32
		name   string
	}
	sorted := make([]hashed, len(names))
	for i, name := range names {
		sorted[i] = hashed{superFastHash(name) & (buckets - 1), name}
	}
	slices.SortFunc(sorted, func(a, b hashed) int {
		return cmp.Or(cmp.Compare(a.bucket, b.bucket), strings.Compare(a.name, b.name))
	})
	for i, h := range sorted {
		names[i] = h.name
	}
}

// superFastHash is the hash function by Paul Hsieh, as kmod has it on x86 and
// arm64 (shared/hash.c). The bytes of a name are ASCII, so it does not matter
// that char is signed on one of them.
func superFastHash(s string) uint32 {
	key := []byte(s)
	half := func(b []byte) uint32 { return uint32(binary.LittleEndian.Uint16(b)) }
	hash := uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		hash += half(key)
		hash = hash<<16 ^ half(key[2:])<<11 ^ hash
		hash += hash >> 11
	}
	switch len(key) {
	case 3:
		hash += half(key)
		hash ^= hash << 16
		hash ^= uint32(key[2]) << 18
		hash += hash >> 11
	case 2:
		hash += half(key)
		hash ^= hash << 11
		hash += hash >> 17
	case 1:
		hash += uint32(key[0])
		hash ^= hash << 10
		hash += hash >> 1
	}
	hash ^= hash << 3
	hash += hash >> 5
	hash ^= hash << 4
	hash += hash >> 17
	hash ^= hash << 25
	hash += hash >> 6
	return hash
}

// searchPath is the value of "search" in depmod's configuration.
type searchPath []string

const searchBuiltin = "built-in"

// replaces reports whether depmod takes the module at path in place of one of
// the same name at old, which it found earlier. The directories come in falling
// priority; built-in stands for all that are not listed.
//
// It is not symmetric: for two modules within one listed directory, depmod looks
// at the directory of the new one only and takes it if the directory precedes
// built-in.
func (s searchPath) replaces(path, old string) bool {
	builtin, pathPriority, oldPriority := -1, -1, -1
	for i, dir := range s {
		priority := len(s) - 1 - i
		switch {
		case dir == searchBuiltin:
			builtin = max(builtin, priority)
		case inDirectory(path, dir):
			pathPriority = max(pathPriority, priority)
		case inDirectory(old, dir):
			oldPriority = max(oldPriority, priority)
		}
	}
	if pathPriority < 0 {
		pathPriority = builtin
	}
	if oldPriority < 0 {
		oldPriority = builtin
	}
	return pathPriority > oldPriority
}

func inDirectory(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && strings.HasPrefix(rest, "/")
}

// maxOrderLine is the longest line in bytes of a modules.order that depmod reads.
const maxOrderLine = 4094

// parseOrder returns the line number of every path in a modules.order, the last
// one if there are several. It is false if depmod would not use the file,
// because a line has no end.
func parseOrder(b []byte) (map[string]int, bool) {
	lines := map[string]int{}
	for n := 0; len(b) > 0; n++ {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok || len(line) > maxOrderLine {
			return nil, false
		}
		lines[string(line)] = n
		b = rest
	}
	return lines, true
}
