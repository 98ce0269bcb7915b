package profile

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/imager/quirks"
	"github.com/siderolabs/talos/pkg/machinery/kernel"
	talosmeta "github.com/siderolabs/talos/pkg/machinery/meta"
	talosplatforms "github.com/siderolabs/talos/pkg/machinery/platforms"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/meta"
)

// The command lines that the contract gives word by word.
func TestMetalCmdline(t *testing.T) {
	for _, c := range []struct{ version, arch, want string }{
		{"v1.5.0", AMD64, "talos.platform=metal console=ttyS0 console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on ima_template=ima-ng ima_appraise=fix ima_hash=sha512"},
		{"v1.7.6", AMD64, "talos.platform=metal console=ttyS0 console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on ima_template=ima-ng ima_appraise=fix ima_hash=sha512"},
		{"v1.8.0", AMD64, "talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on ima_template=ima-ng ima_appraise=fix ima_hash=sha512"},
		{"v1.9.9", AMD64, "talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on ima_template=ima-ng ima_appraise=fix ima_hash=sha512"},
		{"v1.10.0-alpha.0", AMD64, "talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on ima_template=ima-ng ima_appraise=fix ima_hash=sha512 selinux=1"},
		{"v1.11.0", AMD64, "talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1"},
		{"v1.12.0", ARM64, "talos.platform=metal console=ttyAMA0 console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 module.sig_enforce=1"},
		{"v1.13.0", AMD64, "talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never"},
		{"v1.14.0", AMD64, "talos.platform=metal console=tty0 slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never"},
		{"v1.14.0", ARM64, "talos.platform=metal console=ttyAMA0 console=tty0 slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never"},
		{"", AMD64, "talos.platform=metal console=tty0 slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never"},
		{"custom", ARM64, "talos.platform=metal console=ttyAMA0 console=tty0 slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never"},
	} {
		pl := resolve(t, Profile{Arch: c.arch, Version: c.version, Output: Output{Kind: Cmdline}})
		if pl.Cmdline != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.version, c.arch, pl.Cmdline, c.want)
		}
	}
}

// What stands before the defaults, for the platforms of the contract.
func TestPlatformCmdline(t *testing.T) {
	const serial = "console=tty1 console=ttyS0 net.ifnames=0"
	for platform, want := range map[string][2]string{ // amd64, and arm64 if it differs
		"akamai":        {"console=ttyS0 console=tty0 console=tty1 net.ifnames=0"},
		"digital-ocean": {"console=ttyS0 console=tty0 console=tty1 net.ifnames=0"},
		"alibabacloud":  {serial}, "cloudstack": {serial}, "exoscale": {serial}, "hcloud": {serial},
		"nocloud": {serial}, "opennebula": {serial}, "openstack": {serial},
		"aws":      {serial + " nvme_core.io_timeout=4294967295"},
		"azure":    {"console=ttyS0,115200n8 earlyprintk=ttyS0,115200 rootdelay=300 net.ifnames=0 talos.dashboard.disabled=1 sysctl.kernel.kexec_load_disabled=1"},
		"gcp":      {"console=ttyS0 net.ifnames=0 talos.dashboard.disabled=1 sysctl.kernel.kexec_load_disabled=1"},
		"oracle":   {serial + " talos.dashboard.disabled=1"},
		"scaleway": {serial + " talos.dashboard.disabled=1"},
		"upcloud":  {"net.ifnames=0"}, "vultr": {"net.ifnames=0"},
		"vmware": {
			"talos.config=guestinfo console=tty0 console=ttyS0 earlyprintk=ttyS0,115200 net.ifnames=0",
			"talos.config=guestinfo console=tty0 console=ttyAMA0 net.ifnames=0",
		},
		"equinixMetal": {"console=ttyS1,115200n8", "console=ttyAMA0,115200"},
		"metal":        {"console=tty0", "console=ttyAMA0 console=tty0"},
	} {
		for i, arch := range []string{AMD64, ARM64} {
			want := want[i]
			if want == "" {
				want = serialOf(platform, t)
			}
			pl := resolve(t, Profile{Arch: arch, Platform: platform, Version: "v1.14.0", Output: Output{Kind: Cmdline}})
			if got, _, _ := strings.Cut(pl.Cmdline, " slab_nomerge"); got != "talos.platform="+platform+" "+want {
				t.Errorf("%s %s: got %s", platform, arch, got)
			}
		}
	}
	old := resolve(t, Profile{Platform: "aws", Version: "v1.13.0", Output: Output{Kind: Cmdline}})
	if n := strings.Count(old.Cmdline, "nvme_core.io_timeout"); n != 1 {
		t.Errorf("aws before 1.14: %d times the timeout of NVMe", n)
	}
}

// serialOf is what both architectures of a platform have.
func serialOf(platform string, t *testing.T) string {
	pl := resolve(t, Profile{Platform: platform, Version: "v1.14.0", Output: Output{Kind: Cmdline}})
	got, _, _ := strings.Cut(pl.Cmdline, " slab_nomerge")
	return strings.TrimPrefix(got, "talos.platform="+platform+" ")
}

