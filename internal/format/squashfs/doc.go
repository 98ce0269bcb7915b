// Package squashfs writes and reads squashfs 4.0 images: the compressed,
// read-only file system of the Linux kernel (fs/squashfs).
//
// Both halves have the shape of archive/tar. A [Writer] takes one [Header]
// after the other, each with a function that opens the content, and a [Reader]
// gives the same headers back, with content that is decompressed only when it
// is read. Neither needs root or mounts anything, and neither knows what the
// files are for.
//
// # Writing
//
// The data of files lies in the image in the order of the calls to
// [Writer.Add]. Content is cut into blocks that several goroutines compress
// while one goroutine writes the results in order, so the bytes of an image
// depend on the headers, the content and the [Options], never on the number of
// workers, the clock or the machine. Memory is a few blocks per worker,
// whatever the size of the files; only the names and metadata of the entries
// are held until [Writer.Close].
//
// What is made: files smaller than a block share fragment blocks; blocks of
// zeroes take no room; files with equal content are stored once; hard links
// share one inode; directories longer than one metadata block get an index, so
// that a lookup does not read them from the start; extended attributes with
// equal contents are stored once; an export table allows access by inode
// number (NFS).
//
// # Reading
//
// The reader takes images of any writer with gzip, xz and zstd compression.
// It trusts nothing: every reference, size and count is checked before it is
// used, no allocation is larger than one block or one directory, and a
// directory that contains itself is an error.
//
// # Limits
//
// Compression with lzo, lz4 and lzma, xz with branch filters, and squashfs
// before 4.0 are refused with a clear error. Extended attributes exist in the
// namespaces user, trusted and security only, as the format has no others.
//
// The on-disk format is described by Documentation/filesystems/squashfs.rst and
// fs/squashfs/squashfs_fs.h of the Linux kernel; comments refer to these.
package squashfs
