package iso

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// wantLines fails if one of some lines is missing, whatever the spaces.
func wantLines(t *testing.T, got string, want ...string) {
	t.Helper()
	squeezed := strings.Join(strings.Fields(got), " ")
	for _, w := range want {
		if !strings.Contains(squeezed, w) {
			t.Errorf("got\n%s\nwant in it: %s", got, w)
		}
	}
}

func TestXorrisoReportsBoot(t *testing.T) {
	xorriso := testkit.Judge(t, "xorriso")
	report := func(o Options) string {
		return testkit.Run(t, xorriso, "-indev", write(t, build(t, o)), "-report_el_torito", "plain", "-report_system_area", "plain", "-pvd_info")
	}
	o := bootable()
	wantLines(t, report(o),
		"El Torito catalog : 26 1",
		"El Torito boot img : 1 BIOS y none 0x0000 0x00 4 27",
		"El Torito boot img : 2 UEFI y none 0x0000 0x00 200 512",
		"MBR partition : 1 0x80 0x83 0 2048",
		"MBR partition : 2 0x00 0xef 2048 200",
		"System area summary: MBR grub2-mbr",
		"Volume Id : TALOS_V1_14_0", "App Id : application", "Preparer Id : preparer", "Publisher Id : Graft, the tests",
		"Creation Time: 2024022912345600")
	o.GPT = true
	wantLines(t, report(o),
		"System area summary: MBR protective-msdos-label grub2-mbr cyl-align-on GPT",
		"MBR partition : 2 0x80 0x00 0 1",
		"MBR partition : 1 0x00 0xee 1 4095",
		"GPT partname local : 1 ISO9660", "GPT start and size : 1 64 1984",
		"GPT partname local : 2 EFI", "GPT start and size : 2 2048 200")
	o = bootable()
	o.BIOS = nil
	o.EFI = sparse.New(33 << 20)
	wantLines(t, report(o),
		"El Torito boot img : 1 UEFI y none 0x0000 0x00 0 512",
		"MBR partition : 1 0x00 0x83 0 2048")
}

// xorriso extracts all files as they were, with modes and times.
func TestXorrisoExtracts(t *testing.T) {
	xorriso := testkit.Judge(t, "xorriso")
	dir := filepath.Join(t.TempDir(), "x")
	testkit.Run(t, xorriso, "-osirrox", "on:auto_chmod_on", "-indev", write(t, build(t, bootable())), "-extract", "/", dir)
	if got := listing(t, os.DirFS(dir)); withoutDirectorySizes(got) != withoutDirectorySizes(wantListing) {
		t.Errorf("got\n%s\nwant\n%s", got, wantListing)
	}
	sameContents(t, os.DirFS(dir), options().Files)
}

// withoutDirectorySizes: those of the disk are another.
func withoutDirectorySizes(list string) string {
	lines := strings.Split(list, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "d") {
			lines[i] = l[:10] + l[16:]
		}
	}
	return strings.Join(lines, "\n")
}

