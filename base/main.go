// Command base builds the reference base as an OCI layout. It is a tool of this
// repository and no part of graft:
//
//	go run ./base -deb "$(base/fetch.sh out/kernel)" -loader "$(base/fetch.sh out/kernel systemd-boot-efi)" \
//		-init bin/graft-init -daemon bin/graftd -o out/base
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/refbase"
	"github.com/graftlinux/graft/internal/tree"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var b builder
	flag.StringVar(&b.deb, "deb", "", "Debian `package` of the kernel")
	flag.Func("loader", "Debian `package` with boot programs: systemd-boot-efi, grub-pc-bin (repeat it)", func(file string) error {
		b.loaders = append(b.loaders, file)
		return nil
	})
	flag.StringVar(&b.init, "init", "", "`file` of graft-init, built for linux/amd64")
	flag.StringVar(&b.daemon, "daemon", "", "`file` of graftd, built for linux/amd64")
	flag.StringVar(&b.out, "o", "", "OCI layout to write; one that is there is replaced")
	flag.Parse()
	if err := b.run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "base: %v\n", err)
		os.Exit(1)
	}
}

// builder has the files that a base is made from.
type builder struct {
	deb, init, daemon, out string
	loaders                []string
}

func (b *builder) run(ctx context.Context) error {
	if b.deb == "" || b.init == "" || b.daemon == "" || b.out == "" {
		return errors.New("-deb, -init, -daemon and -o are needed")
	}
	daemon, err := refbase.Program(b.daemon)
	if err != nil {
		return fmt.Errorf("reading the daemon: %w", err)
	}
	root := tree.New()
	if err := root.Put("usr/sbin/init", daemon); err != nil {
		return err
	}
	pkg, err := os.Open(b.deb)
	if err != nil {
		return err
	}
	defer pkg.Close()
	dir, err := os.MkdirTemp("", "graft-base-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config := refbase.Config{Package: pkg, Init: b.init, Root: root}
	for _, file := range b.loaders {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		config.Loaders = append(config.Loaders, f)
	}
	base, err := refbase.Build(ctx, config, dir)
	if err != nil {
		return err
	}
	return b.write(ctx, base)
}

// write packs the base in the way of Talos' imager image.
func (b *builder) write(ctx context.Context, base *refbase.Base) error {
	if err := b.removeOld(); err != nil {
		return err
	}
	platform := oci.Platform{OS: "linux", Arch: refbase.Arch}
	res, err := oci.Pack(ctx, []oci.Packed{{Platform: platform, Tree: base.Files}}, "oci:"+b.out, oci.PackOptions{
		Name: "base:" + refbase.Version,
		// Zstd: nearly all of it is compressed already.
		Compression: oci.Zstd,
		Labels: map[string]string{
			extension.VersionLabel:                  refbase.Version,
			"org.opencontainers.image.title":        "graft reference base",
			"org.opencontainers.image.description":  "a small immutable Linux that boots what graft makes",
			"io.github.graftlinux.base.kernel":      base.Release,
			"io.github.graftlinux.base.kernel-from": base.Package,
		},
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s@%s: kernel %s (%s)\n", b.out, res.Digest, base.Release, base.Package)
	return nil
}

// removeOld keeps an older base from staying in the layout beside the new one.
// What is no layout is left alone.
func (b *builder) removeOld() error {
	if _, err := os.Stat(filepath.Join(b.out, "oci-layout")); err != nil {
		return nil
	}
	return os.RemoveAll(b.out)
}
