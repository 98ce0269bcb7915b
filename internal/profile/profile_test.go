package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/talos/pkg/machinery/version"

	"github.com/graftlinux/graft/internal/format/meta"
)

// full has every key there is, in the order of Talos' imager.
const full = `baseProfileName: metal
arch: arm64
platform: nocloud
secureboot: true
name: Custom
version: v1.13.0
customization:
  extraKernelArgs:
    - console=ttyS0
  metaContents:
    - key: 10
      value: net
  embeddedMachineConfiguration: |
    machine: {}
input:
  kernel:
    path: /k
  initramfs:
    path: /i
  sdStub:
    path: /s
  sdBoot:
    path: /b
  baseInstaller:
    imageRef: registry.example/installer-base:v1
    forceInsecure: true
  imageCache:
    imageRef: ""
    ociPath: /cache
  overlayInstaller:
    imageRef: registry.example/overlay
  secureboot:
    secureBootSigner:
      keyPath: /key
      certPath: /cert
    pcrSigner:
      signerAddress: unix:///run/signer
    platformKeyPath: /PK
    keyExchangeKeyPath: /KEK
    signatureKeyPath: /db
    includeWellKnownCerts: true
  systemExtensions:
    - imageRef: registry.example/a
    - imageRef: ""
      tarballPath: /t.tar
  base:
    imageRef: registry.example/imager:v1
    digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
overlay:
  name: board
  image:
    imageRef: registry.example/board
  options:
    a: 1
output:
  kind: image
  imageOptions:
    diskSize: 8589934592
    exactDiskSize: true
    diskFormat: qcow2
    diskFormatOptions: cluster_size=8k
    diskSectorSize: 4096
    bootloader: sd-boot
    sdBootEnrollKeys: force
  isoOptions:
    sdBootEnrollKeys: "off"
    bootloader: grub
  outFormat: .zst
`

func TestEveryKey(t *testing.T) {
	p, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Encode()
	if err != nil || string(got) != full {
		t.Errorf("%v\n%s", err, cmp.Diff(full, string(got)))
	}
	if p.Customization.MetaContents[0] != (meta.Value{Key: 10, Value: "net"}) {
		t.Errorf("META: %v", p.Customization.MetaContents)
	}
}

// Each golden of Talos' imager was compared once with what Encode writes; this
// is one of them, with the keys that are graft's own.
func TestResolvedYAML(t *testing.T) {
	got, err := resolve(t, from("exoscale", ARM64, "v1.13.0")).Profile.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `arch: arm64
platform: exoscale
secureboot: false
name: Talos
version: v1.13.0
input:
  kernel:
    path: /usr/install/arm64/vmlinuz
  initramfs:
    path: /usr/install/arm64/initramfs.xz
  sdStub:
    path: /usr/install/arm64/systemd-stub.efi
  sdBoot:
    path: /usr/install/arm64/systemd-boot.efi
  baseInstaller:
    imageRef: ghcr.io/siderolabs/installer-base:v1.13.0
output:
  kind: image
  imageOptions:
    diskSize: 11785994240
    exactDiskSize: true
    diskFormat: qcow2
    diskFormatOptions: cluster_size=8k
    bootloader: sd-boot
  outFormat: .zst
`
	if string(got) != want {
		t.Error(cmp.Diff(want, string(got)))
	}
}

// What Resolve gives can be written, read and resolved again, and stays.
func TestResolvedStays(t *testing.T) {
	for _, name := range Names() {
		for _, arch := range []string{AMD64, ARM64} {
			for _, v := range append(versions, "custom") {
				pl := resolve(t, from(name, arch, v))
				data, err := pl.Profile.Encode()
				if err != nil {
					t.Fatal(err)
				}
				p, err := Parse(data)
				if err != nil {
					t.Fatalf("%s %s %s: %v", name, arch, v, err)
				}
				if d := cmp.Diff(pl, resolve(t, p), cmp.AllowUnexported(Quirks{})); d != "" {
					t.Errorf("%s %s %s:\n%s", name, arch, v, d)
				}
			}
		}
	}
}

