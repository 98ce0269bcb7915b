// Package profile says what boot asset is wanted. A Profile is Talos' own
// document, the one that its imager reads; what a person leaves out of it is
// taken from a base profile such as "metal" or "aws" and then from the defaults
// of the Talos version (Resolve). The result is a Plan: everything that depends
// on platform, architecture and version, decided once, as data: names of files,
// the kernel command line, the partitions. Whoever builds the asset decides
// nothing of that kind.
//
// The facts are tables: base profiles (base.go), platforms and their kernel
// arguments (platform.go, cmdline.go), and what changed from version to version
// (quirks.go). What concerns the inside of the initramfs, its compression and
// its directories, is with extension.Version.
//
// Nothing here reads a file or asks a registry: a Profile names its inputs, and
// it is for others to open them.
package profile

import (
	"bytes"

	"go.yaml.in/yaml/v3"

	"github.com/graftlinux/graft/internal/format/meta"
)

// Profile is a document of Talos' imager (pkg/imager/profile). The zero value
// of a field leaves it to the base profile and the defaults. Keys that are
// graft's own are marked; Talos' imager ignores them.
type Profile struct {
	// BaseProfileName is the profile to start from; see Names.
	BaseProfileName string `yaml:"baseProfileName,omitempty"`
	// Arch is amd64 or arm64.
	Arch string `yaml:"arch"`
	// Platform is the value of the kernel argument talos.platform.
	Platform string `yaml:"platform"`
	// SecureBoot asks for signed boot files; nil is false.
	SecureBoot *bool `yaml:"secureboot"`
	// Name of the operating system, "Talos" if it is empty.
	Name string `yaml:"name,omitempty"`
	// Version of Talos as it is written in names of files, such as v1.14.0.
	Version       string        `yaml:"version"`
	Customization Customization `yaml:"customization,omitempty"`
	Input         Input         `yaml:"input"`
	Overlay       *Overlay      `yaml:"overlay,omitempty"`
	Output        Output        `yaml:"output"`
}

// Customization is what the user adds.
type Customization struct {
	// ExtraKernelArgs are added to the command line; "console=" and
	// "talos.platform=" replace, "-key" and "-key=value" remove.
	ExtraKernelArgs []string `yaml:"extraKernelArgs,omitempty"`
	// MetaContents are values for the META partition.
	MetaContents []meta.Value `yaml:"metaContents,omitempty"`
	// EmbeddedMachineConfiguration is a machine configuration, as text.
	EmbeddedMachineConfiguration string `yaml:"embeddedMachineConfiguration,omitempty"`
}

// Input is what the asset is made of.
type Input struct {
	Kernel           FileAsset         `yaml:"kernel"`
	Initramfs        FileAsset         `yaml:"initramfs"`
	SDStub           FileAsset         `yaml:"sdStub,omitempty"`
	SDBoot           FileAsset         `yaml:"sdBoot,omitempty"`
	BaseInstaller    ContainerAsset    `yaml:"baseInstaller,omitempty"`
	ImageCache       ContainerAsset    `yaml:"imageCache,omitempty"`
	OverlayInstaller ContainerAsset    `yaml:"overlayInstaller,omitempty"`
	SecureBoot       *SecureBootAssets `yaml:"secureboot,omitempty"`
	SystemExtensions []ContainerAsset  `yaml:"systemExtensions,omitempty"`
	// Base is the image that holds the kernel, the initramfs and the boot
	// programs below /usr/install/<arch>, as Talos' imager image does. The key
	// is graft's own: the imager has these files around it.
	Base ContainerAsset `yaml:"base,omitempty"`
}

// FileAsset is a file. A path that is the default one is looked for in
// Input.Base.
type FileAsset struct {
	Path string `yaml:"path"`
}

// ContainerAsset is a container image, or its contents. TarballPath counts
// before OCIPath, and that before ImageRef.
type ContainerAsset struct {
	ImageRef string `yaml:"imageRef"`
	// ForceInsecure lets the registry speak plain HTTP.
	ForceInsecure bool `yaml:"forceInsecure,omitempty"`
	// TarballPath is a plain tar file of the image's contents.
	TarballPath string `yaml:"tarballPath,omitempty"`
	// OCIPath is the directory of an OCI layout.
	OCIPath string `yaml:"ociPath,omitempty"`
	// Digest is that of the image which ImageRef turned out to be. The key is
	// graft's own, for profiles whose inputs are resolved.
	Digest string `yaml:"digest,omitempty"`
}

// SecureBootAssets are keys for signing, and what firmware is to enrol.
type SecureBootAssets struct {
	SecureBootSigner Signer `yaml:"secureBootSigner"`
	PCRSigner        Signer `yaml:"pcrSigner"`
	// The authenticated variables of UEFI to enrol; made from the signer's
	// certificate if PlatformKeyPath is empty.
	PlatformKeyPath    string `yaml:"platformKeyPath,omitempty"`
	KeyExchangeKeyPath string `yaml:"keyExchangeKeyPath,omitempty"`
	SignatureKeyPath   string `yaml:"signatureKeyPath,omitempty"`
	// IncludeWellKnownCerts adds Microsoft's certificates to what is made.
	IncludeWellKnownCerts bool `yaml:"includeWellKnownCerts,omitempty"`
}

