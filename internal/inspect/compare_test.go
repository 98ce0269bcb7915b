package inspect

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/compress"
	"github.com/graftlinux/graft/internal/format/iso"
	"github.com/graftlinux/graft/internal/format/sparse"
)

var hexDigits = regexp.MustCompile(`[0-9a-f]{64,}`)

// changeList is one change a line, without digests, which differ for each key.
func changeList(changes []Change) string {
	var b strings.Builder
	for _, c := range changes {
		line := fmt.Sprintf("%s %s %s: %s -> %s %q", c.Kind, c.Subject, c.Change, c.Old, c.New, c.Where)
		line = strings.TrimSuffix(hexDigits.ReplaceAllString(line, "…"), " []")
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}

func compare(t *testing.T, from, to Report) string {
	t.Helper()
	return changeList(must[[]Change](t)(Compare(from, to)))
}

var withFiles = Options{LayerFiles: true}

func TestCompareUKI(t *testing.T) {
	want := `extension dropped removed: 2 ->
cmdline init_on_alloc removed: init_on_alloc=1 ->
cmdline console changed: console=tty0 -> console=ttyS0
pcr11 sha256 changed: … -> … ["main"]
pcr11 sha384 changed: … -> … ["main"]
pcr11 sha512 changed: … -> … ["main"]
cmdline selinux added: -> selinux=1
pcr11 sha256 changed: … -> … ["reset"]
pcr11 sha384 changed: … -> … ["reset"]
pcr11 sha512 changed: … -> … ["reset"]
os changed: Talos v1.13.0 -> Talos v1.14.0
kernel changed: 6.18.1-talos -> 6.18.45-talos
section .osrel changed: sha256:… -> sha256:…
section .cmdline changed: 56 bytes -> 51 bytes
section .uname changed: 12 bytes -> 13 bytes
section .linux changed: sha256:… -> sha256:…
section .initrd changed: 18124 bytes -> 18136 bytes
section main .pcrsig changed: sha256:… -> sha256:…
section reset .cmdline changed: 87 bytes -> 82 bytes
section reset .pcrsig changed: sha256:… -> sha256:…
base changed: v1.13.0 -> v1.14.0
modules changed: 6.18.1-talos -> 6.18.45-talos
extension btrfs changed: 6.1.0 -> 6.1.176
extension file btrfs: usr/lib/gone removed: -rw-r--r--, 1 byte ->
extension file btrfs: usr/lib/a changed: sha256:… -> sha256:…
extension file btrfs: usr/lib/new added: -> -rw-r--r--, 1 byte
extension gvisor added: -> 20260905.0
`
	if d := cmp.Diff(want, compare(t, of(t, old.uki(t), withFiles), of(t, upgraded.uki(t), withFiles))); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

// TestCompareDisk: what is the same change in the UKI and for GRUB is said once.
func TestCompareDisk(t *testing.T) {
	want := `file EFI/Linux/Talos-v1.13.0.efi changed: EFI/Linux/Talos-v1.13.0.efi -> EFI/Linux/Talos-v1.14.0.efi ["EFI"]
extension dropped removed: 2 ->
cmdline init_on_alloc removed: init_on_alloc=1 ->
cmdline console changed: console=tty0 -> console=ttyS0
pcr11 sha256 changed: … -> … ["EFI: EFI/Linux/Talos-v1.14.0.efi: main"]
pcr11 sha384 changed: … -> … ["EFI: EFI/Linux/Talos-v1.14.0.efi: main"]
pcr11 sha512 changed: … -> … ["EFI: EFI/Linux/Talos-v1.14.0.efi: main"]
cmdline selinux added: -> selinux=1
pcr11 sha256 changed: … -> … ["EFI: EFI/Linux/Talos-v1.14.0.efi: reset"]
pcr11 sha384 changed: … -> … ["EFI: EFI/Linux/Talos-v1.14.0.efi: reset"]
pcr11 sha512 changed: … -> … ["EFI: EFI/Linux/Talos-v1.14.0.efi: reset"]
os changed: Talos v1.13.0 -> Talos v1.14.0
kernel changed: 6.18.1-talos -> 6.18.45-talos
section .osrel changed: sha256:… -> sha256:…
section .cmdline changed: 56 bytes -> 51 bytes
section .uname changed: 12 bytes -> 13 bytes
section .linux changed: sha256:… -> sha256:…
section .initrd changed: 18124 bytes -> 18136 bytes
section main .pcrsig changed: sha256:… -> sha256:…
section reset .cmdline changed: 87 bytes -> 82 bytes
section reset .pcrsig changed: sha256:… -> sha256:…
base changed: v1.13.0 -> v1.14.0
modules changed: 6.18.1-talos -> 6.18.45-talos
extension btrfs changed: 6.1.0 -> 6.1.176
extension file btrfs: usr/lib/gone removed: -rw-r--r--, 1 byte ->
extension file btrfs: usr/lib/a changed: sha256:… -> sha256:…
extension file btrfs: usr/lib/new added: -> -rw-r--r--, 1 byte
extension gvisor added: -> 20260905.0
file A/initramfs.xz changed: 18124 bytes -> 18136 bytes ["BOOT"]
file A/vmlinuz changed: sha256:… -> sha256:… ["BOOT"]
file grub/grub.cfg changed: 551 bytes -> 541 bytes ["BOOT"]
menu default changed: A - Talos v1.13.0 -> A - Talos v1.14.0
entry A - Talos v1.13.0 changed: A - Talos v1.13.0 -> A - Talos v1.14.0
`
	after := of(t, compressed(t, upgraded.rawDisk(t), compress.Zstd), withFiles)
	if d := cmp.Diff(want, compare(t, of(t, old.rawDisk(t), withFiles), after)); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

func TestCompareISO(t *testing.T) {
	want := `file boot/grub/grub.cfg changed: 476 bytes -> 466 bytes ["ISO"]
cmdline init_on_alloc removed: init_on_alloc=1 ->
cmdline console changed: console=tty0 -> console=ttyS0
cmdline selinux added: -> selinux=1
file boot/initramfs.xz changed: 18124 bytes -> 18136 bytes ["ISO"]
extension dropped removed: 2 ->
base changed: v1.13.0 -> v1.14.0
modules changed: 6.18.1-talos -> 6.18.45-talos
extension btrfs changed: 6.1.0 -> 6.1.176
extension file btrfs: usr/lib/gone removed: -rw-r--r--, 1 byte ->
extension file btrfs: usr/lib/a changed: sha256:… -> sha256:…
extension file btrfs: usr/lib/new added: -> -rw-r--r--, 1 byte
extension gvisor added: -> 20260905.0
file boot/vmlinuz changed: sha256:… -> sha256:… ["ISO"]
kernel changed: 6.18.1-talos -> 6.18.45-talos
file EFI/Linux/Talos-v1.13.0.efi changed: EFI/Linux/Talos-v1.13.0.efi -> EFI/Linux/Talos-v1.14.0.efi ["UEFI"]
pcr11 sha256 changed: … -> … ["UEFI: EFI/Linux/Talos-v1.14.0.efi: main"]
pcr11 sha384 changed: … -> … ["UEFI: EFI/Linux/Talos-v1.14.0.efi: main"]
pcr11 sha512 changed: … -> … ["UEFI: EFI/Linux/Talos-v1.14.0.efi: main"]
pcr11 sha256 changed: … -> … ["UEFI: EFI/Linux/Talos-v1.14.0.efi: reset"]
pcr11 sha384 changed: … -> … ["UEFI: EFI/Linux/Talos-v1.14.0.efi: reset"]
pcr11 sha512 changed: … -> … ["UEFI: EFI/Linux/Talos-v1.14.0.efi: reset"]
os changed: Talos v1.13.0 -> Talos v1.14.0
section .osrel changed: sha256:… -> sha256:…
section .cmdline changed: 56 bytes -> 51 bytes
section .uname changed: 12 bytes -> 13 bytes
section .linux changed: sha256:… -> sha256:…
section .initrd changed: 18124 bytes -> 18136 bytes
section main .pcrsig changed: sha256:… -> sha256:…
section reset .cmdline changed: 87 bytes -> 82 bytes
section reset .pcrsig changed: sha256:… -> sha256:…
`
	if d := cmp.Diff(want, compare(t, of(t, old.iso(t), withFiles), of(t, upgraded.iso(t), withFiles))); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

// program is a UKI of profiles with command lines, and no more.
func program(cmdlines ...string) *Asset {
	a := &Asset{Kind: KindUKI, Contents: Contents{Program: &Program{}}}
	for i, c := range cmdlines {
		a.Program.Profiles = append(a.Program.Profiles, Profile{ID: fmt.Sprint("profile", i), Cmdline: c})
	}
	return a
}

// layers is an initramfs with extensions, "name version" each.
func layers(names ...string) *Initramfs {
	r := &Initramfs{}
	for _, n := range names {
		name, version, _ := strings.Cut(n, " ")
		r.Layers = append(r.Layers, Layer{Digest: "sha256:" + n, Metadata: extension.Metadata{Name: name, Version: version}})
	}
	return r
}

// entries are files in a directory for PXE, "path digest" each.
func entries(names ...string) *Asset {
	a := &Asset{Kind: KindPXE}
	for _, n := range names {
		path, digest, _ := strings.Cut(n, " ")
		a.Files = append(a.Files, Entry{Path: path, Size: 1, Digest: digest})
	}
	return a
}

func TestCompare(t *testing.T) {
	for _, test := range []struct {
		name     string
		from, to Report
		want     []string
	}{
		{"nothing", layers("a 1", "b 1"), layers("a 1", "b 1"), nil},
		{"order", layers("a 1", "b 1"), layers("b 1", "a 1"), []string{"order changed: a b -> b a"}},
		{"order of others", layers("a 1", "b 1"), layers("b 1", "c 1"), []string{"extension a removed: 1 ->", "extension c added: -> 1"}},
		{"version", layers("a 1"), layers("a 2"), []string{"extension a changed: 1 -> 2"}},
		{"twice", layers("a 1", "a 2"), layers("a 2", "a 3"), []string{"extension a changed: 1 -> 3"}},
		{"the same in all profiles", program("x a=1", "x a=1 y"), program("x a=2", "x a=2 y"), []string{"cmdline a changed: a=1 -> a=2"}},
		{"not in all", program("x", "x y"), program("x z", "x y"), []string{`cmdline z added: -> z ["profile0"]`}},
		{"changed where it is", program("x", "x y=1"), program("x", "x y=2"), []string{"cmdline y changed: y=1 -> y=2"}},
		{"an argument twice", program("console=tty0 console=ttyS0"), program("console=ttyS0 console=ttyS1 console=x"), []string{
			"cmdline console changed: console=tty0 -> console=ttyS1", "cmdline console added: -> console=x",
		}},
		{"order of arguments", program("a b c"), program("c b a"), nil},
		{"quoted", program(`a="b c" d`), program(`a="b e" d`), []string{`cmdline a changed: a="b c" -> a="b e"`}},
		{"a profile goes with its parts", program("x", "y"), program("x"), []string{"profile profile1 removed: ->"}},
		{"a version in the name", entries("Talos-v1.13.0.efi a", "x a"), entries("x a", "Talos-v1.14.0-beta.1.efi b"), []string{
			`file Talos-v1.13.0.efi changed: Talos-v1.13.0.efi -> Talos-v1.14.0-beta.1.efi`,
		}},
		{"two slots", entries("Talos-v1.13.0.efi a", "Talos-v1.14.0.efi b"), entries("Talos-v1.14.0.efi b", "Talos-v1.15.0.efi c"), []string{
			`file Talos-v1.13.0.efi changed: Talos-v1.13.0.efi -> Talos-v1.15.0.efi`,
		}},
		{"content", entries("x a"), entries("x b"), []string{`file x changed: a -> b`}},
		{
			"extension", Extension{Manifest: extension.Manifest{Metadata: extension.Metadata{Name: "a", Version: "1"}}, Listing: []ListedFile{{Path: "l", Mode: "L", Target: "a"}}},
			Extension{Manifest: extension.Manifest{Metadata: extension.Metadata{Name: "a", Version: "2", Author: "B"}}, Listing: []ListedFile{{Path: "l", Mode: "L", Target: "b"}}},
			[]string{"manifest version changed: 1 -> 2", `file l changed: to a -> to b`, "manifest author added: -> B"},
		},
	} {
		want := strings.Join(test.want, "\n")
		if d := cmp.Diff(want, strings.TrimSpace(compare(t, test.from, test.to))); d != "" {
			t.Errorf("%s: changes (-want +got):\n%s", test.name, d)
		}
	}
}

func TestCompareKinds(t *testing.T) {
	if _, err := Compare(&Asset{Kind: KindDisk}, &Asset{Kind: KindISO}); err == nil || !strings.Contains(err.Error(), "one is of the kind disk and the other iso") {
		t.Errorf("got %v", err)
	}
}

// TestCompareBootCode: another GRUB is a difference, though nothing else is.
func TestCompareBootCode(t *testing.T) {
	disk := func(code, core string) *Asset {
		d := old.disk(t)
		d.BootCode, d.Partitions[1].Content = []byte(code), sparse.Bytes([]byte(core))
		return of(t, must[*sparse.Image](t)(d.Image()), Options{})
	}
	for _, c := range []struct{ code, core, want string }{
		{"boot", "core", ""},
		{"other", "core", "disk boot code changed: sha256:… -> sha256:…\n"},
		{"boot", "other", "partition BIOS changed: sha256:… -> sha256:…\n"},
	} {
		if d := cmp.Diff(c.want, compare(t, disk("boot", "core"), disk(c.code, c.core))); d != "" {
			t.Errorf("%s, %s: changes (-want +got):\n%s", c.code, c.core, d)
		}
	}
}

// TestCompareISOBootCode does the same with the sector that a BIOS reads of a
// stick, and the image that it reads of a CD.
func TestCompareISOBootCode(t *testing.T) {
	image := must[[]byte](t)(io.ReadAll(old.iso(t).Reader()))
	volume := must[*iso.Reader](t)(iso.NewReader(bytes.NewReader(image), int64(len(image))))
	with := func(at int) *Asset {
		changed := slices.Clone(image)
		changed[at]++
		return of(t, sparse.Bytes(changed), Options{})
	}
	if got, want := compare(t, with(0), with(1)), "iso boot code changed: sha256:… -> sha256:…\n"; got != want {
		t.Errorf("boot code: got %q, want %q", got, want)
	}
	core := int(volume.Boot[0].Block) * iso.BlockSize
	if got, want := compare(t, with(core), with(core+1)), "boot image BIOS changed: sha256:… -> sha256:…\n"; got != want {
		t.Errorf("boot image: got %q, want %q", got, want)
	}
}
