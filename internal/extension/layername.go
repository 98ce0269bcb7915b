package extension

import (
	"fmt"
	"strings"
)

// ModulesDepName is the name of the layer that holds the merged module
// indexes of all extensions, and of the extension it pretends to be.
const ModulesDepName = "modules.dep"

// LayerImage is the file name of the i-th layer, made from the image that ref
// names: "000.ghcr.io-siderolabs-gvisor-20220117.0-v1.0.0.sqsh". Slashes and
// colons become dashes, as Talos' own installer had it. Three digits keep the
// order of names and the order of layers the same thing.
func LayerImage(i int, ref string) string {
	return fmt.Sprintf("%03d.%s.sqsh", i, safeRef.Replace(ref))
}

var safeRef = strings.NewReplacer("/", "-", ":", "-", "\x00", "-")

// ModulesDep is the metadata of the merged module indexes for a kernel release.
func ModulesDep(release string) Metadata {
	return Metadata{
		Name:        ModulesDepName,
		Version:     release,
		Author:      "Talos Machinery",
		Description: "Combined modules.dep for all extensions",
	}
}
