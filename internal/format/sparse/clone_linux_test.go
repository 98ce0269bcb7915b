package sparse_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// TestShare has XFS share the blocks of a file: the image is written without a
// byte being copied, but for what is no whole block.
func TestShare(t *testing.T) {
	image := filepath.Join(t.TempDir(), "xfs")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 512<<20); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, testkit.Judge(t, "mkfs.xfs"), "-q", "-m", "reflink=1", image)
	testkit.Mount(t, image, "xfs", 512, func(root string) {
		data := testkit.Noise(3<<20 + 10)
		src := fileOf(t, filepath.Join(root, "src"), data)
		m := sparse.New(16 << 20)
		m.Add(8192, sparse.From(src, 4096, int64(len(data)-4096)))
		m.Add(8<<20+1, sparse.From(src, 0, 5000)) // its blocks lie across those of the source
		f := fileOf(t, filepath.Join(root, "dst"), nil)
		defer f.Close()
		defer src.Close()

		before := free(t, root, src)
		if err := m.WriteFile(t.Context(), f, nil); err != nil {
			t.Error(err)
			return
		}
		if took := before - free(t, root, f); took > 1<<20 {
			t.Errorf("the image takes %d bytes more: nothing is shared", took)
		}
		want := make([]byte, 16<<20)
		copy(want[8192:], data[4096:])
		copy(want[8<<20+1:], data[:5000])
		if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("other bytes came back, %v", err)
		}
	})
}

// free is the room that is left when what was written to f is on the disk.
func free(t *testing.T, root string, f *os.File) int64 {
	t.Helper()
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		t.Error(err)
	}
	return int64(st.Bfree) * st.Bsize
}

func fileOf(t *testing.T, name string, data []byte) *os.File {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Error(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
	}
	return f
}
