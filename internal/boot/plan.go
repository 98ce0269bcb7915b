package boot

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
)

// Places in the initramfs; see the package comment.
const (
	// ModuleDir holds the kernel modules to load.
	ModuleDir = "/lib/init-modules"
	// RootImage is the base's root filesystem.
	RootImage = "/rootfs.sqsh"

	configFile = "/" + extension.ConfigName
	extraDir   = "/.extra"
	layersDir  = "/layers" // images are mounted at layer<i> and root below it
	newRoot    = "/root"
	rootInit   = "/sbin/init"
)

// firmwareDirs are where firmware may be, in the initramfs and in the root. With
// a merged /usr the first leads to the second.
var firmwareDirs = []string{"/lib/firmware", "/usr/lib/firmware"}

// pseudo are the file systems that init needs and leaves to the root.
var pseudo = []MountPseudo{{"devtmpfs", "/dev"}, {"sysfs", "/sys"}, {"proc", "/proc"}}

// Limits of the kernel's overlay file system.
const (
	// maxLowers is how many directories an overlay can have (fs/overlayfs, OVL_MAX_STACK).
	maxLowers = 500
	// maxOptions is the length of the options of mount(2): a page, with the final NUL.
	maxOptions = 4096 - 1
)

// Facts are all that a plan depends on.
type Facts struct {
	// Extensions is the content of extensions.yaml, nil if there is none.
	Extensions *extension.Config
	// Files are the names of the regular files at the root of the initramfs.
	Files []string
	// Firmware has those of /lib/firmware and /usr/lib/firmware that exist
	// in the initramfs and are not empty, by their real names.
	Firmware []string
	// Extra says that the initramfs has a directory /.extra.
	Extra bool
	// LowerdirAdd says that the kernel takes an overlay's directories one by one.
	LowerdirAdd bool
}

// Prepare returns the steps that come before facts can be found out: the
// kernel's own file systems and modules, given by name, in the order of names.
func Prepare(modules []string) []Step {
	var steps []Step
	for _, p := range pseudo {
		steps = append(steps, p)
	}
	for _, name := range slices.Sorted(slices.Values(modules)) {
		steps = append(steps, LoadModule{path.Join(ModuleDir, name)})
	}
	return steps
}

// Plan returns the steps from a prepared initramfs to the init of the root, or
// an error if the initramfs cannot be booted as it is.
func Plan(f Facts) ([]Step, error) {
	steps, err := root(f)
	if err != nil {
		return nil, err
	}
	var keep []string
	for _, b := range binds(f) {
		steps = append(steps, b)
		keep = append(keep, b.Source)
	}
	steps = append(steps, Free{keep})
	for _, p := range slices.Backward(pseudo) { // /dev is the last: the log is in there
		steps = append(steps, Move{p.Target, p.Target[1:]})
	}
	return append(steps, SwitchRoot{newRoot}, Exec{rootInit}), nil
}

// root returns the steps after which the whole root is mounted at /root.
func root(f Facts) ([]Step, error) {
	if !slices.Contains(f.Files, path.Base(RootImage)) {
		return nil, advise(errors.New("the initramfs has no "+RootImage),
			"the base's initramfs must come before the extensions in the boot asset")
	}
	if f.Extensions == nil || len(f.Extensions.Layers) == 0 {
		return []Step{MountImage{File: RootImage, Target: newRoot}}, nil
	}
	layers := f.Extensions.Layers
	if err := checkLayers(layers, f.Files); err != nil {
		return nil, err
	}
	steps := verify(layers)
	lowers := []string{"root"}
	steps = append(steps, MountImage{File: RootImage, Target: layersDir + "/root", Lower: true})
	for i, l := range layers {
		name := fmt.Sprintf("layer%d", i)
		lowers = append(lowers, name)
		steps = append(steps, MountImage{
			File: "/" + l.Image, Target: layersDir + "/" + name, Lower: true,
			Extension: l.Metadata.Name + " " + l.Metadata.Version,
		})
	}
	slices.Reverse(lowers)
	over, err := overlay(lowers, f.LowerdirAdd)
	return append(steps, over...), err
}

