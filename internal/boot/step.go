package boot

import (
	"fmt"
	"strings"
)

// A Step is one thing that init does. Its String is what the log says of it,
// and begins an error message: "binding /.extra to /root/.extra".
type Step interface{ fmt.Stringer }

// MountPseudo mounts a file system that the kernel makes up.
type MountPseudo struct{ Type, Target string }

// LoadModule loads a kernel module. One that is loaded already, or has no
// hardware to drive, is no error.
type LoadModule struct{ File string }

// Verify compares files with their SHA-256 digests.
type Verify struct{ Files []Digest }

// Digest is a file of the initramfs and what its content must have.
type Digest struct {
	File   string
	SHA256 string // in hexadecimal
}

// MountImage mounts a squashfs image, read-only, through a loop device.
type MountImage struct {
	File, Target string
	// Extension is name and version of the extension that the image is
	// made from, empty for the base's root filesystem.
	Extension string
	// Lower is true for what becomes a part of an overlay: it is mounted
	// nosuid and nodev, for what counts are the flags of the overlay.
	Lower bool
}

// MountOverlay mounts a read-only overlay of mounts below /layers.
type MountOverlay struct {
	Lowers []string // names in /layers, the top one first
	Target string
	// OneByOne is true if the kernel takes "lowerdir+" (Linux 6.7).
	OneByOne bool
}

// Detach takes away the mounts below /layers that an overlay holds.
type Detach struct{ Names []string }

// Bind makes a file or directory of the initramfs visible, read-only, at a path
// of the new root.
type Bind struct {
	Source string
	Path   string // in the root, without a leading slash
	// Optional is true if the root need not have the path.
	Optional bool
}

// Move moves a mount of the initramfs to a directory of the new root.
type Move struct {
	From string
	Path string // in the root, without a leading slash
}

// Free deletes the files of the initramfs to free the memory they are in.
type Free struct{ Keep []string }

// SwitchRoot makes a mount the root of everything.
type SwitchRoot struct{ Root string }

// Exec becomes the root's own init.
type Exec struct{ Program string }

func (s MountPseudo) String() string { return "mounting " + s.Type + " at " + s.Target }
func (s LoadModule) String() string  { return "loading module " + s.File }
func (s Verify) String() string      { return "verifying " + count(len(s.Files), "layer") }
func (s Detach) String() string {
	return "detaching " + count(len(s.Names), "mount") + " below " + layersDir
}
func (s Bind) String() string       { return "binding " + s.Source + " to " + newRoot + "/" + s.Path }
func (s Move) String() string       { return "moving " + s.From + " to " + newRoot + "/" + s.Path }
func (s SwitchRoot) String() string { return "making " + s.Root + " the root" }
func (s Exec) String() string       { return "starting " + s.Program }

// String of a layer is the line that Talos logs for it.
func (s MountImage) String() string {
	if s.Extension != "" {
		return "enabling system extension " + s.Extension
	}
	return "mounting " + s.File + " at " + s.Target
}

func (s MountOverlay) String() string {
	how := "in one option"
	if s.OneByOne {
		how = "one by one"
	}
	return fmt.Sprintf("mounting an overlay of %d directories at %s (given %s)", len(s.Lowers), s.Target, how)
}

func (s Free) String() string {
	if len(s.Keep) == 0 {
		return "freeing the initramfs"
	}
	return "freeing the initramfs but " + strings.Join(s.Keep, ", ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
