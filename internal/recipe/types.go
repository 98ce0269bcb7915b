package recipe

// Package is a recipe that has been read: pkg.yaml, rendered for one platform.
// Its JSON form is that of bldr's dump; what graft adds is left out there if it
// is not used.
type Package struct {
	TemplatedFiles []TemplatedFile
	// Context of the templates: all variables that the package sees.
	Context Variables
	Name    string
	Shell   string
	// BaseDir is the package's directory, relative to the tree's root, with
	// slashes; "." is the root.
	BaseDir string
	// FileName is the path of the pkg.yaml, relative to the root.
	FileName      string
	BuildPlatform string
	Install       []string
	Dependencies  []Dependency
	Steps         []Step
	Finalize      []Finalize
	Variant       Variant
}

// TemplatedFile is a *.tmpl file, rendered.
type TemplatedFile struct {
	Path    string // relative to the package's directory, without ".tmpl"
	Content []byte
}

// Variables are what templates see.
type Variables map[string]string

// Dependency is a file system, or a part of one, that a package starts with.
type Dependency struct {
	Image    string // of a registry; or
	Stage    string // another package of the tree
	From, To string // "" stands for "/"
	Platform string
	Runtime  bool
}

// Step is one step of a package's build.
type Step struct {
	Env        map[string]string
	CachePaths []string
	TmpDir     string
	Sources    []Source
	Prepare    []string
	Build      []string
	Install    []string
	Test       []string
	SBOM       SBOM
	Network    Network
}

// Source is something that a step starts with in its directory: exactly one of
// URL, Module and Deb says what.
type Source struct {
	URL         string
	Destination string // a bare file name; of a module, the name of a directory
	SHA256      string // of a URL and a Debian package
	SHA512      string // of a URL

	// Module is a Go module, "github.com/slackhq/nebula@v1.11.0".
	Module string `json:",omitempty"`
	// Sum of the module's zip as in go.sum: "h1:…".
	Sum string `json:",omitempty"`
	// Packages of the module, as "./cmd/nebula": what they import is brought
	// along. Empty: what any package of the module imports.
	Packages []string `json:",omitempty"`
	// Deb is a Debian package, "bash=5.2.15-2+b8" or "bash:amd64=5.2.15-2+b8".
	Deb string `json:",omitempty"`
	// Suite of Debian that the package is from, by the codename of the release:
	// "bookworm"; "" if the recipe does not say it.
	Suite string `json:",omitempty"`
	// Extract is the absolute directory that a Debian package is unpacked into;
	// "": the .deb file itself becomes Destination.
	Extract string `json:",omitempty"`
}

// SBOM describes a source that a package is made from (SPDX 2.3).
type SBOM struct {
	OutputPath string
	Name       string
	Version    string
	CPEs       []string
	PURL       string
	Licenses   []string
}

// Finalize is one copy into the package's result.
type Finalize struct {
	From, To string
}

// Variant is what a package's file system starts as.
type Variant int

// The variants, with bldr's numbers.
const (
	Alpine  Variant = 1
	Scratch Variant = 2
)

// Network is what a step's commands can reach.
type Network int

// The networks, with bldr's numbers.
const (
	NetworkNone    Network = 0
	NetworkDefault Network = 1
	NetworkHost    Network = 2
)
