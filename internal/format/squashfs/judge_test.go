//go:build linux

package squashfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/testkit"
)

// The kernel mounts what the Writer made, and finds every file as it was added.
func TestKernelMount(t *testing.T) {
	testkit.NotUnderRace(t)
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			tree := treeFor(o)
			mounted(t, imageFile(t, o, tree), func(root string) {
				if d := cmp.Diff(wantListing(tree), diskListing(t, root)); d != "" {
					t.Errorf("what was written (-) and what the kernel shows (+):\n%s", d)
				}
			})
		})
	}
}

// The kernel finds every name through the index of the directory, and more
// entries than fit in few metadata blocks.
func TestKernelMountOfWideDirectory(t *testing.T) {
	testkit.NotUnderRace(t)
	tree := append(wideTree(70_000), dir("other"), file("other/file", nil))
	mounted(t, imageFile(t, Options{BlockSize: 128 << 10}, tree), func(root string) {
		names, err := os.ReadDir(root + "/wide")
		if err != nil {
			t.Fatal(err)
		}
		if len(names) != 70_000 {
			t.Errorf("got %d names, want 70000", len(names))
		}
		for _, e := range tree {
			if _, err := os.Lstat(root + "/" + e.Name); err != nil {
				t.Fatal(err)
			}
		}
		for i := 2; i < len(tree); i += 997 {
			got, err := os.ReadFile(root + "/" + tree[i].Name)
			if err != nil || string(got) != string(tree[i].content) {
				t.Fatalf("%s: got %q, %v, want %q", tree[i].Name, got, err, tree[i].content)
			}
		}
		if _, err := os.Lstat(root + "/wide/file-with-a-longer-name-0"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("name that is not there: %v", err)
		}
	})
}

func TestKernelMountOfEmptyImage(t *testing.T) {
	mounted(t, imageFile(t, Options{}, nil), func(root string) {
		if names, err := os.ReadDir(root); err != nil || len(names) > 0 {
			t.Errorf("got %v, %v, want an empty directory", names, err)
		}
	})
}

// diskCannot are names in the sample tree that the kernel can judge but
// unsquashfs and file systems on disk cannot: ext4 holds attributes of one block
// only, and unsquashfs takes a device number of 32 bits as one of 16.
var diskCannot = []string{"xattr/big", "dev/disk"}

func without(tree []entry, names ...string) []entry {
	return slices.DeleteFunc(tree, func(e entry) bool { return slices.Contains(names, e.Name) })
}

func TestUnsquashfsExtract(t *testing.T) {
	testkit.NotUnderRace(t)
	unsquashfs := testkit.Judge(t, "unsquashfs")
	if os.Geteuid() != 0 {
		t.Skip("extracting devices and owners needs root")
	}
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			tree := without(treeFor(o), diskCannot...)
			root := t.TempDir() + "/out"
			run(t, unsquashfs, "-no-progress", "-quiet", "-d", root, imageFile(t, o, tree))
			if d := cmp.Diff(wantListing(tree), diskListing(t, root)); d != "" {
				t.Errorf("what was written (-) and what unsquashfs extracted (+):\n%s", d)
			}
		})
	}
}

// unsquashfs prints what is in the image: a listing a person can check.
func TestUnsquashfsList(t *testing.T) {
	unsquashfs := testkit.Judge(t, "unsquashfs")
	tree := without(sampleTree(4<<10), append(diskCannot, "links/long")...)
	path := imageFile(t, Options{BlockSize: 4 << 10}, tree)
	t.Setenv("TZ", "UTC")
	got := run(t, unsquashfs, "-lln", path)
	got = strings.ReplaceAll(got, strings.Repeat("n", 254), "nnn...")
	want, err := os.ReadFile("testdata/sample.list")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Error(d)
	}
}

func TestReadingWhatMksquashfsMade(t *testing.T) {
	testkit.NotUnderRace(t)
	mksquashfs := testkit.Judge(t, "mksquashfs")
	const bs = 128 << 10
	tree := append(without(sampleTree(bs), diskCannot...), dir("wide"))
	for i := range 2000 {
		tree = append(tree, file(fmt.Sprintf("wide/%d", i), text(i, 7)))
	}
	root := makeOnDisk(t, tree)
	want := diskListing(t, root)
	for _, args := range []string{
		"-comp zstd -b 128K",
		"-comp zstd -b 1M -Xcompression-level 18",
		"-comp xz -b 128K -Xdict-size 100%",
		"-comp xz -b 1M",
		"-comp gzip -b 128K",
		"-comp gzip -b 4K -always-use-fragments",
		"-comp zstd -b 128K -no-fragments -no-duplicates -no-exports",
		"-comp zstd -b 128K -noI -noD -noF -noX -noId",
	} {
		t.Run(args, func(t *testing.T) {
			path := t.TempDir() + "/image.sqsh"
			run(t, mksquashfs, append([]string{root, path, "-noappend", "-no-progress", "-quiet"}, strings.Fields(args)...)...)
			img, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, readListing(t, reader(t, img))); d != "" {
				t.Errorf("what mksquashfs read (-) and the Reader found (+):\n%s", d)
			}
		})
	}
}

// mounted mounts an image at a place that only this thread sees, and calls fn
// with it.
func mounted(t *testing.T, image string, fn func(root string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	root := t.TempDir()
	done := make(chan struct{})
	go func() { // a thread of its own, which ends with its mount namespace
		defer close(done)
		runtime.LockOSThread()
		if err := mountLoop(image, root); err != nil {
			t.Errorf("mounting: %v", err)
			return
		}
		defer unix.Unmount(root, 0)
		fn(root)
	}()
	<-done
}

func mountLoop(image, root string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	loop, err := attachLoop(image)
	if err != nil {
		return err
	}
	defer loop.Close() // the mount keeps it
	return unix.Mount(loop.Name(), root, "squashfs", unix.MS_RDONLY, "")
}

// attachLoop connects a free loop device to the file. Others may look for a
// free one at the same time, so it tries a few times.
func attachLoop(image string) (*os.File, error) {
	back, err := os.Open(image)
	if err != nil {
		return nil, err
	}
	defer back.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 20 {
		var n int
		if n, err = unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
			return nil, err
		}
		var loop *os.File
		if loop, err = os.Open(fmt.Sprintf("/dev/loop%d", n)); err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(back.Fd())}
		config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), &config); err == nil {
			return loop, nil
		}
		loop.Close()
	}
	return nil, fmt.Errorf("configuring a loop device: %w", err)
}