func TestParseProblems(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"", "the profile: it is empty"},
		{"- a\n", "the profile: line 1: it is no mapping of keys to values"},
		{"arch: amd64\n---\narch: arm64\n", "the profile: line 2: a profile is one YAML document, and here begins another"},
		{"arch: [\n", "the profile: line 2: did not find expected node content"},
		{"arch: amd64\nplattform: metal\n", "the profile: line 2: plattform: there is no such key; did you mean platform?"},
		{"arch: a\narch: b\n", `the profile: line 2: mapping key "arch" already defined at line 1`},
		{
			"output:\n  kinds: iso\n  imageOptions: {disksize: 1}\ninput:\n  systemExtensions:\n    - imageref: a\n    - {imageRef: b, completelyDifferent: 1}\nsecureboot: maybe\n",
			`the profile has 5 problems:
  line 2: output.kinds: there is no such key; did you mean kind?
  line 3: output.imageOptions.disksize: there is no such key; did you mean diskSize?
  line 6: input.systemExtensions[0].imageref: there is no such key; did you mean imageRef?
  line 7: input.systemExtensions[1].completelyDifferent: there is no such key
  line 8: cannot unmarshal !!str ` + "`maybe` into bool",
		},
		{"customization: {metaContents: [{key: 256, value: x}]}\n", "the profile: line 1: cannot unmarshal !!int `256` into meta.Tag"},
		{"x: &a {arch: amd64, q: 1}\n<<: *a\n", "the profile has 2 problems:\n  line 1: x: there is no such key\n  line 1: q: there is no such key"},
		{strings.Repeat(" ", MaxSize+1), "the profile: it has 4194305 bytes, more than the 4194304 that are allowed"},
	} {
		_, err := Parse([]byte(c.doc))
		if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnsupported) || err.Error() != c.want {
			t.Errorf("%.60q:\ngot  %v\nwant %v", c.doc, err, c.want)
		}
	}
}

// Aliases make a small document large: it has to stay quick.
func TestParseAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("input:\n  systemExtensions:\n    - &a {")
	for i := range 1000 {
		fmt.Fprintf(&b, "k%d: 1, ", i)
	}
	b.WriteString("}\n" + strings.Repeat("    - *a\n", 1000))
	var e *Error
	if _, err := Parse([]byte(b.String())); !errors.As(err, &e) || len(e.Problems) != maxProblems {
		t.Errorf("got %.200v", err)
	}
	p, err := Parse([]byte("input:\n  base: &b {imageRef: x, forceInsecure: true}\n  systemExtensions: [*b, {<<: *b, imageRef: y}]\n"))
	if want := []ContainerAsset{{ImageRef: "x", ForceInsecure: true}, {ImageRef: "y", ForceInsecure: true}}; err != nil || !cmp.Equal(p.Input.SystemExtensions, want) {
		t.Errorf("got %v, %v", p.Input.SystemExtensions, err)
	}
}

func TestNames(t *testing.T) {
	want := strings.Fields(`iso secureboot-iso metal metal-4k metal-uki secureboot-metal-uki secureboot-metal installer secureboot-installer
		akamai alibabacloud aws azure secureboot-azure cloudstack secureboot-cloudstack digital-ocean exoscale gcp hcloud nocloud secureboot-nocloud
		opennebula secureboot-opennebula openstack secureboot-openstack oracle scaleway upcloud vmware secureboot-vmware vultr`)
	if d := cmp.Diff(want, Names()); d != "" {
		t.Error(d)
	}
	for _, name := range Names() {
		p, ok := Get(name)
		if !ok || p.Secure() != strings.HasPrefix(name, "secureboot-") || Describe(name) == "" {
			t.Errorf("%s: %v, %q", name, p, Describe(name))
		}
		if o := p.Output.ImageOptions; o != nil { // a copy: changing it changes nothing
			o.DiskSize = 1
			*p.SecureBoot = !*p.SecureBoot
		}
	}
	if p, _ := Get("metal"); p.Output.ImageOptions.DiskSize != minDisk || p.Secure() {
		t.Error("the table was changed from outside")
	}
	if _, ok := Get("nothing"); ok || Describe("nothing") != "" {
		t.Error("nothing is a base profile")
	}
}

