package refbase

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/deb"
	"github.com/graftlinux/graft/internal/tree"
)

// loaderFiles are the boot programs that a base carries, by their path in
// Debian's packages; a directory stands for what is in it.
var loaderFiles = map[string]string{
	"usr/lib/systemd/boot/efi/linuxx64.efi.stub":   extension.StubPath(Arch),
	"usr/lib/systemd/boot/efi/systemd-bootx64.efi": extension.BootLoaderPath(Arch),
	"usr/lib/grub/i386-pc/":                        "usr/lib/grub/i386-pc/",
}

// takeLoaders adds the boot programs of a Debian package to a base's files.
func takeLoaders(files *tree.Tree, r io.Reader) error {
	pkg, err := deb.NewReader(r)
	if err != nil {
		return err
	}
	defer pkg.Close()
	found := false
	for {
		h, err := pkg.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		place := loaderPlace(path.Clean(h.Name))
		if h.Typeflag != tar.TypeReg || place == "" {
			continue
		}
		found = true
		data, err := readFile(pkg, h.Size)
		if err == nil {
			err = files.Put(place, tree.File(0o644, data))
		}
		if err != nil {
			return fmt.Errorf("reading %s of %s: %w", h.Name, pkg.Control().Package, err)
		}
	}
	if !found {
		return fmt.Errorf("package %s has no boot program that a base carries", pkg.Control().Package)
	}
	return nil
}

func loaderPlace(name string) string {
	if place := loaderFiles[name]; place != "" {
		return place
	}
	dir, file := path.Split(name)
	if place := loaderFiles[dir]; place != "" {
		return path.Join(place, file)
	}
	return ""
}
