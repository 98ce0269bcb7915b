package squashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"runtime"
	"time"
)

// Options choose how an image is made. The zero value is a good choice: zstd
// in blocks of 1 MiB.
type Options struct {
	// Compression is Zstd or XZ; 0 means Zstd.
	Compression Compression

	// Level is the zstd effort; XZ has only one.
	Level Level

	// BlockSize is the number of bytes compressed together: a power of two
	// from 4 KiB to 1 MiB; 0 means 1 MiB. Larger blocks make smaller images,
	// smaller ones make random reads cheaper: 4 % from 128 KiB to 1 MiB, where
	// the kernel takes 0.4 ms instead of 0.2 ms for a page out of nowhere, and
	// the same time for reading in order.
	BlockSize int

	// Workers is the number of goroutines that compress; 0 means one for
	// each CPU. Each takes the memory of about four blocks and up to 6 MiB of
	// tables. The number has no influence on the bytes of the image.
	Workers int

	// ModTime is the time in the superblock, and that of the root directory
	// if it is never added. The zero Time means 1970.
	ModTime time.Time
}

func (o Options) withDefaults() (Options, error) {
	if o.Compression == 0 {
		o.Compression = Zstd
	}
	if o.BlockSize == 0 {
		o.BlockSize = maxBlockSize
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	switch {
	case o.BlockSize < minBlockSize || o.BlockSize > maxBlockSize || o.BlockSize&(o.BlockSize-1) != 0:
		return o, fmt.Errorf("block size %d: want a power of two from %d to %d", o.BlockSize, minBlockSize, maxBlockSize)
	case o.Workers < 0:
		return o, fmt.Errorf("%d workers: want at least 1", o.Workers)
	case o.Level != Default && o.Level != Best:
		return o, fmt.Errorf("unknown level %d", o.Level)
	}
	return o, nil
}

// A Writer makes one squashfs image. Its methods are for one goroutine; the
// work is spread over others inside.
type Writer struct {
	out   io.WriterAt
	opts  Options
	mtime uint32

	comps []compressor // one for each worker
	pipe  *pipeline
	store *contentStore

	root   *inode
	ids    idTable
	xattrs xattrTable

	err    error // the first error; all later calls return it
	closed bool
}

// NewWriter starts an image. It is written from offset 0 of out, which must be
// empty (*os.File is the usual choice): the data while files are added, the
// rest, and last of all the superblock, by [Writer.Close]. What a killed
// process leaves behind is therefore never taken for an image.
//
// Close must be called in any case, also after an error, to end the goroutines.
func NewWriter(out io.WriterAt, o Options) (*Writer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("starting a squashfs image: %w", err)
	}
	w := &Writer{out: out, opts: o, comps: make([]compressor, o.Workers)}
	if w.mtime, err = unixTime(o.ModTime); err != nil {
		return nil, fmt.Errorf("starting a squashfs image: %w", err)
	}
	for i := range w.comps {
		if w.comps[i], err = newCompressor(o); err != nil {
			return nil, fmt.Errorf("starting a squashfs image: %w", err)
		}
	}
	w.pipe = newPipeline(out, superblockSize, o.BlockSize, w.comps)
	w.store = newContentStore(w.pipe, o.BlockSize)
	w.root = newDir(0o755, w.mtime)
	w.root.uid, _ = w.ids.add(0)
	w.root.gid = w.root.uid
	return w, nil
}

// Add puts one entry into the image. Its parent directory must have been added
// before; only the root needs not be, and is then mode 0755 and owned by 0:0.
//
// For a regular file of h.Size > 0 bytes Add calls open, reads exactly
// h.Size bytes and closes it before it returns; that the content is longer
// or shorter is an error. A file larger than a block whose size equals that of
// an earlier file is opened twice, the first time to see whether the contents
// are equal too. For all other entries open is not used and may be nil.
//
// After an error the image cannot be finished.
func (w *Writer) Add(h *Header, open func() (io.ReadCloser, error)) error {
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return errors.New("adding to a squashfs image that is closed")
	}
	if err := w.add(h, open); err != nil {
		w.err = fmt.Errorf("adding %q to squashfs image: %w", h.Name, err)
	}
	return w.err
}

func (w *Writer) add(h *Header, open func() (io.ReadCloser, error)) error {
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return w.addRoot(h)
	}
	dir, base := splitName(name)
	parent, err := w.root.lookupDir(dir)
	if err != nil {
		return err
	}
	if _, ok := parent.children[base]; ok {
		return errors.New("the name has been added already")
	}
	if h.Hardlink != "" {
		return w.addHardlink(parent, base, h.Hardlink)
	}
	n, err := w.newInode(h, open)
	if err != nil {
		return err
	}
	parent.children[base] = n
	if n.typ == typeDir {
		parent.nlink++
	}
	return nil
}

// addRoot gives the root directory, which always exists, the owner and mode of h.
func (w *Writer) addRoot(h *Header) error {
	if h.Mode.Type() != fs.ModeDir || h.Hardlink != "" {
		return errors.New("the root must be a directory")
	}
	if w.root.added {
		return errors.New("the root has been added already")
	}
	w.root.added = true
	return w.setAttrs(w.root, h)
}

