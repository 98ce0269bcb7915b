package node

import (
	"io"
	"os"
)

// console is where PID 1 logs: the console, and the kernel's log, in which the
// console's past can be read.
func console() io.Writer {
	writers := []io.Writer{}
	if f, err := os.OpenFile("/dev/console", os.O_WRONLY, 0); err == nil {
		writers = append(writers, f)
	} else {
		writers = append(writers, os.Stderr)
	}
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		writers = append(writers, kmsg{f})
	}
	return tee(writers)
}

// kmsg writes lines to the kernel's log as messages of a daemon (3<<3) at
// level debug (7): the kernel does not repeat those on the console.
type kmsg struct{ f *os.File }

func (k kmsg) Write(line []byte) (int, error) {
	if _, err := k.f.Write(append([]byte("<31>"), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// tee writes to all writers, whatever becomes of the others.
type tee []io.Writer

func (t tee) Write(b []byte) (int, error) {
	for _, w := range t {
		w.Write(b)
	}
	return len(b), nil
}
