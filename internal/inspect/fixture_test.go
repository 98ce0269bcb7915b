package inspect

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/fat"
	"github.com/graftlinux/graft/internal/format/gpt"
	"github.com/graftlinux/graft/internal/format/grub"
	"github.com/graftlinux/graft/internal/format/iso"
	"github.com/graftlinux/graft/internal/format/meta"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/format/xfs"
	"github.com/graftlinux/graft/internal/secureboot"
	"github.com/graftlinux/graft/internal/tree"
)

var (
	epoch  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	anyCtx = context.Background()
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func testCache(t testing.TB) *cache.Cache {
	t.Helper()
	return must[*cache.Cache](t)(cache.Open(t.TempDir()))
}

// testStub is the smallest program that sections can be added to.
func testStub() *sparse.Image {
	const coff, optional, table, headers = 0x40, 0x58, 0x58 + 240, 1024
	b := make([]byte, headers+1024)
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	copy(b, "MZ")
	put(60, coff)
	copy(b[coff:], "PE\x00\x00\x64\x86\x02")
	binary.LittleEndian.PutUint16(b[coff+20:], 240)
	binary.LittleEndian.PutUint16(b[coff+22:], 0x206) // an executable
	binary.LittleEndian.PutUint16(b[optional:], 0x20b)
	put(optional+32, 4096)
	put(optional+36, 512)
	put(optional+56, 3*4096)
	put(optional+60, headers)
	put(optional+108, 16)
	for i, name := range []string{".text", ".sbat"} {
		at := table + 40*i
		copy(b[at:], name)
		put(at+8, 512)
		put(at+12, uint32(4096*(i+1)))
		put(at+16, 512)
		put(at+20, uint32(headers+512*i))
	}
	copy(b[headers+512:], "sbat,1,SBAT Version,sbat,1,https://x\nsystemd,1,The systemd Developers,systemd,257,https://y\n")
	return sparse.Bytes(b)
}

// testKernel is a bzImage as far as the header goes.
func testKernel(release string) *sparse.Image {
	b := make([]byte, 4096)
	copy(b[0x1fe:], "\x55\xaa")
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x600)
	copy(b[0x800:], release+" (builder@host) #1\x00")
	return sparse.Bytes(b)
}

// keys are made once: it takes its time.
var keys = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	names, err := secureboot.GenerateKeys(anyCtx, dir, "graft test", epoch, epoch.AddDate(10, 0, 0))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, n := range names {
		if files[n], err = os.ReadFile(filepath.Join(dir, n)); err != nil {
			return nil, err
		}
	}
	return files, nil
})