// checkLayers finds what would go wrong half-way.
func checkLayers(layers []extension.Layer, files []string) error {
	for i, l := range layers {
		if l.Image == "" || path.Base(l.Image) != l.Image {
			return advise(fmt.Errorf("layer %d of %s: image %q is no file name", i, configFile, l.Image), remake)
		}
		if !slices.Contains(files, l.Image) {
			return advise(fmt.Errorf("layer %d of %s: the initramfs has no file %q", i, configFile, l.Image), remake)
		}
		if _, err := digest(l); err != nil {
			return advise(fmt.Errorf("layer %d of %s: %w", i, configFile, err), remake)
		}
	}
	return nil
}

// digest returns the hexadecimal SHA-256 of a layer, or "" if there is none.
func digest(l extension.Layer) (string, error) {
	sum, ok := strings.CutPrefix(l.Digest, "sha256:")
	if l.Digest == "" {
		return "", nil
	}
	raw, err := hex.DecodeString(sum)
	if !ok || err != nil || len(raw) != 32 || strings.ToLower(sum) != sum {
		return "", fmt.Errorf("digest %q of %s is not sha256: and 64 digits of 0-9 and a-f", l.Digest, l.Image)
	}
	return sum, nil
}

// verify returns a step for the layers that have a digest.
func verify(layers []extension.Layer) []Step {
	var v Verify
	for _, l := range layers {
		if sum, _ := digest(l); sum != "" {
			v.Files = append(v.Files, Digest{File: "/" + l.Image, SHA256: sum})
		}
	}
	if v.Files == nil {
		return nil
	}
	return []Step{v}
}

// overlay returns the steps that put mounts below /layers, the top one first,
// over each other, by way of groups if they are too many for one overlay.
func overlay(lowers []string, oneByOne bool) ([]Step, error) {
	var steps []Step
	all := slices.Clone(lowers)
	if !fits(lowers, oneByOne) {
		var top []string
		for rest := lowers; len(rest) > 0; {
			n := longest(rest, oneByOne)
			name := rest[0]
			if n > 1 { // an overlay of one directory is refused
				name = fmt.Sprintf("group%d", len(top))
				steps = append(steps, MountOverlay{rest[:n:n], layersDir + "/" + name, oneByOne})
				all = append(all, name)
			}
			top, rest = append(top, name), rest[n:]
		}
		if lowers = top; !fits(lowers, oneByOne) {
			return nil, advise(fmt.Errorf("%s has more layers than the kernel can put over each other: %d", configFile, len(all)),
				"make a boot asset with fewer extensions")
		}
	}
	return append(steps, MountOverlay{lowers, newRoot, oneByOne}, Detach{all}), nil
}

// longest returns how many of the lowers one overlay can have, from the first.
func longest(lowers []string, oneByOne bool) int {
	n := min(len(lowers), maxLowers)
	for !fits(lowers[:n], oneByOne) {
		n--
	}
	return n
}

func fits(lowers []string, oneByOne bool) bool {
	return len(lowers) <= maxLowers && (oneByOne || len(lowerdir(lowers)) <= maxOptions)
}

// lowerdir is the option of mount(2) for an overlay of relative paths.
func lowerdir(lowers []string) string { return "lowerdir=" + strings.Join(lowers, ":") }

// binds returns what of the initramfs is to be seen in the root.
func binds(f Facts) []Bind {
	var b []Bind
	if f.Extensions != nil {
		b = append(b, Bind{Source: configFile, Path: "etc/" + extension.ConfigName, Optional: true})
	}
	for _, dir := range f.Firmware {
		b = append(b, Bind{Source: dir, Path: dir[1:]})
	}
	if f.Extra {
		b = append(b, Bind{Source: extraDir, Path: extraDir[1:], Optional: true})
	}
	return b
}
