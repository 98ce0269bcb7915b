package recipe

import (
	"fmt"
	"runtime"
	"strings"
)

// Platform is what packages are made for, in Go's names.
type Platform struct {
	OS, Arch string
}

// String is the form that ParsePlatform reads: "linux/amd64".
func (p Platform) String() string { return p.OS + "/" + p.Arch }

// platforms are all that recipes know, with the variables that follow them.
var platforms = []struct {
	name                   string
	platform               Platform
	machine, talos, cflags string
}{
	{"linux/amd64", Platform{"linux", "amd64"}, "x86_64", "x86_64-talos-linux-musl", "-O2 -g0 -march=x86-64-v2 -mtune=generic"},
	{"linux/arm64", Platform{"linux", "arm64"}, "aarch64", "aarch64-talos-linux-musl", "-O2 -g0"},
}

// PlatformNames are all platforms that recipes can be built for.
func PlatformNames() []string {
	var names []string
	for _, p := range platforms {
		names = append(names, p.name)
	}
	return names
}

// ParsePlatform reads the name of a platform.
func ParsePlatform(name string) (Platform, error) {
	for _, p := range platforms {
		if p.name == name {
			return p.platform, nil
		}
	}
	return Platform{}, fmt.Errorf("parsing platform %q: recipes know %s", name, strings.Join(PlatformNames(), " and "))
}

// HostPlatform is this machine's, or linux/amd64 if recipes do not know that.
func HostPlatform() Platform {
	if p, err := ParsePlatform(runtime.GOOS + "/" + runtime.GOARCH); err == nil {
		return p
	}
	return platforms[0].platform
}

// platforms fills in what the options leave open.
func (o Options) platforms() (build, target string, err error) {
	target = o.Target
	if target == "" {
		target = HostPlatform().String()
	}
	build = o.Build
	if build == "" {
		build = target
	}
	for _, name := range []string{build, target} {
		if _, err := ParsePlatform(name); err != nil {
			return "", "", err
		}
	}
	return build, target, nil
}

// Builtins are the variables that every template and every command sees, for
// commands that run on one platform and make things for another.
func Builtins(build, target string) (Variables, error) {
	vars := Variables{
		"LDFLAGS": "-s",
		"VENDOR":  "talos",
		"SYSROOT": "/talos",
		"PATH":    "/bin:/usr/bin:/sbin:/usr/sbin",
	}
	for _, name := range []string{build, target} {
		if _, err := ParsePlatform(name); err != nil {
			return nil, err
		}
	}
	for _, p := range platforms {
		if p.name == build {
			vars["BUILD"] = p.machine + "-linux-musl"
			vars["HOST"] = p.machine + "-linux-musl"
		}
		if p.name == target {
			vars["ARCH"], vars["TARGET"] = p.machine, p.talos
			vars["CFLAGS"], vars["CXXFLAGS"] = p.cflags, p.cflags
		}
	}
	return vars, nil
}
