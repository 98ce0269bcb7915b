package bootasset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/kmod"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/survey"
)

// BaseFacts is what a base's initramfs holds.
type BaseFacts struct {
	baseSummary
	Files   []baseFile    `json:"files"`
	Modules []kmod.Module `json:"modules,omitempty"` // of its only release
	Order   []byte        `json:"order,omitempty"`   // modules.order
	Builtin []byte        `json:"builtin,omitempty"` // modules.builtin
	Modinfo []byte        `json:"modinfo,omitempty"` // modules.builtin.modinfo
}

// baseSummary are the facts that are small.
type baseSummary struct {
	OSVersion string   `json:"osVersion,omitempty"` // VERSION_ID of its os-release
	Releases  []string `json:"releases,omitempty"`  // kernel releases that it has modules for
	LibDir    string   `json:"libDir,omitempty"`    // directory of modules and firmware: usr/lib or lib
}

type baseFile struct {
	Path   string      `json:"p"`
	Mode   fs.FileMode `json:"m"`
	Target string      `json:"t,omitempty"`
}

// maxRootfs bounds the root filesystem's image in a base: Talos' has 80 MB.
const maxRootfs = 4 << 30

// readBase looks through a base's initramfs, to its very end, and into its root
// filesystem: the kernel would stop at what is no archive, and lose what graft
// appends.
func readBase(ctx context.Context, c *cache.Cache, initramfs *cache.Blob) (*BaseFacts, error) {
	facts := &BaseFacts{}
	r := cpio.NewInitramfsReader(io.NewSectionReader(initramfs, 0, initramfs.Size))
	found := false
	for {
		archive, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading its initramfs: %w", err)
		}
		here, err := facts.readArchive(ctx, c, archive)
		if err != nil {
			return nil, err
		}
		found = found || here
	}
	if !found {
		return nil, errors.New("its initramfs has no /rootfs.sqsh")
	}
	return facts, nil
}

// errHasLayers refuses an initramfs that was made by imaging: what is appended
// to it would take the place of the list of its layers, and lose them.
var errHasLayers = errors.New("its initramfs has extensions already: take the base that it was made from, and name all extensions")

func (f *BaseFacts) readArchive(ctx context.Context, c *cache.Cache, archive *cpio.Reader) (found bool, err error) {
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading its initramfs: %w", err)
		}
		name, err := cpio.LocalName(h.Name)
		if err == nil && name == extension.ConfigName {
			return false, errHasLayers
		}
		if err != nil || name != "rootfs.sqsh" {
			continue
		}
		if h.Size > maxRootfs {
			return false, fmt.Errorf("reading its rootfs.sqsh: %d bytes, more than the %d that are allowed", h.Size, int64(maxRootfs))
		}
		blob, err := c.Scratch(func(to *os.File) error {
			_, err := io.Copy(to, archive)
			return err
		})
		if err != nil {
			return false, fmt.Errorf("reading its rootfs.sqsh: %w", err)
		}
		if err := errors.Join(f.readRoot(ctx, blob), blob.Close()); err != nil {
			return false, err
		}
		found = true
	}
}

func (f *BaseFacts) readRoot(ctx context.Context, blob *cache.Blob) error {
	root, err := squashfs.NewReader(blob, blob.Size)
	if err != nil {
		return fmt.Errorf("reading its rootfs.sqsh: %w", err)
	}
	for file, err := range root.Files() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("reading its rootfs.sqsh: %w", err)
		}
		f.Files = append(f.Files, baseFile{file.Name, file.Mode, file.Linkname})
	}
	f.OSVersion = survey.ReadOSRelease(root).Version
	f.findReleases()
	if len(f.Releases) != 1 {
		return nil // of use only if an extension has modules, and an error then
	}
	return f.readModules(ctx, root)
}

const maxIndexFile = 64 << 20 // Talos' modules.builtin.modinfo has 300 kB

// findReleases lists the kernel releases below lib/modules, wherever that is.
func (f *BaseFacts) findReleases() {
	for _, file := range f.Files {
		dir, release := path.Split(file.Path)
		lib, ok := strings.CutSuffix(dir, "/modules/")
		if file.Mode.IsDir() && ok && (lib == "usr/lib" || lib == "lib") {
			f.LibDir = lib
			f.Releases = append(f.Releases, release)
		}
	}
}

func (f *BaseFacts) moduleDir() string { return path.Join(f.LibDir, "modules", f.Releases[0]) }

func (f *BaseFacts) readModules(ctx context.Context, root *squashfs.Reader) error {
	dir := f.moduleDir()
	for _, index := range []struct {
		name string
		data *[]byte
	}{{"modules.order", &f.Order}, {"modules.builtin", &f.Builtin}, {"modules.builtin.modinfo", &f.Modinfo}} {
		data, err := survey.ReadSmall(root, path.Join(dir, index.name), maxIndexFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading the base's %s: %w", index.name, err)
		}
		*index.data = data
	}
	var (
		workers, wctx = errgroup.WithContext(ctx)
		mu            sync.Mutex
	)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for _, file := range f.Files {
		below, ok := strings.CutPrefix(file.Path, dir+"/")
		if !ok || !file.Mode.IsRegular() || !kmod.IsModule(file.Path) {
			continue
		}
		workers.Go(func() error {
			info, err := readModule(root, file.Path, below)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			f.Modules = append(f.Modules, info)
			return wctx.Err()
		})
	}
	err := workers.Wait()
	slices.SortFunc(f.Modules, func(a, b kmod.Module) int { return strings.Compare(a.Path, b.Path) })
	return err
}
