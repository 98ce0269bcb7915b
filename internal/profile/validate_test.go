package profile

import (
	"errors"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	const v = "version: v1.14.0\n"
	for _, c := range []struct{ doc, want string }{
		{v, "output.kind: nothing says what to make: give one of [iso image installer kernel initramfs uki cmdline], or a baseProfileName"},
		{v + "baseProfileName: meta", `baseProfileName: there is no base profile "meta"; did you mean metal?`},
		{v + "baseProfileName: secureboot-mettal", `baseProfileName: there is no base profile "secureboot-mettal"; did you mean secureboot-metal?`},
		{v + "output: {kind: isoo}", `output.kind: "isoo" is none of iso, image, installer, kernel, initramfs, uki, cmdline; did you mean iso?`},
		{v + "arch: amd46\noutput: {kind: iso}", `arch: "amd46" is none of amd64, arm64; did you mean amd64?`},
		{v + "platform: hetzner\noutput: {kind: uki}", `platform: "hetzner" is none of akamai, alibabacloud, aws, azure, cloudstack, digital-ocean, equinixMetal, exoscale, gcp, hcloud, metal, nocloud, opennebula, openstack, oracle, scaleway, upcloud, vmware, vultr`},
		{v + "output: {kind: iso, outFormat: zst}", `output.outFormat: "zst" is none of raw, .tar.gz, .xz, .gz, .zst; did you mean .zst?`},
		{v + "output: {kind: iso, outFormat: .tar.gz}", "output.outFormat: .tar.gz is for raw disk images: the archive holds one file, disk.raw"},
		{v + "baseProfileName: azure\noutput: {outFormat: .tar.gz}", "output.outFormat: .tar.gz is for raw disk images: the archive holds one file, disk.raw"},
		{"baseProfileName: iso", "version: neither the profile nor the base says which version of Talos this is"},
		{"version: ../v1\nbaseProfileName: iso", `version: "../v1" becomes part of names of files, where it may have letters, digits, '.', '_', '+', '~' and '-'`},
		{"version: v1.4.8\nbaseProfileName: secureboot-iso", "secureboot: Talos has SecureBoot since 1.5, and this is v1.4.8"},
		{"version: v1.4.8\nbaseProfileName: metal-uki", "output.kind: Talos has unified kernel images since 1.5, and this is v1.4.8"},
		{v + "name: 'a\"b'\nbaseProfileName: iso", `name: "a\"b" cannot stand in quotes in os-release`},
		{v + "baseProfileName: metal\noutput: {imageOptions: {diskFormat: vmdk}}", `output.imageOptions.diskFormat: "vmdk" is none of raw, qcow2, vhd, ova`},
		{v + "output: {kind: image}", "output.imageOptions.diskSize: a disk image needs a size"},
		{v + "output: {kind: image, imageOptions: {diskSize: 1048576, exactDiskSize: true}}", "output.imageOptions.diskSize: 1048576 bytes are too few: the partitions need 4304404480 (4105 MiB)"},
		{v + "output: {kind: image, imageOptions: {diskSize: 8589934593, exactDiskSize: true}}", "output.imageOptions.diskSize: 8589934593 bytes are not a multiple of 4096"},
		{v + "output: {kind: image, imageOptions: {diskSize: -1}}", "output.imageOptions.diskSize: -1 is no size between 1 byte and 64 TiB"},
		{v + "output: {kind: image, imageOptions: {diskSize: 9223372036854775807}}", "output.imageOptions.diskSize: 9223372036854775807 is no size between 1 byte and 64 TiB"},
		{v + "output: {kind: image, imageOptions: {diskSize: 4398046511104, diskFormat: vhd}}", "output.imageOptions.diskSize: a VHD has 2040 GiB at most"},
		{v + "baseProfileName: metal\noutput: {imageOptions: {diskSectorSize: 2048}}", "output.imageOptions.diskSectorSize: it is 512 or 4096, and not 2048"},
		{v + "baseProfileName: vmware\noutput: {imageOptions: {diskSectorSize: 4096}}", "output.imageOptions.diskSectorSize: a disk of the format ova has sectors of 512 bytes"},
		{v + "baseProfileName: metal\noutput: {imageOptions: {diskFormatOptions: cluster_size=8k}}", "output.imageOptions.diskFormatOptions: only qcow2 and vhd have options, and this is raw"},
		{v + "baseProfileName: oracle\noutput: {imageOptions: {diskFormatOptions: cluster_size=7k}}", `output.imageOptions.diskFormatOptions: parsing qcow2 options "cluster_size=7k": cluster size 7168: want a power of two from 512 to 2M`},
		{v + "baseProfileName: azure\noutput: {imageOptions: {diskFormatOptions: '" + strings.Repeat("a", 1025) + "'}}", "output.imageOptions.diskFormatOptions: 1025 bytes are too many: 1024 at most are read"},
		{v + "baseProfileName: metal\noutput: {imageOptions: {bootloader: lilo}}", `output.imageOptions.bootloader: "lilo" is none of grub, sd-boot, dual-boot`},
		{v + "baseProfileName: metal\noutput: {imageOptions: {sdBootEnrollKeys: sometimes}}", `output.imageOptions.sdBootEnrollKeys: "sometimes" is none of if-safe, manual, force, off`},
		{v + "baseProfileName: secureboot-metal\noutput: {imageOptions: {bootloader: grub}}", "output.imageOptions.bootloader: SecureBoot goes with sd-boot only"},
		{v + "baseProfileName: secureboot-iso\noutput: {isoOptions: {bootloader: dual-boot}}", "output.isoOptions.bootloader: SecureBoot goes with sd-boot only"},
		{v + "baseProfileName: iso\narch: arm64\noutput: {isoOptions: {bootloader: dual-boot}}", "output.isoOptions.bootloader: dual-boot is for machines that have a BIOS, and arm64 has none"},
		{"version: v1.9.0\nbaseProfileName: metal\noutput: {imageOptions: {bootloader: dual-boot}}", "output.imageOptions.bootloader: Talos knows dual-boot since 1.10, and this is v1.9.0"},
		{"version: v1.4.0\nbaseProfileName: metal\noutput: {imageOptions: {bootloader: sd-boot}}", "output.imageOptions.bootloader: Talos can be started by sd-boot since 1.5, and this is v1.4.0"},
		{"version: v1.11.0\nbaseProfileName: iso\noutput: {isoOptions: {bootloader: grub}}", "output.isoOptions.bootloader: it can be chosen since Talos 1.12; an ISO of v1.11.0 has dual-boot"},
		{"version: v1.11.0\nbaseProfileName: iso\ncustomization: {embeddedMachineConfiguration: x}", "customization.embeddedMachineConfiguration: Talos reads it since 1.12, and this is v1.11.0"},
		{v + "baseProfileName: installer\ncustomization: {metaContents: [{key: 10, value: x}]}", "customization.metaContents: an installer has no META partition, and its command line does not reach the one that installs"},
		{v + "baseProfileName: iso\ncustomization: {metaContents: [{key: 10, value: a;b}]}", "customization.metaContents[0]: a value with a semicolon fits into a disk image, but not into the kernel command line of kind iso"},
		{v + "baseProfileName: metal\ncustomization: {metaContents: [{value: a;b}]}", "customization.metaContents[0]: a key is a number from 1 to 255"},
		{v + `baseProfileName: metal` + "\n" + `customization: {extraKernelArgs: ["a\nb"]}`, `customization.extraKernelArgs[0]: "a\nb" has a control character`},
		{v + "baseProfileName: metal\ncustomization: {extraKernelArgs: [ok, '']}", "customization.extraKernelArgs[1]: it is empty"},
		{v + "baseProfileName: metal\ninput: {systemExtensions: [{forceInsecure: true}]}", "input.systemExtensions[0]: it names no image: one of imageRef, ociPath, tarballPath"},
		{v + "baseProfileName: metal\ninput: {base: {ociPath: a, tarballPath: b}}", "input.base: ociPath and tarballPath exclude each other"},
		{v + "baseProfileName: metal\ninput: {base: {imageRef: a, digest: md5:0}}", `input.base.digest: "md5:0" is not sha256: and 64 hex digits`},
		{v + "baseProfileName: secureboot-metal\ninput: {secureboot: {secureBootSigner: {keyPath: a}}}", "input.secureboot.secureBootSigner: there is a keyPath and no certPath"},
		{v + "baseProfileName: secureboot-metal\ninput: {secureboot: {secureBootSigner: {certPath: a}}}", "input.secureboot.secureBootSigner: there is a certPath and no keyPath"},
		{v + "baseProfileName: secureboot-metal\ninput: {secureboot: {pcrSigner: {keyPath: a, signerAddress: unix:///s}}}", "input.secureboot.pcrSigner: a key in a file and signerAddress exclude each other"},
		{v + "baseProfileName: secureboot-metal\ninput: {secureboot: {pcrSigner: {signerAddress: tcp://h}}}", `input.secureboot.pcrSigner.signerAddress: "tcp://h" is not unix:// and the path of a socket`},
	} {
		err := resolveText(t, c.doc)
		if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnsupported) || err.Error() != "the profile: "+c.want {
			t.Errorf("%s\ngot  %v\nwant %s", c.doc, err, c.want)
		}
	}
}

