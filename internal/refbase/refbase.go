// Package refbase builds the reference base: a small immutable Linux, in the
// layout of Talos' imager image, that boots what graft makes.
//
//	usr/install/amd64/vmlinuz       Debian's cloud kernel
//	usr/install/amd64/initramfs.xz  zstd cpio: /init (graft-init), /rootfs.sqsh,
//	                                /lib/init-modules/*.ko in the order of their names
//
// The root filesystem has the daemon as /sbin/init, the modules that a virtual
// machine needs, with their indexes, and the mount points that the base's
// programs expect. It takes the part of Talos in demonstrations and end-to-end
// tests; it runs no Kubernetes and no containers.
//
// Everything comes from a Debian kernel package and two programs, which are
// given as files; the output depends on their bytes alone.
package refbase

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/tree"
)

const (
	// Version is the Talos version whose contracts the base keeps: what it
	// says of itself in os-release and in the image's label.
	Version = "v1.14.0"
	// Arch is the only architecture that there is a reference base for.
	Arch = "amd64"
)

// Config says what a base is made from.
type Config struct {
	Package io.Reader // a Debian package of a kernel: linux-image-*-cloud-amd64
	Init    string    // file: the program that becomes /init of the initramfs
	// Root is put over the root filesystem, and may replace what is there. It
	// must have /usr/sbin/init.
	Root *tree.Tree
	// Loaders are Debian packages with boot programs: systemd-boot-efi for
	// systemd-stub and systemd-boot, grub-pc-bin for GRUB.
	Loaders []io.Reader
}

// Base is a finished base.
type Base struct {
	Release string // of the kernel
	Package string // name and version of the Debian package
	Files   *tree.Tree
}

// Kernel and Initramfs are the paths in Base.Files.
var (
	Kernel    = extension.KernelPath(Arch)
	Initramfs = extension.InitramfsPath(Arch)
)

// Build makes a base. Temporary files are in dir; they may be removed when the
// Base is no longer needed, and not before.
func Build(ctx context.Context, c Config, dir string) (*Base, error) {
	k, err := readKernel(c.Package)
	if err != nil {
		return nil, fmt.Errorf("building the base: %w", err)
	}
	root, err := rootfs(k, c.Root)
	if err != nil {
		return nil, fmt.Errorf("building the base's root: %w", err)
	}
	squash, err := writeSquashfs(ctx, dir, root)
	if err != nil {
		return nil, fmt.Errorf("building the base's root: %w", err)
	}
	content, err := initramfs(k, c.Init, squash)
	if err != nil {
		return nil, fmt.Errorf("building the base's initramfs: %w", err)
	}
	archive, err := writeInitramfs(ctx, dir, content)
	if err != nil {
		return nil, fmt.Errorf("building the base's initramfs: %w", err)
	}
	files := tree.New()
	if err := putAll(files, entry{Kernel, tree.File(0o644, k.vmlinuz)}, entry{Initramfs, archive}); err != nil {
		return nil, fmt.Errorf("building the base: %w", err)
	}
	for _, r := range c.Loaders {
		if err := takeLoaders(files, r); err != nil {
			return nil, fmt.Errorf("building the base: %w", err)
		}
	}
	return &Base{Release: k.release, Package: k.pkg, Files: files}, nil
}

// entry is a place and what belongs there.
type entry struct {
	path string
	node *tree.Node
}

func putAll(t *tree.Tree, entries ...entry) error {
	for _, e := range entries {
		if err := t.Put(e.path, e.node); err != nil {
			return err
		}
	}
	return nil
}

// initramfs is what the kernel unpacks.
func initramfs(k *kernel, init string, squash *tree.Node) (*tree.Tree, error) {
	program, err := Program(init)
	if err != nil {
		return nil, err
	}
	t := tree.New()
	if err := putAll(t, entry{"init", program}, entry{"rootfs.sqsh", squash}); err != nil {
		return nil, err
	}
	early, err := k.closure(earlyModules)
	if err != nil {
		return nil, err
	}
	for i, m := range early {
		name := fmt.Sprintf("lib/init-modules/%02d-%s", i, path.Base(m))
		if err := t.Put(name, k.files[m]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Program is the node of an executable file of this machine.
func Program(file string) (*tree.Node, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(data, []byte("\x7fELF")) {
		return nil, fmt.Errorf("%s is no ELF program: build it with GOOS=linux", file)
	}
	return tree.File(0o755, data), nil
}
