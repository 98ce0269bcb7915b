package inspect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/compress"
	"github.com/graftlinux/graft/internal/format/ova"
	"github.com/graftlinux/graft/internal/format/qcow2"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/format/vhd"
	"github.com/graftlinux/graft/internal/format/vmdk"
	"github.com/graftlinux/graft/internal/secureboot"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

// lister writes a report as a listing that explains itself: without what is
// different for each key.
type lister struct{ strings.Builder }

func (l *lister) line(depth int, format string, args ...any) {
	fmt.Fprintf(l, strings.Repeat("  ", depth)+format+"\n", args...)
}

func listing(a *Asset) string {
	var l lister
	l.line(0, "%s", strings.Join(append([]string{string(a.Kind)}, a.Formats...), " in "))
	l.contents(1, a.Contents)
	l.files(1, a.Files)
	for _, p := range a.Problems {
		l.line(0, "problem: %s", p)
	}
	return l.String()
}

func (l *lister) contents(depth int, c Contents) {
	if d := c.Disk; d != nil {
		for _, p := range d.Partitions {
			l.line(depth, "%s: %s, %d at %d, bootable %v, empty %v", p.Label, p.Type, p.Size>>20, p.Offset>>20, p.Bootable, p.Empty)
			for _, m := range p.Meta {
				l.line(depth+1, "%s=%s", m.Tag, m.Value)
			}
			l.fileSystem(depth+1, p.FileSystem)
		}
	}
	if r := c.ISO; r != nil {
		l.fileSystem(depth, &r.FileSystem)
		for _, b := range r.Boot {
			l.line(depth, "boot image for %s", b.Firmware)
			l.fileSystem(depth+1, b.FileSystem)
		}
		for _, p := range r.Partitions {
			l.line(depth, "partition %s %d: %s at %d", p.Table, p.Number, p.Type, p.Offset>>20)
		}
	}
	l.program(depth, c.Program)
	if k := c.Kernel; k != nil {
		l.line(depth, "%s %s", k.Arch, k.Release)
	}
	l.initramfs(depth, c.Initramfs)
	if m := c.Menu; m != nil {
		l.line(depth, "default %q, %d seconds", m.Default, m.Timeout)
		for _, e := range m.Entries {
			l.line(depth, "%s: %s %s: %s", e.Title, e.Kernel, e.Initrds, e.Cmdline)
		}
	}
	for _, s := range c.Loader {
		l.line(depth, "%s %s", s.Key, s.Value)
	}
	if e := c.Enrolment; e != nil {
		l.line(depth, "%s, signed by %s: %s", e.Variable, e.Signer.Subject, e.Keys[0].Certificate.Subject)
	}
	if c.Signer != nil {
		l.line(depth, "certificate of %s", c.Signer.Subject)
	}
	if c.Cmdline != "" {
		l.line(depth, "%s", c.Cmdline)
	}
}

func (l *lister) fileSystem(depth int, f *FileSystem) {
	if f == nil {
		return
	}
	l.line(depth, "%s %s", f.Type, f.Label)
	l.files(depth, f.Files)
}

func (l *lister) files(depth int, files []Entry) {
	for _, e := range files {
		l.line(depth, "/%s %s", e.Path, e.Kind)
		l.contents(depth+1, e.Contents)
	}
}

func (l *lister) program(depth int, p *Program) {
	if p == nil {
		return
	}
	l.line(depth, "%s, %s %s, kernel %s, %s", p.Arch, p.OS, p.Version, p.Release, p.SBAT)
	for _, s := range p.Sections {
		l.line(depth, "section %s %s", s.Name, s.Profile)
	}
	for _, v := range p.Profiles {
		l.line(depth, "profile %s %q: %s", v.ID, v.Title, v.Cmdline)
		for _, pcr := range v.PCR11 {
			l.line(depth+1, "%s of %d digits, signed %v, valid %v", pcr.Bank, len(pcr.Value), pcr.Signed, pcr.Valid)
		}
	}
	for _, s := range p.Signatures {
		l.line(depth, "signed by %s, from %s to %s, matches %v, valid %v", s.Certificate.Subject,
			s.Certificate.NotBefore.Format("2006"), s.Certificate.NotAfter.Format("2006"), s.Matches, s.Valid)
	}
	l.initramfs(depth, p.Initramfs)
}

func (l *lister) initramfs(depth int, r *Initramfs) {
	if r == nil {
		return
	}
	l.line(depth, "base %s %s, modules %s", r.Base.OS, r.Base.Version, r.Base.Releases)
	for _, layer := range r.Layers {
		l.line(depth, "layer %s: %s %s", layer.Image, layer.Metadata.Name, layer.Metadata.Version)
	}
}