// xorriso patches a boot image as we do.
func TestBootTablesAsXorriso(t *testing.T) {
	xorriso := testkit.Judge(t, "xorriso")
	dir := t.TempDir()
	bios := fakeBIOS()
	image, err := io.ReadAll(bios.Image.Reader())
	if err != nil {
		t.Fatal(err)
	}
	tree, mbr, out := filepath.Join(dir, "tree"), filepath.Join(dir, "mbr"), filepath.Join(dir, "x.iso")
	for _, err := range []error{
		os.Mkdir(tree, 0o755), os.WriteFile(filepath.Join(tree, "bios.img"), image, 0o644), os.WriteFile(mbr, bios.GRUB2MBR, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	testkit.Run(t, xorriso, "-as", "mkisofs", "-o", out, "-r", "--grub2-mbr", mbr, "-b", "bios.img", "-no-emul-boot",
		"-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info", tree)
	f, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	r := read(t, sparse.Bytes(f))
	patched, err := bios.patched(int64(r.Boot[0].Block))
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(r.Boot[0].Image.Reader())
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(patched.Reader())
	if !bytes.Equal(got, want) {
		t.Error("the boot image is another than that of xorriso")
	}
	p := plan{Options: Options{BIOS: bios}, bios: int64(r.Boot[0].Block), end: 512}
	if got := p.mbr([32]byte{}); !bytes.Equal(got[:mbrCodeSize], f[:mbrCodeSize]) {
		t.Error("the code of the MBR is another than that of xorriso")
	}
}

func TestIsoinfo(t *testing.T) {
	isoinfo := testkit.Judge(t, "isoinfo")
	path := write(t, build(t, bootable()))
	wantLines(t, testkit.Run(t, isoinfo, "-l", "-R", "-i", path),
		"dr-xr-xr-x 4 0 0 2048 Feb 29 2024 [ 21 02] .",
		"drwx------ 2 0 0 2048 Feb 29 2024 [ 22 02] a directory",
		"-r--r--r-- 1 0 0 10 Feb 29 2024",
		"-r--r--r-- 1 0 0 13 Feb 29 2024",
		"-rw-r--r-- 1 0 0 14 Feb 29 2024", "grub.cfg",
		"-r--r--r-- 1 0 0 5000 Feb 29 2024", "vmlinuz")
	wantLines(t, testkit.Run(t, isoinfo, "-l", "-i", path), "A_DIRECTORY", "GRUB.CFG;1", "INITRAMFS.XZ;1", "VMLINUZ.;1", "GR__E_TAR.GZ;1")
	wantLines(t, testkit.Run(t, isoinfo, "-d", "-i", path), "Rock Ridge signatures version 1 found", "Eltorito validation header", "Key 55 AA", "Volume size is: 1024")
}

func TestBsdtar(t *testing.T) {
	bsdtar := testkit.Judge(t, "bsdtar")
	path := write(t, build(t, bootable()))
	wantLines(t, testkit.Run(t, bsdtar, "-tvf", path),
		"dr-xr-xr-x 4 0 0 2048 Feb 29 2024 .",
		"-r--r--r-- 1 0 0 2048 Feb 28 2024 boot/initramfs.xz",
		"-r--r--r-- 1 0 0 0 Feb 29 2024 empty",
		"-r--r--r-- 1 0 0 10 Feb 29 2024 grüße.tar.gz",
		"-r--r--r-- 1 0 0 13 Feb 29 2024 "+longName)
	if got := testkit.Run(t, bsdtar, "-xOf", path, "boot/vmlinuz"); got != string(noise(5000)) {
		t.Error("boot/vmlinuz is another")
	}
}

// Every judge finds all files of an image with many of everything.
func TestJudgesFindAll(t *testing.T) {
	o := large()
	path := write(t, build(t, o))
	t.Run("xorriso", func(t *testing.T) {
		contains(t, testkit.Run(t, testkit.Judge(t, "xorriso"), "-indev", path, "-find"), o.Files, "'./", "'\n")
	})
	t.Run("bsdtar", func(t *testing.T) {
		contains(t, "\n"+testkit.Run(t, testkit.Judge(t, "bsdtar"), "-tf", path), o.Files, "\n", "\n")
	})
	t.Run("isoinfo", func(t *testing.T) {
		contains(t, "\n"+testkit.Run(t, testkit.Judge(t, "isoinfo"), "-f", "-R", "-i", path), o.Files, "\n/", "\n")
	})
	t.Run("xorriso reads the large file", func(t *testing.T) {
		wantLines(t, testkit.Run(t, testkit.Judge(t, "xorriso"), "-indev", path, "-lsl", "/huge"), "4294967299 Feb 29 2024 '/huge'")
	})
}

func contains(t *testing.T, list string, files []File, before, after string) {
	t.Helper()
	for _, f := range files {
		if !strings.Contains(list, before+f.Path+after) {
			t.Errorf("%s is missing", f.Path)
		}
	}
}

func TestPartitionTools(t *testing.T) {
	o := bootable()
	mbr := write(t, build(t, o))
	o.GPT = true
	gpt := write(t, build(t, o))
	t.Run("sfdisk", func(t *testing.T) {
		sfdisk := testkit.Judge(t, "sfdisk")
		wantLines(t, testkit.Run(t, sfdisk, "--dump", mbr), "label: dos",
			"1 : start= 0, size= 2048, type=83, bootable", "2 : start= 2048, size= 200, type=ef")
		testkit.Run(t, sfdisk, "--verify", mbr)
		wantLines(t, testkit.Run(t, sfdisk, "--dump", gpt), "label: gpt", "first-lba: 64", "last-lba: 4062",
			"1 : start= 64, size= 1984, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
			`name="ISO9660", attrs="RequiredPartition GUID:60"`,
			"2 : start= 2048, size= 200, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
		wantLines(t, testkit.Run(t, sfdisk, "--verify", gpt), "No errors detected.")
	})
	t.Run("sgdisk", func(t *testing.T) {
		wantLines(t, testkit.Run(t, testkit.Judge(t, "sgdisk"), "-v", gpt), "No problems found.")
	})
}

// The reader agrees with the writer of others: long names, a deep tree that is
// relocated, several extents, symbolic links, and without Rock Ridge.
func TestReadsXorriso(t *testing.T) {
	xorriso := testkit.Judge(t, "xorriso")
	dir := t.TempDir()
	tree, esp := filepath.Join(dir, "tree"), filepath.Join(dir, "esp")
	deep := filepath.Join(tree, "1/2/3/4/5/6/7/8/9/10")
	for _, err := range []error{
		os.MkdirAll(deep, 0o755),
		os.WriteFile(filepath.Join(deep, "bottom"), []byte("deep\n"), 0o640),
		os.WriteFile(filepath.Join(tree, longName), []byte("long\n"), 0o600),
		os.WriteFile(esp, noise(64<<10), 0o600),
		os.Symlink("1", filepath.Join(tree, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	make := func(args ...string) *Reader {
		out := filepath.Join(t.TempDir(), "x.iso")
		testkit.Run(t, xorriso, append(append([]string{"-as", "mkisofs", "-o", out, "-V", "OTHER"}, args...), tree)...)
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return read(t, sparse.Bytes(b))
	}
	r := make("-R", "-append_partition", "2", "0xef", esp, "-appended_part_as_gpt", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot")
	wantLines(t, listing(t, r), "-rw-r----- 5", "1/2/3/4/5/6/7/8/9/10/bottom", "-rw------- 5", longName, "Lrwxrwxrwx 0")
	if got, err := io.ReadAll(r.Boot[0].Image.Reader()); r.Boot[0].Platform != PlatformEFI || !bytes.Equal(got, noise(64<<10)) {
		t.Errorf("got another EFI boot image (%v)", err)
	}
	r = make("-iso-level", "2", "--norock")
	if r.Volume.RockRidge || r.Volume.ID != "OTHER" {
		t.Errorf("got %v, want a volume without Rock Ridge", r.Volume)
	}
	wantLines(t, listing(t, r), "1/2/3/4/5/6/7/8/9/10/BOTTOM")
}

// genisoimage moves directories that are too deep to others (CL, PL and RE).
func TestReadsGenisoimage(t *testing.T) {
	genisoimage := testkit.Judge(t, "genisoimage")
	tree, out := t.TempDir(), filepath.Join(t.TempDir(), "x.iso")
	deep := "1/2/3/4/5/6/7/8/9/10"
	if err := os.MkdirAll(filepath.Join(tree, deep), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, deep, "bottom"), []byte("deep\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, genisoimage, "-quiet", "-R", "-o", out, tree)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, listing(t, read(t, sparse.Bytes(b))), deep+"/bottom")
}
