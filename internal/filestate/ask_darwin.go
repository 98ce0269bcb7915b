package filestate

import (
	"io/fs"
	"syscall"
	"time"
)

// ask sets what the system knows of a file.
func (s *State) ask(info fs.FileInfo) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Inode = Inode{Dev: uint64(st.Dev), Ino: st.Ino}
		s.Changed = time.Unix(st.Ctimespec.Sec, st.Ctimespec.Nsec)
		s.Links = uint64(st.Nlink)
	}
}
