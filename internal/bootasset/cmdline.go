package bootasset

import (
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
)

// Cmdline is the kernel command line of the platform metal for a version of
// Talos (pkg/machinery/kernel and the metal platform), with the user's
// arguments: "console=…" and "talos.platform=…" replace the default ones,
// "-key" and "-key=value" remove, all others are appended.
func Cmdline(v extension.Version, arch string, extra []string) string {
	return strings.Join(mergeArgs(metalArgs(v, arch), extra), " ")
}

// metalArgs are the defaults, which changed from version to version.
func metalArgs(v extension.Version, arch string) []string {
	args := []string{"talos.platform=metal"}
	switch {
	case arch == "arm64":
		args = append(args, "console=ttyAMA0")
	case !v.AtLeast(1, 8):
		args = append(args, "console=ttyS0")
	}
	args = append(args, "console=tty0")
	for _, d := range kernelArgs {
		if v.AtLeast(d.since[0], d.since[1]) && (d.until == [2]uint64{} || !v.AtLeast(d.until[0], d.until[1])) {
			args = append(args, d.args...)
		}
	}
	return args
}

// kernelArgs are the arguments of all platforms, with the version that brought
// and the one that dropped them.
var kernelArgs = []struct {
	since, until [2]uint64
	args         []string
}{
	{until: [2]uint64{1, 14}, args: []string{"init_on_alloc=1"}},
	{args: []string{"slab_nomerge", "pti=on", "consoleblank=0"}},
	{until: [2]uint64{1, 14}, args: []string{"nvme_core.io_timeout=4294967295"}},
	{args: []string{"printk.devkmsg=on"}},
	{until: [2]uint64{1, 11}, args: []string{"ima_template=ima-ng", "ima_appraise=fix", "ima_hash=sha512"}},
	{since: [2]uint64{1, 10}, args: []string{"selinux=1"}},
	{since: [2]uint64{1, 12}, args: []string{"module.sig_enforce=1"}},
	{since: [2]uint64{1, 13}, args: []string{"proc_mem.force_override=never"}},
}

// replaced are the keys of which the user's value takes the place of the default.
var replaced = []string{"console", "talos.platform"}

func mergeArgs(args, extra []string) []string {
	for _, key := range replaced {
		if slices.ContainsFunc(extra, func(e string) bool { return argKey(e) == key }) {
			args = slices.DeleteFunc(args, func(a string) bool { return argKey(a) == key })
		}
	}
	for _, e := range extra {
		drop, remove := strings.CutPrefix(e, "-")
		if !remove {
			args = append(args, e)
			continue
		}
		args = slices.DeleteFunc(args, func(a string) bool { return a == drop || argKey(a) == drop })
	}
	return args
}

func argKey(arg string) string {
	key, _, _ := strings.Cut(arg, "=")
	return key
}