func resolveText(t *testing.T, doc string) error {
	t.Helper()
	p, err := Parse([]byte(doc))
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	_, err = p.Resolve("")
	return err
}

// What makes sense and is not for graft.
func TestUnsupported(t *testing.T) {
	for doc, want := range map[string]string{
		"overlay: {name: rpi_generic, image: {imageRef: x}}":                                         "graft makes no images for single-board computers",
		"input: {overlayInstaller: {imageRef: x}}":                                                   "graft makes no images for single-board computers",
		"input: {imageCache: {ociPath: x}}":                                                          "graft puts no image cache into boot assets",
		"input: {secureboot: {secureBootSigner: {azureVaultURL: x, azureCertificateID: y}}}":         "graft does not sign with keys in Azure Key Vault",
		"input: {secureboot: {pcrSigner: {awsKMSKeyID: x, awsRegion: y}}}":                           "graft does not sign with keys in AWS KMS",
		"output: {imageOptions: {diskFormat: vhd, diskFormatOptions: subformat=thin}}":               `option "subformat=thin": unsupported operation, want subformat=fixed or dynamic`,
		"output: {imageOptions: {diskFormat: qcow2, diskFormatOptions: 'cluster_size=8k,compat=1'}}": `option "compat=1": unsupported operation, want compat=1.1 or v3`,
	} {
		err := resolveText(t, "version: v1.14.0\nbaseProfileName: secureboot-metal\n"+doc)
		if !errors.Is(err, ErrUnsupported) || errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", doc, err)
		}
	}
}

