package grub

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/graftlinux/graft/internal/testkit"
)

var efiPlatforms = []struct{ arch, platform string }{{"amd64", "x86_64-efi"}, {"arm64", "arm64-efi"}}

// TestMkimageEFI compares with grub-mkimage, byte for byte behind the program
// for DOS with which a PE file begins.
func TestMkimageEFI(t *testing.T) {
	for _, c := range efiPlatforms {
		t.Run(c.arch, func(t *testing.T) {
			for _, files := range grubDirs(t, c.platform) {
				for _, o := range []Options{{Prefix: "/boot/grub"}, {Modules: EFIModules(), Prefix: "(,gpt3)/grub", Config: []byte("set a=b\n")}} {
					got, err := EFI(os.DirFS(files), c.arch, o)
					if err != nil {
						t.Fatal(err)
					}
					compare(t, got, mkimage(t, files, c.platform, o))
				}
			}
		})
	}
}

func compare(t *testing.T, got, want []byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d bytes, want %d", len(got), len(want))
	}
	for i := peOffset; i < len(got); i += 16 {
		if g, w := got[i:][:16], want[i:][:16]; !bytes.Equal(g, w) {
			t.Fatalf("at %#x: got %x, want %x", i, g, w)
		}
	}
}

// TestBootEFI comes from UEFI firmware to a grub.cfg on a FAT file system. That
// takes some 15 seconds.
func TestBootEFI(t *testing.T) {
	if os.Getenv("GRAFT_TEST_OVMF") == "" {
		t.Skip("GRAFT_TEST_OVMF is not set")
	}
	const ovmf = "/usr/share/OVMF/OVMF_"
	vars, err := os.ReadFile(ovmf + "VARS_4M.fd")
	if err != nil {
		t.Skip("there is no OVMF: install ovmf")
	}
	for _, files := range grubDirs(t, "x86_64-efi") {
		t.Run(files, func(t *testing.T) {
			program, err := EFI(os.DirFS(files), "amd64", Options{Modules: append(EFIModules(), "sleep"), Prefix: "/boot/grub", Config: []byte(toSerial)})
			if err != nil {
				t.Fatal(err)
			}
			dir := tree(t, map[string][]byte{
				"vars":                      vars,
				"root/EFI/BOOT/BOOTX64.EFI": program,
				"root/boot/grub/grub.cfg":   []byte("echo the menu of $root\nsleep 60\n"),
			})
			image := filepath.Join(dir, "disk")
			testkit.Run(t, "mformat", "-i", image, "-C", "-T", "65536", "::")
			testkit.Run(t, "mcopy", "-i", image, "-s", filepath.Join(dir, "root/EFI"), filepath.Join(dir, "root/boot"), "::")
			boot(t, "the menu of hd0", "-machine", "q35", "-m", "512", "-drive", "format=raw,file="+image,
				"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmf+"CODE_4M.fd",
				"-drive", "if=pflash,format=raw,unit=1,file="+filepath.Join(dir, "vars"))
		})
	}
}

func TestBadEFI(t *testing.T) {
	o := Options{Prefix: "/p"}
	for want, c := range map[string]struct {
		arch  string
		files fstest.MapFS
	}{
		`architecture is "riscv64"`:                                      {"riscv64", nil},
		"kernel.img for x86_64-efi (Debian's package grub-efi-amd64-bin": {"amd64", fstest.MapFS{}},
		"kernel.img for arm64-efi (Debian's package grub-efi-arm64-bin":  {"arm64", fstest.MapFS{}},
		"want a relocatable one for EM_AARCH64":                          {"arm64", fakeFiles()},
	} {
		if _, err := EFI(c.files, c.arch, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestBrokenEFI: a kernel.img that is cut off or has a wrong byte is an error or
// a program, never a panic.
func TestBrokenEFI(t *testing.T) {
	for _, c := range efiPlatforms {
		t.Run(c.arch, func(t *testing.T) {
			kernel, err := fs.ReadFile(os.DirFS(grubDirs(t, c.platform)[0]), "kernel.img")
			if err != nil {
				t.Fatal(err)
			}
			files := fakeFiles()
			try := func(data []byte) error {
				files["kernel.img"].Data = data
				_, err := EFI(files, c.arch, Options{Prefix: "/p"})
				return err
			}
			for size := 0; size < len(kernel); size += 7919 {
				if try(kernel[:size]) == nil {
					t.Errorf("%d bytes of %d are a kernel", size, len(kernel))
				}
			}
			for _, at := range slices.Concat(span(0, 64, 1), span(64, len(kernel)-1024, 4999), span(len(kernel)-1024, len(kernel), 5)) {
				broken := bytes.Clone(kernel)
				broken[at] ^= 0xff
				_ = try(broken)
			}
		})
	}
}

func span(from, to, step int) (all []int) {
	for ; from < to; from += step {
		all = append(all, from)
	}
	return all
}

// FuzzEFI links anything.
func FuzzEFI(f *testing.F) {
	for _, c := range efiPlatforms {
		roots := append(filepath.SplitList(os.Getenv("GRAFT_TEST_GRUB")), "/usr/lib/grub")
		for _, root := range roots {
			if kernel, err := os.ReadFile(filepath.Join(root, c.platform, "kernel.img")); err == nil {
				f.Add(kernel, c.arch == "arm64")
			}
		}
	}
	f.Add(fakeKernel(), false)
	f.Fuzz(func(t *testing.T, kernel []byte, arm bool) {
		files, arch := fakeFiles(), "amd64"
		if arm {
			arch = "arm64"
		}
		files["kernel.img"].Data = kernel
		_, _ = EFI(files, arch, Options{Prefix: "/p"})
	})
}
