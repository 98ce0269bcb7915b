package iso

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// Directories of the Debian packages grub-pc-bin, grub-efi-amd64-bin and ovmf.
const (
	grubBIOS = "/usr/lib/grub/i386-pc"
	grubEFI  = "/usr/lib/grub/x86_64-efi"
	ovmf     = "/usr/share/OVMF"
)

// grubConfig reads a file of the volume, so that GRUB has to find it, and says
// on the serial line how it was started.
const grubConfig = `serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
search --file --set=root /boot/grub/where.cfg
source /boot/grub/where.cfg
echo "started by $how, found $where on $root"
halt
`

// grubImage makes an image of GRUB with a configuration in it.
func grubImage(t *testing.T, format, dir string, modules ...string) *sparse.Image {
	t.Helper()
	grub := testkit.Judge(t, "grub-mkimage")
	if _, err := os.Stat(dir); err != nil {
		testkit.Absent(t, "GRUB for "+format+" is not installed (Debian packages grub-pc-bin, grub-efi-amd64-bin)")
	}
	config, out := filepath.Join(t.TempDir(), "grub.cfg"), filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(config, []byte("set how="+format+"\n"+grubConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	modules = append(modules, "iso9660", "part_msdos", "part_gpt", "serial", "terminal", "echo", "search", "search_fs_file", "configfile", "halt")
	testkit.Run(t, grub, append([]string{"-O", format, "-d", dir, "-c", config, "-p", "/boot/grub", "-o", out}, modules...)...)
	return readImage(t, out)
}

func readImage(t *testing.T, path string) *sparse.Image {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sparse.Bytes(b)
}

// esp makes a FAT file system that is larger than the catalog can say, with
// GRUB behind its first 32 MiB.
func esp(t *testing.T) *sparse.Image {
	t.Helper()
	mkfs, mcopy, mmd := testkit.Judge(t, "mkfs.vfat"), testkit.Judge(t, "mcopy"), testkit.Judge(t, "mmd")
	grub := grubImage(t, "x86_64-efi", grubEFI, "fat")
	dir := t.TempDir()
	out, filler := filepath.Join(dir, "esp"), filepath.Join(dir, "filler")
	for name, size := range map[string]int64{out: 48 << 20, filler: 36 << 20} {
		if err := sparse.New(size).WriteFile(context.Background(), create(t, name), nil); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Run(t, mkfs, "-F", "32", "-s", "1", out)
	testkit.Run(t, mmd, "-i", out, "::EFI", "::EFI/BOOT")
	testkit.Run(t, mcopy, "-i", out, filler, "::filler")
	testkit.Run(t, mcopy, "-i", out, write(t, grub), "::EFI/BOOT/BOOTX64.EFI")
	return readImage(t, out)
}

func create(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestBoots starts an image as a CD and as a disk, by a BIOS and by UEFI, until
// GRUB says that it has read a file of the volume.
func TestBoots(t *testing.T) {
	if testing.Short() {
		t.Skip("starts machines")
	}
	qemu := testkit.Judge(t, "qemu-system-x86_64")
	o := options()
	o.Files = append(o.Files, File{Path: "boot/grub/where.cfg", Content: words("set where=the-volume\n")})
	o.BIOS = &BIOSBoot{Image: grubImage(t, "i386-pc-eltorito", grubBIOS, "biosdisk"), InfoTable: true, GRUB2Info: true}
	mbr, err := os.ReadFile(grubBIOS + "/boot_hybrid.img")
	if err != nil {
		t.Fatal(err)
	}
	o.BIOS.GRUB2MBR = mbr
	o.EFI = esp(t)
	mbrDrive := drive(t, o)
	o.GPT = true
	gptDrive := drive(t, o)
	// All eight combinations boot. UEFI takes ten seconds, so two of them do not here.
	for _, c := range []struct {
		name, drive, device string
		firmware            func(*testing.T) []string
		want                string
	}{
		{"BIOS CD", mbrDrive, cd, bios, "started by i386-pc-eltorito, found the-volume"},
		{"BIOS CD with GPT", gptDrive, cd, bios, "started by i386-pc-eltorito, found the-volume"},
		{"BIOS stick", mbrDrive, stick, bios, "started by i386-pc-eltorito, found the-volume"},
		{"BIOS stick with GPT", gptDrive, stick, bios, "started by i386-pc-eltorito, found the-volume"},
		{"UEFI CD", mbrDrive, cd, uefi, "started by x86_64-efi, found the-volume"},
		{"UEFI stick with GPT", gptDrive, stick, uefi, "started by x86_64-efi, found the-volume"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512", "-nographic",
				"-vga", "none", "-nic", "none", "-no-reboot", "-device", "qemu-xhci", "-drive", c.drive, "-device", c.device}
			start(t, c.want, qemu, append(args, c.firmware(t)...)...)
		})
	}
}

// Devices of QEMU for the drive.
const (
	cd    = "ide-cd,drive=x,bootindex=1"
	stick = "usb-storage,drive=x,bootindex=1"
)

func drive(t *testing.T, o Options) string {
	return "if=none,id=x,format=raw,readonly=on,file=" + write(t, build(t, o))
}

// bios is what QEMU has without arguments.
func bios(*testing.T) []string { return nil }

// uefi are the arguments for a machine with that firmware.
func uefi(t *testing.T) []string {
	t.Helper()
	vars, err := os.ReadFile(ovmf + "/OVMF_VARS_4M.fd")
	if err != nil {
		testkit.Absent(t, "UEFI is not installed (Debian package ovmf)")
	}
	copied := filepath.Join(t.TempDir(), "vars")
	if err := os.WriteFile(copied, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + ovmf + "/OVMF_CODE_4M.fd",
		"-drive", "if=pflash,format=raw,unit=1,file=" + copied,
	}
}

// start runs a machine until its serial line says something, at most two minutes.
func start(t *testing.T, want, qemu string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, args...)
	serial, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	var seen strings.Builder
	for s := bufio.NewScanner(serial); s.Scan(); {
		seen.WriteString(s.Text() + "\n")
		if strings.Contains(s.Text(), want) {
			return
		}
	}
	t.Errorf("got on the serial line\n%s\nwant %s", seen.String(), want)
}