const ukiListing = `amd64, Talos v1.13.0, kernel 6.18.1-talos, [systemd,1]
section .text 
section .sbat 
section .osrel 
section .cmdline 
section .uname 
section .pcrpkey 
section .linux 
section .initrd 
section .profile main
section .pcrsig main
section .profile reset
section .cmdline reset
section .pcrsig reset
profile main "": talos.platform=metal console=tty0 init_on_alloc=1 pti=on
  sha256 of 64 digits, signed true, valid true
  sha384 of 96 digits, signed true, valid true
  sha512 of 128 digits, signed true, valid true
profile reset "Reset system disk": talos.platform=metal console=tty0 init_on_alloc=1 pti=on talos.experimental.wipe=system
  sha256 of 64 digits, signed true, valid true
  sha384 of 96 digits, signed true, valid true
  sha512 of 128 digits, signed true, valid true
signed by CN=graft test, from 2026 to 2036, matches true, valid true
` + initramfsListing

const initramfsListing = `base Talos v1.13.0, modules [6.18.1-talos]
layer 000.btrfs.sqsh: btrfs 6.1.0
layer 001.same.sqsh: same 1
layer 002.dropped.sqsh: dropped 2
`

const espListing = `/EFI/BOOT/BOOTX64.EFI efi
  amd64,  , kernel , [systemd,1]
  section .text 
  section .sbat 
  signed by CN=graft test, from 2026 to 2036, matches true, valid true
/EFI/Linux/Talos-v1.13.0.efi uki
<uki>
/EFI/keys/uki-signing-cert.der 
  certificate of CN=graft test
/loader/keys/auto/db.auth 
  db, signed by CN=graft test: CN=graft test
/loader/loader.conf 
  timeout 10
  secure-boot-enroll if-safe
`

// indented puts a listing into another one.
func indented(depth int, listing string) string {
	var b strings.Builder
	for line := range strings.Lines(listing) {
		if line == "<uki>\n" {
			b.WriteString(indented(depth+1, ukiListing))
			continue
		}
		b.WriteString(strings.Repeat("  ", depth) + line)
	}
	return b.String()
}

func TestDisk(t *testing.T) {
	want := `disk
  EFI: EFI system, 48 at 1, bootable false, empty false
    FAT16 EFI
` + indented(2, espListing) + `  BIOS: BIOS boot, 1 at 49, bootable true, empty false
  BOOT: Linux data, 64 at 50, bootable false, empty false
    XFS BOOT
    /A/initramfs.xz initramfs
` + indented(3, initramfsListing) + `    /A/vmlinuz kernel
      amd64 6.18.1-talos
    /grub/grub.cfg 
      default "A - Talos v1.13.0", 3 seconds
      A - Talos v1.13.0: /A/vmlinuz [/A/initramfs.xz]: talos.platform=metal console=tty0 init_on_alloc=1 pti=on
      Reset Talos installation and return to maintenance mode: /A/vmlinuz [/A/initramfs.xz]: talos.platform=metal console=tty0 init_on_alloc=1 pti=on talos.experimental.wipe=system:EPHEMERAL,STATE
  META: Linux data, 1 at 114, bootable false, empty false
    MetalNetworkPlatformConfig=hostname: a
  STATE: Linux data, 1 at 115, bootable false, empty true
`
	if d := cmp.Diff(want, listing(of(t, old.rawDisk(t), Options{}))); d != "" {
		t.Errorf("listing (-want +got):\n%s", d)
	}
}

func TestISO(t *testing.T) {
	want := `iso
  ISO 9660 TALOS
  /boot/grub/grub.cfg 
    default "", 3 seconds
    Talos ISO: /boot/vmlinuz [/boot/initramfs.xz]: talos.platform=metal console=tty0 init_on_alloc=1 pti=on
    Reset Talos installation: /boot/vmlinuz [/boot/initramfs.xz]: talos.platform=metal console=tty0 init_on_alloc=1 pti=on talos.experimental.wipe=system
  /boot/initramfs.xz initramfs
` + indented(2, initramfsListing) + `  /boot/vmlinuz kernel
    amd64 6.18.1-talos
  boot image for BIOS
  boot image for UEFI
    FAT12 EFI
` + indented(2, espListing) + `  partition mbr 1: 0x83 at 0
  partition mbr 2: 0xef at 1
`
	if d := cmp.Diff(want, listing(of(t, old.iso(t), Options{}))); d != "" {
		t.Errorf("listing (-want +got):\n%s", d)
	}
}

