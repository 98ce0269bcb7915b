package testkit

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Mount mounts the image of a file system for writing, at a place that only
// this thread sees, and calls fn with it. Sectors are in bytes.
func Mount(t *testing.T, image, kind string, sectorSize int, fn func(root string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if known, _ := os.ReadFile("/proc/filesystems"); !strings.Contains(string(known), "\t"+kind+"\n") {
		t.Skip("this kernel has no " + kind)
	}
	root := t.TempDir()
	done := make(chan struct{})
	go func() { // its thread ends with it, and so does the mount namespace
		defer close(done)
		runtime.LockOSThread()
		if err := mountLoop(image, kind, root, sectorSize); err != nil {
			t.Errorf("mounting: %v", err)
			return
		}
		fn(root)
		if err := unix.Unmount(root, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	}()
	<-done
}

func mountLoop(image, kind, root string, sectorSize int) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	loop, err := attachLoop(image, sectorSize)
	if err != nil {
		return err
	}
	defer loop.Close()
	options := ""
	if kind == "xfs" {
		options = "nouuid" // tests mount copies of one image
	}
	return unix.Mount(loop.Name(), root, kind, 0, options)
}

// attachLoop connects a free loop device; another process may be faster.
func attachLoop(image string, sectorSize int) (*os.File, error) {
	back, err := os.OpenFile(image, os.O_RDWR, 0)
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
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(back.Fd()), Size: uint32(sectorSize)}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		if unix.IoctlLoopConfigure(int(loop.Fd()), &config) == nil {
			return loop, nil
		}
		loop.Close()
	}
	return nil, errors.New("no loop device is free")
}
