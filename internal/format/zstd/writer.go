package zstd

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
)

// The windows that a Writer takes. Decoders must take 8 MiB (RFC 8878,
// 3.1.1.1.2); the kernel's for an initramfs takes 128 MiB.
const (
	minWindowLog = 10
	maxWindowLog = 27

	// A part should be longer than the window before it, which has to be
	// read first, but too few parts leave processors idle.
	minPart     = 1 << 20
	wantPart    = 16 << 20
	partWindows = 4

	// maxJobs bounds the memory, whatever the number of processors.
	maxJobs = 2
)

// partSize is the length of the parts of a stream.
func partSize(window int) int {
	return max(minPart, window, min(wantPart, partWindows*window))
}

var errClosed = errors.New("writing to a closed zstd stream")

// A Writer makes one frame of a stream of any length.
//
// The stream is cut in parts, which are compressed at the same time, each with
// the window before it in sight. Where it is cut depends on the window only: so
// the bytes do not change with the number of processors, nor with the sizes of
// the writes. Up to maxJobs parts are in memory, and each needs about three
// times the window.
type Writer struct {
	w      io.Writer
	level  Level
	window int
	part   int // own bytes of a part
	buf    []byte
	start  int // of the own bytes in buf
	header []byte
	first  bool
	work   []*job // in the order of the stream
	free   []*job // of which the parts are written
	err    error
}

// A job compresses one part.
type job struct {
	encoder *Encoder
	part    part
	out     []byte
	done    chan struct{}
}

// NewWriter returns a Writer with a window in bytes, which must be a power of
// two from 1 KiB to 128 MiB; w gets the frame. It must be closed.
func NewWriter(w io.Writer, level Level, window int) *Writer {
	z := &Writer{w: w, level: level, window: window, part: partSize(window), first: true}
	if log := bits.Len(uint(window)) - 1; window <= 0 || window != 1<<log || log < minWindowLog || log > maxWindowLog {
		z.err = fmt.Errorf("compressing with a zstd window of %d bytes: it must be a power of two from %d to %d", window, 1<<minWindowLog, 1<<maxWindowLog)
		return z
	}
	z.header = appendWindowHeader(nil, window)
	return z
}

// Write compresses b, or keeps it until a part is full.
func (z *Writer) Write(b []byte) (int, error) {
	for n := 0; ; {
		if z.err != nil {
			return n, z.err
		}
		if n == len(b) {
			return n, nil
		}
		room := z.start + z.part - len(z.buf)
		if room == 0 {
			z.send(false)
			continue
		}
		take := min(room, len(b)-n)
		z.buf = append(z.buf, b[n:n+take]...)
		n += take
	}
}

// Close ends the frame. It does not close the writer below.
func (z *Writer) Close() error {
	if z.err == nil {
		z.send(true)
	}
	for len(z.work) > 0 {
		z.receive()
	}
	if z.err != nil && z.err != errClosed {
		return z.err
	}
	z.err = errClosed
	z.buf, z.free = nil, nil
	return nil
}

// send gives what is in buf to a job, and begins the next part.
func (z *Writer) send(last bool) {
	if len(z.work) >= min(runtime.GOMAXPROCS(0), maxJobs) {
		z.receive()
	}
	j := z.idle()
	j.part = part{src: z.buf, start: z.start, window: z.window, last: last}
	if z.first {
		j.part.recent = firstRecent
		z.first = false
	}
	z.buf, j.out = nil, j.out[:0]
	tail := j.part.src[max(0, len(j.part.src)-z.window):]
	if !last {
		z.buf = append(make([]byte, 0, len(tail)+z.part), tail...)
	}
	z.start = len(tail)
	z.work = append(z.work, j)
	go func() {
		j.out = j.encoder.appendPart(j.out, j.part)
		j.done <- struct{}{}
	}()
}

func (z *Writer) idle() *job {
	n := len(z.free)
	if n == 0 {
		return &job{encoder: NewEncoder(z.level), done: make(chan struct{}, 1)}
	}
	j := z.free[n-1]
	z.free = z.free[:n-1]
	return j
}

// receive waits for the oldest job and writes what it made.
func (z *Writer) receive() {
	j := z.work[0]
	z.work = z.work[1:]
	<-j.done
	z.write(z.header)
	z.header = nil
	z.write(j.out)
	j.part.src = nil
	z.free = append(z.free, j)
}

func (z *Writer) write(b []byte) {
	if z.err == nil && len(b) > 0 {
		_, z.err = z.w.Write(b)
	}
}
