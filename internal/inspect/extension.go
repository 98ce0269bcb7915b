// Package inspect reads extensions and boot assets back and says what is in
// them: the answer to "what is this file, and what will it do to my node?".
// Reports are plain data, for a table as for JSON.
package inspect

import (
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/survey"
)

// Extension is the report on an extension.
type Extension struct {
	Source   string             `json:"source" yaml:"source"`
	Ref      string             `json:"ref,omitempty" yaml:"ref,omitempty"`
	Digest   string             `json:"digest,omitempty" yaml:"digest,omitempty"` // of the image's manifest
	Platform string             `json:"platform,omitempty" yaml:"platform,omitempty"`
	Manifest extension.Manifest `json:"manifest" yaml:"manifest"`
	Error    string             `json:"error,omitempty" yaml:"error,omitempty"` // of the manifest

	Files       int         `json:"files" yaml:"files"`
	Size        int64       `json:"size" yaml:"size"` // bytes of all files, hard links counted once
	Directories []Directory `json:"directories" yaml:"directories"`
	Binaries    []Binary    `json:"binaries,omitempty" yaml:"binaries,omitempty"`
	Services    []Service   `json:"services,omitempty" yaml:"services,omitempty"`
	Modules     []Module    `json:"modules,omitempty" yaml:"modules,omitempty"`
	Firmware    []File      `json:"firmware,omitempty" yaml:"firmware,omitempty"`

	// Listing has all files, for Compare. It is not printed.
	Listing []ListedFile `json:"-" yaml:"-"`
}

// Directory sums up the files below a directory of the node.
type Directory struct {
	Path  string `json:"path" yaml:"path"`
	Files int    `json:"files" yaml:"files"`
	Size  int64  `json:"size" yaml:"size"`
}

// File is a file of the node.
type File struct {
	Path string `json:"path" yaml:"path"`
	Size int64  `json:"size" yaml:"size"`
}

// Binary is a program or library.
type Binary struct {
	File   `yaml:",inline"`
	Arch   string   `json:"arch" yaml:"arch"`
	Interp string   `json:"interpreter,omitempty" yaml:"interpreter,omitempty"`
	Needed []string `json:"needed,omitempty" yaml:"needed,omitempty"`
}

// Linking is "static", or what the program needs at run time.
func (b Binary) Linking() string {
	if b.Interp == "" && len(b.Needed) == 0 {
		return "static"
	}
	return strings.TrimSpace(b.Interp + " " + strings.Join(b.Needed, " "))
}

// Service is an extension service; its id on the node is "ext-" and the name.
type Service struct {
	Name       string `json:"name" yaml:"name"`
	Path       string `json:"path" yaml:"path"`
	Entrypoint string `json:"entrypoint,omitempty" yaml:"entrypoint,omitempty"`
	Restart    string `json:"restart,omitempty" yaml:"restart,omitempty"`
	Error      string `json:"error,omitempty" yaml:"error,omitempty"`
}

// Module is a kernel module.
type Module struct {
	File    `yaml:",inline"`
	Name    string   `json:"name" yaml:"name"`
	Release string   `json:"release" yaml:"release"` // kernel that it is for
	Depends []string `json:"depends,omitempty" yaml:"depends,omitempty"`
	Signer  string   `json:"signer,omitempty" yaml:"signer,omitempty"`
	Signed  bool     `json:"signed" yaml:"signed"`
}

// directoryDepth is how deep the sums of sizes go: /usr/local/bin has 3.
const directoryDepth = 3

// OfExtension reports on facts.
func OfExtension(source string, f *survey.Facts) Extension {
	r := Extension{Source: source, Size: f.Size()}
	m, _, err := extension.ParseManifest(f.Manifest)
	r.Manifest = m
	if err != nil {
		r.Error = err.Error()
	}
	sizes := map[string]int64{}
	dirs := map[string]*Directory{}
	for _, e := range f.Entries {
		if !e.Mode.IsDir() {
			r.Listing = append(r.Listing, ListedFile{e.Path, e.Mode.String(), e.Size, e.Sum, e.Target + e.Hardlink})
		}
		p, ok := survey.OnNode(e.Path)
		if !ok || e.Mode.IsDir() {
			continue
		}
		sizes[e.Path] = e.Size
		r.Files++
		dir := topDir(p)
		if dirs[dir] == nil {
			dirs[dir] = &Directory{Path: dir}
		}
		dirs[dir].Files++
		if e.Hardlink == "" {
			dirs[dir].Size += e.Size
		}
		if isFirmware(p) {
			r.Firmware = append(r.Firmware, File{p, e.Size})
		}
	}
	r.Directories = sortedDirs(dirs)
	r.addBinaries(f, sizes)
	r.addServices(f)
	r.addModules(f, sizes)
	return r
}

func topDir(p string) string {
	parts := strings.Split(strings.Trim(path.Dir(p), "/"), "/")
	return "/" + path.Join(parts[:min(len(parts), directoryDepth)]...)
}

func isFirmware(p string) bool {
	return strings.HasPrefix(p, "/usr/lib/firmware/") || strings.HasPrefix(p, "/lib/firmware/")
}

func sortedDirs(dirs map[string]*Directory) []Directory {
	sorted := make([]Directory, 0, len(dirs))
	for _, d := range dirs {
		sorted = append(sorted, *d)
	}
	slices.SortFunc(sorted, func(a, b Directory) int { return strings.Compare(a.Path, b.Path) })
	return sorted
}

func (r *Extension) addBinaries(f *survey.Facts, sizes map[string]int64) {
	for _, b := range f.Binaries {
		p, _ := survey.OnNode(b.Path)
		r.Binaries = append(r.Binaries, Binary{File{p, sizes[b.Path]}, b.Arch, b.Interp, b.Needed})
	}
}

func (r *Extension) addServices(f *survey.Facts) {
	for _, s := range f.Services {
		if path.Ext(s.Path) != ".yaml" {
			continue
		}
		p, _ := survey.OnNode(s.Path)
		spec, err := extension.ParseService(s.Data)
		svc := Service{Name: spec.Name, Path: p, Entrypoint: spec.Container.Entrypoint, Restart: spec.Restart}
		if err != nil {
			svc.Error = err.Error()
		}
		r.Services = append(r.Services, svc)
	}
}

func (r *Extension) addModules(f *survey.Facts, sizes map[string]int64) {
	for _, m := range f.Modules {
		p, _ := survey.OnNode(m.Path)
		name := m.Info.Name
		if name == "" {
			name, _, _ = strings.Cut(path.Base(p), ".")
		}
		r.Modules = append(r.Modules, Module{
			File: File{p, sizes[m.Path]}, Name: name, Release: m.Release,
			Depends: m.Info.Depends, Signed: m.Info.Signed, Signer: m.Info.Signer,
		})
	}
}