func (w *Writer) addHardlink(parent *inode, base, target string) error {
	clean, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	n, err := w.root.lookup(clean)
	switch {
	case err != nil:
		return fmt.Errorf("hard link to %q: %w", target, err)
	case n.typ == typeDir:
		return fmt.Errorf("hard link to %q, which is a directory", target)
	}
	n.nlink++
	parent.children[base] = n
	return nil
}

func (w *Writer) newInode(h *Header, open func() (io.ReadCloser, error)) (n *inode, err error) {
	typ, err := inodeType(h.Mode)
	if err != nil {
		return nil, err
	}
	n = &inode{typ: typ, nlink: 1}
	if err := w.setAttrs(n, h); err != nil {
		return nil, err
	}
	switch typ {
	case typeDir:
		n.nlink, n.children = 2, map[string]*inode{}
	case typeFile:
		n.size = h.Size
		n.data, err = w.store.add(h.Size, open)
	case typeSymlink:
		n.target, err = h.Linkname, checkLink(h.Linkname)
	case typeBlockDev, typeCharDev:
		n.dev, err = encodeDev(h.Major, h.Minor)
	}
	return n, err
}

func (w *Writer) setAttrs(n *inode, h *Header) (err error) {
	n.perm = unixPerm(h.Mode)
	if n.mtime, err = unixTime(h.ModTime); err != nil {
		return err
	}
	if n.uid, err = w.ids.add(h.UID); err != nil {
		return err
	}
	if n.gid, err = w.ids.add(h.GID); err != nil {
		return err
	}
	n.xattr, err = w.xattrs.add(h.Xattrs)
	return err
}

// Close writes what is left of the image. After an error of Add it returns that
// error and leaves out without a superblock.
func (w *Writer) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	if w.err == nil {
		w.store.flush()
	}
	if err := w.pipe.stop(); w.err == nil && err != nil {
		w.err = fmt.Errorf("writing data of squashfs image: %w", err)
	}
	if w.err != nil {
		return w.err
	}
	if err := w.finish(); err != nil {
		w.err = fmt.Errorf("writing squashfs image: %w", err)
	}
	return w.err
}

// imageAlign is the size to whose multiple an image is padded: a loop device
// has no partial sectors, and a reader may use blocks as large as a page.
const imageAlign = 4096

// finish writes the tables in the order that the kernel insists on: each
// table's end is checked against the start of the next.
func (w *Writer) finish() error {
	t, err := encodeTree(w.root, w.comps[0])
	if err != nil {
		return err
	}
	sb := &superblock{
		Magic:       magic,
		Inodes:      uint32(len(t.export)),
		ModTime:     w.mtime,
		BlockSize:   uint32(w.opts.BlockSize),
		Fragments:   uint32(len(w.store.fragments)),
		Compression: w.opts.Compression,
		BlockLog:    uint16(bits.TrailingZeros(uint(w.opts.BlockSize))),
		Flags:       flagDuplicates | flagExport,
		IDs:         uint16(len(w.ids.ids)),
		Major:       4,
		RootInode:   t.root,
	}
	s := section{out: w.out, pos: w.pipe.pos, comp: w.comps[0]}
	sb.InodeTable = s.write(t.inodes)
	sb.DirTable = s.write(t.dirs)
	sb.FragmentTable = s.writeLookup(encodeFragments(w.store.fragments))
	sb.ExportTable = s.writeLookup(encodeExport(t.export))
	sb.IDTable = s.writeLookup(w.ids.encode())
	sb.XattrTable = s.writeXattrs(&w.xattrs)
	if sb.XattrTable == noTable {
		sb.Flags |= flagNoXattrs
	}
	sb.BytesUsed = uint64(s.pos)
	s.write(make([]byte, -s.pos&(imageAlign-1)))
	s.writeAt(sb.encode(), 0)
	return s.err
}

// A section appends tables to the image and remembers the first error.
type section struct {
	out  io.WriterAt
	pos  int64
	comp compressor
	err  error
}

func (s *section) writeAt(p []byte, at int64) {
	if s.err == nil && len(p) > 0 {
		_, s.err = s.out.WriteAt(p, at)
	}
}

// write appends p and returns where it begins.
func (s *section) write(p []byte) uint64 {
	at := s.pos
	s.writeAt(p, at)
	s.pos += int64(len(p))
	return uint64(at)
}

// writeLookup appends a lookup table and returns its start.
func (s *section) writeLookup(entries []byte) uint64 {
	return s.writeLookupHead(entries, nil)
}

func (s *section) writeLookupHead(entries, head []byte) uint64 {
	table, start, err := lookupTable(s.comp, entries, s.pos, head)
	if s.err == nil {
		s.err = err
	}
	s.write(table)
	return uint64(start)
}

// writeXattrs appends the attributes and their table and returns its start.
func (s *section) writeXattrs(x *xattrTable) uint64 {
	if len(x.sets) == 0 {
		return noTable
	}
	kv, entries, err := x.encode(s.comp)
	if s.err == nil {
		s.err = err
	}
	at := s.write(kv)
	return s.writeLookupHead(entries, x.header(at))
}
