// Package xfs writes small XFS file systems and reads what mkfs.xfs and the
// Linux kernel write.
//
// [Build] plans a whole file system in memory: four allocation groups, packed
// from the front, and one free extent behind. That is all that a boot partition
// needs, and it keeps every B+tree to one leaf. Metadata is bytes, the content
// of files stays where it is, and the empty log is a hole but for one record.
//
//	img, err := xfs.Build(xfs.Options{Size: 2000 << 20, Label: "BOOT", UUID: id, Time: t}, []xfs.File{
//		{Path: "A/vmlinuz", Mode: 0o644, Content: kernel},
//		{Path: "grub", Mode: fs.ModeDir | 0o755},
//	})
//
// The format is version 5, with checksums, with blocks of 4 KiB and inodes of
// 512 bytes, and of its optional features only the types in directory entries.
// GRUB 2.06 reads that, and Linux of the last ten years writes to it: no tree of
// free inodes, no sparse inode chunks, no reverse mapping, no shared extents, no
// large time stamps (so times end in 2038) and no large extent counts.
//
// Limits of what is written: 64 MiB (as xfs_repair wants 16 MiB in an allocation
// group, although mkfs.xfs itself stops at 300 MiB) to 64 GiB; 16125 files and
// directories; about 480 names in a directory, where its leaf block is full and
// the node form would begin.
//
// [Reader] takes all forms of directories and of extent lists, large time
// stamps and large extent counts, and checks every checksum on its way. It reads
// neither version 4 nor file systems with a realtime device, and it does not
// replay the log: what a crash left there is not seen.
//
// Names and offsets follow "XFS Algorithms & Data Structures" (3rd edition) and
// fs/xfs/libxfs of Linux.
package xfs