// All findings come at once; one that makes no sense makes the whole invalid.
func TestEveryProblem(t *testing.T) {
	err := resolveText(t, `version: v1.11.0
secureboot: true
arch: arm
platform: metall
customization: {extraKernelArgs: [a], metaContents: [{key: 1, value: x}], embeddedMachineConfiguration: x}
overlay: {name: x}
output: {kind: kernel}
`)
	const want = `the profile has 7 problems:
  arch: "arm" is none of amd64, arm64
  platform: "metall" is none of akamai, alibabacloud, aws, azure, cloudstack, digital-ocean, equinixMetal, exoscale, gcp, hcloud, metal, nocloud, opennebula, openstack, oracle, scaleway, upcloud, vmware, vultr; did you mean metal?
  customization.embeddedMachineConfiguration: Talos reads it since 1.12, and this is v1.11.0
  overlay: graft makes no images for single-board computers; Talos' imager runs the programs that an overlay has for that
  secureboot: it has no effect on kind kernel
  customization.extraKernelArgs: it has no effect on kind kernel
  customization.metaContents: it has no effect on kind kernel`
	if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnsupported) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(full)
	f.Add("baseProfileName: metal\nversion: v1.9.0\n")
	f.Add("version: v1.14.0\noutput: {kind: iso, isoOptions: {bootloader: none}}\ncustomization: {extraKernelArgs: [-a=, -console, b]}\n")
	f.Add("input: &a\n  systemExtensions: [*a]\n  <<: [*a]\n")
	f.Fuzz(func(t *testing.T, doc string) {
		p, err := Parse([]byte(doc))
		if err != nil {
			return
		}
		pl, err := p.Resolve("v1.13.0")
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(e.Problems) == 0 || errors.Is(err, ErrInvalid) == errors.Is(err, ErrUnsupported) {
				t.Fatalf("an odd error: %#v", err)
			}
			return
		}
		data, err := pl.Profile.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		second, err := again.Resolve("")
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if second.Cmdline != pl.Cmdline || second.File != pl.File || second.DiskSize != pl.DiskSize {
			t.Fatalf("not the same again:\n%s", data)
		}
	})
}
