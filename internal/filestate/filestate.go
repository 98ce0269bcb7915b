// Package filestate tells whether a file is still as it was without reading it.
//
// The kernel keeps the time of a file's last change, and programs cannot set
// it. So the same file, with the same size and the same times, has the same
// contents; unless it was looked at so shortly after a change that another one
// could have had the same time. Git treats the files of its index like this.
package filestate

import (
	"io/fs"
	"strconv"
	"time"
)

// Inode identifies a file on this machine.
type Inode struct{ Dev, Ino uint64 }

// State is what changes with every change of a file.
type State struct {
	Inode
	Size     int64     // in bytes
	Modified time.Time // when its contents changed, or what a program said
	Changed  time.Time // when the kernel last saw it change; zero if that is not known
	Links    uint64    // how many names it has
}

// Of is the state of a file that was looked at.
func Of(info fs.FileInfo) State {
	s := State{Size: info.Size(), Modified: info.ModTime()}
	s.ask(info)
	return s
}

// Freshness is how far apart two changes must be to have different times: file
// systems count in nanoseconds to two seconds.
const Freshness = 3 * time.Second

// Settled says whether a change from now on would be seen in the state.
func (s State) Settled(now time.Time) bool {
	return !s.Changed.IsZero() && now.Sub(s.Changed) >= Freshness && now.Sub(s.Modified) >= Freshness
}

// Append adds a text to b that is equal for equal states, whatever the number
// of names.
func (s State) Append(b []byte) []byte {
	for _, n := range []int64{int64(s.Dev), int64(s.Ino), s.Size, s.Modified.UnixNano(), s.Changed.UnixNano()} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	return b
}

// String is the text that Append adds.
func (s State) String() string { return string(s.Append(nil)) }