// The formats and sizes that the contract gives for clouds.
func TestClouds(t *testing.T) {
	for name, want := range map[string]string{
		"akamai": "gz raw 1246", "alibabacloud": "raw qcow2 1246 cluster_size=8k", "aws": "zst raw 8192",
		"azure": "zst vhd 8192 subformat=fixed,force_size", "secureboot-azure": "zst vhd 8192 subformat=fixed,force_size",
		"cloudstack": "zst raw 8192", "digital-ocean": "gz raw 8192", "exoscale": "zst qcow2 10240 cluster_size=8k",
		"gcp": "tar.gz raw 8192", "hcloud": "zst raw 1246", "nocloud": "zst raw 1246", "opennebula": "zst raw 1246",
		"openstack": "zst raw 1246", "oracle": "zst qcow2 8192 cluster_size=8k", "scaleway": "zst raw 1246",
		"upcloud": "zst raw 8192", "vmware": "raw ova 8192", "secureboot-vmware": "raw ova 8192", "vultr": "zst raw 8192",
		"metal": "zst raw 1246", "metal-4k": "zst raw 1246", "secureboot-metal": "zst raw 1246",
	} {
		p, _ := Get(name)
		o := p.Output.ImageOptions
		got := fmt.Sprintf("%s %s %d %s", strings.TrimPrefix(string(p.Output.OutFormat), "."), o.DiskFormat, o.DiskSize/mib, o.DiskFormatOptions)
		if strings.TrimSpace(got) != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestFileNames(t *testing.T) {
	secure := true
	for _, c := range []struct {
		p          Profile
		file, name string
	}{
		{from("iso", AMD64, "v1.14.0"), "metal-amd64.iso", "metal-amd64.iso"},
		{from("secureboot-iso", ARM64, "v1.14.0"), "metal-arm64-secureboot.iso", "metal-arm64-secureboot.iso"},
		{from("metal", AMD64, "v1.14.0"), "metal-amd64.raw.zst", "metal-amd64.raw"},
		{from("azure", AMD64, "v1.14.0"), "azure-amd64.vhd.zst", "azure-amd64.vhd"},
		{from("vmware", ARM64, "v1.14.0"), "vmware-arm64.ova", "vmware-arm64.ova"},
		{from("gcp", AMD64, "v1.14.0"), "gcp-amd64.raw.tar.gz", "gcp-amd64.raw"},
		{from("metal-uki", ARM64, "v1.14.0"), "metal-arm64-uki.efi", "metal-arm64-uki.efi"},
		{from("secureboot-metal-uki", AMD64, "v1.14.0"), "metal-amd64-secureboot-uki.efi", "metal-amd64-secureboot-uki.efi"},
		{from("installer", AMD64, "v1.14.0"), "installer-amd64.tar", "installer-amd64.tar"},
		{from("secureboot-installer", ARM64, "v1.14.0"), "installer-arm64-secureboot.tar", "installer-arm64-secureboot.tar"},
		{from("metal", AMD64, "v1.14.0").Merge(Profile{Output: Output{Kind: Kernel}}), "kernel-amd64", "kernel-amd64"},
		{from("aws", ARM64, "v1.14.0").Merge(Profile{Output: Output{Kind: Initramfs}}), "initramfs-aws-arm64.xz", "initramfs-aws-arm64.xz"},
		{from("nocloud", AMD64, "v1.14.0").Merge(Profile{Output: Output{Kind: Cmdline}}), "cmdline-nocloud-amd64", "cmdline-nocloud-amd64"},
		{Profile{SecureBoot: &secure, Output: Output{Kind: Cmdline, OutFormat: OutGzip}}, "cmdline-metal-amd64-secureboot.gz", "cmdline-metal-amd64-secureboot"},
		{from("iso", AMD64, "v1.14.0").Merge(Profile{Output: Output{OutFormat: OutXz}}), "metal-amd64.iso.xz", "metal-amd64.iso"},
	} {
		pl := resolve(t, c.p)
		if pl.File != c.file || pl.Name != c.name {
			t.Errorf("got %s and %s, want %s and %s", pl.File, pl.Name, c.file, c.name)
		}
	}
	if pl := resolve(t, from("gcp", AMD64, "v1.14.0")); pl.ArchiveMember != "disk.raw" {
		t.Errorf("in the archive: %s", pl.ArchiveMember)
	}
}

// Sizes of the contract: 1246 MiB, 1000 more since 1.11, and BIOS and BOOT for
// a second boot loader.
func TestDisks(t *testing.T) {
	for _, c := range []struct {
		base, arch, version string
		size                int64
		loader              Bootloader
		layout              string
	}{
		{"metal", AMD64, "v1.7.0", 1246, GRUB, "EFI 100 vfat, BIOS 1 boot, BOOT 1000 xfs, META 1, STATE 100, EPHEMERAL 0"},
		{"metal", ARM64, "v1.9.0", 1246, GRUB, "EFI 100 vfat, BIOS 1 boot, BOOT 1000 xfs, META 1"},
		{"secureboot-metal", AMD64, "v1.9.0", 1246, SDBoot, "EFI 1101 vfat, META 1"},
		{"metal", AMD64, "v1.10.0", 1246 + 1001, DualBoot, "EFI 1101 vfat, BIOS 1 boot, BOOT 1000 xfs, META 1"},
		{"metal", ARM64, "v1.10.0", 1246, SDBoot, "EFI 1101 vfat, META 1"},
		{"metal", AMD64, "v1.11.0", 2246 + 2001, DualBoot, "EFI 2101 vfat, BIOS 1 boot, BOOT 2000 xfs, META 1"},
		{"secureboot-metal", AMD64, "v1.14.0", 2246, SDBoot, "EFI 2101 vfat, META 1"},
		{"aws", AMD64, "v1.14.0", 9192 + 2001, DualBoot, "EFI 2101 vfat, BIOS 1 boot, BOOT 2000 xfs, META 1"},
		{"metal", AMD64, "custom", 2246, GRUB, "EFI 100 vfat, BIOS 1 boot, BOOT 2000 xfs, META 1"},
	} {
		pl := resolve(t, from(c.base, c.arch, c.version))
		var words []string
		for _, p := range pl.Partitions {
			word := fmt.Sprintf("%s %d", p.Label, p.Size/mib)
			if p.Filesystem != "" {
				word += " " + string(p.Filesystem)
			}
			if p.LegacyBoot {
				word += " boot"
			}
			words = append(words, word)
			want := map[string]string{"EFI": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "BIOS": "21686148-6449-6E6F-744E-656564454649"}[p.Label]
			if want == "" {
				want = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
			}
			if p.Type != want {
				t.Errorf("%s has the type %s", p.Label, p.Type)
			}
		}
		if got := strings.Join(words, ", "); pl.DiskSize != c.size*mib || pl.Bootloader != c.loader || got != c.layout {
			t.Errorf("%s %s %s: got %d MiB, %s, %s", c.base, c.arch, c.version, pl.DiskSize/mib, pl.Bootloader, got)
		}
	}
}

func TestDiskOptions(t *testing.T) {
	pl := resolve(t, from("azure", AMD64, "v1.14.0"))
	if !pl.VHD.Fixed || !pl.VHD.ForceSize || pl.QCOW2.ClusterSize != 0 {
		t.Errorf("azure: %+v", pl)
	}
	if pl := resolve(t, from("oracle", AMD64, "v1.14.0")); pl.QCOW2.ClusterSize != 8192 || pl.VHD.Fixed {
		t.Errorf("oracle: clusters of %d bytes", pl.QCOW2.ClusterSize)
	}
	if pl := resolve(t, from("metal-4k", AMD64, "v1.14.0")); pl.SectorSize != 4096 {
		t.Errorf("metal-4k: sectors of %d bytes", pl.SectorSize)
	}
}

func TestUKI(t *testing.T) {
	for _, c := range []struct{ base, version, want string }{
		{"iso", "v1.14.0", "main|; reset|Reset system disk talos.experimental.wipe=system"},
		{"metal", "v1.10.0", "main|; reset-maintenance|Reset to maintenance mode talos.experimental.wipe=system:EPHEMERAL,STATE"},
		{"installer", "v1.12.0", "main|; reset-maintenance|Reset to maintenance mode talos.experimental.wipe=system:EPHEMERAL,STATE"},
		{"metal-uki", "v1.14.0", "main|"},
		{"secureboot-iso", "v1.9.0", ""},
	} {
		pl := resolve(t, from(c.base, AMD64, c.version))
		var words []string
		for _, e := range pl.UKIProfiles {
			words = append(words, e.ID+"|"+e.Title+strings.TrimPrefix(e.Cmdline, pl.Cmdline))
		}
		if got := strings.Join(words, "; "); got != c.want {
			t.Errorf("%s %s: got %s", c.base, c.version, got)
		}
	}
	pl := resolve(t, from("secureboot-iso", ARM64, "v1.9.1"))
	if pl.UKIPath != "EFI/Linux/Talos-v1.9.1.efi" || pl.EFIName != "BOOTAA64.EFI" {
		t.Errorf("got %s and %s", pl.UKIPath, pl.EFIName)
	}
}

func TestOSRelease(t *testing.T) {
	for _, name := range []string{"Talos", "Talos New"} {
		p := from("metal-uki", AMD64, "v1.13.0")
		p.Name = name
		want, err := version.OSReleaseFor(name, "v1.13.0")
		if got := resolve(t, p).OSRelease(); err != nil || string(got) != string(want) {
			t.Errorf("got\n%s\nwant (%v)\n%s", got, err, want)
		}
	}
}

func TestISO(t *testing.T) {
	for _, c := range []struct {
		base, arch, version string
		loader              Bootloader
		enroll              EnrollKeys
		id                  string
	}{
		{"iso", AMD64, "v1.7.6", GRUB, EnrollOff, "TALOS"},
		{"iso", ARM64, "v1.9.0", GRUB, EnrollOff, "TALOS_V1_9_0"},
		{"secureboot-iso", AMD64, "v1.5.0", SDBoot, EnrollIfSafe, "TALOS"},
		{"iso", AMD64, "v1.10.0", DualBoot, EnrollOff, "TALOS_V1_10_0"},
		{"iso", ARM64, "v1.10.0", SDBoot, EnrollOff, "TALOS_V1_10_0"},
		{"iso", AMD64, "v1.14.0-beta.1", DualBoot, EnrollOff, "TALOS_V1_14_0_BETA_1"},
		{"secureboot-iso", ARM64, "v1.14.0", SDBoot, EnrollIfSafe, "TALOS_V1_14_0"},
		{"iso", AMD64, "v1.13.0-alpha.2-17-g0123456789+abc", DualBoot, EnrollOff, "TALOS_V1_13_0_ALPHA_2_17_G012345"},
	} {
		pl := resolve(t, from(c.base, c.arch, c.version))
		if pl.Bootloader != c.loader || pl.EnrollKeys != c.enroll || pl.VolumeID != c.id {
			t.Errorf("%s %s %s: got %s %s %s", c.base, c.arch, c.version, pl.Bootloader, pl.EnrollKeys, pl.VolumeID)
		}
	}
	p := from("secureboot-iso", AMD64, "v1.12.0")
	p.Input.SecureBoot = &SecureBootAssets{PlatformKeyPath: "mine/PK"}
	want := []KeyFile{{"PK.auth", "mine/PK", false}, {"KEK.auth", "/secureboot/KEK.auth", true}, {"db.auth", "/secureboot/db.auth", true}}
	if d := cmp.Diff(want, resolve(t, p).KeyFiles); d != "" {
		t.Error(d)
	}
	p.Output.ISOOptions = &ISOOptions{SDBootEnrollKeys: EnrollOff}
	if pl := resolve(t, p); pl.KeyFiles != nil || pl.EnrollKeys != EnrollOff {
		t.Errorf("off: %v", pl.KeyFiles)
	}
	p = from("iso", AMD64, "v1.12.0")
	p.Output.ISOOptions = &ISOOptions{Bootloader: SDBoot}
	if pl := resolve(t, p); pl.Bootloader != SDBoot || pl.NeedsGRUB() || !pl.NeedsUKI() {
		t.Errorf("chosen: %s", pl.Bootloader)
	}
}

func TestInstaller(t *testing.T) {
	for _, c := range []struct{ base, arch, version, want, image string }{
		{"installer", AMD64, "v1.9.0", "usr/install/amd64/vmlinuz kernel, usr/install/amd64/initramfs.xz initramfs", "ghcr.io/siderolabs/installer:v1.9.0"},
		{"secureboot-installer", AMD64, "v1.9.0", "usr/install/amd64/systemd-boot.efi sd-boot, usr/install/amd64/vmlinuz.efi.signed uki", "ghcr.io/siderolabs/installer:v1.9.0"},
		{"installer", ARM64, "v1.10.0", "usr/install/arm64/systemd-boot.efi sd-boot, usr/install/arm64/vmlinuz.efi uki", "ghcr.io/siderolabs/installer-base:v1.10.0"},
		{"secureboot-installer", AMD64, "v1.14.0", "usr/install/amd64/systemd-boot.efi sd-boot, usr/install/amd64/vmlinuz.efi uki", "ghcr.io/siderolabs/installer-base:v1.14.0"},
	} {
		pl := resolve(t, from(c.base, c.arch, c.version))
		var words []string
		for _, f := range pl.InstallerFiles {
			words = append(words, f.Path+" "+string(f.Part))
		}
		if got := strings.Join(words, ", "); got != c.want || pl.Profile.Input.BaseInstaller.ImageRef != c.image {
			t.Errorf("%s %s: got %s from %s", c.base, c.version, got, pl.Profile.Input.BaseInstaller.ImageRef)
		}
		if pl.NeedsUKI() != strings.Contains(c.want, " uki") || pl.NeedsGRUB() {
			t.Errorf("%s %s: UKI %v, GRUB %v", c.base, c.version, pl.NeedsUKI(), pl.NeedsGRUB())
		}
	}
}

func TestMerge(t *testing.T) {
	yes, no := true, false
	base := Profile{
		Platform: "metal", SecureBoot: &yes,
		Input:  Input{SystemExtensions: []ContainerAsset{{ImageRef: "a"}}},
		Output: Output{Kind: Image, OutFormat: OutZstd, ImageOptions: &ImageOptions{DiskSize: 5, DiskFormat: DiskRaw}},
	}
	over := Profile{
		Platform: "aws", SecureBoot: &no,
		Input:  Input{SystemExtensions: []ContainerAsset{{ImageRef: "b"}}},
		Output: Output{ImageOptions: &ImageOptions{DiskFormat: DiskQCOW2}},
	}
	got := base.Merge(over)
	want := Profile{
		Platform: "aws", SecureBoot: &no,
		Input:  Input{SystemExtensions: []ContainerAsset{{ImageRef: "a"}, {ImageRef: "b"}}},
		Output: Output{Kind: Image, OutFormat: OutZstd, ImageOptions: &ImageOptions{DiskSize: 5, DiskFormat: DiskQCOW2}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if base.Output.ImageOptions.DiskFormat != DiskRaw || !base.Secure() || len(base.Input.SystemExtensions) != 1 {
		t.Errorf("the base was changed: %+v", base)
	}
	if got := base.Merge(Profile{Output: Output{Kind: ISO}}).Output; got != (Output{Kind: ISO}) {
		t.Errorf("another kind keeps %+v", got)
	}
	maps := Profile{Overlay: &Overlay{Options: map[string]any{"a": 1, "b": 1}}}.Merge(Profile{Overlay: &Overlay{Options: map[string]any{"b": 2}}})
	if !cmp.Equal(maps.Overlay.Options, map[string]any{"a": 1, "b": 2}) {
		t.Errorf("options: %v", maps.Overlay.Options)
	}
}

// Resolve does not change what it is called on.
func TestResolveLeavesTheProfile(t *testing.T) {
	p := Profile{Version: "v1.12.0", Output: Output{Kind: Image, ImageOptions: &ImageOptions{DiskSize: 8 << 30}}}
	for range 2 {
		if pl := resolve(t, p); pl.DiskSize != 8<<30+3001*mib || p.Output.ImageOptions.DiskSize != 8<<30 || p.SecureBoot != nil {
			t.Errorf("%d bytes, %+v", pl.DiskSize, p.Output.ImageOptions)
		}
	}
	p.Output.ImageOptions.ExactDiskSize = true
	if pl := resolve(t, p); pl.DiskSize != 8<<30 {
		t.Errorf("exactly: %d bytes", pl.DiskSize)
	}
}

func TestVersionOfBase(t *testing.T) {
	pl, err := Profile{BaseProfileName: "iso"}.Resolve("v1.9.2")
	if err != nil || pl.Profile.Version != "v1.9.2" || pl.VolumeID != "TALOS_V1_9_2" {
		t.Errorf("%v, %+v", err, pl)
	}
	if pl, err = (Profile{BaseProfileName: "iso", Version: "v1.10.1"}).Resolve("v1.9.2"); err != nil || pl.Bootloader != DualBoot {
		t.Errorf("%v, %+v", err, pl)
	}
}

func TestFeaturesAreExplained(t *testing.T) {
	for f, row := range features {
		if feature(f) != always && (row.why == "" || row.since == row.until) {
			t.Errorf("feature %d: %+v", f, row)
		}
	}
	if slices.Contains(Platforms(), "") {
		t.Error("a platform without a name")
	}
}