func TestUKI(t *testing.T) {
	if d := cmp.Diff("uki\n"+indented(1, ukiListing), listing(of(t, old.uki(t), Options{}))); d != "" {
		t.Errorf("listing (-want +got):\n%s", d)
	}
}

// vmdkOf and ovaOf write to a file, as the formats want it.
func vmdkOf(t *testing.T, raw *sparse.Image) *sparse.Image {
	var b bytes.Buffer
	if err := vmdk.Write(anyCtx, &b, raw, vmdk.Options{}); err != nil {
		t.Fatal(err)
	}
	return sparse.Bytes(b.Bytes())
}

func ovaOf(t *testing.T, raw *sparse.Image) *sparse.Image {
	f := must[*os.File](t)(os.Create(filepath.Join(t.TempDir(), "spool")))
	t.Cleanup(func() { f.Close() })
	return must[*sparse.Image](t)(ova.Encode(anyCtx, raw, f, ova.Options{}))
}

func compressed(t *testing.T, m *sparse.Image, f compress.Format) *sparse.Image {
	var b bytes.Buffer
	err := compress.Write(anyCtx, &b, m, f, compress.Options{Level: compress.Fast})
	if f == compress.TarGz {
		b.Reset()
		err = compress.WriteTarGz(anyCtx, &b, "disk.raw", m, epoch, compress.Options{Level: compress.Fast})
	}
	if err != nil {
		t.Fatal(err)
	}
	return sparse.Bytes(b.Bytes())
}

