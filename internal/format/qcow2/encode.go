package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Encode lays out an image of a raw disk, whose size has to be a multiple of
// 512 bytes. The result refers to the extents of the disk. Its tables take
// 8 bytes of memory for each cluster with data.
func Encode(raw *sparse.Image, o Options) (*sparse.Image, error) {
	l, err := plan(raw, o)
	if err != nil {
		return nil, fmt.Errorf("encoding a qcow2 image: %w", err)
	}
	m := sparse.New(l.total << l.bits)
	m.Put(0, l.header())
	l.putTables(m)
	l.putRefcounts(m)
	host := l.dataStart << l.bits
	for _, run := range l.runs {
		at := run.first << l.bits
		size := run.count << l.bits
		m.Add(host, raw.Section(at, min(size, raw.Size()-at)))
		host += size
	}
	return m, nil
}

// layout says which cluster holds what. First comes the header, then L1 table,
// refcount table, refcount blocks, L2 tables and data. All numbers but size and
// bits count clusters.
type layout struct {
	size int64 // of the disk in bytes
	bits int   // logarithm of the cluster size

	runs []run // clusters of the disk that may hold other than zeros, in order

	l1Start, refcountTableStart, refcountStart, l2Start, dataStart, total int64
}

// run is a run of clusters of the disk.
type run struct{ first, count int64 }

func plan(raw *sparse.Image, o Options) (*layout, error) {
	if o.ClusterSize == 0 {
		o.ClusterSize = defaultClusterSize
	}
	bits, err := clusterBits(o.ClusterSize)
	if err != nil {
		return nil, err
	}
	if raw.Size()%512 != 0 {
		return nil, fmt.Errorf("the disk has %d bytes, want a multiple of 512", raw.Size())
	}
	l := &layout{size: raw.Size(), bits: bits, runs: clusterRuns(raw, bits)}
	if l.l1Entries()*entrySize > maxL1Size {
		return nil, fmt.Errorf("a disk of %d bytes is too large for clusters of %d bytes", l.size, o.ClusterSize)
	}
	l.place()
	if n := (l.refcountStart - l.refcountTableStart) << bits; n > maxRefcountTableSize {
		return nil, fmt.Errorf("%d bytes of data are too many for clusters of %d bytes", raw.DataSize(), o.ClusterSize)
	}
	return l, nil
}

// clusterRuns are the clusters that extents of the disk touch.
func clusterRuns(raw *sparse.Image, bits int) (runs []run) {
	var last run
	for e := range raw.Extents() {
		first, end := e.Offset>>bits, (e.End()-1)>>bits+1
		if last.count > 0 && first <= last.first+last.count {
			last.count = end - last.first
			continue
		}
		if last.count > 0 {
			runs = append(runs, last)
		}
		last = run{first, end - first}
	}
	if last.count > 0 {
		runs = append(runs, last)
	}
	return runs
}

// place decides where the parts lie. Reference counts cover themselves, so
// their number is sought.
func (l *layout) place() {
	l.l1Start = 1
	l.refcountTableStart = l.l1Start + l.clustersFor(l.l1Entries()*entrySize)
	var data int64
	for _, run := range l.runs {
		data += run.count
	}
	tables := l.l2Tables()
	for table, blocks := int64(1), int64(1); ; {
		l.refcountStart = l.refcountTableStart + table
		l.l2Start = l.refcountStart + blocks
		l.dataStart = l.l2Start + tables
		l.total = l.dataStart + data
		wantBlocks := l.clustersFor(l.total * refcountSize)
		wantTable := l.clustersFor(wantBlocks * entrySize)
		if wantBlocks <= blocks && wantTable <= table {
			return
		}
		blocks, table = wantBlocks, wantTable
	}
}

func (l *layout) clusterSize() int64 { return 1 << l.bits }

// l2Entries is the number of clusters that an L2 table maps.
func (l *layout) l2Entries() int64 { return l.clusterSize() / entrySize }

// l1Entries is the number of L2 tables that the whole disk could need.
func (l *layout) l1Entries() int64 {
	return ceilDiv(ceilDiv(l.size, l.clusterSize()), l.l2Entries())
}

// clustersFor is the number of clusters for a table of so many bytes.
func (l *layout) clustersFor(size int64) int64 {
	return ceilDiv(size, l.clusterSize())
}

// l2Tables is the number of L2 tables with data.
func (l *layout) l2Tables() (n int64) {
	last := int64(-1)
	for _, run := range l.runs {
		first, end := run.first/l.l2Entries(), (run.first+run.count-1)/l.l2Entries()
		n += end - max(first, last+1) + 1
		last = end
	}
	return n
}

// header has the end marker of the header extensions behind it.
func (l *layout) header() []byte {
	b, err := binary.Append(nil, binary.BigEndian, header{
		Magic:                 [4]byte([]byte(magic)),
		Version:               3,
		ClusterBits:           uint32(l.bits),
		Size:                  uint64(l.size),
		L1Size:                uint32(l.l1Entries()),
		L1TableOffset:         uint64(l.l1Start << l.bits),
		RefcountTableOffset:   uint64(l.refcountTableStart << l.bits),
		RefcountTableClusters: uint32(l.refcountStart - l.refcountTableStart),
		RefcountOrder:         refcountOrder,
		HeaderLength:          headerSize3,
	})
	if err != nil {
		panic(err) // the struct has a fixed size
	}
	return append(b, make([]byte, 8)...)
}

// putTables maps each run of the disk to the next clusters of the data.
func (l *layout) putTables(m *sparse.Image) {
	l1 := make([]byte, l.l1Entries()*entrySize)
	l2 := make([]byte, (l.dataStart-l.l2Start)<<l.bits)
	table, last := l.l2Start-1, int64(-1)
	host := l.dataStart
	for _, run := range l.runs {
		for guest := run.first; guest < run.first+run.count; guest++ {
			if i := guest / l.l2Entries(); i != last {
				table, last = table+1, i
				l.putEntry(l1, i, table)
			}
			l.putEntry(l2, (table-l.l2Start)*l.l2Entries()+guest%l.l2Entries(), host)
			host++
		}
	}
	m.Put(l.l1Start<<l.bits, l1)
	m.Put(l.l2Start<<l.bits, l2)
}

// putEntry points an entry of a table to a cluster.
func (l *layout) putEntry(table []byte, index, cluster int64) {
	binary.BigEndian.PutUint64(table[index*entrySize:], uint64(cluster)<<l.bits|entryCopied)
}

// putRefcounts counts one reference to each cluster. All blocks but the last
// are the same.
func (l *layout) putRefcounts(m *sparse.Image) {
	perBlock := l.clusterSize() / refcountSize
	full := bytes.Repeat([]byte{0, 1}, int(perBlock))
	var table []byte
	for i := l.refcountStart; i < l.l2Start; i++ {
		used := min(perBlock, max(0, l.total-(i-l.refcountStart)*perBlock))
		m.Put(i<<l.bits, full[:used*refcountSize])
		table = binary.BigEndian.AppendUint64(table, uint64(i)<<l.bits)
	}
	m.Put(l.refcountTableStart<<l.bits, table)
}
