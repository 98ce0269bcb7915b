package grub

import "slices"

// DiskModules are the modules for the core image of a disk of Talos Linux: all
// that finds and reads the menu, on a partition BOOT (XFS) of a GPT, and starts
// the kernel. Nothing is left to be loaded from the disk but what is booted.
func DiskModules() []string {
	return append(menuModules(),
		"biosdisk", // disks as the BIOS shows them
		"part_gpt", // their partitions
		"xfs",      // BOOT as Talos makes it
		"ext2",     // or otherwise: ext2, ext3 and ext4
		"fat",      // EFI
	)
}

// CDModules are the modules for the boot image of an ISO. It may be a CD or, as
// a hybrid image, a disk; in both, GRUB sees the ISO as a whole.
func CDModules() []string {
	return append(menuModules(),
		"biosdisk",
		"iso9660",
		"part_gpt", // of the disk that Talos is installed on
		"part_msdos",
	)
}

// EFIModules are those of both for UEFI firmware, which brings its own disks.
func EFIModules() []string {
	modules := append(DiskModules(), CDModules()...)
	slices.Sort(modules)
	return slices.DeleteFunc(slices.Compact(modules), func(m string) bool { return m == "biosdisk" })
}

// menuModules are what a menu of Linux kernels wants on any platform, and some
// words more for a person who has to find out why one does not start.
func menuModules() []string {
	return []string{
		"normal",         // grub.cfg, the menu, the shell
		"linux",          // the commands linux and initrd
		"gzio",           // compressed files
		"all_video",      // modes of the screen
		"terminal",       // terminal_input and terminal_output
		"serial",         // a serial line as one of these
		"configfile",     // another menu
		"search",         // a file system by what is in it,
		"search_fs_uuid", // its number
		"search_label",   // or its name
		"test",           // conditions
		"echo",
		"cat",
		"ls",
		"minicmd", // help, and what is loaded
		"reboot",
		"halt",
	}
}

// Slot is one of the two places of an installed Talos Linux, a directory of the
// partition BOOT. An upgrade fills the other one.
type Slot struct {
	Name    string // "A" or "B"
	Version string // such as "v1.14.0"
	Cmdline string
}

// Paths of a slot, below the root of the partition.
func (s Slot) kernel() string    { return "/" + s.Name + "/vmlinuz" }
func (s Slot) initramfs() string { return "/" + s.Name + "/initramfs.xz" }

// title begins with the slot's name: by that, Talos knows what is booted.
func (s Slot) title() string { return s.Name + " - Talos " + s.Version }

func (s Slot) entry() Entry {
	return Entry{Title: s.title(), Kernel: s.kernel(), Initrds: []string{s.initramfs()}, Cmdline: s.Cmdline}
}

// What Talos does before it starts, by a word on the command line.
const (
	wipeDisk  = " talos.experimental.wipe=system"
	wipeState = " talos.experimental.wipe=system:EPHEMERAL,STATE"
)

const menuTimeout = 3

// DiskMenu returns the menu of a disk with Talos Linux in a slot and, after an
// upgrade, the version before it in the other, which is tried if the first one
// cannot be loaded. The last entry erases the node's state.
func DiskMenu(current Slot, previous *Slot) *Menu {
	m := &Menu{Default: current.title(), Timeout: menuTimeout, Entries: []Entry{current.entry()}}
	if previous != nil {
		m.Fallback = previous.title()
		m.Entries = append(m.Entries, previous.entry())
	}
	reset := current.entry()
	reset.Title = "Reset Talos installation and return to maintenance mode"
	reset.Cmdline += wipeState
	m.Entries = append(m.Entries, reset)
	return m
}

// ISOMenu returns the menu of a Talos ISO: to install, or to erase what is
// installed.
func ISOMenu(cmdline string) *Menu {
	e := Entry{Title: "Talos ISO", Kernel: "/boot/vmlinuz", Initrds: []string{"/boot/initramfs.xz"}, Cmdline: cmdline}
	reset := e
	reset.Title = "Reset Talos installation"
	reset.Cmdline += wipeDisk
	return &Menu{Timeout: menuTimeout, Entries: []Entry{e, reset}}
}
