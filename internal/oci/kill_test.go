package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/tree"
)

// killMe makes this test binary a process that packs until it is killed.
const killMe = "GRAFT_TEST_PACK_INTO"

// packForever replaces the images of a layout, and a tarball, again and again,
// and says each time that it has.
func packForever(dir string) {
	for i := 0; ; i++ {
		tr := tree.New()
		err := tr.Put("rootfs/x", tree.File(0o644, append(noise(100<<10), byte(i))))
		for _, dest := range []string{filepath.Join(dir, "layout"), filepath.Join(dir, "x.tar")} {
			_, perr := Pack(context.Background(), []Packed{{Platform: linuxAMD64, Tree: tr}}, dest, PackOptions{Name: fmt.Sprintf("x:%d", i%3)})
			err = errors.Join(err, perr)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

// TestKill kills a process that packs, and wants all that is there to be whole.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killMe+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(round*7) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatal("the process ended by itself")
		}
		wantWhole(t, filepath.Join(dir, "x.tar"))
		for i := range 3 {
			wantWhole(t, fmt.Sprintf("oci:%s:x:%d", filepath.Join(dir, "layout"), i))
		}
	}
}

// wantWhole reads an image to the last byte, unless it was not written yet.
func wantWhole(t *testing.T, src string) {
	t.Helper()
	img, err := Open(t.Context(), src, Options{})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoSuchName) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer img.Close()
	if _, err := img.Tree(t.Context()); err != nil {
		t.Error(err)
	}
}
