package fat

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNameUnits is the length of a long name in UTF-16 code units.
const maxNameUnits = 255

// checkName says what is wrong with the name of a file. What Windows refuses is
// refused: a name has to mean the same file everywhere.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case !utf8.ValidString(name):
		return errors.New("the name is not valid UTF-8")
	case len(utf16.Encode([]rune(name))) > maxNameUnits:
		return fmt.Errorf("the name is longer than %d characters", maxNameUnits)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return errors.New("the name ends with a dot or a space")
	}
	if i := strings.IndexFunc(name, isForbidden); i >= 0 {
		return fmt.Errorf("the name has the character %q, which FAT does not allow", name[i])
	}
	return nil
}

func isForbidden(r rune) bool { return r < 0x20 || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) }

// fold is what names have in common that differ by case only. FAT takes them
// for the same.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// shortName is the 8.3 name of a file as it is in a directory: base and
// extension, padded with spaces.
type shortName [11]byte

// dotName and dotDotName are how a directory calls itself and its parent.
var (
	dotName    = shortName([]byte(".          "))
	dotDotName = shortName([]byte("..         "))
)

// checksum ties the slots of a long name to the short one (fatgen103, ChkSum).
func (s shortName) checksum() (sum byte) {
	for _, c := range s {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// shortParts makes base and extension of a name in upper case, as Linux does:
// the extension is behind the last dot, unless only dots and spaces are before
// it; dots and spaces are left out, impossible characters are underscores, and
// what is too long is cut. It is exact if that changed nothing but the case.
func shortParts(name string) (base, ext string, exact bool) {
	long, longExt := name, ""
	if i := strings.LastIndexByte(name, '.'); i >= 0 && strings.Trim(name[:i], ". ") != "" {
		long, longExt = name[:i], name[i+1:]
	}
	base, baseExact := shortPart(long, 8)
	ext, extExact := shortPart(longExt, 3)
	return base, ext, baseExact && extExact
}

func shortPart(s string, size int) (short string, exact bool) {
	var b []byte
	exact = true
	for _, r := range strings.ToUpper(s) {
		switch {
		case r == ' ' || r == '.':
			exact = false
			continue
		case r > 0x7e || strings.ContainsRune("+,;=[]", r):
			exact = false
			r = '_'
		}
		b = append(b, byte(r))
	}
	if len(b) > size {
		return string(b[:size]), false
	}
	return string(b), exact
}

func joinShort(base, ext string) (s shortName) {
	copy(s[:], bytes.Repeat([]byte(" "), len(s)))
	copy(s[:8], base)
	copy(s[8:], ext)
	return s
}

// namer gives the files of one directory their short names.
type namer struct {
	taken map[shortName]bool
	tails map[shortName]int // the last number given to names that begin alike
}

// exact gives a name its 8.3 form, if it has one. A long name is needed beside
// it only for lower case: the flags that Windows NT has for that are in no
// specification.
func (n *namer) exact(name string) (short shortName, ok bool) {
	base, ext, ok := shortParts(name)
	if !ok {
		return short, false
	}
	short = joinShort(base, ext)
	n.taken[short] = true
	return short, true
}

// numbered gives a name one that ends with ~1, or the first number that is
// free. All exact names have to be known.
func (n *namer) numbered(name string) shortName {
	base, ext, _ := shortParts(name)
	key := joinShort(base[:min(6, len(base))], ext)
	for {
		n.tails[key]++
		tail := fmt.Sprintf("~%d", n.tails[key])
		short := joinShort(base[:min(8-len(tail), len(base))]+tail, ext)
		if !n.taken[short] {
			n.taken[short] = true
			return short
		}
	}
}

// Slots of a long name, which are in front of the file's own.
const (
	longUnits    = 13 // UTF-16 code units in a slot
	longLast     = 0x40
	longOrdinals = 0x3f
)

// longUnitAt are the offsets of the units in a slot.
var longUnitAt = [longUnits]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// longSlots are the slots of a long name, the last part of it first.
func longSlots(name string, short shortName) []byte {
	units := utf16.Encode([]rune(name))
	if len(units)%longUnits != 0 {
		units = append(units, 0) // then 0xFFFF to the end
	}
	count := (len(units) + longUnits - 1) / longUnits
	var b []byte
	for i := count; i > 0; i-- {
		slot := make([]byte, slotSize)
		slot[0], slot[11], slot[13] = byte(i), attrLong, short.checksum()
		if i == count {
			slot[0] |= longLast
		}
		part := units[(i-1)*longUnits:]
		for j, at := range longUnitAt {
			unit := uint16(0xffff)
			if j < len(part) {
				unit = part[j]
			}
			slot[at], slot[at+1] = byte(unit), byte(unit>>8)
		}
		b = append(b, slot...)
	}
	return b
}

// checkLabel returns the label of a file system as it is on disk.
func checkLabel(label string) (shortName, error) {
	if label == "" {
		return shortName([]byte("NO NAME    ")), nil
	}
	bad := func(r rune) bool {
		return r < 0x20 || r > 0x7e || r >= 'a' && r <= 'z' || strings.ContainsRune(`"*+,./:;<=>?[\]|`, r)
	}
	if len(label) > 11 || label[0] == ' ' || strings.IndexFunc(label, bad) >= 0 {
		return shortName{}, fmt.Errorf("the label %q is not possible: it has at most 11 characters of ASCII, of them no lower case and none of %s", label, `"*+,./:;<=>?[\]|`)
	}
	return joinShort(label[:min(8, len(label))], label[min(8, len(label)):]), nil
}

func decodeLabel(s shortName) string {
	label := decodeOEM(s[:])
	if label == "NO NAME" {
		return ""
	}
	return label
}

// oem are the characters from 0x80 on of code page 437, in which short names
// are unless someone chose another.
var oem = []rune("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0")

// decodeOEM decodes a part of a short name without the spaces behind it.
func decodeOEM(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c < 0x80 {
			s.WriteByte(c)
		} else {
			s.WriteRune(oem[c-0x80])
		}
	}
	return strings.TrimRight(s.String(), " ")
}
