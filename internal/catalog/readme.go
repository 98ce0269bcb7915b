package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/recipe"
)

// Markers enclose the part of a README that is generated.
type Markers struct{ Begin, End string }

var (
	// TableMarkers are those of upstream's README.
	TableMarkers = Markers{"<!-- ### BEGIN GENERATED CONTENT -->", "<!-- ### END GENERATED CONTENT -->"}
	// LegendMarkers are for the table of tiers, which upstream writes by hand.
	LegendMarkers = Markers{"<!-- ### BEGIN GENERATED TIERS -->", "<!-- ### END GENERATED TIERS -->"}
)

// categories are the folders of recipes with their titles, in the order of the
// README. Folders that are not here come after them, by name; examples, which are
// no offer, not at all.
var categories = []struct{ folder, title string }{
	{"container-runtime", "Container Runtimes"},
	{"hypervisors", "Hypervisors"},
	{"firmware", "Firmware"},
	{"drm", "Direct Rendering Manager (DRM)"},
	{"drivers", "Drivers"},
	{"dvb", "Digital Video Broadcasting (DVB)"},
	{"misc", "Miscellaneous"},
	{"network", "Network"},
	{"storage", "Storage"},
	{"power", "Power"},
	{"guest-agents", "Guest Agents"},
	{"nvidia-gpu", "NVIDIA GPU"},
	{"tools", "Tools"},
}

const examples = "examples"

// tierSigns are the emoji of the tiers, by their names on GitHub.
var tierSigns = map[string]string{
	"core": ":green_square:", "extra": ":yellow_square:", "contrib": ":white_large_square:", "deprecated": ":warning:",
}

// nbsp keeps a sign and its tier on one line.
const nbsp = "\u00a0"

// Shelf is where the images of a tree of recipes are published.
type Shelf struct {
	// Registry is what names of images begin with: "ghcr.io/siderolabs".
	Registry string
	// Source is the repository of the recipes, for links to GitHub's packages;
	// without one images have no links.
	Source string
}

// sourceLabel is the label of a Pkgfile that names the repository of its recipes.
const sourceLabel = "org.opencontainers.image.source"

// ShelfOf is the shelf that the labels of a Pkgfile tell: GitHub's registry, where
// the owner of the repository publishes.
func ShelfOf(set *recipe.Set) Shelf {
	source := strings.TrimSuffix(strings.TrimSuffix(set.Pkgfile.Labels[sourceLabel], "/"), ".git")
	below, ok := strings.CutPrefix(source, "https://github.com/")
	owner, repo, two := strings.Cut(below, "/")
	if !ok || !two || owner == "" || repo == "" || strings.Contains(repo, "/") {
		return Shelf{}
	}
	return Shelf{Registry: "ghcr.io/" + strings.ToLower(owner), Source: source}
}

// image is a cell with an image, and a link where one is known.
func (s Shelf) image(name string) string {
	image := strings.TrimPrefix(s.Registry+"/"+name, "/")
	if s.Source == "" || !strings.HasPrefix(s.Registry, "ghcr.io/") {
		return image
	}
	return fmt.Sprintf("[%s](%s/pkgs/container/%s)", image, s.Source, name)
}

// Table writes the generated part of a README, without its markers: a table of
// extensions for each category of a tree of recipes. root is the tree's directory;
// manifests that are no templates are read from there. Recipes that were loaded with
// the build argument TAG=VERSION show the versions that Talos' version is a part
// of. What is internal is left out.
func Table(ctx context.Context, set *recipe.Set, root string, shelf Shelf) (string, error) {
	rows := map[string][]string{}
	for _, p := range set.Packages {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if p.Flag(recipe.FlagInternal) {
			continue
		}
		m, err := manifestOf(p, root)
		if err != nil {
			return "", fmt.Errorf("describing %s: %w", p.Name, err)
		}
		if m == nil {
			continue // no extension
		}
		folder, _, _ := strings.Cut(p.BaseDir, "/")
		rows[folder] = append(rows[folder], row(p, m, shelf))
	}
	return sections(rows), nil
}