// Talos' own library is the judge of defaults and platforms up to its version.
func TestAgainstTalos(t *testing.T) {
	for _, version := range append(versions[:len(versions)-1], "1.6.3", "1.10.99") {
		q, theirs := QuirksOf("v"+version), quirks.New("v"+version)
		pl := resolve(t, Profile{Version: "v" + version, Output: Output{Kind: Cmdline}})
		want := strings.ReplaceAll(strings.Join(kernel.DefaultArgs(theirs), " "), "slab_nomerge=", "slab_nomerge")
		if got := defaultsOf(pl); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", version, got, want)
		}
		if v, err := extension.ParseVersion("v" + version); err != nil || v.Zstd() != theirs.UseZSTDCompression() {
			t.Errorf("%s: zstd is %v, %v", version, v.Zstd(), err)
		}
		if got, want := q.bootSize(), int64(theirs.PartitionSizes().GrubBootSize()); got != want {
			t.Errorf("%s: BOOT has %d bytes, want %d", version, got, want)
		}
		if got, want := partitions(SDBoot, q)[0].Size, int64(theirs.PartitionSizes().UKIEFISize()); got != want {
			t.Errorf("%s: EFI has %d bytes, want %d", version, got, want)
		}
	}
	for _, p := range append(talosplatforms.CloudPlatforms(), talosplatforms.MetalPlatform()) {
		if !slices.Contains(Platforms(), p.Name) {
			t.Errorf("there is no platform %s", p.Name)
		}
		if _, ok := Get(p.Name); !ok && slices.Contains(p.BootMethods, talosplatforms.BootMethodDiskImage) {
			t.Errorf("there is no base profile %s", p.Name)
		}
	}
}

func TestQuirksAgainstTalos(t *testing.T) {
	for _, version := range []string{"1.4.9", "1.5.0", "1.6.2", "1.6.3", "1.7.0", "1.8.0-alpha.1", "1.9.5", "1.10.0", "1.10.99", "1.11.0", "1.12.0", "1.13.0", "v1.13.4", "", "custom"} {
		q, theirs := QuirksOf(version), quirks.New(version)
		for f, want := range map[feature]bool{
			uki:                  theirs.SupportsUKI(),
			gzipMeta:             theirs.SupportsCompressedEncodedMETA(),
			ttyS0:                theirs.SupportsMetalPlatformConsoleTTYS0(),
			haltIfInstalled:      theirs.SupportsHaltIfInstalled(),
			isoLabel:             theirs.SupportsISOLabel(),
			dataPartitionsAtBoot: theirs.SkipDataPartitions(),
			sdBootOnUEFI:         theirs.UseSDBootForUEFI(),
			ukiProfiles:          theirs.SupportsUKIProfiles(),
			installerBase:        theirs.SupportsUnifiedInstaller(),
			selinux:              theirs.SupportsSELinux(),
			ima:                  theirs.SupportsIMA(),
			embeddedConfig:       theirs.SupportsEmbeddedConfig(),
			sigEnforce:           theirs.SupportsDisablingModuleSignatureVerification(),
			isoBootloader:        theirs.ISOSupportsSettingBootloader(),
			procMemOverride:      theirs.ProcMemOverrideNever(),
		} {
			if got := q.has(f); got != want {
				t.Errorf("%q: %s: got %v, want %v", version, features[f].why, got, want)
			}
		}
	}
	if QuirksOf("custom").has(lockdown) || !QuirksOf("1.13.0").has(lockdown) || QuirksOf("1.14.0-beta.1").has(lockdown) {
		t.Error("lockdown is forced until 1.14, and not for a version that is none")
	}
}

// The user's arguments, as go-procfs 0.1.2 merges them.
func TestExtraKernelArgs(t *testing.T) {
	const before, after = "talos.platform=metal console=tty0 ", "slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never"
	for _, c := range []struct {
		extra []string
		want  string
	}{
		{[]string{"a=b", "c"}, before + after + " a=b c"},
		{[]string{"a=1", "b=2", "a=3"}, before + after + " a=1 a=3 b=2"},
		{[]string{"a=1 b", "c=\"d e\""}, before + after + " a=1 b c=\"d e\""},
		{[]string{"a=", "b=="}, before + after + " a b=="},
		{[]string{"console=ttyS0", "console=ttyS1,9600"}, "talos.platform=metal console=ttyS0 console=ttyS1,9600 " + after},
		{[]string{"-console", "console=ttyS0"}, "talos.platform=metal " + after + " console=ttyS0"},
		{[]string{"talos.platform=nocloud"}, "talos.platform=nocloud console=tty0 " + after},
		{[]string{"pti=off"}, strings.Replace(before+after, "pti=on", "pti=on pti=off", 1)},
		{[]string{"-pti=off"}, before + after},
		{[]string{"-pti=on"}, strings.Replace(before+after, "pti=on ", "", 1)},
		{[]string{"-pti=on", "pti=off"}, strings.Replace(before+after, "pti=on", "pti=off", 1)},
		{[]string{"-pti", "pti=off"}, strings.Replace(before+after, "pti=on ", "", 1) + " pti=off"},
		{[]string{"-", "-nothing"}, before + after + " -"},
		{[]string{"-slab_nomerge", "-module.sig_enforce"}, before + strings.NewReplacer("slab_nomerge ", "", "module.sig_enforce=1 ", "").Replace(after)},
		{
			[]string{"console=ttyS0", "-module.sig_enforce", "-pti=on", "-pti=off", "a=b"},
			"talos.platform=metal console=ttyS0 slab_nomerge consoleblank=0 printk.devkmsg=on selinux=1 proc_mem.force_override=never a=b",
		},
	} {
		p := Profile{Version: "v1.14.0", Output: Output{Kind: Cmdline}, Customization: Customization{ExtraKernelArgs: c.extra}}
		if got := resolve(t, p).Cmdline; got != c.want {
			t.Errorf("%q:\ngot  %s\nwant %s", c.extra, got, c.want)
		}
	}
}

