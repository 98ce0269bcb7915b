package refbase

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"

	"github.com/graftlinux/graft/internal/format/deb"
	"github.com/graftlinux/graft/internal/format/kmod"
	"github.com/graftlinux/graft/internal/tree"
)

// earlyModules are the modules without which there is no root: loop devices,
// the layers' format, and the overlay that puts layers over each other.
var earlyModules = []string{"loop", "squashfs", "overlay"}

// rootModules are in the root filesystem, with those that they depend on. They
// serve a virtual machine of QEMU: network, disks, CD and the file systems of
// boot media. Everything else of the kernel package comes as an extension.
var rootModules = append([]string{
	"virtio_pci", "virtio_net", "virtio_blk", "virtio_scsi",
	"sd_mod", "sr_mod", "ata_piix",
	"isofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8",
}, earlyModules...)

// maxKernelFile bounds one file of the package: a kernel image has 15 MiB, the
// largest module 3 MiB.
const maxKernelFile = 128 << 20

// kernel is what a base takes from a Debian kernel package.
type kernel struct {
	pkg     string
	release string
	vmlinuz []byte
	files   map[string]*tree.Node  // modules, by path below the module directory
	modules map[string]kmod.Module // by name
	indexes map[string][]byte      // modules.order and so on, which are not from depmod
}

func readKernel(r io.Reader) (*kernel, error) {
	pkg, err := deb.NewReader(r)
	if err != nil {
		return nil, err
	}
	defer pkg.Close()
	about := pkg.Control()
	if about.Architecture != Arch {
		return nil, fmt.Errorf("package %s is for %s, wanted is one for %s", about.Package, about.Architecture, Arch)
	}
	k := &kernel{
		pkg:   about.Package + " " + about.Version,
		files: map[string]*tree.Node{}, modules: map[string]kmod.Module{}, indexes: map[string][]byte{},
	}
	for {
		h, err := pkg.Next()
		if errors.Is(err, io.EOF) {
			return k, k.check()
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := k.take(h, pkg); err != nil {
			return nil, fmt.Errorf("reading %s of %s: %w", h.Name, about.Package, err)
		}
	}
}

// take keeps a file of the package if the base can use it. Older packages have
// lib where newer ones have usr/lib.
func (k *kernel) take(h *tar.Header, r io.Reader) error {
	name := strings.TrimPrefix(h.Name, "usr/")
	if strings.HasPrefix(name, "boot/vmlinuz-") {
		var err error
		k.vmlinuz, err = readFile(r, h.Size)
		return err
	}
	below, ok := strings.CutPrefix(name, "lib/modules/")
	if !ok {
		return nil
	}
	release, below, _ := strings.Cut(below, "/")
	if k.release != "" && release != k.release {
		return fmt.Errorf("modules of kernel %s beside those of %s", release, k.release)
	}
	k.release = release
	data, err := readFile(r, h.Size)
	if err != nil {
		return err
	}
	if !kmod.IsModule(below) {
		k.indexes[below] = data
		return nil
	}
	return k.takeModule(below, data)
}

func readFile(r io.Reader, size int64) ([]byte, error) {
	if size > maxKernelFile {
		return nil, fmt.Errorf("%d bytes, more than the %d that are allowed", size, maxKernelFile)
	}
	return io.ReadAll(r)
}

// takeModule keeps a module, decompressed: newer packages have .ko.xz, which
// not every kernel can load, and squashfs compresses better.
func (k *kernel) takeModule(below string, data []byte) error {
	if plain, ok := strings.CutSuffix(below, ".xz"); ok {
		r, err := xz.NewReader(bytes.NewReader(data))
		if err != nil {
			return err
		}
		if data, err = io.ReadAll(io.LimitReader(r, maxKernelFile)); err != nil {
			return err
		}
		below = plain
	}
	info, err := kmod.ParseInfo(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	k.files[below] = tree.File(0o644, data)
	k.modules[kmod.ModuleName(below)] = kmod.Module{Path: below, Info: *info}
	return nil
}

func (k *kernel) check() error {
	switch {
	case k.vmlinuz == nil:
		return fmt.Errorf("package %s has no /boot/vmlinuz-*: it is no kernel", k.pkg)
	case len(k.modules) == 0:
		return fmt.Errorf("package %s has no modules", k.pkg)
	}
	return nil
}

// closure returns the paths of modules and of all that they depend on, in an
// order in which they can be loaded.
func (k *kernel) closure(names []string) ([]string, error) {
	var ordered []string
	seen := map[string]bool{}
	var visit func(name, wantedBy string) error
	visit = func(name, wantedBy string) error {
		m, ok := k.modules[kmod.ModuleName(name)]
		if !ok {
			return fmt.Errorf("package %s lacks the module %s, which %s needs", k.pkg, name, wantedBy)
		}
		if seen[m.Path] {
			return nil
		}
		seen[m.Path] = true
		for _, d := range m.Depends {
			if err := visit(d, name); err != nil {
				return err
			}
		}
		ordered = append(ordered, m.Path)
		return nil
	}
	for _, name := range names {
		if err := visit(name, "the base"); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}

// moduleDir is what the base has below /usr/lib/modules: some of the kernel's
// modules, and the indexes of these.
func (k *kernel) moduleDir() (*tree.Tree, error) {
	paths, err := k.closure(rootModules)
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	t := tree.New()
	var modules []kmod.Module
	for _, p := range paths {
		modules = append(modules, k.modules[kmod.ModuleName(p)])
		if err := t.Put(p, k.files[p]); err != nil {
			return nil, err
		}
	}
	for name, data := range k.indexes {
		if err := t.Put(name, tree.File(0o644, data)); err != nil {
			return nil, err
		}
	}
	made, _, err := kmod.Depmod(modules, kmod.Options{
		Order: k.indexes["modules.order"], Builtin: k.indexes["modules.builtin"], BuiltinModinfo: k.indexes["modules.builtin.modinfo"],
	})
	if err != nil {
		return nil, fmt.Errorf("indexing the modules: %w", err)
	}
	for _, f := range made {
		if err := t.Put(path.Clean(f.Name), tree.File(0o644, f.Data)); err != nil {
			return nil, err
		}
	}
	return t, nil
}