// manifestOf is the manifest of a recipe, nil if it has none.
func manifestOf(p *recipe.Package, root string) (*extension.Manifest, error) {
	var data []byte
	for _, f := range p.TemplatedFiles {
		if f.Path == extension.ManifestName {
			data = f.Content
		}
	}
	if data == nil {
		var err error
		if data, err = readBelow(root, path.Join(p.BaseDir, extension.ManifestName)); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	m, _, err := extension.ParseManifest(data)
	return &m, err
}

// readBelow reads a manifest in a directory, and no link out of it.
func readBelow(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, extension.MaxManifestSize+1))
}

func row(p *recipe.Package, m *extension.Manifest, shelf Shelf) string {
	tier := p.Context["TIER"]
	sign := tierSigns[tier]
	if sign != "" {
		sign += nbsp
	}
	return fmt.Sprintf("| [%s](%s) | %s | %s | `%s` | %s |\n",
		p.Name, p.BaseDir, sign+tier, shelf.image(p.Name), p.Context["VERSION"], cell(m.Metadata.Description))
}

// cell is a description on one line and without its tier. Upstream leaves the
// space after the tier, and so do we: a README does not change for it.
func cell(description string) string {
	text := strings.TrimRight(description, "\n")
	if prefix := tierPrefix.FindString(text); prefix != "" {
		text = text[len(prefix):]
	}
	text = strings.NewReplacer("\r", "", "\n", " ", "|", "\\|").Replace(text)
	return text
}

// sections puts the rows of each category under its title.
func sections(rows map[string][]string) string {
	delete(rows, examples)
	var b strings.Builder
	write := func(folder, title string) {
		if len(rows[folder]) > 0 {
			fmt.Fprintf(&b, "### %s\n\n| Name | Tier | Image | Version | Description |\n| ---- | ---- | ----- | ------- | ----------- |\n%s\n",
				title, strings.Join(rows[folder], ""))
		}
		delete(rows, folder)
	}
	for _, c := range categories {
		write(c.folder, c.title)
	}
	for _, folder := range slices.Sorted(maps.Keys(rows)) {
		write(folder, titleOf(folder))
	}
	return b.String()
}

// titleOf makes a title of the name of a folder: "Media Players" of media-players.
func titleOf(folder string) string {
	words := strings.FieldsFunc(folder, func(r rune) bool { return r == '-' || r == '_' })
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, " ")
}

// Insert gives a README with a new text between its markers, each of which is
// there once, on a line of its own.
func Insert(readme []byte, m Markers, text string) ([]byte, error) {
	begin, end := []byte(m.Begin+"\n"), []byte(m.End)
	for _, marker := range [][]byte{begin, end} {
		if n := bytes.Count(readme, marker); n != 1 {
			return nil, fmt.Errorf("it has the line %q %d times; wanted is once", bytes.TrimSpace(marker), n)
		}
	}
	from, to := bytes.Index(readme, begin)+len(begin), bytes.Index(readme, end)
	if to < from {
		return nil, fmt.Errorf("the line %q comes before the line %q", m.End, m.Begin)
	}
	return slices.Concat(readme[:from], []byte(text), readme[to:]), nil
}

// Legend is the table of tiers: what each promises.
func Legend() string {
	var b strings.Builder
	order := []string{"core", "extra", "contrib", "deprecated"}
	fmt.Fprint(&b, "| Tier |")
	for _, tier := range order {
		fmt.Fprintf(&b, " %s%s%s |", tierSigns[tier], nbsp, tier)
	}
	fmt.Fprintf(&b, "\n|%s\n", strings.Repeat(" --- |", len(order)+1))
	for _, line := range legend {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
	}
	return b.String()
}

// legend says what a release does with an extension, by tier.
var legend = [][]string{
	{"What it is", "Maintained with the project", "Maintained as time allows", "Maintained by its contributors", "On its way out: use something else"},
	{"Does not build", "stops the release", "stops the release", "left out of the release", "left out of the release"},
	{"Fails a check", "stops the release", "warning", "left out of the release", "left out of the release"},
	{"Has another name in its manifest", "stops the release", "stops the release", "left out of the release", "left out of the release"},
	{"Has no SBOM", "stops the release", "warning", "allowed", "allowed"},
}
