package bootasset

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/format/deb"
	"github.com/graftlinux/graft/internal/format/grub"
	"github.com/graftlinux/graft/internal/profile"
	"github.com/graftlinux/graft/internal/tree"
)

// grubDir is where GRUB's files are, in Talos' imager as on Debian. maxGRUBFile
// bounds one of them: the largest, a module, has 500 kB.
const (
	grubDir     = "usr/lib/grub"
	maxGRUBFile = 16 << 20
)

// grubBIOS is GRUB's platform for BIOS, and grubEFI those for UEFI by architecture.
const grubBIOS = "i386-pc"

var grubEFI = map[string]string{profile.AMD64: "x86_64-efi", profile.ARM64: "arm64-efi"}

// grubPackages are Debian's packages of them.
var grubPackages = map[string]string{grubBIOS: "grub-pc-bin", "x86_64-efi": "grub-efi-amd64-bin", "arm64-efi": "grub-efi-arm64-bin"}

// grubFiles is a directory of GRUB's files for a platform.
type grubFiles struct {
	fs.FS
	blob *cache.Blob // that has them all; nil for a directory of the user's
}

// openGRUB finds GRUB's files for a platform, such as i386-pc for BIOS: the
// user's, or the base's. A *MissingError says that there are none.
func (b *Base) openGRUB(ctx context.Context, c *cache.Cache, platform string) (*grubFiles, error) {
	for _, own := range b.grub {
		info, err := os.Stat(own)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			if files := grubOfDir(own, platform); files != nil {
				return &grubFiles{FS: files}, nil
			}
			continue
		}
		blob, err := grubOfPackage(ctx, c, own, platform)
		if !errors.Is(err, fs.ErrNotExist) {
			return unzip(ctx, blob, err)
		}
	}
	blob, err := b.grubOfImage(ctx, c, platform)
	return unzip(ctx, blob, err)
}

func unzip(ctx context.Context, blob *cache.Blob, err error) (*grubFiles, error) {
	if err != nil {
		return nil, err
	}
	files, err := zip.NewReader(blob, blob.Size)
	if err := errors.Join(blob.Verify(ctx), err); err != nil {
		return nil, errors.Join(err, blob.Close())
	}
	return &grubFiles{files, blob}, nil
}

// grubMaker makes a program of GRUB's files.
type grubMaker func(files fs.FS, o grub.Options) ([]byte, error)

// grubProgram makes a core image or an EFI program of GRUB, or finds it in the
// cache: packing it is most of the work of a disk image.
func (b *builder) grubProgram(ctx context.Context, platform, what string, o grub.Options, make grubMaker) ([]byte, error) {
	files, err := b.grubFiles(ctx, platform)
	if err != nil {
		return nil, err
	}
	if files.blob == nil {
		return make(files, o)
	}
	key := fmt.Sprintf("grub-%s|v%s|%s|%q|%s|%s", what, writerVersion, o.Prefix, o.Config, strings.Join(o.Modules, ","), files.blob.Digest)
	blob, err := b.asset.opts.Cache.Make(ctx, key, "GRUB for "+what, func(f *os.File) error {
		program, err := make(files, o)
		if err == nil {
			_, err = f.Write(program)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return io.ReadAll(blob)
}

// grubFiles opens GRUB's files for a platform, once. The asset closes them.
func (b *builder) grubFiles(ctx context.Context, platform string) (*grubFiles, error) {
	if files := b.grub[platform]; files != nil {
		return files, nil
	}
	files, err := b.asset.opts.Base.openGRUB(ctx, b.asset.opts.Cache, platform)
	if err != nil {
		return nil, fmt.Errorf("reading GRUB's files: %w", err)
	}
	if files.blob != nil {
		b.asset.open = append(b.asset.open, files.blob)
	}
	b.grub[platform] = files
	return files, nil
}

// checkGRUB refuses what a person names as GRUB and is none of its directories.
// Packages are looked at when they are needed.
func checkGRUB(names []string) error {
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		found := !info.IsDir()
		for platform := range grubPackages {
			found = found || grubOfDir(name, platform) != nil
		}
		if !found {
			return fmt.Errorf("%s is no directory of GRUB: it has none of i386-pc, x86_64-efi, arm64-efi with a kernel.img", name)
		}
	}
	return nil
}

// grubOfDir takes a directory of GRUB's files, or one that has it.
func grubOfDir(dir, platform string) fs.FS {
	for _, d := range []string{filepath.Join(dir, platform), dir} {
		if _, err := os.Stat(filepath.Join(d, "kernel.img")); err == nil && filepath.Base(d) == platform {
			return os.DirFS(d)
		}
	}
	return nil
}

// grubOfImage packs the files into one, which the cache can keep.
func (b *Base) grubOfImage(ctx context.Context, c *cache.Cache, platform string) (*cache.Blob, error) {
	dir := path.Join(grubDir, platform)
	missing := &MissingError{"GRUB", dir, fmt.Sprintf("name it with --grub: Debian's package %s, or a directory with GRUB's %s; or do without, with --bootloader sd-boot", grubPackages[platform], platform)}
	if b.image == nil {
		return nil, missing
	}
	names, err := installFiles(ctx, c, b.image, dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, missing
	}
	return ofImage(ctx, c, b.image, dir, "GRUB", func(f *os.File, t *tree.Tree) error {
		z := zip.NewWriter(f)
		for _, name := range names {
			r, err := t.Get(name).Open()
			if err != nil {
				return err
			}
			if err := errors.Join(zipFile(z, path.Base(name), r), r.Close()); err != nil {
				return err
			}
		}
		return z.Close()
	})
}

// grubOfPackage does the same with a Debian package.
func grubOfPackage(ctx context.Context, c *cache.Cache, file, platform string) (*cache.Blob, error) {
	pkg, err := cache.File(file)
	if err != nil {
		return nil, err
	}
	defer pkg.Close()
	return c.Make(ctx, "grub|"+platform+"|"+pkg.Digest, "GRUB of "+path.Base(file), func(f *os.File) error {
		r, err := deb.NewReader(pkg)
		if err != nil {
			return err
		}
		defer r.Close()
		return zipPackage(f, r, path.Join(grubDir, platform)+"/")
	})
}

// zipPackage packs the files of a directory; fs.ErrNotExist if there are none.
func zipPackage(w io.Writer, r *deb.Reader, dir string) error {
	z := zip.NewWriter(w)
	found := false
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(path.Clean(h.Name), dir)
		if !ok || !h.FileInfo().Mode().IsRegular() {
			continue
		}
		found = true
		if err := zipFile(z, name, r); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("the package %s has no %s: %w", r.Control().Package, dir, fs.ErrNotExist)
	}
	return z.Close()
}

// zipFile adds a file, as it is and without a time.
func zipFile(z *zip.Writer, name string, r io.Reader) error {
	w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	if err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(r, maxGRUBFile+1))
	if err == nil && n > maxGRUBFile {
		err = fmt.Errorf("%s has more than the %d bytes that are allowed", name, maxGRUBFile)
	}
	return err
}
