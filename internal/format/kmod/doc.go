// Package kmod reads Linux kernel modules, computes the files that depmod
// writes for a directory of them, and answers from these files which modules
// to load, and in which order, for a name or a device alias.
//
// The work is split so that each part can be cached:
//
//   - [ParseInfo] and [ReadInfo] extract the facts of one module, an [Info]:
//     small, a function of the module's bytes alone, and JSON-serialisable.
//   - [Depmod] turns the facts of all modules into all files of
//     lib/modules/VERSION, without touching a file itself.
//   - [LoadIndex] reads the text files back, for a program that loads modules.
//
// The yardstick is depmod of kmod 30: for the same directory, every file is
// equal byte for byte. Where depmod follows the order in which the file system
// lists a directory, this package goes by name; that concerns only modules of
// the same name in directories of the same priority. Modules that
// modules.order does not list are in the order of kmod's hash table, which
// depends on their names alone. Modules in dependency cycles are an error, as
// they are for depmod, which writes nothing then.
//
// Not covered: other configuration of depmod than "search", System.map and
// Module.symvers, and the files in modprobe.d.
//
// Modules are ELF64, little-endian, for x86-64 and arm64, plain or compressed
// with gzip, xz or zstd. All sizes in them are checked before memory is taken.
package kmod
