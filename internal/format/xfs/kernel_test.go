//go:build linux

package xfs

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// The kernel finds all that was written, changes a lot of it, and what it
// leaves is clean, and readable again.
func TestKernel(t *testing.T) {
	testkit.NotUnderRace(t)
	for i, l := range layouts {
		if !l.long {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			o := layoutOptions(i)
			image := imageFile(t, mustBuild(t, o, boot()))
			var changed []string
			testkit.Mount(t, image, "xfs", o.SectorSize, func(root string) {
				got, err := listAll(os.DirFS(root))
				if err != nil {
					t.Error(err)
				}
				if d := cmp.Diff(wantListing(t, boot()), got); d != "" {
					t.Errorf("what was written (-) and what the kernel shows (+):\n%s", d)
				}
				if err := change(root); err != nil {
					t.Error(err)
				}
				if changed, err = listAll(os.DirFS(root)); err != nil {
					t.Error(err)
				}
			})
			checkRepair(t, image)
			if d := cmp.Diff(changed, readListing(t, image)); d != "" {
				t.Errorf("what the kernel wrote (-) and the Reader found (+):\n%s", d)
			}
		})
	}
}

// change writes, grows and removes files and directories.
func change(root string) error {
	for i := range 300 {
		if err := os.WriteFile(fmt.Sprintf("%s/grub/i386-pc/new-%d", root, i), text(i, i), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(
		os.RemoveAll(root+"/grub/fonts"),
		os.Rename(root+"/A/vmlinuz", root+"/B/vmlinuz"),
		os.WriteFile(root+"/B/initramfs.xz", text(9, 2<<20), 0o600),
		os.WriteFile(root+"/grub/grub.cfg", text(10, 5000), 0o644),
		os.Mkdir(root+"/C", 0o755),
	)
}

// The kernel mounts a file system that is full to the last block.
func TestKernelOnFull(t *testing.T) {
	image := imageFile(t, mustBuild(t, options(minSize), []File{{Path: "a", Content: sparse.New(53*1024*1024 + 632*1024)}}))
	testkit.Mount(t, image, "xfs", 512, func(root string) {
		if err := os.WriteFile(root+"/b", make([]byte, 64<<10), 0o644); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("writing more: got %v, want %v", err, unix.ENOSPC)
		}
		if err := os.Remove(root + "/a"); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(root+"/b", make([]byte, 10<<20), 0o644); err != nil {
			t.Error(err)
		}
	})
	checkRepair(t, image)
}

// The Reader understands what the kernel makes with other features: all forms
// of directories and of extent lists.
func TestReadingWhatTheKernelMade(t *testing.T) {
	testkit.NotUnderRace(t)
	for _, v := range foreign {
		t.Run(v.name, func(t *testing.T) {
			image := mkfs(t, strings.Fields(v.args)...)
			sectorSize := 512
			if strings.Contains(v.args, "-s size=4096") {
				sectorSize = 4096
			}
			var want []string
			testkit.Mount(t, image, "xfs", sectorSize, func(root string) {
				if err := fill(root, 2000, 700); err != nil {
					t.Error(err)
				}
				var err error
				if want, err = listAll(os.DirFS(root)); err != nil {
					t.Error(err)
				}
			})
			if d := cmp.Diff(want, readListing(t, image)); d != "" {
				t.Errorf("what the kernel shows (-) and the Reader found (+):\n%s", d)
			}
		})
	}
}

var update = flag.Bool("update", false, "make "+kernelImage+" anew")

// The image in testdata is what fill makes with blocks of 1 KiB, where little is
// enough for directories of node form and for trees of extents.
func TestUpdate(t *testing.T) {
	if !*update {
		t.Skip("only with -update")
	}
	image := mkfs(t, "-b", "size=1024", "-m", "uuid=c0ffee00-1122-4344-8566-778899aabbcc")
	var want []string
	testkit.Mount(t, image, "xfs", 512, func(root string) {
		err := fill(root, 250, 100)
		if err != nil {
			t.Error(err)
		}
		if want, err = listAll(os.DirFS(root)); err != nil {
			t.Error(err)
		}
	})
	if err := pack(image, kernelImage); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(kernelList, []byte(strings.Join(want, "\n")+"\n"), 0o644); err != nil {
		t.Error(err)
	}
}

// pack writes what is not zero and not the log.
func pack(image, name string) error {
	data, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	r, err := NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	log := r.sb.offset(r.sb.LogStart)
	clear(data[log:][:int64(r.sb.LogBlocks)<<r.sb.BlockLog])
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	for at := 0; at < len(data); at += packUnit {
		if unit := data[at:][:packUnit]; !bytes.Equal(unit, make([]byte, packUnit)) {
			z.Write(binary.BigEndian.AppendUint64(nil, uint64(at)))
			z.Write(unit)
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// fill makes files of all kinds, directories of up to so many names, and a file
// of so many extents.
func fill(root string, most, extents int) error {
	for n := 1; n <= most; n *= 3 {
		dir := fmt.Sprintf("%s/wide-%d", root, n)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for i := range n {
			if err := os.Symlink("x", fmt.Sprintf("%s/%d-%s", dir, i, strings.Repeat("n", i%40))); err != nil {
				return err
			}
		}
	}
	for i := 0; i < 200; i += 2 { // a directory with holes
		if err := os.Remove(fmt.Sprintf("%s/wide-243/%d-%s", root, i, strings.Repeat("n", i%40))); err != nil {
			return err
		}
	}
	name := root + "/hello"
	return errors.Join(
		fragmented(root+"/fragmented", extents),
		unwritten(root+"/unwritten"),
		os.WriteFile(name, []byte("hello"), 0o751),
		os.Link(name, root+"/hard"),
		unix.Setxattr(name, "user.note", make([]byte, 200), 0),
		unix.Setxattr(filepath.Join(root, "wide-9"), "user.note", make([]byte, 100), 0),
		os.Symlink(strings.Repeat("long/", 190), root+"/long-link"),
		unix.Mkfifo(root+"/fifo", 0o600),
		unix.Mknod(root+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
	)
}

// fragmented writes every second block.
func fragmented(name string, blocks int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range blocks {
		if _, err := f.WriteAt(text(i, 4096), int64(i)*8192+4096); err != nil {
			return err
		}
	}
	return f.Sync()
}

// unwritten has space that was never written to.
func unwritten(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 1<<20); err != nil {
		return err
	}
	_, err = io.WriteString(io.NewOffsetWriter(f, 300_000), "something")
	return err
}
