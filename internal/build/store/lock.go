package store

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

type lockKind int

const (
	shared    lockKind = unix.LOCK_SH
	exclusive lockKind = unix.LOCK_EX
)

// errBusy says that somebody else holds a lock.
var errBusy = errors.New("in use by another process")

// lockFile locks a file, which it makes, as soon as nobody else's lock is in the
// way. Closing the file, or the end of the process, unlocks it. Lock files stay:
// to remove one would let two processes hold locks of one name.
func lockFile(ctx context.Context, name string, kind lockKind) (*os.File, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		f, err := tryLock(name, kind)
		if !errors.Is(err, errBusy) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// tryLock locks a file or returns errBusy.
func tryLock(name string, kind lockKind) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), int(kind)|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return nil, errBusy
	}
	return nil, err
}

// upgrade makes a shared lock exclusive, if nobody else holds it. If it cannot,
// the lock may be lost.
func upgrade(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
