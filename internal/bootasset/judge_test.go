package bootasset

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/fat"
	"github.com/graftlinux/graft/internal/format/gpt"
	"github.com/graftlinux/graft/internal/format/iso"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/format/xfs"
	"github.com/graftlinux/graft/internal/profile"
	"github.com/graftlinux/graft/internal/secureboot"
	"github.com/graftlinux/graft/internal/testkit"
)

// judged runs a judge, which has to be content, and returns what it says.
func judged(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(testkit.Judge(t, program), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestDisks has the partition table and the file systems of each disk judged,
// and shows what is on it.
func TestDisks(t *testing.T) {
	for _, a := range []struct {
		name string
		grub bool
		wish
		want string
	}{
		{"dual-boot", true, wish{}, `
EFI 2101 MiB
  EFI/BOOT/BOOTX64.EFI
  EFI/Linux/Talos-v1.14.0.efi
  loader/loader.conf
BIOS 1 MiB
BOOT 2000 MiB
  A/initramfs.xz
  A/vmlinuz
  grub/grub.cfg
META 1 MiB
`},
		{"sd-boot", false, wish{talos: "v1.10.5", over: onDisk(profile.ImageOptions{Bootloader: profile.SDBoot})}, `
EFI 1101 MiB
  EFI/BOOT/BOOTX64.EFI
  EFI/Linux/Talos-v1.10.5.efi
  loader/loader.conf
META 1 MiB
`},
		{"arm64", false, wish{arch: profile.ARM64}, `
EFI 2101 MiB
  EFI/BOOT/BOOTAA64.EFI
  EFI/Linux/Talos-v1.14.0.efi
  loader/loader.conf
META 1 MiB
`},
		{"secureboot", false, wish{profile: "secureboot-metal"}, `
EFI 2101 MiB
  EFI/BOOT/BOOTX64.EFI
  EFI/Linux/Talos-v1.14.0.efi
  EFI/keys/uki-signing-cert.der
  loader/keys/auto/KEK.auth
  loader/keys/auto/PK.auth
  loader/keys/auto/db.auth
  loader/loader.conf
META 1 MiB
`},
		{"GRUB, v1.9", true, wish{talos: "v1.9.0"}, `
EFI 100 MiB
  EFI/BOOT/BOOTX64.EFI
BIOS 1 MiB
BOOT 1000 MiB
  A/initramfs.xz
  A/vmlinuz
  grub/grub.cfg
META 1 MiB
`},
		{"GRUB, v1.7", true, wish{talos: "v1.7.6"}, `
EFI 100 MiB
  EFI/BOOT/BOOTX64.EFI
BIOS 1 MiB
BOOT 1000 MiB
  A/initramfs.xz
  A/vmlinuz
  grub/grub.cfg
META 1 MiB
STATE 100 MiB
EPHEMERAL 42 MiB
`},
	} {
		t.Run(a.name, func(t *testing.T) {
			if a.grub {
				needGRUB(t)
			}
			s := newWorkshop(t, a.wish)
			if a.grub && !hasGRUB("x86_64-efi") {
				a.want = strings.Replace(a.want, "EFI 100 MiB\n  EFI/BOOT/BOOTX64.EFI\n", "EFI 100 MiB\n", 1)
			}
			out := s.make(t, a.wish)
			if d := cmp.Diff(a.want, "\n"+judgedDisk(t, out.Image)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func hasGRUB(platform string) bool {
	for _, dir := range grubSources() {
		if _, err := os.Stat(filepath.Join(dir, platform, "kernel.img")); err == nil {
			return true
		}
	}
	return false
}

// judgedDisk lists a disk. All that outside programs can look at, they do.
func judgedDisk(t *testing.T, m *sparse.Image) string {
	t.Helper()
	if out := judged(t, "sgdisk", "-v", file(t, m, "disk.raw")); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	d, err := gpt.Read(m, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range d.Partitions {
		fmt.Fprintf(&b, "%s %d MiB\n", p.Name, p.Size>>20)
		switch p.Name {
		case labelEFI:
			b.WriteString(judgedFAT(t, m.Section(p.Offset, p.Size)))
		case labelBoot:
			b.WriteString(judgedXFS(t, m.Section(p.Offset, p.Size)))
		}
	}
	return b.String()
}

func judgedFAT(t *testing.T, m *sparse.Image) string {
	t.Helper()
	esp := file(t, m, "esp.img")
	judged(t, "fsck.vfat", "-n", esp)
	r, err := fat.NewReader(m, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	ours := fileList(t, r)
	theirs := ""
	for line := range strings.Lines(judged(t, "mdir", "-b", "-/", "-i", esp, "::")) {
		if name := strings.TrimSpace(line); name != "" && !strings.HasSuffix(name, "/") {
			theirs += "  " + strings.TrimPrefix(name, "::/") + "\n"
		}
	}
	if sortedLines(ours) != sortedLines(theirs) {
		t.Errorf("mdir sees\n%swe see\n%s", theirs, ours)
	}
	return ours
}

// fileList lists the files of a file system, sorted.
func fileList(t *testing.T, fsys fs.FS) string {
	t.Helper()
	var b strings.Builder
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			fmt.Fprintf(&b, "  %s\n", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func sortedLines(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func judgedXFS(t *testing.T, m *sparse.Image) string {
	t.Helper()
	judged(t, "xfs_repair", "-n", "-f", file(t, m, "boot.img"))
	r, err := xfs.NewReader(m, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	return fileList(t, r)
}

// TestISOs has the boot catalog and the partition table of each ISO judged.
func TestISOs(t *testing.T) {
	for _, a := range []struct {
		name string
		grub bool
		wish
		volume string
		boot   string // platforms of the boot catalog
		files  string
	}{
		{"dual-boot", true, wish{profile: "iso"}, "TALOS_V1_14_0", "BIOS UEFI", "  boot/grub/grub.cfg\n  boot/initramfs.xz\n  boot/vmlinuz\n"},
		{"sd-boot", false, wish{profile: "iso", over: profile.Profile{Output: profile.Output{ISOOptions: &profile.ISOOptions{Bootloader: profile.SDBoot}}}}, "TALOS_V1_14_0", "UEFI", ""},
		{"arm64", false, wish{profile: "iso", arch: profile.ARM64, talos: "v1.10.0"}, "TALOS_V1_10_0", "UEFI", ""},
		{"secureboot", false, wish{profile: "secureboot-iso"}, "TALOS_V1_14_0", "UEFI", ""},
		{"GRUB", true, wish{profile: "iso", talos: "v1.9.0"}, "TALOS_V1_9_0", "BIOS UEFI", "  boot/grub/grub.cfg\n  boot/initramfs.xz\n  boot/vmlinuz\n"},
		{"GRUB, v1.7", true, wish{profile: "iso", talos: "v1.7.0"}, "TALOS", "BIOS UEFI", "  boot/grub/grub.cfg\n  boot/initramfs.xz\n  boot/vmlinuz\n"},
	} {
		t.Run(a.name, func(t *testing.T) {
			if a.grub {
				needGRUB(t)
			}
			if strings.HasPrefix(a.name, "GRUB") && !hasGRUB("x86_64-efi") {
				a.boot = "BIOS"
			}
			out := newWorkshop(t, a.wish).make(t, a.wish)
			judgedISO(t, out.Image, a.volume, a.boot, a.files)
		})
	}
}

func judgedISO(t *testing.T, m *sparse.Image, volume, boot, files string) {
	t.Helper()
	report := judged(t, "xorriso", "-indev", file(t, m, "x.iso"), "-report_el_torito", "plain", "-report_system_area", "plain")
	got := ""
	for line := range strings.Lines(report) {
		f := strings.Fields(line)
		if strings.HasPrefix(line, "El Torito boot img") && len(f) > 6 { // its number, then its platform
			got += f[6] + " "
		}
	}
	if got = strings.TrimSpace(got); got != boot {
		t.Errorf("xorriso sees boot images for %q, want %q:\n%s", got, boot, report)
	}
	if !strings.Contains(report, "Volume id    : '"+volume+"'") {
		t.Errorf("xorriso sees another volume than %s:\n%s", volume, report)
	}
	r, err := iso.NewReader(m, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(files, fileList(t, r)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for _, e := range r.Boot {
		if e.Platform == iso.PlatformEFI {
			judgedFAT(t, e.Image)
		}
	}
}

// TestFormats has QEMU compare disks in other formats with the raw disk.
func TestFormats(t *testing.T) {
	for _, f := range []struct{ platform, format string }{{"oracle", "qcow2"}, {"azure", "vpc"}, {"vmware", "vmdk"}} {
		t.Run(f.platform, func(t *testing.T) {
			o := profile.ImageOptions{Bootloader: profile.SDBoot}
			w := wish{profile: f.platform, over: onDisk(o)}
			s := newWorkshop(t, w)
			out := s.make(t, w)
			disk := file(t, out.Image, "disk")
			switch f.format {
			case "qcow2":
				judged(t, "qemu-img", "check", "-f", "qcow2", disk)
			case "vmdk":
				judged(t, "tar", "-C", filepath.Dir(disk), "-xf", disk)
				disk = filepath.Join(filepath.Dir(disk), "vmware-amd64-disk1.vmdk")
			}
			o.DiskSize = 8192 << 20
			raw := s.make(t, wish{over: onDisk(o).Merge(profile.Profile{Platform: f.platform})})
			judged(t, "qemu-img", "compare", "-f", f.format, "-F", "raw", disk, file(t, raw.Image, "raw"))
		})
	}
}

// TestSignatures has sbverify look at each program that firmware checks: the
// UKI and systemd-boot on the EFI partition, and the kernel in the UKI.
func TestSignatures(t *testing.T) {
	s := newWorkshop(t, wish{})
	certificate := filepath.Join(s.keys, secureboot.SigningCertificateFile)
	out := s.make(t, wish{profile: "secureboot-metal"})
	d, err := gpt.Read(out.Image, out.Image.Size())
	if err != nil {
		t.Fatal(err)
	}
	esp, err := fat.NewReader(out.Image.Section(d.Partitions[0].Offset, d.Partitions[0].Size).Reader(), d.Partitions[0].Size)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"EFI/BOOT/BOOTX64.EFI", "EFI/Linux/Talos-v1.14.0.efi"} {
		data, err := fs.ReadFile(esp, name)
		if err != nil {
			t.Fatal(err)
		}
		judged(t, "sbverify", "--cert", certificate, file(t, sparse.Bytes(data), "program.efi"))
		if !strings.Contains(name, "Linux") {
			continue
		}
		program, err := uki.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		kernel, _ := uki.Find(program.Sections, ".linux")
		judged(t, "sbverify", "--cert", certificate, file(t, kernel.Content, "kernel.efi"))
	}
}
