package grub

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/testkit"
)

// boot starts a machine and returns what comes on its serial line, up to the
// line that contains last. Without a screen, SeaBIOS writes there too.
func boot(t *testing.T, last string, args ...string) string {
	t.Helper()
	qemu := testkit.Judge(t, "qemu-system-x86_64")
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	args = append([]string{"-accel", "tcg", "-m", "256", "-nodefaults", "-nographic", "-vga", "none", "-no-reboot", "-serial", "stdio"}, args...)
	cmd := exec.CommandContext(ctx, qemu, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	var seen strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		seen.WriteString(strings.Trim(lines.Text(), "\r") + "\n")
		if strings.Contains(lines.Text(), last) {
			return seen.String()
		}
	}
	t.Fatalf("%q did not come:\n%s", last, seen.String())
	return ""
}

// toSerial is an early configuration that tells where GRUB comes from.
const toSerial = "serial --unit=0 --speed=115200\nterminal_output serial\necho \"prefix is $prefix\"\n"

// script is a grub.cfg that shows how GRUB's shell reads words, and the lines
// that it is to print if our lexer is right.
func script(t *testing.T) (cfg string, want []string) {
	t.Helper()
	words := []string{" !#$%&()*+,-./0123", "456789:;<=>?@ABC", "[]^_`abc{|}~ ", "$x ${x} a  b", "* /* /?", "# e ; f"}
	var lines []string
	for _, w := range words {
		lines = append(lines, "echo "+quoteTitle(w), "echo "+quoteWord(w), "echo "+quoteParameter(w))
	}
	lines = append(lines, "echo "+quoteTitle(`\'"\n`), "echo "+quoteWord(`\'"\n`), `echo a#b 'c'"d"\e "\f \" \$ \\" 'g\'`, "echo a \\\nb", "echo a;echo b # c")
	l := lexer{rest: strings.Join(lines, "\n"), line: 1}
	for line := []string(nil); ; {
		tok, err := l.next()
		if err != nil {
			t.Fatal(err)
		}
		if tok.kind == word {
			line = append(line, tok.text)
			continue
		}
		want, line = append(want, strings.Join(line[1:], " ")), nil
		if tok.kind == endOfFile {
			return "x=bad\n" + strings.Join(lines, "\n") + "\necho the end\nsleep 60\n", want
		}
	}
}

const (
	coreLBA = 2048 // of the disks here
	rootLBA = 4096
)

// disk makes a disk with the partitions BIOS boot and ext2, the latter with the
// files of a directory, and GRUB.
func disk(t *testing.T, files, root string, o Options) string {
	t.Helper()
	core, err := DiskCore(os.DirFS(files), o)
	if err != nil {
		t.Fatal(err)
	}
	bootCode, core, err := InstallDisk(os.DirFS(files), core, coreLBA, sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image, part := filepath.Join(dir, "disk"), filepath.Join(dir, "part")
	testkit.Run(t, "mke2fs", "-q", "-t", "ext2", "-d", root, part, "64M")
	fs, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(68 << 20); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, "sgdisk", "-n", "1:2048:4095", "-t", "1:ef02", "-n", "2:4096:0", "-t", "2:8300", image)
	write(t, f, bootCode, 0)
	write(t, f, core, coreLBA*sectorSize)
	write(t, f, fs, rootLBA*sectorSize)
	return image
}

