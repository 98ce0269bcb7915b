package profile

import "slices"

const (
	mib = 1 << 20
	// minDisk is what Talos needs with boot partitions of the old size.
	minDisk = 1246 * mib
	// cloudDisk is the size of a disk where the cloud does not enlarge it.
	cloudDisk = 8192 * mib
)

// base is a row of bases.
type base struct {
	name     string
	platform string
	secure   bool
	output   Output
	about    string
}

// bases are the base profiles: those of Talos' imager (pkg/imager/profile).
var bases = slices.Concat(
	[]base{
		{"iso", "metal", false, Output{Kind: ISO, OutFormat: OutRaw}, "ISO image for bare metal"},
		{"secureboot-iso", "metal", true, Output{Kind: ISO, OutFormat: OutRaw, ISOOptions: &ISOOptions{SDBootEnrollKeys: EnrollIfSafe}}, "ISO image for bare metal with SecureBoot"},
		image("metal", DiskRaw, OutZstd, minDisk),
		image("metal", DiskRaw, OutZstd, minDisk).sectors(4096),
		{"metal-uki", "metal", false, Output{Kind: UKI, OutFormat: OutRaw}, "unified kernel image for bare metal"},
		{"secureboot-metal-uki", "metal", true, Output{Kind: UKI, OutFormat: OutRaw}, "unified kernel image for bare metal with SecureBoot"},
		image("metal", DiskRaw, OutZstd, minDisk).secured(),
		{"installer", "metal", false, Output{Kind: Installer, OutFormat: OutRaw}, "installer, a container image that installs and upgrades"},
		{"secureboot-installer", "metal", true, Output{Kind: Installer, OutFormat: OutRaw}, "installer for machines with SecureBoot"},
	},
	clouds(),
)

func clouds() []base {
	azure := image("azure", DiskVHD, OutZstd, cloudDisk).options("subformat=fixed,force_size")
	cloudstack := image("cloudstack", DiskRaw, OutZstd, cloudDisk)
	nocloud := image("nocloud", DiskRaw, OutZstd, minDisk)
	opennebula := image("opennebula", DiskRaw, OutZstd, minDisk)
	openstack := image("openstack", DiskRaw, OutZstd, minDisk)
	vmware := image("vmware", DiskOVA, OutRaw, cloudDisk)
	const clusters = "cluster_size=8k"
	return []base{
		image("akamai", DiskRaw, OutGzip, minDisk),
		image("alibabacloud", DiskQCOW2, OutRaw, minDisk).options(clusters),
		image("aws", DiskRaw, OutZstd, cloudDisk),
		azure, azure.secured(),
		cloudstack, cloudstack.secured(),
		image("digital-ocean", DiskRaw, OutGzip, cloudDisk),
		image("exoscale", DiskQCOW2, OutZstd, 10*1024*mib).options(clusters),
		image("gcp", DiskRaw, OutTarGz, cloudDisk),
		image("hcloud", DiskRaw, OutZstd, minDisk),
		nocloud, nocloud.secured(),
		opennebula, opennebula.secured(),
		openstack, openstack.secured(),
		image("oracle", DiskQCOW2, OutZstd, cloudDisk).options(clusters),
		image("scaleway", DiskRaw, OutZstd, minDisk),
		image("upcloud", DiskRaw, OutZstd, cloudDisk),
		vmware, vmware.secured(),
		image("vultr", DiskRaw, OutZstd, cloudDisk),
	}
}

// image is a disk image for a platform, by whose name it goes.
func image(platform string, format DiskFormat, out OutFormat, size int64) base {
	return base{
		name:     platform,
		platform: platform,
		output:   Output{Kind: Image, OutFormat: out, ImageOptions: &ImageOptions{DiskSize: size, DiskFormat: format}},
		about:    "disk image for " + platformTitle(platform),
	}
}

func (b base) options(s string) base {
	b.output.ImageOptions.DiskFormatOptions = s
	return b
}

func (b base) sectors(size int64) base {
	b.name += "-4k"
	b.about += " with sectors of 4 KiB"
	b.output.ImageOptions.DiskSectorSize = size
	return b
}

func (b base) secured() base {
	b.name = "secureboot-" + b.name
	b.about += " with SecureBoot"
	b.secure = true
	return b
}

// Names are the names of all base profiles.
func Names() []string {
	names := make([]string, len(bases))
	for i, b := range bases {
		names[i] = b.name
	}
	return names
}

// Get gives the base profile of a name. The profile is the caller's own.
func Get(name string) (Profile, bool) {
	i := slices.IndexFunc(bases, func(b base) bool { return b.name == name })
	if i < 0 {
		return Profile{}, false
	}
	b := bases[i]
	var p Profile
	merge(&p, Profile{Platform: b.platform, SecureBoot: &b.secure, Output: b.output})
	return p, true
}

// Describe says in a few words what a base profile makes; "" if there is none
// of that name.
func Describe(name string) string {
	if i := slices.IndexFunc(bases, func(b base) bool { return b.name == name }); i >= 0 {
		return bases[i].about
	}
	return ""
}
