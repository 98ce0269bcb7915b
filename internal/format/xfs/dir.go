package xfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// A directory of few names is in its inode (short form). Then comes a block with
// the entries and, at its end, their hashes (block form); then data blocks with
// the entries, and one more block for the hashes (leaf form). A tree of such
// blocks (node form) is only read.

// A directory has an address space of its own: entries from 0 on, hashes from
// here on, in bytes.
const dirLeafStart = 32 << 30

const (
	dirHeaderSize = 64 // of blocks with entries
	dirSum        = 4  // offset of the checksum
	dirTailSize   = 8  // of the block form: how many hashes
	dirHashSize   = 8
	dirUnit       = 8 // alignment of entries, and unit of their addresses
	dirFreeTag    = 0xffff

	leafHeaderSize = 64
	leafSum        = 12
	leafTailSize   = 4

	shortHeaderSize = 6 // with a parent of 32 bits
	shortEntrySize  = 8 // without the name: its length, offset, type, inode

	maxName = 255
)

// dirEntry is a name in a directory.
type dirEntry struct {
	name string
	ino  uint64
	typ  uint8
}

// size of an entry in a block: inode, length, name, type, and its own offset.
func (e dirEntry) size() int { return roundUp(8+1+len(e.name)+1+2, dirUnit) }

func (e dirEntry) put(b []byte, at int) {
	binary.BigEndian.PutUint64(b[at:], e.ino)
	b[at+8] = uint8(len(e.name))
	copy(b[at+9:], e.name)
	b[at+9+len(e.name)] = e.typ
	binary.BigEndian.PutUint16(b[at+e.size()-2:], uint16(at))
}

// hashName is xfs_da_hashname: seven bits for each byte, rotated.
func hashName(name string) uint32 {
	var h uint32
	for ; len(name) >= 4; name = name[4:] {
		h = uint32(name[0])<<21 ^ uint32(name[1])<<14 ^ uint32(name[2])<<7 ^ uint32(name[3]) ^ bits.RotateLeft32(h, 28)
	}
	var rest uint32
	for _, c := range []byte(name) {
		rest = rest<<7 ^ uint32(c)
	}
	return rest ^ bits.RotateLeft32(h, 7*len(name))
}

// dirHash leads from the hash of a name to its entry.
type dirHash struct{ hash, address uint32 }

// dirShape is the form of a directory: short without any block.
type dirShape struct {
	data []int // for each data block, the index behind its last entry
	leaf bool  // there is one more block for the hashes
}

func (s dirShape) short() bool { return len(s.data) == 0 }

// blocks is how many the directory takes.
func (s dirShape) blocks() uint64 {
	n := uint64(len(s.data))
	if s.leaf {
		n++
	}
	return n
}

// shapeDir chooses the smallest form for entries, of which the first two are
// the directory itself and its parent.
func shapeDir(entries []dirEntry) (dirShape, error) {
	short, long := shortHeaderSize, dirHeaderSize+dirTailSize
	for i, e := range entries {
		if i >= 2 {
			short += shortEntrySize + len(e.name)
		}
		long += e.size() + dirHashSize
	}
	if short <= inodeSize-inodeCoreSize {
		return dirShape{}, nil
	}
	if long <= blockSize {
		return dirShape{data: []int{len(entries)}}, nil
	}
	s := dirShape{data: fillBlocks(entries), leaf: true}
	if leaf := leafHeaderSize + len(entries)*dirHashSize + len(s.data)*2 + leafTailSize; leaf > blockSize {
		return s, fmt.Errorf("%d names are more than fit into a directory of leaf form (about 480)", len(entries)-2)
	}
	return s, nil
}

// fillBlocks distributes entries over data blocks, in order.
func fillBlocks(entries []dirEntry) (ends []int) {
	at := dirHeaderSize
	for i, e := range entries {
		if at+e.size() > blockSize {
			ends = append(ends, i)
			at = dirHeaderSize
		}
		at += e.size()
	}
	return append(ends, len(entries))
}

// shortDir is the content of a directory in its inode. The offsets are those
// that the entries would have in a block; the kernel keeps them when it makes one.
func shortDir(entries []dirEntry) []byte {
	b := []byte{uint8(len(entries) - 2), 0}
	b = binary.BigEndian.AppendUint32(b, uint32(entries[1].ino))
	at := dirHeaderSize + entries[0].size() + entries[1].size()
	for _, e := range entries[2:] {
		b = append(b, uint8(len(e.name)))
		b = binary.BigEndian.AppendUint16(b, uint16(at))
		b = append(b, e.name...)
		b = append(b, e.typ)
		b = binary.BigEndian.AppendUint32(b, uint32(e.ino))
		at += e.size()
	}
	return b
}

