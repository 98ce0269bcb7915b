// Package bootasset makes boot assets: the base's kernel and initramfs, plus
// the layers of extensions.
//
// A layer is a pure function of an extension's files and a few settings, and
// costly; an initramfs is cheap, because the kernel takes any sequence of cpio
// archives: it is the base, byte for byte, followed by the layers as they are.
// So everything costly is kept in a cache under a key that names all that it
// depends on, and making an asset again is a copy.
//
//	early microcode (uncompressed cpio, only if an extension brings microcode)
//	the base's initramfs, byte for byte
//	uncompressed cpio: 000.<ref>.sqsh, 001.<ref>.sqsh, …, modules.dep.sqsh, extensions.yaml
//	one compressed cpio per extension with firmware: usr/lib/firmware/…
//
// Talos' imager compresses the second half as one archive, layers included;
// the kernel and Talos' init see the same files either way.
package bootasset

import (
	"fmt"
	"io"
	"runtime"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/oci"
)

// writerVersion changes when the same input gives other bytes than before: it
// is part of every key in the cache.
const writerVersion = "2"

// Level chooses between speed and size.
type Level string

// The levels.
const (
	Default Level = "default"
	Best    Level = "best" // about five times slower, 5 to 10 per cent smaller
)

// Extension is one extension to put into an asset.
type Extension struct {
	Source string // what the user called it
	Image  *oci.Image
}

// Options say what to make, and from what.
type Options struct {
	Base       *Base
	Extensions []Extension // the first is the lowest layer
	Level      Level       // "" is Default
	// Verified is what was verified of the images, to be kept in the initramfs.
	Verified []extension.Verified
	Cache    *cache.Cache
	Progress Progress // nil shows none
}

// Progress is told what takes time: it returns what to call for each chunk of
// bytes done of total, and at the end.
type Progress func(what string, total int64) (add func(int64), done func())

// Asset is a set of extensions for a base that is known and checked, and the
// boot assets that can be made of both. It is for one goroutine.
type Asset struct {
	opts       Options
	settings   settings
	extensions []*prepared
	known      known
	// Findings of the checks, errors included: whether to go on is up to the caller.
	Findings []check.Finding

	initramfs *sparse.Image // once it is laid out
	summary   Summary
	open      []io.Closer // that images are read from
}

// settings decide the bytes of a layer beside its files.
type settings struct {
	squashfs squashfs.Options
	segment  cpio.Compression
	level    cpio.Level
	libDir   string // of modules and firmware
}

// maxWorkers bounds the memory that a layer takes on machines with many CPUs:
// some 8 MiB each.
const maxWorkers = 8

func newSettings(v extension.Version, level Level) settings {
	s := settings{segment: cpio.Zstd, libDir: v.LibDir()}
	s.squashfs.Compression, s.squashfs.Workers = squashfs.Zstd, min(runtime.GOMAXPROCS(0), maxWorkers)
	if level == Best {
		s.squashfs.Level, s.level = squashfs.Best, cpio.Best
	}
	if !v.Zstd() {
		s.squashfs.Compression, s.segment = squashfs.XZ, cpio.XZ
	}
	return s
}

// key identifies what is made from an input with these settings.
func (s settings) key(what, input string) string {
	return fmt.Sprintf("%s|v%s|%d.%d.%d|%v.%d|%s|%s", what, writerVersion,
		s.squashfs.Compression, s.squashfs.Level, s.squashfs.BlockSize, s.segment, s.level, s.libDir, input)
}
