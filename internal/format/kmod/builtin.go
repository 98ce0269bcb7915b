package kmod

import (
	"bytes"
	"iter"
	"strings"
)

// builtinNames returns the names of the modules in a modules.builtin.
func builtinNames(b []byte) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		names[ModuleName(strings.TrimSpace(line))] = true
	}
	return names
}

// builtinAliases yields module and alias of the records in a
// modules.builtin.modinfo, which are "module.key=value" with a final NUL. It
// takes damaged files as depmod does: a record without "." is passed over, one
// without "=" together with the record behind it.
func builtinAliases(b []byte) iter.Seq2[string, string] {
	return func(yield func(module, alias string) bool) {
		for len(b) > 0 {
			module, ok := takeUntil(&b, '.')
			if !ok || len(module) == 0 {
				continue
			}
			if key, ok := takeUntil(&b, '='); !ok || string(key) != "alias" {
				takeUntil(&b, 0)
				continue
			}
			alias, ok := takeUntil(&b, 0)
			if ok && len(alias) > 0 && !yield(string(module), string(alias)) {
				return
			}
		}
	}
}

// takeUntil takes what precedes the end byte from the front of b, and the byte.
// It stops at a NUL or at the end of b as well, and is false then.
func takeUntil(b *[]byte, end byte) ([]byte, bool) {
	i := bytes.IndexAny(*b, string([]byte{end, 0}))
	if i < 0 {
		i = len(*b)
	}
	taken := (*b)[:i]
	if i == len(*b) {
		*b = nil
		return taken, false
	}
	ok := (*b)[i] == end
	*b = (*b)[i+1:]
	return taken, ok
}