// dirBlocks are the blocks of a directory that is not in its inode: data blocks,
// then the leaf block if there is one.
func (sb *superblock) dirBlocks(s dirShape, entries []dirEntry, at []uint64) [][]byte {
	owner := entries[0].ino
	if !s.leaf {
		return [][]byte{sb.blockDir(owner, entries, at[0])}
	}
	var blocks [][]byte
	var hashes []dirHash
	var largest []uint16
	first := 0
	for i, end := range s.data {
		b := sb.dirData(magicDirData, owner, at[i])
		hashes = append(hashes, putEntries(b, i*blockSize, entries[first:end], blockSize)...)
		seal(b, dirSum)
		blocks = append(blocks, b)
		largest = append(largest, binary.BigEndian.Uint16(b[50:]))
		first = end
	}
	return append(blocks, sb.dirLeaf(owner, hashes, largest, at[len(s.data)]))
}

// blockDir is the only block of a directory.
func (sb *superblock) blockDir(owner uint64, entries []dirEntry, at uint64) []byte {
	b := sb.dirData(magicDirBlock, owner, at)
	tail := blockSize - dirTailSize
	first := tail - len(entries)*dirHashSize
	putHashes(b[first:], putEntries(b, 0, entries, first))
	binary.BigEndian.PutUint32(b[tail:], uint32(len(entries)))
	seal(b, dirSum)
	return b
}

// dirData is a block for entries with nothing but its header.
func (sb *superblock) dirData(magic uint32, owner, at uint64) []byte {
	b := make([]byte, blockSize)
	encode(b, &struct {
		Magic, CRC uint32
		Block, LSN uint64
		UUID       [16]byte
		Owner      uint64
	}{Magic: magic, Block: sb.daddr(at), UUID: sb.UUID, Owner: owner})
	return b
}

// putEntries fills a block up to limit and notes the rest as free. The hashes
// have addresses from base on, in bytes.
func putEntries(b []byte, base int, entries []dirEntry, limit int) []dirHash {
	hashes := make([]dirHash, len(entries))
	at := dirHeaderSize
	for i, e := range entries {
		e.put(b, at)
		hashes[i] = dirHash{hashName(e.name), uint32(base+at) / dirUnit}
		at += e.size()
	}
	if free := limit - at; free > 0 {
		binary.BigEndian.PutUint16(b[at:], dirFreeTag)
		binary.BigEndian.PutUint16(b[at+2:], uint16(free))
		binary.BigEndian.PutUint16(b[limit-2:], uint16(at))
		binary.BigEndian.PutUint16(b[48:], uint16(at)) // the first of three in the header
		binary.BigEndian.PutUint16(b[50:], uint16(free))
	}
	return hashes
}

// putHashes writes hashes in order.
func putHashes(b []byte, hashes []dirHash) {
	slices.SortFunc(hashes, func(x, y dirHash) int {
		return cmp.Or(cmp.Compare(x.hash, y.hash), cmp.Compare(x.address, y.address))
	})
	for i, h := range hashes {
		binary.BigEndian.PutUint32(b[i*dirHashSize:], h.hash)
		binary.BigEndian.PutUint32(b[i*dirHashSize+4:], h.address)
	}
}

// dirLeaf is the block of the hashes; at its end is the largest free space of
// each data block.
func (sb *superblock) dirLeaf(owner uint64, hashes []dirHash, largest []uint16, at uint64) []byte {
	b := make([]byte, blockSize)
	encode(b, &struct {
		Forward, Backward uint32
		Magic, _          uint16
		CRC               uint32
		Block, LSN        uint64
		UUID              [16]byte
		Owner             uint64
		Count, Stale      uint16
	}{Magic: magicDirLeaf, Block: sb.daddr(at), UUID: sb.UUID, Owner: owner, Count: uint16(len(hashes))})
	putHashes(b[leafHeaderSize:], hashes)
	tail := blockSize - leafTailSize
	for i, free := range largest {
		binary.BigEndian.PutUint16(b[tail-2*(len(largest)-i):], free)
	}
	binary.BigEndian.PutUint32(b[tail:], uint32(len(largest)))
	seal(b, leafSum)
	return b
}
