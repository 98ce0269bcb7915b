package profile

import "strings"

// arg is a kernel argument and where it holds.
type arg struct {
	text    string
	arch    string // "" is both
	feature feature
}

// args are arguments that always hold.
func args(words string) []arg {
	var all []arg
	for _, w := range strings.Fields(words) {
		all = append(all, arg{text: w})
	}
	return all
}

// serialSecond are the consoles of most clouds: the screen, and the serial port
// as the one that gets the output of init.
const serialSecond = "console=tty1 console=ttyS0 net.ifnames=0"

// platforms are Talos' platforms with their kernel arguments
// (machined/pkg/runtime/v1alpha1/platform).
var platforms = []struct {
	name  string
	about string
	args  []arg
}{
	{"akamai", "Akamai (Linode)", args("console=ttyS0 console=tty0 console=tty1 net.ifnames=0")},
	{"alibabacloud", "Alibaba Cloud", args(serialSecond)},
	{"aws", "Amazon Web Services", append(args(serialSecond), arg{text: "nvme_core.io_timeout=4294967295", feature: awsNVMeTimeout})},
	{"azure", "Microsoft Azure", args("console=ttyS0,115200n8 earlyprintk=ttyS0,115200 rootdelay=300 net.ifnames=0 talos.dashboard.disabled=1 sysctl.kernel.kexec_load_disabled=1")},
	{"cloudstack", "Apache CloudStack", args(serialSecond)},
	{"digital-ocean", "DigitalOcean", args("console=ttyS0 console=tty0 console=tty1 net.ifnames=0")},
	{"equinixMetal", "Equinix Metal", []arg{
		{text: "console=ttyS1,115200n8", arch: AMD64},
		{text: "console=ttyAMA0,115200", arch: ARM64},
	}},
	{"exoscale", "Exoscale", args(serialSecond)},
	{"gcp", "Google Cloud", args("console=ttyS0 net.ifnames=0 talos.dashboard.disabled=1 sysctl.kernel.kexec_load_disabled=1")},
	{"hcloud", "Hetzner Cloud", args(serialSecond)},
	{"metal", "bare metal", []arg{
		{text: "console=ttyS0", arch: AMD64, feature: ttyS0},
		{text: "console=ttyAMA0", arch: ARM64},
		{text: "console=tty0"},
	}},
	{"nocloud", "NoCloud (Proxmox VE and others)", args(serialSecond)},
	{"opennebula", "OpenNebula", args(serialSecond)},
	{"openstack", "OpenStack", args(serialSecond)},
	{"oracle", "Oracle Cloud", args(serialSecond + " talos.dashboard.disabled=1")},
	{"scaleway", "Scaleway", args(serialSecond + " talos.dashboard.disabled=1")},
	{"upcloud", "UpCloud", args("net.ifnames=0")},
	{"vmware", "VMware", []arg{
		{text: "talos.config=guestinfo"},
		{text: "console=tty0"},
		{text: "console=ttyS0", arch: AMD64},
		{text: "earlyprintk=ttyS0,115200", arch: AMD64},
		{text: "console=ttyAMA0", arch: ARM64},
		{text: "net.ifnames=0"},
	}},
	{"vultr", "Vultr", args("net.ifnames=0")},
}

// Platforms are the names of all platforms.
func Platforms() []string {
	names := make([]string, len(platforms))
	for i, p := range platforms {
		names[i] = p.name
	}
	return names
}

// platformArgs are those of a platform.
func platformArgs(name string) []arg {
	for _, p := range platforms {
		if p.name == name {
			return p.args
		}
	}
	return nil
}

func platformTitle(name string) string {
	for _, p := range platforms {
		if p.name == name {
			return p.about
		}
	}
	return name
}
