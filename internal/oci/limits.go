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
	// MaxArtifactBlob bounds one blob of an Artifact, in bytes. The largest that
	// are known are SBOMs in attestations, of a few MiB.
	MaxArtifactBlob = 32 << 20
	// maxReferrers bounds what refers to one manifest, and maxReferrerBytes its
	// manifests together: signing again and again adds to them.
	maxReferrers     = 1000
	maxReferrerBytes = 16 << 20
	// maxReferrerPages bounds the requests for one list of referrers.
	maxReferrerPages = 100
	// maxTagPages bounds the requests for the tags of a repository, at a
	// thousand tags or so each.
	maxTagPages = 1000
	// maxCopied bounds the manifests and blobs of one image that is copied, with
	// all that refers to it, maxCopyDepth how deep these are in each other, and
	// maxCopyManifests the manifests of all images that are copied at once, which
	// are held in memory. A catalog of 100 extensions has 2 MiB.
	maxCopied        = 20_000
	maxCopyDepth     = 8
	maxCopyManifests = 64 << 20
	// maxBlob bounds one blob that is copied.
	maxBlob = 1 << 40
	// copyParallel is the number of images, and of blobs, that are copied at
	// once.
	copyParallel = 8
	// maxWindow bounds what a zstd stream may make its decoder allocate: the
	// largest window that the zstd tool uses itself (--ultra -22).
	maxWindow = 128 << 20
)

// errTooLarge says that the layers of an image exceed MaxUncompressed.
var errTooLarge = fmt.Errorf("more than %d GiB after decompression", MaxUncompressed>>30)
