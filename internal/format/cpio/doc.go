// Package cpio reads and writes cpio archives in the "newc" format, the only
// one that the Linux kernel unpacks into its initramfs, and the sequences of
// such archives that make up an initramfs file.
//
// [Writer] and [Reader] have the shape of archive/tar: a header, then its
// bytes. What they agree on is what the kernel does (init/initramfs.c and
// Documentation/driver-api/early-userspace/buffer-format.rst), not what the
// cpio program permits:
//
//   - Names are relative. The kernel makes no parent directories: it silently
//     drops a/b/c if a/b does not exist. Writer refuses such an entry with
//     [ErrNoParent]; [Writer.MkdirAll] writes what is missing.
//   - Hard links share inode and device number and say how many they are. The
//     content is stored once. Writer puts it in the first of them; Reader also
//     takes archives of GNU cpio, which has it in the last (see
//     [Header.Hardlink]).
//   - A file holds at most [MaxFileSize] bytes, a name or a link target fewer
//     than [PathMax].
//   - Only regular files, directories, symbolic links, device nodes, named
//     pipes and sockets exist. There are no extended attributes.
//
// Inode numbers are given in the order of writing and device numbers are zero,
// so the bytes depend on the headers and contents alone.
//
// An initramfs is any sequence of archives, each plain or compressed, with
// zero bytes between them. [InitramfsReader] walks it segment by segment, as a
// stream, and finds the exact end of every compressed one. [NewCompressor]
// makes compressed segments that the kernel takes.
//
// Reader is stricter than the kernel in two points: an archive must end with
// its trailer (otherwise a file that was cut between two entries would look
// complete), and an entry that the kernel would silently skip, such as one
// with an overlong name, is an error.
//
// Names are reported as they are stored: they may be absolute or contain
// "..". Whoever creates files from them asks [LocalName] first.
package cpio