func tarOf(t testing.TB, files ...tree.Entry) *sparse.Image {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		content := must[tree.Reader](t)(f.Open())
		if err := w.WriteHeader(&tar.Header{Name: f.Path, Mode: 0o644, Size: f.Size}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return sparse.Bytes(b.Bytes())
}

// TestFormats: what is around a disk makes no difference to what is in it.
func TestFormats(t *testing.T) {
	testkit.NotUnderRace(t)
	raw := old.rawDisk(t)
	want := listing(of(t, raw, Options{}))
	q := must[*sparse.Image](t)(qcow2.Encode(raw, qcow2.Options{}))
	for _, test := range []struct {
		formats string
		image   *sparse.Image
	}{
		{"qcow2", q},
		{"vhd", must[*sparse.Image](t)(vhd.Encode(raw, vhd.Options{ForceSize: true}))},
		{"vhd", must[*sparse.Image](t)(vhd.Encode(raw, vhd.Options{ForceSize: true, Fixed: true}))},
		{"vmdk", vmdkOf(t, raw)},
		{"ova", ovaOf(t, raw)},
		{"gz", compressed(t, raw, compress.Gzip)},
		{"xz", compressed(t, raw, compress.XZ)},
		{"zst", compressed(t, raw, compress.Zstd)},
		{"tar.gz", compressed(t, raw, compress.TarGz)},
		{"zst in qcow2", compressed(t, q, compress.Zstd)},
	} {
		got := listing(of(t, test.image, Options{}))
		if d := cmp.Diff(strings.Replace(want, "disk\n", "disk in "+test.formats+"\n", 1), got); d != "" {
			t.Errorf("%s: listing (-want +got):\n%s", test.formats, d)
		}
	}
}

func TestIdentify(t *testing.T) {
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write([]byte("no initramfs"))
	z.Close()
	raw := old.rawDisk(t)
	backup := make([]byte, raw.Size())
	if _, err := raw.ReadAt(backup, 0); err != nil {
		t.Fatal(err)
	}
	clear(backup[:1<<20])
	file := func(name string) tree.Entry { return tree.Entry{Path: name, Node: tree.File(0o644, []byte("x"))} }
	for _, test := range []struct {
		name  string
		image *sparse.Image
		want  Kind
	}{
		{"empty", sparse.New(0), KindUnknown},
		{"zeros", sparse.New(1 << 40), KindUnknown},
		{"text", sparse.Bytes([]byte("MZ and no more")), KindUnknown},
		{"initramfs", old.initramfs(t), KindInitramfs},
		{"compressed initramfs", compressed(t, old.initramfs(t), compress.Zstd), KindInitramfs},
		{"UKI", old.uki(t), KindUKI},
		{"cut UKI", old.uki(t).Section(0, 5000), KindEFI},
		{"program", testStub(), KindEFI},
		{"kernel", testKernel("6"), KindKernel},
		{"ISO", old.iso(t), KindISO},
		{"disk", raw, KindDisk},
		{"disk with the backup table only", sparse.Bytes(backup), KindDisk},
		{"gzip", sparse.Bytes(gz.Bytes()), KindCompressed},
		{"cut gzip", sparse.Bytes(gz.Bytes()[:12]), KindCompressed},
		{"appliance", tarOf(t, file("a.ovf"), file("a.vmdk")), KindOVA},
		{"tar of a disk", tarOf(t, file("disk.raw")), KindArchive},
		{"OCI layout", tarOf(t, file("blobs/sha256/x"), file("oci-layout")), KindContainer},
		{"docker save", tarOf(t, file("x.json"), file("manifest.json")), KindContainer},
		{"tar of an extension", tarOf(t, file("manifest.yaml"), file("rootfs/x")), KindUnknown},
	} {
		if got := Identify(test.image, test.image.Size()); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// flipped has one bit changed.
func flipped(t *testing.T, m *sparse.Image, at int64) *sparse.Image {
	b := make([]byte, m.Size())
	if _, err := m.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	return sparse.Bytes(b)
}

func TestAssetProblems(t *testing.T) {
	disk := old.rawDisk(t)
	cmdline := offsetOf(t, old.uki(t), "init_on_alloc=1")
	signature := offsetOf(t, old.uki(t), `"sig":"`) + 20
	noBoot := old.disk(t)
	noBoot.Partitions, noBoot.BootCode = noBoot.Partitions[4:], nil
	for _, test := range []struct {
		name  string
		image *sparse.Image
		want  []string
	}{
		{"UKI that was changed", flipped(t, old.uki(t), cmdline), []string{
			"it was changed after it was signed: its digest is",
			"profile main: the signatures in .pcrsig are not for the values that PCR 11 will have (sha256, sha384, sha512): a TPM will not unlock disks",
		}},
		{"policy of another key", flipped(t, old.uki(t), signature), []string{
			"it was changed after it was signed: its digest is",
			"profile main: the signatures in .pcrsig are not by the key in .pcrpkey (sha256): a TPM will not unlock disks",
		}},
		{"the same on a disk", flipped(t, disk, offsetOf(t, disk, "init_on_alloc=1")), []string{
			"EFI: EFI/Linux/Talos-v1.13.0.efi: it was changed",
			"EFI: EFI/Linux/Talos-v1.13.0.efi: profile main: the signatures",
		}},
		{"damaged table", flipped(t, disk, 512+16), []string{"the partition table is damaged: "}},
		{"nothing to boot", must[*sparse.Image](t)(noBoot.Image()), []string{
			"there is neither an EFI system partition nor boot code in the MBR: no firmware starts this disk",
		}},
	} {
		a := of(t, test.image, Options{})
		if len(a.Problems) != len(test.want) {
			t.Errorf("%s: got the problems %q, want %q", test.name, a.Problems, test.want)
			continue
		}
		for i, p := range a.Problems {
			if !strings.HasPrefix(p, test.want[i]) {
				t.Errorf("%s: got the problem %q, want %q", test.name, p, test.want[i])
			}
		}
	}
}

func offsetOf(t *testing.T, m *sparse.Image, text string) int64 {
	b := must[[]byte](t)(io.ReadAll(m.Reader()))
	at := bytes.Index(b, []byte(text))
	if at < 0 {
		t.Fatalf("%q is not there", text)
	}
	return int64(at)
}

func TestPXE(t *testing.T) {
	read := func(m *sparse.Image) *fstest.MapFile {
		return &fstest.MapFile{Data: must[[]byte](t)(io.ReadAll(m.Reader()))}
	}
	dir := fstest.MapFS{
		"kernel-amd64":             read(testKernel("6.18.1-talos")),
		"initramfs-metal-amd64.xz": read(old.initramfs(t)),
		"cmdline-metal-amd64":      {Data: []byte("a b=1")},
		"metal-amd64.ipxe":         {Data: []byte("#!ipxe\nimgfree\nkernel kernel-amd64 a b=1 initrd=i\ninitrd i\nboot\n")},
	}
	if got := IdentifyDir(dir); got != KindPXE {
		t.Errorf("got the kind %q", got)
	}
	a := must[*Asset](t)(OfDir(anyCtx, "dir", dir, Options{Cache: testCache(t)}))
	want := `pxe
  /cmdline-metal-amd64 
    a b=1
  /initramfs-metal-amd64.xz initramfs
` + indented(2, initramfsListing) + `  /kernel-amd64 kernel
    amd64 6.18.1-talos
  /metal-amd64.ipxe 
    default "", 0 seconds
    iPXE: kernel-amd64 [i]: a b=1 initrd=i
`
	if d := cmp.Diff(want, listing(a)); d != "" {
		t.Errorf("listing (-want +got):\n%s", d)
	}
}

func TestInstaller(t *testing.T) {
	root := tree.New()
	for name, m := range map[string]*sparse.Image{
		"bin/installer": sparse.Bytes([]byte("x")), "usr/install/amd64/vmlinuz.efi": old.uki(t), "usr/install/amd64/systemd-boot.efi": testStub(),
	} {
		if err := root.Put(name, tree.File(0o644, must[[]byte](t)(io.ReadAll(m.Reader())))); err != nil {
			t.Fatal(err)
		}
	}
	a := must[*Asset](t)(OfInstaller(anyCtx, "image", root, Options{Cache: testCache(t)}))
	want := `installer
  /usr/install/amd64/systemd-boot.efi efi
    amd64,  , kernel , [systemd,1]
    section .text 
    section .sbat 
  /usr/install/amd64/vmlinuz.efi uki
` + indented(2, ukiListing)
	if d := cmp.Diff(want, listing(a)); d != "" {
		t.Errorf("listing (-want +got):\n%s", d)
	}
}

// TestLimit: what makes too much work is an error, not a long wait.
func TestLimit(t *testing.T) {
	m := old.rawDisk(t)
	if _, err := Of(anyCtx, "disk", m, m.Size(), Options{Cache: testCache(t), MaxRead: 5000}); err == nil || !strings.Contains(err.Error(), errTooMuch.Error()) {
		t.Errorf("got %v, want %v", err, errTooMuch)
	}
}

// TestWrappings: formats around formats come to an end.
func TestWrappings(t *testing.T) {
	m := testKernel("6")
	for range maxWrappings + 1 {
		if kind := of(t, m, Options{}).Kind; kind != KindKernel {
			t.Errorf("got the kind %q", kind)
		}
		m = compressed(t, m, compress.Gzip)
	}
	if _, err := Of(anyCtx, "x", m, m.Size(), Options{Cache: testCache(t)}); err == nil || !strings.Contains(err.Error(), "formats around each other") {
		t.Errorf("got %v", err)
	}
}

// FuzzOf looks into files of any kind, and wants no more than an end.
func FuzzOf(f *testing.F) {
	var seeds [][]byte
	for _, m := range []*sparse.Image{old.uki(f), old.initramfs(f), testStub(), testKernel("6"), tarOf(f, tree.Entry{Path: "disk.raw", Node: tree.File(0o644, []byte("x"))})} {
		seeds = append(seeds, must[[]byte](f)(io.ReadAll(m.Reader())))
	}
	for _, s := range seeds {
		f.Add(s)
	}
	esp := must[[]byte](f)(io.ReadAll(old.iso(f).Reader()))
	f.Add(esp)
	c := testCache(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		if _, err := Of(anyCtx, "file", r, int64(len(data)), Options{Cache: c, LayerFiles: true, MaxRead: 32 << 20}); err != nil {
			return
		}
		IdentifyDir(fstest.MapFS{"x": {Data: data}})
	})
}

// TestOldStub: a stub measures what it knows, as its code tells, and no more.
func TestOldStub(t *testing.T) {
	code := must[[]byte](t)(io.ReadAll(testStub().Reader()))
	copy(code[1024:], ".osrel\x00.cmdline\x00.linux\x00.initrd\x00")
	all := []uki.Section{
		section(".osrel", "NAME=Talos\n"), section(".cmdline", "a"), section(".uname", "6"), {Name: ".linux", Content: testKernel("6")},
		{Name: ".initrd", Content: old.initramfs(t)}, section(".profile", "ID=main"), section(".profile", "ID=reset"), section(".cmdline", "b"),
	}
	measured := []uki.Section{all[0], all[1], all[3], all[4]}
	digests := must[uki.Digests](t)(uki.Digest(anyCtx, measured))
	want := fmt.Sprintf("%x", must[[]byte](t)(digests.PCR11(measured, secureboot.BootPhases(), crypto.SHA256)))
	a := of(t, must[*sparse.Image](t)(uki.Build(sparse.Bytes(code), all)), Options{})
	if got := a.Program.Profiles[0].PCR11[0].Value; got != want {
		t.Errorf("got PCR 11 %s, want %s", got, want)
	}
	if len(a.Problems) != 1 || !strings.Contains(a.Problems[0], "knows no profiles") {
		t.Errorf("got the problems %q", a.Problems)
	}
}
