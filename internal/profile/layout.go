package profile

// Partition of a disk image, in the order of the disk.
type Partition struct {
	// Label is the name in the partition table and of the file system.
	Label string
	// Type is the GUID of the partition's type.
	Type string
	// Size in bytes; 0 is all that is left of the disk.
	Size int64
	// Filesystem is FAT or XFS, or "" for bytes without one.
	Filesystem Filesystem
	// LegacyBoot sets the attribute of the partition table that marks what BIOS
	// starts.
	LegacyBoot bool
}

// Filesystem that a partition is made with.
type Filesystem string

// The file systems.
const (
	FAT Filesystem = "vfat"
	XFS Filesystem = "xfs"
)

// The types of partitions.
const (
	typeEFI   = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	typeBIOS  = "21686148-6449-6E6F-744E-656564454649"
	typeLinux = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
)

// Sizes in bytes that no version has changed.
const (
	grubEFISize = 100 * mib
	biosSize    = 1 * mib
	metaSize    = 1 * mib
	stateSize   = 100 * mib

	// tableSize is what the partition table takes on both ends of a disk, as
	// partitions begin and end at whole MiB.
	tableSize = 2 * mib
)

// partitions are the layout for a boot loader.
func partitions(loader Bootloader, q Quirks) []Partition {
	efi := Partition{Label: "EFI", Type: typeEFI, Size: grubEFISize, Filesystem: FAT}
	if loader != GRUB { // what GRUB has in three partitions
		efi.Size += biosSize + q.bootSize()
	}
	all := []Partition{efi}
	if loader != SDBoot {
		all = append(all,
			Partition{Label: "BIOS", Type: typeBIOS, Size: biosSize, LegacyBoot: true},
			Partition{Label: "BOOT", Type: typeLinux, Size: q.bootSize(), Filesystem: XFS})
	}
	all = append(all, Partition{Label: "META", Type: typeLinux, Size: metaSize})
	if !q.has(dataPartitionsAtBoot) { // empty: Talos makes the file systems
		all = append(all,
			Partition{Label: "STATE", Type: typeLinux, Size: stateSize},
			Partition{Label: "EPHEMERAL", Type: typeLinux})
	}
	return all
}

// leastDisk is the size in bytes that a layout needs.
func leastDisk(layout []Partition) int64 {
	sum := int64(tableSize)
	for _, p := range layout {
		sum += max(p.Size, mib)
	}
	return sum
}

// growth is what the size of a disk gets beyond that in the profile, in bytes.
func growth(loader Bootloader, q Quirks) int64 {
	more := q.bootSize() - 1000*mib
	if loader == DualBoot {
		more += biosSize + q.bootSize()
	}
	return more
}