// Signer says who signs: a key in a file, or a service.
type Signer struct {
	// KeyPath and CertPath are PEM files; a PCR key has no certificate.
	KeyPath  string `yaml:"keyPath,omitempty"`
	CertPath string `yaml:"certPath,omitempty"`
	// SignerAddress is a gRPC service, unix:// and a path.
	SignerAddress string `yaml:"signerAddress,omitempty"`
	// Keys in the clouds of Azure and AWS, which graft does not reach.
	AzureVaultURL      string `yaml:"azureVaultURL,omitempty"`
	AzureCertificateID string `yaml:"azureCertificateID,omitempty"`
	AzureKeyID         string `yaml:"azureKeyID,omitempty"`
	AzureKeyVersion    string `yaml:"azureKeyVersion,omitempty"`
	AWSKMSKeyID        string `yaml:"awsKMSKeyID,omitempty"`
	AWSRegion          string `yaml:"awsRegion,omitempty"`
	AWSCertPath        string `yaml:"awsCertPath,omitempty"`
	AWSCertARN         string `yaml:"awsCertARN,omitempty"`
}

// Overlay is the support for a single-board computer. graft reads it to say
// that it has none.
type Overlay struct {
	Name    string         `yaml:"name"`
	Image   ContainerAsset `yaml:"image"`
	Options map[string]any `yaml:"options,omitempty"`
}

// Output is the form of the asset.
type Output struct {
	Kind         Kind          `yaml:"kind"`
	ImageOptions *ImageOptions `yaml:"imageOptions,omitempty"`
	ISOOptions   *ISOOptions   `yaml:"isoOptions,omitempty"`
	// OutFormat is what is done to the finished file; OutRaw if it is empty.
	OutFormat OutFormat `yaml:"outFormat"`
}

// ImageOptions are for disk images.
type ImageOptions struct {
	// DiskSize in bytes. Room for the larger boot partitions of newer versions
	// and for a second boot loader is added to it, in Talos' imager and here.
	DiskSize int64 `yaml:"diskSize"`
	// ExactDiskSize says that nothing is to be added to DiskSize. The key is
	// graft's own; a resolved profile has it.
	ExactDiskSize bool `yaml:"exactDiskSize,omitempty"`
	// DiskFormat is DiskRaw if it is empty.
	DiskFormat DiskFormat `yaml:"diskFormat,omitempty"`
	// DiskFormatOptions are those of qemu-img, as in cluster_size=8k.
	DiskFormatOptions string `yaml:"diskFormatOptions,omitempty"`
	// DiskSectorSize in bytes, 512 if it is 0.
	DiskSectorSize   int64      `yaml:"diskSectorSize,omitempty"`
	Bootloader       Bootloader `yaml:"bootloader,omitempty"`
	SDBootEnrollKeys EnrollKeys `yaml:"sdBootEnrollKeys,omitempty"`
}

// ISOOptions are for ISO images.
type ISOOptions struct {
	SDBootEnrollKeys EnrollKeys `yaml:"sdBootEnrollKeys"`
	Bootloader       Bootloader `yaml:"bootloader,omitempty"`
}

// Kind of a boot asset.
type Kind string

// The kinds.
const (
	ISO       Kind = "iso"
	Image     Kind = "image"
	Installer Kind = "installer"
	Kernel    Kind = "kernel"
	Initramfs Kind = "initramfs"
	UKI       Kind = "uki"
	Cmdline   Kind = "cmdline"
)

// Kinds are all kinds there are.
func Kinds() []Kind { return []Kind{ISO, Image, Installer, Kernel, Initramfs, UKI, Cmdline} }

// OutFormat is what is done to a finished file.
type OutFormat string

// The formats; those that begin with a dot are added to the file's name.
const (
	OutRaw   OutFormat = "raw" // nothing is done
	OutTarGz OutFormat = ".tar.gz"
	OutXz    OutFormat = ".xz"
	OutGzip  OutFormat = ".gz"
	OutZstd  OutFormat = ".zst"
)

// DiskFormat is how a disk image is kept in a file, and the file's suffix.
type DiskFormat string

// The formats of disk images.
const (
	DiskRaw   DiskFormat = "raw"
	DiskQCOW2 DiskFormat = "qcow2"
	DiskVHD   DiskFormat = "vhd"
	DiskOVA   DiskFormat = "ova"
)

// Bootloader says what starts the kernel.
type Bootloader string

// The boot loaders. DualBoot is systemd-boot for UEFI and GRUB for BIOS.
const (
	GRUB     Bootloader = "grub"
	SDBoot   Bootloader = "sd-boot"
	DualBoot Bootloader = "dual-boot"
)

// EnrollKeys is secure-boot-enroll in the loader.conf of systemd-boot.
type EnrollKeys string

// When systemd-boot enrols keys of its own accord.
const (
	EnrollIfSafe EnrollKeys = "if-safe"
	EnrollManual EnrollKeys = "manual"
	EnrollForce  EnrollKeys = "force"
	EnrollOff    EnrollKeys = "off"
)

// The architectures.
const (
	AMD64 = "amd64"
	ARM64 = "arm64"
)

// Secure says whether SecureBoot is asked for.
func (p Profile) Secure() bool { return p.SecureBoot != nil && *p.SecureBoot }

// Encode writes the profile as YAML, in the order and the indentation of Talos'
// imager.
func (p Profile) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(p); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
