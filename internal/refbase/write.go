package refbase

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/graftlinux/graft/internal/encode"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/tree"
)

// writeSquashfs writes a tree to a file in dir.
func writeSquashfs(ctx context.Context, dir string, t *tree.Tree) (*tree.Node, error) {
	return tempNode(dir, "rootfs-*.sqsh", func(f *os.File) error {
		return encode.Squashfs(ctx, f, t, squashfs.Options{}, nil)
	})
}

// writeInitramfs writes a tree as compressed cpio to a file in dir.
func writeInitramfs(ctx context.Context, dir string, t *tree.Tree) (*tree.Node, error) {
	return tempNode(dir, "initramfs-*", func(f *os.File) error {
		z, err := cpio.NewCompressor(f, cpio.Zstd, cpio.Default)
		if err != nil {
			return err
		}
		return errors.Join(encode.Cpio(ctx, z, t, nil), z.Close())
	})
}

// tempNode makes a file in dir, and the node that stands for it in a tree.
func tempNode(dir, pattern string, write func(*os.File) error) (*tree.Node, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return nil, fmt.Errorf("writing %s: %w", f.Name(), err)
	}
	info, err := os.Stat(f.Name())
	if err != nil {
		return nil, err
	}
	return &tree.Node{Mode: 0o644, Size: info.Size(), Content: tempFile(f.Name())}, nil
}

// tempFile is the content of a file that was just written.
type tempFile string

// Open implements tree.Content.
func (name tempFile) Open() (tree.Reader, error) { return os.Open(string(name)) }
