package bootasset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/format/compress"
	"github.com/graftlinux/graft/internal/profile"
	"github.com/graftlinux/graft/internal/testkit"
)

// ofKind is a profile with another kind of output.
func ofKind(k profile.Kind) profile.Profile { return profile.Profile{Output: profile.Output{Kind: k}} }

// onDisk is a profile with options of a disk image.
func onDisk(o profile.ImageOptions) profile.Profile {
	return profile.Profile{Output: profile.Output{ImageOptions: &o}}
}

// assets are all kinds of assets, with all kinds of boot loaders and disks.
var assets = []struct {
	name string
	grub bool // it cannot be made without GRUB
	wish
}{
	{name: "kernel", wish: wish{over: ofKind(profile.Kernel)}},
	{name: "initramfs", wish: wish{over: ofKind(profile.Initramfs)}},
	{name: "cmdline", wish: wish{over: ofKind(profile.Cmdline)}},
	{name: "uki", wish: wish{over: ofKind(profile.UKI)}},
	{name: "secureboot uki", wish: wish{profile: "secureboot-metal-uki"}},
	{name: "iso", wish: wish{profile: "iso"}},
	{name: "iso, GRUB", grub: true, wish: wish{profile: "iso", talos: "v1.9.1"}},
	{name: "iso, arm64", wish: wish{profile: "iso", arch: profile.ARM64}},
	{name: "secureboot-iso", wish: wish{profile: "secureboot-iso"}},
	{name: "metal, dual-boot", grub: true},
	{name: "metal, sd-boot", wish: wish{over: onDisk(profile.ImageOptions{Bootloader: profile.SDBoot})}},
	{name: "metal, GRUB", grub: true, wish: wish{talos: "v1.7.0"}},
	{name: "metal, arm64", wish: wish{arch: profile.ARM64}},
	{name: "metal-4k", grub: true, wish: wish{profile: "metal-4k"}},
	{name: "secureboot-metal", wish: wish{profile: "secureboot-metal"}},
	{name: "qcow2", grub: true, wish: wish{profile: "oracle"}},
	{name: "vhd", grub: true, wish: wish{profile: "azure"}},
	{name: "ova", grub: true, wish: wish{profile: "vmware"}},
	{name: "installer", wish: wish{profile: "installer"}},
	{name: "secureboot-installer", wish: wish{profile: "secureboot-installer"}},
	{name: "installer, files", wish: wish{profile: "installer", talos: "v1.9.1"}},
}

// bundle is an extension with a bit of everything.
func bundle(t testing.TB) string {
	return ext(t, "bundle", map[string]string{
		"usr/local/share/big":                       strings.Repeat("0123456789abcdef", 1<<14),
		"usr/local/bin/link -> ../share/big":        "",
		"usr/lib/firmware/vendor/fw.bin":            string(testkit.Noise(100_000)),
		"usr/lib/firmware/intel-ucode/06-8f-08":     strings.Repeat("microcode ", 100),
		"usr/local/etc/containers/hello/x/y/z.yaml": "name: hello\n",
	})
}

// TestReproducible makes every asset twice: on one and on two processors, with
// another cache, in other directories, from files of other times and, where the
// test may do that, of another owner.
func TestReproducible(t *testing.T) {
	for _, a := range assets {
		t.Run(a.name, func(t *testing.T) {
			if a.grub {
				needGRUB(t)
			}
			one, two := newWorkshop(t, a.wish, bundle(t)), newWorkshop(t, a.wish, bundle(t))
			for _, dir := range append(two.extensions, filepath.Dir(two.base.Kernel), filepath.Dir(two.base.Initramfs), two.keys) {
				disguise(t, dir)
			}
			first := onProcessors(t, one, 1, a.wish)
			second := onProcessors(t, two, 2, a.wish)
			if first.Installer != nil {
				x, err := first.Installer.Digest(t.Context())
				y, err2 := second.Installer.Digest(t.Context())
				if x != y || err != nil || err2 != nil {
					t.Errorf("got %s and %s, %v, %v", x, y, err, err2)
				}
				return
			}
			if sameImage(t, first.Image, second.Image) {
				samePacked(t, first, second, packedAs[a.name])
			}
		})
	}
}

// onProcessors builds with that many processors.
func onProcessors(t *testing.T, s *workshop, n int, w wish) *Output {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
	return s.make(t, w)
}

// disguise gives files another time and, if possible, another owner.
func disguise(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if os.Getuid() == 0 {
			if err := os.Lchown(p, 1234, 5678); err != nil {
				return err
			}
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		return os.Chtimes(p, time.Time{}, time.Date(2031, 5, 6, 7, 8, 9, 10, time.UTC))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// packedAs are the formats in which two equal assets are compared once more.
var packedAs = map[string][]compress.Format{
	"iso":         {compress.Zstd, compress.XZ, compress.Gzip, compress.TarGz},
	"metal, GRUB": {compress.Zstd},
}

// samePacked packs two equal images, on one and on two processors.
func samePacked(t *testing.T, first, second *Output, formats []compress.Format) {
	t.Helper()
	for _, f := range formats {
		one, two := packed(t, first, f, 1), packed(t, second, f, 2)
		if !bytes.Equal(one, two) {
			t.Errorf("packed as %s they differ", f)
		}
	}
}

// packed is the digest of an asset in a format.
func packed(t *testing.T, out *Output, f compress.Format, processors int) []byte {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
	h := sha256.New()
	var err error
	if f == compress.TarGz {
		err = compress.WriteTarGz(context.Background(), h, "disk.raw", out.Image, epoch, compress.Options{})
	} else {
		err = compress.Write(context.Background(), h, out.Image, f, compress.Options{})
	}
	if err != nil {
		t.Fatal(fmt.Errorf("packing as %s: %w", f, err))
	}
	return h.Sum(nil)
}

// clocks are the files that may look at the clock, or at chance.
var clocks = map[string]string{
	"../tree/dir.go":            "a file that is too new may still change: its stamp is not kept",
	"../secureboot/generate.go": "new keys are chance",
}

// TestNoClock: what makes the bytes of an asset does not know what time it is.
// A program cannot be given another clock, so it is its source that is looked at.
func TestNoClock(t *testing.T) {
	forbidden := regexp.MustCompile(`time\.(Now|Since|Until)|"(crypto|math)/rand|os\.(Getuid|Getpid|Hostname)`)
	for _, dir := range []string{".", "../format", "../profile", "../secureboot", "../encode", "../tree", "../extension"} {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(p) != ".go" || strings.HasSuffix(p, "_test.go") || clocks[p] != "" {
				return err
			}
			source, err := os.ReadFile(p)
			if found := forbidden.Find(source); found != nil {
				t.Errorf("%s has %s", p, found)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
