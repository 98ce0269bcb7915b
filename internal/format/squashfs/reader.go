package squashfs

import (
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// A Reader gives access to a squashfs image. It may be used by several
// goroutines at once. It is an [io/fs.FS] too: see [Reader.Open].
type Reader struct {
	r    io.ReaderAt
	sb   *superblock
	end  int64 // of the used part of the image
	dec  decompressor
	ids  []uint32
	root *File

	metaCache *cache[metaBlock]
	fragCache *cache[[]byte]
}

// Sizes of the caches, in blocks: a walk reads inodes and listings in order and
// comes back to few blocks; the kernel caches 3 fragments by default, too.
const (
	metaCacheLen = 64
	fragCacheLen = 3
)

// Limits of a walk. No real image comes near them; a damaged one must not keep
// the caller busy for hours.
const (
	maxDepth   = 1024     // nested directories
	maxEntries = 8 << 20  // names in one image
	maxListing = 64 << 20 // bytes of one directory listing
)

// Info is what the superblock says about an image.
type Info struct {
	Compression Compression
	BlockSize   int // bytes
	Inodes      int
	Fragments   int // fragment blocks
	ModTime     time.Time
	Size        int64 // bytes used, without padding at the end
}

// NewReader reads the superblock and the root directory of an image of size bytes.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	rd, err := newReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading squashfs image: %w", err)
	}
	return rd, nil
}

func newReader(r io.ReaderAt, size int64) (*Reader, error) {
	if size < superblockSize {
		return nil, fmt.Errorf("%w: only %d bytes", ErrFormat, size)
	}
	b := make([]byte, superblockSize)
	if n, err := r.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	sb, err := decodeSuperblock(b, size)
	if err != nil {
		return nil, err
	}
	dec, err := newDecompressor(sb.Compression)
	if err != nil {
		return nil, err
	}
	rd := &Reader{
		r:         r,
		sb:        sb,
		end:       int64(sb.BytesUsed),
		dec:       dec,
		metaCache: newCache[metaBlock](metaCacheLen),
		fragCache: newCache[[]byte](fragCacheLen),
	}
	if rd.ids, err = rd.readIDs(); err != nil {
		return nil, err
	}
	if rd.root, err = rd.file(".", sb.RootInode, typeDir); err != nil {
		return nil, fmt.Errorf("reading root directory: %w", err)
	}
	return rd, nil
}

// Info returns facts from the superblock.
func (r *Reader) Info() Info {
	return Info{
		Compression: r.sb.Compression,
		BlockSize:   int(r.sb.BlockSize),
		Inodes:      int(r.sb.Inodes),
		Fragments:   int(r.sb.Fragments),
		ModTime:     time.Unix(int64(r.sb.ModTime), 0).UTC(),
		Size:        r.end,
	}
}

// A File is one entry of an image. Its content is read when it is asked for.
type File struct {
	Header

	r     *Reader
	ref   inodeRef
	typ   uint16
	nlink uint32
	data  contentRef // regular file
	dir   dirRef     // directory
}

// Files returns all entries in the order of a walk: the root first, each
// directory before what is in it, names sorted by bytes. Of several names of
// one inode all but the first are hard links (Header.Hardlink). After an error
// there are no more entries.
func (r *Reader) Files() iter.Seq2[*File, error] {
	return func(yield func(*File, error) bool) {
		w := walk{r: r, yield: yield, dirs: map[inodeRef]bool{}, links: map[inodeRef]string{}}
		w.visit(r.root, 0)
	}
}

// A walk is one pass over all entries.
type walk struct {
	r     *Reader
	yield func(*File, error) bool
	count int
	dirs  map[inodeRef]bool   // directories seen: each has one name
	links map[inodeRef]string // first names of inodes with several
}

// visit reports f and everything below it. It returns false to end the walk.
func (w *walk) visit(f *File, depth int) bool {
	w.count++
	switch {
	case depth > maxDepth:
		return w.fail("directories more than %d deep", maxDepth)
	case w.count > maxEntries:
		return w.fail("more than %d entries", maxEntries)
	case f.typ == typeDir && w.dirs[f.ref]:
		return w.fail("directory %q is in the image twice or contains itself", f.Name)
	}
	if f.typ != typeDir {
		return w.yield(w.linked(f), nil)
	}
	w.dirs[f.ref] = true
	return w.yield(f, nil) && w.visitDir(f, depth)
}

func (w *walk) visitDir(dir *File, depth int) bool {
	for e, err := range w.r.entries(dir) {
		if err != nil {
			return w.yield(nil, err) && false
		}
		f, err := w.r.child(dir, e)
		if err != nil {
			return w.yield(nil, err) && false
		}
		if !w.visit(f, depth+1) {
			return false
		}
	}
	return true
}

// linked fills in Hardlink if f is another name of an inode seen before.
func (w *walk) linked(f *File) *File {
	if f.nlink > 1 {
		if first, ok := w.links[f.ref]; ok {
			f.Hardlink = first
		} else {
			w.links[f.ref] = f.Name
		}
	}
	return f
}

func (w *walk) fail(format string, args ...any) bool {
	w.yield(nil, fmt.Errorf("reading squashfs image: "+format, args...))
	return false
}

// Lookup returns the entry with the given path, written as in Header.Name. It
// does not follow symbolic links, and cannot know hard links.
func (r *Reader) Lookup(name string) (*File, error) {
	clean, err := cleanName(name)
	if err != nil {
		return nil, fmt.Errorf("looking up %q: %w", name, err)
	}
	f := r.root
	if clean == "." {
		return f, nil
	}
	for elem := range strings.SplitSeq(clean, "/") {
		if f, err = r.findChild(f, elem); err != nil {
			return nil, fmt.Errorf("looking up %q: %w", name, err)
		}
	}
	return f, nil
}