func write(t *testing.T, f *os.File, data []byte, at int64) {
	t.Helper()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

// tree writes files into a new directory.
func tree(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestBootDisk comes from the BIOS to a grub.cfg on a disk, with all modules in
// the core, and asks GRUB's shell how it reads what we quote.
func TestBootDisk(t *testing.T) {
	cfg, want := script(t)
	for _, files := range grubDirs(t, "i386-pc") {
		t.Run(files, func(t *testing.T) {
			root := tree(t, map[string][]byte{"grub/grub.cfg": []byte(cfg)})
			image := disk(t, files, root, Options{Modules: append(DiskModules(), "sleep"), Prefix: "(,gpt2)/grub", Config: []byte(toSerial)})
			got := boot(t, "the end", "-drive", "format=raw,file="+image)
			if want := "prefix is (hd0,gpt2)/grub\n"; !strings.Contains(got, want) {
				t.Errorf("GRUB did not print %q", want)
			}
			for _, line := range want {
				if !strings.Contains(got, "\n"+line+"\n") {
					t.Errorf("GRUB did not print %q", line)
				}
			}
			if t.Failed() {
				t.Logf("%s", got)
			}
		})
	}
}

// iso makes a hybrid ISO with xorriso, as grub-mkrescue does.
func iso(t *testing.T, files, cfg string) string {
	t.Helper()
	core, err := CDCore(os.DirFS(files), Options{Modules: append(CDModules(), "sleep"), Prefix: "/boot/grub", Config: []byte(toSerial)})
	if err != nil {
		t.Fatal(err)
	}
	mbr, err := HybridMBR(os.DirFS(files))
	if err != nil {
		t.Fatal(err)
	}
	root := tree(t, map[string][]byte{"boot/core.img": core, "boot/grub/grub.cfg": []byte(cfg)})
	image, mbrFile := filepath.Join(t.TempDir(), "iso"), filepath.Join(t.TempDir(), "mbr")
	if err := os.WriteFile(mbrFile, bootSector(mbr), 0o644); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-o", image, "-b", "boot/core.img", "-no-emul-boot", "-boot-load-size", "4",
		"-boot-info-table", "--grub2-boot-info", "--grub2-mbr", mbrFile, root)
	return image
}

// bootSector is boot code with an empty partition table.
func bootSector(code []byte) []byte {
	b := make([]byte, sectorSize)
	copy(b, code)
	return append(b[:bootMagic], 0x55, 0xaa)
}

func TestBootCD(t *testing.T) {
	for _, files := range grubDirs(t, "i386-pc") {
		t.Run(files, func(t *testing.T) {
			image := iso(t, files, "echo the menu of $root\nsleep 60\n")
			// SeaBIOS calls the CD drive 0xe0, GRUB counts from 0x80.
			boot(t, "the menu of hd96", "-cdrom", image)
			boot(t, "the menu of hd0", "-drive", "format=raw,file="+image)
			checkISO(t, image, files)
		})
	}
}

// checkISO holds what xorriso has filled in against what is documented here.
func checkISO(t *testing.T, image, files string) {
	t.Helper()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	diskboot, err := os.ReadFile(filepath.Join(files, "diskboot.img"))
	if err != nil {
		t.Fatal(err)
	}
	hybrid := binary.LittleEndian.Uint64(b[HybridBlock:])
	if got := string(b[hybrid*sectorSize:][:16]); got != string(diskboot[:16]) {
		t.Errorf("the boot code loads sector %d, which is not diskboot.img", hybrid)
	}
	file := int(hybrid-4) * sectorSize
	got := fmt.Sprint(binary.LittleEndian.Uint32(b[file+CDBootInfo+4:]), binary.LittleEndian.Uint64(b[file+CDBlockList:]))
	if want := fmt.Sprint(file/cdSectorSize, hybrid+1); got != want {
		t.Errorf("block and sector in the boot image are %s, want %s", got, want)
	}
}

// TestBootKernel starts the kernel of GRAFT_TEST_KERNEL with every difficult
// command line, and reads what it says that it got.
func TestBootKernel(t *testing.T) {
	path := os.Getenv("GRAFT_TEST_KERNEL")
	if path == "" {
		t.Skip("GRAFT_TEST_KERNEL names no kernel, such as the vmlinuz of linux-image-cloud-amd64")
	}
	kernel, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, c := range cmdlines {
		all.WriteString(cmp.Or(c.arrives, c.cmdline) + " ")
	}
	m := DiskMenu(Slot{"A", "v1.14.0", "console=ttyS0 " + all.String() + "panic=-1"}, &Slot{"B", "v1.13.9", "x"})
	cfg, err := m.Config()
	if err != nil {
		t.Fatal(err)
	}
	for _, files := range grubDirs(t, "i386-pc") {
		root := tree(t, map[string][]byte{"grub/grub.cfg": cfg, "A/vmlinuz": kernel, "A/initramfs.xz": make([]byte, 512)})
		image := disk(t, files, root, Options{Modules: DiskModules(), Prefix: "(,gpt2)/grub"})
		got := boot(t, "Kernel command line: ", "-m", "512", "-drive", "format=raw,file="+image)
		if want := "Kernel command line: BOOT_IMAGE=/A/vmlinuz " + strings.Join(strings.Fields(m.Entries[0].Cmdline), " ") + "\n"; !strings.HasSuffix(got, want) {
			_, got, _ = strings.Cut(got, "Kernel command line")
			t.Errorf("%s: got\n%q\nwant\n%q", files, got, want)
		}
	}
}
