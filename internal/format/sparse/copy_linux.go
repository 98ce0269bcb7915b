package sparse

import (
	"os"

	"golang.org/x/sys/unix"
)

// copyRange has the kernel copy between files: without a trip through this
// process, and by sharing blocks where the file system can. It may copy less.
func copyRange(dst *os.File, dstAt int64, src *os.File, srcAt, n int64) (int64, error) {
	for {
		copied, err := unix.CopyFileRange(int(src.Fd()), &srcAt, int(dst.Fd()), &dstAt, int(n), 0)
		if err != unix.EINTR {
			return int64(copied), err
		}
	}
}
