// Package qcow2 writes and reads disk images in QEMU's format qcow2.
//
// [Encode] plans an image of version 3 around a raw disk: header and tables in
// memory, the clusters of the disk as extents of it. Nothing is read, so it
// takes as long for a disk of gigabytes as for an empty one. Clusters without
// an extent of the disk take no place, nor do tables for them. Each host
// cluster has the reference count 1 and the file has no gaps, as "qemu-img
// check" wants it.
//
// [NewReader] maps an image of version 2 or 3 back to the raw disk. Clusters
// may be compressed with zlib or zstd. Backing files, encryption, external data
// files and extended L2 entries are refused; internal snapshots are ignored.
//
// The layout is that of docs/interop/qcow2.txt in the source of QEMU. All
// numbers are big-endian.
package qcow2

const (
	magic = "QFI\xfb"

	headerSize2 = 72  // bytes, version 2
	headerSize3 = 104 // bytes, version 3 without optional fields

	minClusterBits     = 9
	maxClusterBits     = 21
	defaultClusterSize = 64 << 10

	// What QEMU opens at most, in bytes: an L1 table and a refcount table.
	maxL1Size            = 32 << 20
	maxRefcountTableSize = 8 << 20

	entrySize     = 8 // bytes of an entry of L1, L2 and refcount table
	refcountOrder = 4 // reference counts have 1<<4 bits
	refcountSize  = 2 // bytes, the same
)

// Bits of the entries of L1 and L2 tables.
const (
	entryCopied     = 1 << 63 // the reference count of the cluster is 1
	entryCompressed = 1 << 62 // L2: a compressed cluster
	entryZero       = 1 << 0  // L2: the cluster reads as zeros
	entryOffset     = 1<<56 - 1<<9
)

// Incompatible features of version 3.
const (
	featureDirty       = 1 << 0 // reference counts may be wrong, which a reader does not mind
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3 // compressed with other than zlib
	featureExtendedL2  = 1 << 4
)

// header is the header of version 3. That of version 2 ends before the features.
type header struct {
	Magic                 [4]byte
	Version               uint32
	BackingFileOffset     uint64
	BackingFileSize       uint32
	ClusterBits           uint32
	Size                  uint64 // of the disk, in bytes
	CryptMethod           uint32
	L1Size                uint32 // entries
	L1TableOffset         uint64
	RefcountTableOffset   uint64
	RefcountTableClusters uint32
	Snapshots             uint32
	SnapshotsOffset       uint64
	IncompatibleFeatures  uint64
	CompatibleFeatures    uint64
	AutoclearFeatures     uint64
	RefcountOrder         uint32
	HeaderLength          uint32
}

// ceilDiv is a/b, rounded up.
func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
