package profile

import "github.com/graftlinux/graft/internal/extension"

// Quirks is what boot assets of one Talos version have and others have not.
type Quirks struct {
	version [3]uint64
	known   bool
}

// QuirksOf a version such as v1.9.2. Pre-releases count as their release. What
// cannot be read as a version counts as the newest there is, with one
// exception (see sdBootOnUEFI).
func QuirksOf(version string) Quirks {
	v, err := extension.ParseVersion(version)
	return Quirks{version: [3]uint64{v.Major, v.Minor, v.Patch}, known: err == nil && v.Known()}
}

// feature is a row of features.
type feature int

const (
	always feature = iota // what every version has
	uki
	gzipMeta
	ttyS0
	haltIfInstalled
	isoLabel
	dataPartitionsAtBoot
	sdBootOnUEFI
	ukiProfiles
	dualBoot
	installerBase
	selinux
	ima
	largeBoot
	embeddedConfig
	sigEnforce
	isoBootloader
	procMemOverride
	initOnAlloc
	nvmeTimeout
	lockdown
	awsNVMeTimeout
	imageEnrollsKeys
)

// features says since which version Talos has something, and which version has
// it no more. The zero version is the beginning and the end of time.
var features = [...]struct {
	since, until [3]uint64
	why          string
}{
	always:               {},
	uki:                  {since: [3]uint64{1, 5}, why: "unified kernel images and SecureBoot"},
	gzipMeta:             {since: [3]uint64{1, 6, 3}, why: "META in the environment may be compressed"},
	ttyS0:                {until: [3]uint64{1, 8}, why: "console=ttyS0 on metal, which hung machines without a serial port"},
	haltIfInstalled:      {since: [3]uint64{1, 8}, why: "an ISO stops on a machine that has Talos on its disk"},
	isoLabel:             {since: [3]uint64{1, 8}, why: "an ISO's volume is named after the version"},
	dataPartitionsAtBoot: {since: [3]uint64{1, 8}, why: "STATE and EPHEMERAL are made at the first boot"},
	sdBootOnUEFI:         {since: [3]uint64{1, 10}, why: "systemd-boot on all UEFI machines, GRUB on BIOS only"},
	ukiProfiles:          {since: [3]uint64{1, 10}, why: "a UKI has more than one command line"},
	dualBoot:             {since: [3]uint64{1, 10}, why: "the first boot drops the boot loader that is not used"},
	installerBase:        {since: [3]uint64{1, 10}, why: "installers are made from an image that has no assets"},
	selinux:              {since: [3]uint64{1, 10}, why: "SELinux is on"},
	ima:                  {until: [3]uint64{1, 11}, why: "IMA was dropped"},
	largeBoot:            {since: [3]uint64{1, 11}, why: "BOOT has 2000 MiB instead of 1000, and so has a UKI's EFI partition"},
	embeddedConfig:       {since: [3]uint64{1, 12}, why: "a machine configuration in the asset"},
	sigEnforce:           {since: [3]uint64{1, 12}, why: "signatures of modules are enforced by an argument, so that it can be removed"},
	isoBootloader:        {since: [3]uint64{1, 12}, why: "an ISO's boot loader can be chosen"},
	procMemOverride:      {since: [3]uint64{1, 13}, why: "/proc/<pid>/mem keeps to the page's permissions"},
	initOnAlloc:          {until: [3]uint64{1, 14}, why: "it is in the kernel's configuration"},
	nvmeTimeout:          {until: [3]uint64{1, 14}, why: "what AWS wants was an argument of all platforms"},
	awsNVMeTimeout:       {since: [3]uint64{1, 14}, why: "AWS alone wants it"},
	lockdown:             {until: [3]uint64{1, 14}, why: "SecureBoot does not force confidentiality any more"},
	imageEnrollsKeys:     {since: [3]uint64{1, 14}, why: "disk images can enrol SecureBoot keys, not only ISOs"},
}

func (q Quirks) has(f feature) bool {
	row := features[f]
	if !q.known {
		// Talos takes an odd version for the newest, but for this question,
		// which it answers with no.
		return row.until == [3]uint64{} && f != sdBootOnUEFI
	}
	return !less(q.version, row.since) && (row.until == [3]uint64{} || less(q.version, row.until))
}

func less(a, b [3]uint64) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// UKIProfiles says whether a UKI has a profile for resetting the machine.
func (q Quirks) UKIProfiles() bool { return q.has(ukiProfiles) }

// SDBootOnUEFI says whether systemd-boot starts all UEFI machines, and not only
// those with SecureBoot.
func (q Quirks) SDBootOnUEFI() bool { return q.has(sdBootOnUEFI) }

// CompressedMeta says whether META values in the environment may be compressed.
func (q Quirks) CompressedMeta() bool { return q.has(gzipMeta) }

// bootSize is the size in bytes of BOOT, and of what an EFI partition with UKIs
// has in its place.
func (q Quirks) bootSize() int64 {
	if q.has(largeBoot) {
		return 2000 * mib
	}
	return 1000 * mib
}
