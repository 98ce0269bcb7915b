package sparse

import (
	"os"

	"golang.org/x/sys/unix"
)

// cloneRange has the file system share blocks between files (ioctl_ficlonerange(2)).
func cloneRange(dst *os.File, dstAt int64, src *os.File, srcAt, n int64) error {
	return unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{
		Src_fd: int64(src.Fd()), Src_offset: uint64(srcAt), Src_length: uint64(n), Dest_offset: uint64(dstAt),
	})
}
