package oci

import "fmt"

// Limits of what is read. An image comes from strangers: nothing in it may
// decide how much memory or disk its reader spends.
const (
	// MaxManifest bounds manifests, indexes and configs, in bytes. Registries
	// accept 4 MiB; the largest real ones (indexes of many platforms, configs
	// with long histories) have a tenth of it.
	MaxManifest = 4 << 20
	// MaxUncompressed bounds the layers of one image together, in bytes after
	// decompression. Talos' imager, the largest image graft reads, has less
	// than 1 GiB. There is no limit on the ratio: firmware full of zeros is
	// compressed a thousandfold and is no bomb.
	MaxUncompressed = 16 << 30
	// maxLayers bounds the layers of an image: container engines stop at 128,
	// and every layer costs an open file here.
	maxLayers = 256
	// maxDepth bounds indexes within indexes: one level is usual, two are
	// known (an index of a layout that holds an index of platforms).
	maxDepth = 4
	// maxIndexes bounds the indexes of one image: each costs a request.
	maxIndexes = 32
	// maxImages bounds the images of one index, with all that are nested in it.
	maxImages = 512
	// maxWindow bounds what a zstd stream may make its decoder allocate: the
	// largest window that the zstd tool uses itself (--ultra -22).
	maxWindow = 128 << 20
)

// errTooLarge says that the layers of an image exceed MaxUncompressed.
var errTooLarge = fmt.Errorf("more than %d GiB after decompression", MaxUncompressed>>30)