func testKeys(t testing.TB) (program, pcr *secureboot.Key, files map[string][]byte) {
	t.Helper()
	files = must[map[string][]byte](t)(keys())
	dir := t.TempDir()
	for n, data := range files {
		if err := os.WriteFile(filepath.Join(dir, n), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program = must[*secureboot.Key](t)(secureboot.LoadKey(filepath.Join(dir, secureboot.SigningKeyFile), filepath.Join(dir, secureboot.SigningCertificateFile)))
	pcr = must[*secureboot.Key](t)(secureboot.LoadPCRKey(filepath.Join(dir, secureboot.PCRKeyFile)))
	return program, pcr, files
}

// release is what differs between two assets.
type release struct {
	talos, kernel, cmdline string
	layers                 []testLayer
}

type testLayer struct {
	name, version string
	files         map[string]string
}

var old = release{"v1.13.0", "6.18.1-talos", "talos.platform=metal console=tty0 init_on_alloc=1 pti=on", []testLayer{
	{"btrfs", "6.1.0", map[string]string{"usr/lib/a": "1", "usr/lib/b": "1", "usr/lib/gone": "1"}},
	{"same", "1", map[string]string{"usr/lib/same": "1"}},
	{"dropped", "2", map[string]string{"usr/lib/dropped": "1"}},
}}

var upgraded = release{"v1.14.0", "6.18.45-talos", "talos.platform=metal console=ttyS0 pti=on selinux=1", []testLayer{
	{"btrfs", "6.1.176", map[string]string{"usr/lib/a": "2", "usr/lib/b": "1", "usr/lib/new": "1"}},
	{"same", "1", map[string]string{"usr/lib/same": "1"}},
	{"gvisor", "20260905.0", map[string]string{"usr/bin/runsc": "1"}},
}}

func squashed(t testing.TB, files map[string]string) []byte {
	t.Helper()
	tr := tree.New()
	for name, text := range files {
		if err := tr.Put(name, tree.File(0o644, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	return squashfsOf(t, tr)
}

func (r release) initramfs(t testing.TB) *sparse.Image {
	t.Helper()
	files := map[string][]byte{"init": []byte("init"), "rootfs.sqsh": squashed(t, map[string]string{
		"usr/lib/os-release":                           "NAME=Talos\nVERSION_ID=" + r.talos + "\n",
		"usr/lib/modules/" + r.kernel + "/modules.dep": "",
	})}
	var config extension.Config
	for i, l := range r.layers {
		name := fmt.Sprintf("%03d.%s.sqsh", i, l.name)
		files[name] = squashed(t, l.files)
		sum := sha256.Sum256(files[name])
		config.Layers = append(config.Layers, extension.Layer{
			Image: name, Digest: "sha256:" + hex.EncodeToString(sum[:]), Metadata: extension.Metadata{Name: l.name, Version: l.version},
		})
	}
	files[extension.ConfigName] = must[[]byte](t)(config.Encode())
	f := initramfs(t, files)
	info := must[os.FileInfo](t)(f.Stat())
	return sparse.From(f, 0, info.Size())
}

func section(name, text string) uki.Section {
	return uki.Section{Name: name, Content: sparse.Bytes([]byte(text))}
}

// uki is a UKI of two profiles, signed with all its policies.
func (r release) uki(t testing.TB) *sparse.Image {
	t.Helper()
	program, pcr, _ := testKeys(t)
	public := must[[]byte](t)(secureboot.PublicKeyPEM(pcr.PublicKey()))
	blocks := [][]uki.Section{
		{
			section(".osrel", "NAME=\"Talos\"\nVERSION_ID="+r.talos+"\n"), section(".cmdline", r.cmdline), section(".uname", r.kernel),
			section(".pcrpkey", string(public)), {Name: ".linux", Content: testKernel(r.kernel)}, {Name: ".initrd", Content: r.initramfs(t)},
		},
		{section(".profile", "ID=main\n")},
		{section(".profile", "ID=reset\nTITLE=Reset system disk\n"), section(".cmdline", r.cmdline+" talos.experimental.wipe=system")},
	}
	join := func() []uki.Section {
		return append(append(append([]uki.Section{}, blocks[0]...), blocks[1]...), blocks[2]...)
	}
	stub := must[*uki.Image](t)(uki.Read(testStub(), testStub().Size()))
	all := append(stub.Sections, join()...)
	digests := must[uki.Digests](t)(uki.Digest(anyCtx, all))
	for i, sections := range uki.Profiles(all) {
		values := map[crypto.Hash][][]byte{}
		for _, bank := range uki.Banks {
			values[bank] = [][]byte{must[[]byte](t)(digests.PCR11(sections, secureboot.BootPhases(), bank))}
		}
		blocks[i+1] = append(blocks[i+1], section(".pcrsig", string(must[[]byte](t)(secureboot.PCRSignatures(anyCtx, pcr, values)))))
	}
	m := must[*sparse.Image](t)(uki.Build(testStub(), join()))
	return must[*sparse.Image](t)(secureboot.Sign(anyCtx, m, program))
}

func (r release) espFiles(t testing.TB) []fat.File {
	t.Helper()
	program, _, files := testKeys(t)
	return []fat.File{
		{Path: "EFI/BOOT/BOOTX64.EFI", Content: must[*sparse.Image](t)(secureboot.Sign(anyCtx, testStub(), program))},
		{Path: "EFI/Linux/Talos-" + r.talos + ".efi", Content: r.uki(t)},
		{Path: "loader/loader.conf", Content: sparse.Bytes([]byte("# hello\ntimeout 10\nsecure-boot-enroll if-safe\n"))},
		{Path: "loader/keys/auto/db.auth", Content: sparse.Bytes(files["db.auth"])},
		{Path: "EFI/keys/uki-signing-cert.der", Content: sparse.Bytes(files[secureboot.SigningDERFile])},
	}
}

// disk has both boot loaders.
func (r release) disk(t testing.TB) *gpt.Disk {
	t.Helper()
	menu := must[[]byte](t)(grub.DiskMenu(grub.Slot{Name: "A", Version: r.talos, Cmdline: r.cmdline}, nil).Config())
	esp := must[*sparse.Image](t)(fat.Build(fat.Options{Size: 48 << 20, Label: "EFI", Time: epoch}, r.espFiles(t)))
	boot := must[*sparse.Image](t)(xfs.Build(xfs.Options{Size: 64 << 20, Label: "BOOT", UUID: [16]byte{1}, Time: epoch}, []xfs.File{
		{Path: "A/vmlinuz", Mode: 0o644, Content: testKernel(r.kernel)},
		{Path: "A/initramfs.xz", Mode: 0o644, Content: r.initramfs(t)},
		{Path: "grub/grub.cfg", Mode: 0o644, Content: sparse.Bytes(menu)},
	}))
	values := must[*sparse.Image](t)(meta.Encode([]meta.Value{{Key: meta.MetalNetworkPlatformConfig, Value: "hostname: a"}}))
	d := &gpt.Disk{GUID: gpt.DeterministicGUID("disk"), Size: 160 << 20, BootCode: []byte("boot"), Partitions: []gpt.Partition{
		{Name: "EFI", Type: gpt.EFISystem, GUID: gpt.DeterministicGUID("EFI"), Size: esp.Size(), Content: esp},
		{Name: "BIOS", Type: gpt.BIOSBoot, GUID: gpt.DeterministicGUID("BIOS"), Size: 1 << 20, Content: sparse.Bytes([]byte("core")), Attributes: gpt.LegacyBIOSBootable},
		{Name: "BOOT", Type: gpt.LinuxData, GUID: gpt.DeterministicGUID("BOOT"), Size: boot.Size(), Content: boot},
		{Name: "META", Type: gpt.LinuxData, GUID: gpt.DeterministicGUID("META"), Size: 1 << 20, Content: values},
		{Name: "STATE", Type: gpt.LinuxData, GUID: gpt.DeterministicGUID("STATE"), Size: 1 << 20},
	}}
	return d
}

func (r release) rawDisk(t testing.TB) *sparse.Image {
	t.Helper()
	return must[*sparse.Image](t)(r.disk(t).Image())
}

func (r release) iso(t testing.TB) *sparse.Image {
	t.Helper()
	o := fat.Options{Label: "EFI", Time: epoch}
	files := r.espFiles(t)
	o.Size = must[int64](t)(fat.Size(o, files))
	menu := must[[]byte](t)(grub.ISOMenu(r.cmdline).Config())
	return must[*sparse.Image](t)(iso.Build(iso.Options{
		VolumeID: "TALOS", Time: epoch, EFI: must[*sparse.Image](t)(fat.Build(o, files)),
		BIOS: &iso.BIOSBoot{Image: sparse.Bytes(make([]byte, 4096))},
		Files: []iso.File{
			{Path: "boot/vmlinuz", Content: testKernel(r.kernel)},
			{Path: "boot/initramfs.xz", Content: r.initramfs(t)},
			{Path: "boot/grub/grub.cfg", Content: sparse.Bytes(menu)},
		},
	}))
}

// of reports on an image that is in memory, or fails.
func of(t testing.TB, m *sparse.Image, o Options) *Asset {
	t.Helper()
	if o.Cache == nil {
		o.Cache = testCache(t)
	}
	return must[*Asset](t)(Of(anyCtx, "asset", m, m.Size(), o))
}
