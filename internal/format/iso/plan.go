package iso

import (
	"errors"
	"fmt"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// plan says where everything is, in blocks, before anything is encoded.
type plan struct {
	Options
	root  *node
	dirs  []*node // in the order of the path tables
	files []*node // in the order of their contents

	next          int64 // first block that nothing has
	pathTableSize int64 // in bytes
	pathL, pathM  int64
	continued     int64 // continuation areas of the directories
	catalog       int64 // 0 without an entry for it
	biosImage     *sparse.Image
	bios, efi     int64
	end           int64 // of the volume and the image
}

// newPlan checks the options and gives every part its place.
func newPlan(o Options) (*plan, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	root, err := newTree(o)
	if err != nil {
		return nil, err
	}
	p := &plan{Options: o, root: root, dirs: root.directories(), files: root.files()}
	if err := p.checkSizes(); err != nil {
		return nil, err
	}
	p.placeVolume()
	if err := p.placeBoot(); err != nil {
		return nil, err
	}
	p.placeContents()
	return p, nil
}

// checkSizes makes sure that every address fits into its field.
func (p *plan) checkSizes() error {
	if len(p.dirs) >= maxDirs {
		return fmt.Errorf("%d directories: at most %d are possible", len(p.dirs), maxDirs-1)
	}
	sizes := []int64{0}
	for _, f := range p.files {
		sizes = append(sizes, f.size)
	}
	if p.BIOS != nil {
		sizes = append(sizes, p.BIOS.Image.Size())
	}
	if p.EFI != nil {
		sizes = append(sizes, p.EFI.Size())
	}
	left := int64(maxSize - 1<<32) // the rest is for directories and padding
	for _, s := range sizes {
		if left -= min(s, maxSize) + BlockSize; left < 0 {
			return errors.New("more than 2 TiB have no place in an image")
		}
	}
	return nil
}

// take gives the next blocks to something of so many bytes.
func (p *plan) take(size int64) (block int64) {
	block = p.next
	p.next += blocks(size)
	return block
}

// placeVolume places what ISO 9660 and Rock Ridge consist of, except contents.
// Directories are encoded twice, here for the sizes of the records only.
func (p *plan) placeVolume() {
	p.next = systemBlocks + 2
	if p.bootable() {
		p.next++
	}
	for i, d := range p.dirs {
		d.number = uint16(i + 1)
	}
	p.pathTableSize = int64(len(p.pathTable(littleEndian)))
	p.pathL = p.take(p.pathTableSize)
	p.pathM = p.take(p.pathTableSize)
	w := directoryWriter{}
	for _, d := range p.dirs {
		d.size = int64(len(w.directory(d)))
		d.block = p.take(d.size)
	}
	p.continued = p.take(int64(len(w.continued)))
}

// placeBoot places the boot catalog and the BIOS boot image.
func (p *plan) placeBoot() (err error) {
	if !p.bootable() {
		return nil
	}
	p.catalog = p.take(BlockSize)
	if p.BIOS != nil {
		p.bios = p.take(p.BIOS.Image.Size())
		p.biosImage, err = p.BIOS.patched(p.bios)
	}
	return err
}

// placeContents places the files and the EFI system partition, and ends the
// volume.
func (p *plan) placeContents() {
	for _, f := range p.files {
		f.block = p.take(f.size)
	}
	if p.EFI != nil {
		p.next = alignUp(p.next, cylinder/BlockSize)
		p.efi = p.take(p.EFI.Size())
	}
	// Reading ahead fails in the last blocks of a CD that was written track at
	// once. 150 blocks of padding are the custom; a backup GPT fits there too.
	p.end = alignUp(p.next+150, cylinder/BlockSize)
}

func (p *plan) bootable() bool { return p.BIOS != nil || p.EFI != nil }

// image encodes everything at its place.
func (p *plan) image() *sparse.Image {
	m := sparse.New(p.end * BlockSize)
	volume := p.descriptors()
	directories := p.directories()
	p.partition(m, identity(volume, directories))
	m.Put(systemBlocks*BlockSize, volume)
	m.Put(p.pathL*BlockSize, p.pathTable(littleEndian))
	m.Put(p.pathM*BlockSize, p.pathTable(bigEndian))
	m.Put(p.dirs[0].block*BlockSize, directories)
	if p.bootable() {
		m.Put(p.catalog*BlockSize, p.bootCatalog())
	}
	if p.BIOS != nil {
		m.Add(p.bios*BlockSize, p.biosImage)
	}
	for _, f := range p.files {
		if f.content != nil {
			m.Add(f.block*BlockSize, f.content)
		}
	}
	if p.EFI != nil {
		m.Add(p.efi*BlockSize, p.EFI)
	}
	return m
}

// directories encodes all directories and the continuation areas behind them.
func (p *plan) directories() (all []byte) {
	w := directoryWriter{continuedAt: p.continued}
	for _, d := range p.dirs {
		all = append(all, w.directory(d)...)
	}
	return append(all, w.continued...)
}
