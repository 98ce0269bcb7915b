package kmod

import (
	"path"
	"strings"
)

// extensions of module files, longest first where one ends in another.
var extensions = []string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"}

// IsModule reports whether the file name is that of a kernel module.
func IsModule(name string) bool {
	base := path.Base(name)
	for _, e := range extensions {
		if len(base) > len(e) && strings.HasSuffix(base, e) {
			return true
		}
	}
	return false
}

// ModuleName returns the name under which the kernel knows the module in a
// file: the part of the base name before the first dot, with "_" for "-".
func ModuleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return normalizeName(name)
}

func normalizeName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// maxAlias is kmod's limit for an alias, in bytes: PATH_MAX without its NUL.
const maxAlias = 4095

// normalizeAlias replaces "-" by "_" except in brackets, as depmod does in its
// binary files and modprobe with its argument. It is false for aliases with a
// bracket that is not closed or not opened, which depmod leaves out.
func normalizeAlias(alias string) (string, bool) {
	if len(alias) > maxAlias {
		return "", false
	}
	b := []byte(alias)
	inRange := false
	for i, c := range b {
		switch {
		case inRange:
			inRange = c != ']'
		case c == ']':
			return "", false
		case c == '[':
			inRange = true
		case c == '-':
			b[i] = '_'
		}
	}
	return string(b), !inRange
}