func TestSecureBootKeepsSignatures(t *testing.T) {
	p := from("secureboot-iso", AMD64, "v1.13.0")
	p.Customization.ExtraKernelArgs = []string{"-module.sig_enforce -pti", "-module.sig_enforce=1"}
	pl := resolve(t, p)
	const want = "talos.platform=metal console=tty0 talos.halt_if_installed=1 init_on_alloc=1 slab_nomerge consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never lockdown=confidentiality"
	if pl.Cmdline != want {
		t.Errorf("got  %s\nwant %s", pl.Cmdline, want)
	}
	if got := strings.Join(pl.Warnings, "; "); got != "-module.sig_enforce has no effect: SecureBoot enforces it; -module.sig_enforce=1 has no effect: SecureBoot enforces it" {
		t.Errorf("warnings: %s", got)
	}
}

// META goes into the partition of an image, and else into the command line,
// where Talos' own library reads it.
func TestMetaInCmdline(t *testing.T) {
	values := []meta.Value{{Key: 10, Value: strings.Repeat("interface: eth0\n", 30)}, {Key: 12, Value: "x=y"}}
	for version, gzipped := range map[string]bool{"v1.6.2": false, "v1.6.3": true, "v1.14.0": true} {
		p := from("iso", ARM64, version)
		p.Customization = Customization{MetaContents: values, ExtraKernelArgs: []string{"last=1"}}
		pl := resolve(t, p)
		const prefix = " talos.environment=INSTALLER_META_BASE64="
		if got := " " + constants.KernelParamEnvironment + "=" + constants.MetaValuesEnvVar + "="; got != prefix {
			t.Fatalf("Talos says %s", got)
		}
		_, env, ok := strings.Cut(pl.Cmdline, prefix)
		env, rest, _ := strings.Cut(env, " ")
		if !ok || rest != "last=1" || strings.HasPrefix(env, "H4sI") != gzipped {
			t.Errorf("%s: %s", version, pl.Cmdline)
		}
		got, err := talosmeta.DecodeValues(env)
		if err != nil || len(got) != 2 || got[0].Value != values[0].Value || got[1].String() != "0xc=x=y" {
			t.Errorf("%s: %v, %v", version, got, err)
		}
	}
	p := from("metal", AMD64, "v1.14.0")
	p.Customization.MetaContents = values
	pl := resolve(t, p)
	if strings.Contains(pl.Cmdline, "INSTALLER_META") || len(pl.Meta) != 3 || pl.Meta[2] != (meta.Value{Key: 0x11, Value: "dual-boot"}) {
		t.Errorf("image: %v, %s", pl.Meta, pl.Cmdline)
	}
}

// TestLongestCmdline: a kernel keeps 2047 bytes, the arguments of the entry that
// resets the machine and those of GRUB among them.
func TestLongestCmdline(t *testing.T) {
	for _, c := range []struct{ base, arch, with string }{
		{"metal-uki", AMD64, ""},
		{"secureboot-iso", AMD64, ""},
		{"iso", ARM64, ""},
		{"iso", AMD64, ", with what GRUB puts before it,"},
		{"metal", AMD64, ", with what GRUB puts before it,"},
	} {
		p := from(c.base, c.arch, "v1.14.0")
		p.Customization.ExtraKernelArgs = []string{"a=" + strings.Repeat("x", 1000)}
		pl := resolve(t, p)
		rest := 2047 - max(len(pl.Cmdline), len(pl.Reset.Cmdline))
		if c.with != "" {
			rest -= len("BOOT_IMAGE=/boot/vmlinuz ")
		}
		p.Customization.ExtraKernelArgs[0] += strings.Repeat("x", rest)
		resolve(t, p)
		p.Customization.ExtraKernelArgs[0] += "x"
		_, err := p.Resolve("")
		want := "the profile: customization: the kernel command line" + c.with + " has 2048 bytes, and a kernel keeps 2047: leave out kernel arguments, or values of META"
		if !errors.Is(err, ErrInvalid) || err.Error() != want {
			t.Errorf("%s: got %v\nwant %s", c.base, err, want)
		}
	}
}
