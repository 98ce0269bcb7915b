package iso

import (
	"fmt"
	"strings"
)

const (
	maxDirID  = 31 // characters (7.6.3)
	maxFileID = 30 // without the dot and the version (7.5.1)
	maxExt    = 8  // of those, so that an extension leaves room for a name
)

// notD tells whether a character is none of the d-characters (7.4.1).
func notD(c rune) bool {
	return (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_'
}

// dString makes a name one of d-characters.
func dString(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if notD(c) {
			c = '_'
		}
		return c
	}, name)
}

// identifiers are the names of one directory for readers without Rock Ridge:
// short, of few characters, and each only once.
type identifiers struct {
	used map[string]bool
	next map[string]int // number that was not tried for a stem and extension
}

// of returns the identifier of a file, as name and extension, or of a
// directory, which has no extension.
func (ids identifiers) of(name string, dir bool) (stem, ext string) {
	limit := maxDirID
	if i := strings.LastIndexByte(name, '.'); !dir {
		if i > 0 {
			name, ext = name[:i], cut(dString(name[i+1:]), maxExt)
		}
		limit = maxFileID - len(ext)
	}
	full := cut(dString(name), limit)
	stem = full
	for ids.used[stem+"."+ext] {
		n := ids.next[full+"."+ext]
		ids.next[full+"."+ext]++
		number := fmt.Sprintf("%03d", n)
		stem = cut(full, limit-len(number)) + number
	}
	ids.used[stem+"."+ext] = true
	return stem, ext
}

func cut(s string, limit int) string { return s[:min(len(s), limit)] }
