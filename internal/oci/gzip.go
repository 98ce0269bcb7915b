package oci

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"sync/atomic"

	"github.com/klauspost/compress/flate"
)

const (
	gzipLevel  = 6       // the default of gzip(1)
	gzipBlock  = 1 << 20 // bytes that one worker compresses
	gzipWindow = 32 << 10
)

// gzipHeader is RFC 1952 without a name and a time; the system is "unknown".
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

// gzipWriter compresses blocks in parallel, as pigz does, into one ordinary
// gzip stream. Each block starts with the window that the one before it left
// and ends at a byte boundary, so blocks can be put together. How the input
// is cut is fixed and every block has a fresh encoder, so the output
// depends on the input alone.
type gzipWriter struct {
	block  []byte           // being filled
	window []byte           // the last bytes of the block before
	queue  chan chan []byte // compressed blocks, in order
	done   chan error       // of the goroutine that writes
	crc    uint32
	size   uint32
	failed atomic.Pointer[error] // of the goroutine, for Write
}

func newGzipWriter(w io.Writer) *gzipWriter {
	z := &gzipWriter{
		block: make([]byte, 0, gzipBlock),
		queue: make(chan chan []byte, runtime.GOMAXPROCS(0)),
		done:  make(chan error, 1),
	}
	go z.drain(w)
	return z
}

// drain writes the blocks as they become ready. After an error it goes on
// receiving, so that nobody waits for it.
func (z *gzipWriter) drain(w io.Writer) {
	_, err := w.Write(gzipHeader)
	for ready := range z.queue {
		data := <-ready
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			z.failed.Store(&err)
		}
	}
	if err == nil {
		_, err = w.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, z.crc), z.size))
	}
	z.done <- err
}

// Write implements io.Writer. An error of the writer below comes with a later
// Write, or with Close.
func (z *gzipWriter) Write(p []byte) (int, error) {
	if err := z.failed.Load(); err != nil {
		return 0, *err
	}
	z.crc = crc32.Update(z.crc, crc32.IEEETable, p)
	z.size += uint32(len(p))
	for rest := p; len(rest) > 0; {
		n := min(len(rest), gzipBlock-len(z.block))
		z.block, rest = append(z.block, rest[:n]...), rest[n:]
		if len(z.block) == gzipBlock {
			z.submit(false)
		}
	}
	return len(p), nil
}

// submit hands the block to a worker. The queue bounds how many there are.
func (z *gzipWriter) submit(last bool) {
	ready := make(chan []byte, 1)
	z.queue <- ready
	block, window := z.block, z.window
	go func() { ready <- deflate(block, window, last) }()
	z.window = block[max(0, len(block)-gzipWindow):]
	z.block = make([]byte, 0, gzipBlock)
}

// Close writes what is left, and returns the first error of all.
func (z *gzipWriter) Close() error {
	z.submit(true)
	close(z.queue)
	return <-z.done
}

// deflate compresses one block. It cannot fail: it writes to memory.
func deflate(block, window []byte, last bool) []byte {
	var out bytes.Buffer
	out.Grow(len(block)/2 + 64)
	w, err := flate.NewWriterDict(&out, gzipLevel, window)
	if err != nil {
		panic(err) // the level is a constant
	}
	w.Write(block)
	if last {
		w.Close()
	} else {
		w.Flush()
	}
	return out.Bytes()
}
