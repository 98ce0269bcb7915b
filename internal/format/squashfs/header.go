package squashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"
)

// A Header describes one entry of an image: everything but its content.
type Header struct {
	// Name is the path from the root of the image, with slashes and without
	// a leading one: "usr/bin/tool". The root itself is "" or "."; the
	// reader gives ".". An element has at most 255 bytes (Linux NAME_MAX).
	Name string

	// Mode holds the type of the entry, the permission bits and the
	// set-uid, set-gid and sticky bits.
	Mode fs.FileMode

	UID, GID int       // numeric owner, 0 to 2^32-1
	ModTime  time.Time // in whole seconds from 1970 to 2106; the zero Time means 1970
	Size     int64     // bytes of content of a regular file

	// Linkname is the target of a symbolic link, at most 4095 bytes.
	Linkname string

	// Hardlink makes Name another name of an entry that came before,
	// which may be anything but a directory. All other fields are then
	// those of the earlier entry: the writer ignores them here.
	Hardlink string

	// Major (12 bits) and Minor (20 bits) are the number of a device.
	Major, Minor uint32

	// Xattrs are the extended attributes by full name, such as
	// "security.selinux". Values are binary and at most 64 KiB long.
	Xattrs map[string]string
}

const (
	maxLinuxName    = 255  // NAME_MAX: a longer name could be listed but not opened
	maxLinuxSymlink = 4095 // PATH_MAX without the final NUL
)

// cleanName checks the path of an entry and returns it without a leading "./";
// the root is ".".
func cleanName(name string) (string, error) {
	if name == "" || name == "." {
		return ".", nil
	}
	for elem := range strings.SplitSeq(name, "/") {
		if err := checkElem(elem, maxLinuxName); err != nil {
			return "", err
		}
	}
	return name, nil
}

// checkElem refuses what cannot be one element of a path.
func checkElem(elem string, limit int) error {
	switch {
	case elem == "" || elem == "." || elem == "..":
		return fmt.Errorf("path element %q is not allowed", elem)
	case strings.ContainsAny(elem, "/\x00"):
		return fmt.Errorf("path element %q has a slash or a NUL in it", elem)
	case len(elem) > limit:
		return fmt.Errorf("path element of %d bytes, at most %d are possible: it begins with %.32q", len(elem), limit, elem)
	}
	return nil
}

// splitName cuts a clean name, which is not the root, in parent and last element.
func splitName(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ".", name
	}
	return name[:i], name[i+1:]
}

// inodeType returns the basic inode type for a mode.
func inodeType(mode fs.FileMode) (uint16, error) {
	switch mode.Type() {
	case 0:
		return typeFile, nil
	case fs.ModeDir:
		return typeDir, nil
	case fs.ModeSymlink:
		return typeSymlink, nil
	case fs.ModeDevice:
		return typeBlockDev, nil
	case fs.ModeDevice | fs.ModeCharDevice:
		return typeCharDev, nil
	case fs.ModeNamedPipe:
		return typeFifo, nil
	case fs.ModeSocket:
		return typeSocket, nil
	}
	return 0, fmt.Errorf("file type %v cannot be stored", mode.Type())
}

// fileModes maps a basic inode type to the type bits of its mode.
var fileModes = [...]fs.FileMode{
	typeDir:      fs.ModeDir,
	typeFile:     0,
	typeSymlink:  fs.ModeSymlink,
	typeBlockDev: fs.ModeDevice,
	typeCharDev:  fs.ModeDevice | fs.ModeCharDevice,
	typeFifo:     fs.ModeNamedPipe,
	typeSocket:   fs.ModeSocket,
}

// specialBits pairs the mode bits above the permissions with those of Unix.
var specialBits = [...]struct {
	mode fs.FileMode
	unix uint16
}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}}

func unixPerm(mode fs.FileMode) uint16 {
	p := uint16(mode.Perm())
	for _, b := range specialBits {
		if mode&b.mode != 0 {
			p |= b.unix
		}
	}
	return p
}

func fileMode(basicType, perm uint16) fs.FileMode {
	mode := fileModes[basicType] | fs.FileMode(perm&0o777)
	for _, b := range specialBits {
		if perm&b.unix != 0 {
			mode |= b.mode
		}
	}
	return mode
}

// unixTime returns t as the seconds that an inode can hold.
func unixTime(t time.Time) (uint32, error) {
	if t.IsZero() {
		return 0, nil
	}
	s := t.Unix()
	if s < 0 || s > math.MaxUint32 {
		return 0, fmt.Errorf("time %v is outside of 1970 to 2106", t.UTC().Format(time.RFC3339))
	}
	return uint32(s), nil
}

// encodeDev packs a device number as new_encode_dev of the kernel does.
func encodeDev(major, minor uint32) (uint32, error) {
	if major >= 1<<12 || minor >= 1<<20 {
		return 0, fmt.Errorf("device number %d:%d does not fit in 12 and 20 bits", major, minor)
	}
	return minor&0xff | major<<8 | (minor&^0xff)<<12, nil
}

func decodeDev(dev uint32) (major, minor uint32) {
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&^0xff
}

// checkLink refuses targets that no symbolic link of Linux can have.
func checkLink(target string) error {
	switch {
	case target == "":
		return errors.New("symbolic link without a target")
	case len(target) > maxLinuxSymlink:
		return fmt.Errorf("symbolic link target of %d bytes, at most %d are possible", len(target), maxLinuxSymlink)
	case strings.ContainsRune(target, 0):
		return fmt.Errorf("symbolic link target %q has a NUL in it", target)
	}
	return nil
}

// xattrPrefixes are the namespaces of the format; the index is the number on disk.
var xattrPrefixes = []string{"user.", "trusted.", "security."}

// splitXattr cuts a full attribute name in the number of its namespace and the rest.
func splitXattr(name string) (prefix int, rest string, err error) {
	prefix = slices.IndexFunc(xattrPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	if prefix < 0 {
		return 0, "", fmt.Errorf("extended attribute %q: squashfs holds only %s* attributes",
			name, strings.Join(xattrPrefixes, "*, "))
	}
	return prefix, name[len(xattrPrefixes[prefix]):], nil
}
