package encode

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/tree"
)

// sample has one of everything that a tree can hold.
func sample(t *testing.T) *tree.Tree {
	t.Helper()
	tr := tree.New()
	file := tree.File(0o755, []byte("content"))
	file.Label = "system_u:object_r:bin_t:s0"
	for _, e := range []struct {
		name string
		node *tree.Node
	}{
		{"usr/bin/tool", file}, {"usr/bin/alias", file}, {"usr/bin/link", tree.Symlink("tool")},
		{"usr/empty", tree.File(0o600, nil)}, {"usr/dir", tree.Dir(0o700)},
	} {
		if err := tr.Put(e.name, e.node); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func TestSquashfs(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var read int64
	if err := Squashfs(context.Background(), f, sample(t), squashfs.Options{}, func(n int64) { read += n }); err != nil {
		t.Fatal(err)
	}
	if read != int64(len("content")) {
		t.Errorf("progress of %d bytes, want %d: a hard link is read once", read, len("content"))
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := squashfs.NewReader(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	tool, err := r.Lookup("usr/bin/tool")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tool.Xattrs[tree.SELinuxXattr], "system_u:object_r:bin_t:s0\x00"; got != want {
		t.Errorf("got the label %q, want %q", got, want)
	}
	if !tool.ModTime.Equal(Epoch) || tool.UID != 0 || tool.GID != 0 {
		t.Errorf("got %v, %d:%d, want the epoch and 0:0", tool.ModTime, tool.UID, tool.GID)
	}
}

func TestCpio(t *testing.T) {
	var b bytes.Buffer
	if err := Cpio(context.Background(), &b, sample(t), nil); err != nil {
		t.Fatal(err)
	}
	r, err := cpio.NewInitramfsReader(&b).Next()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name+h.Linkname+h.Hardlink)
	}
	want := []string{"usr", "usr/bin", "usr/bin/alias", "usr/bin/linktool", "usr/bin/toolusr/bin/alias", "usr/dir", "usr/empty"}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %s, want %s", got[i], want[i])
		}
	}
}

// TestChanged hashes a directory and changes a file in it, to the same size:
// nothing may be written under the old sum.
func TestChanged(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := tree.FromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Hash(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, write := range map[string]func() error{
		"squashfs": func() error {
			f, err := os.Create(filepath.Join(t.TempDir(), "image"))
			if err != nil {
				return err
			}
			return errors.Join(Squashfs(context.Background(), f, tr, squashfs.Options{}, nil), f.Close())
		},
		"cpio":        func() error { return Cpio(context.Background(), io.Discard, tr, nil) },
		"concatenate": func() error { return Concatenate(context.Background(), io.Discard, tr, nil) },
	} {
		if err := write(); !errors.Is(err, tree.ErrChanged) {
			t.Errorf("%s: got %v, want %v", what, err, tree.ErrChanged)
		}
	}
}
