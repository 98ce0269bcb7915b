// Package internal holds no code: its test keeps the imports of all packages
// below it in order.
package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/graftlinux/graft"

// rows is the house, from the ground up. A package imports only from rows
// below its own; neighbours do not see each other.
var rows = []struct {
	packages []string
	why      string
}{
	{[]string{"atomicfile", "filestate", "levenshtein", "ctxio", "lazyregexp"}, "what every tool needs"},
	{[]string{"format/readfs", "format/zstd", "format/sparse"}, "what formats share: file systems, a codec, large files"},
	{[]string{
		"format/squashfs", "format/cpio", "format/kmod", "format/deb", "format/jsonpath",
		"format/gpt", "format/fat", "format/iso", "format/uki", "format/xfs", "format/grub", "format/meta",
		"format/qcow2", "format/vhd", "format/vmdk", "format/compress", "format/sarif",
	}, "formats know nothing of graft: they stay right when it changes"},
	{[]string{"format/ova"}, "a format around a format"},
	{[]string{"extension", "cache"}, "the words, and what was made before"},
	{[]string{"tree"}, "the currency until an extension is a layer"},
	{[]string{"encode"}, "a tree as bytes"},
	{[]string{"survey", "build/plan"}, "what a tree holds, and how one comes to be: facts that others work with"},
	{[]string{"check", "oci", "boot", "qemu", "recipe", "graph", "sbom", "fetch", "build/sandbox", "build/store", "profile", "secureboot", "registry", "sign"}, "one skill each"},
	{[]string{"bootasset", "inspect", "resource", "refbase", "build/embedded", "build/buildkit", "catalog", "trust", "vuln"}, "what skills make together"},
	{[]string{"node", "build", "publish"}, "the daemon of the reference base; recipes on any engine; a release of them"},
	{[]string{"cli"}, "flags, one call, print"},
}

// only says who alone imports a library, and why.
var only = []struct {
	library string
	users   []string
	why     string
}{
	{"github.com/google/go-containerregistry", []string{"oci"}, "one package speaks registry"},
	{"github.com/spf13/cobra", []string{"cli"}, "one package knows flags"},
	{"github.com/schollz/progressbar", []string{"cli"}, "libraries report, the command line draws"},
	{"github.com/cosi-project/runtime", []string{"resource", "node"}, "resources are typed state of the node"},
	{"google.golang.org/grpc", []string{"resource", "node", "secureboot"}, "resources and signers are served over gRPC"},
	{"github.com/insomniacslk/dhcp", []string{"node"}, "only a node has a network to bring up"},
	{"github.com/jsimonetti/rtnetlink", []string{"node"}, "only a node has a network to bring up"},
	{"github.com/siderolabs/talos", nil, "Talos' client library is the judge in tests: 25 MB for the product"},
	{"github.com/moby/buildkit", []string{"build/buildkit"}, "one package speaks to BuildKit"},
	{"github.com/Masterminds/sprig", []string{"recipe"}, "templates are the recipes' alone"},
	{"github.com/spdx/tools-golang", []string{"sbom"}, "one package writes SPDX"},
	{"github.com/CycloneDX/cyclonedx-go", []string{"sbom"}, "one package writes CycloneDX"},
	{"github.com/sigstore", []string{"sign"}, "one package signs"},
	{"github.com/secure-systems-lab/go-securesystemslib", []string{"sign"}, "one package signs"},
	{"github.com/theupdateframework", []string{"sign"}, "one package knows what Sigstore trusts"},
	{"github.com/pandatix/go-cvss", []string{"vuln"}, "one package scores"},
	{"golang.org/x/mod", []string{"fetch", "recipe"}, "who names Go modules, and who gets them"},
	{"os/exec", []string{"qemu"}, "no external program on the main path; QEMU is the one there is"},
	{"log", nil, "packages return errors"},
	{"log/slog", []string{"node"}, "only the daemon logs"},
}

// groundLibraries are all that formats may import beside the standard library.
var groundLibraries = []string{"golang.org/x/sys", "github.com/klauspost/compress", "github.com/ulikunitz/xz"}

func TestImports(t *testing.T) {
	row := map[string]int{}
	for i, r := range rows {
		for _, p := range r.packages {
			row[p] = i
		}
	}
	eachImport(t, ".", func(pkg, file, imp string) {
		mine, known := row[pkg]
		if !known {
			t.Errorf("%s: the package %s has no place in rows", file, pkg)
			return
		}
		if below, ok := strings.CutPrefix(imp, module+"/internal/"); ok {
			if other, known := row[below]; !known || other >= mine {
				t.Errorf("%s imports %s, which is not below it (%s)", file, below, rows[mine].why)
			}
		}
		if strings.HasPrefix(pkg, "format/") && strings.Contains(imp, ".") && !hasPrefix(imp, module) && !hasAnyPrefix(imp, groundLibraries) {
			t.Errorf("%s imports %s: formats know nothing of graft", file, imp)
		}
		for _, o := range only {
			if hasPrefix(imp, o.library) && !contains(o.users, pkg) {
				t.Errorf("%s imports %s: %s", file, imp, o.why)
			}
		}
	})
}

// commands are the mains and all that they may import of graft.
var commands = map[string][]string{
	"graft":      {"cli"},
	"graft-init": {"boot"},
	"graftd":     {"node", "resource"},
}

func TestCommands(t *testing.T) {
	eachImport(t, "../cmd", func(pkg, file, imp string) {
		below, ok := strings.CutPrefix(imp, module+"/internal/")
		if ok && !contains(commands[pkg], below) {
			t.Errorf("%s imports %s; a main is signals, one call, one exit", file, below)
		}
	})
}

// TestPackageComments wants exactly one package comment per package.
func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	eachFile(t, ".", func(pkg, file string) {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		comments[pkg] = append(comments[pkg], "")
		if f.Doc != nil {
			comments[pkg] = append(comments[pkg], file)
		}
	})
	for pkg, files := range comments {
		var with []string
		for _, f := range files {
			if f != "" {
				with = append(with, f)
			}
		}
		if len(with) != 1 {
			t.Errorf("package %s has %d package comments (%v), want 1", pkg, len(with), with)
		}
	}
}

// eachFile visits the files of the product, not those of tests.
func eachFile(t *testing.T, root string, fn func(pkg, file string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || file == "testkit") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		fn(path.Dir(filepath.ToSlash(rel)), file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func eachImport(t *testing.T, root string, fn func(pkg, file, imp string)) {
	t.Helper()
	eachFile(t, root, func(pkg, file string) {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			fn(pkg, file, imp)
		}
	})
}

// hasPrefix says whether an import is of a library. Of the standard library a
// package is one without its sub-packages: log is not log/slog.
func hasPrefix(imp, library string) bool {
	return imp == library || strings.Contains(library, ".") && strings.HasPrefix(imp, library+"/")
}

func hasAnyPrefix(imp string, libraries []string) bool {
	for _, l := range libraries {
		if hasPrefix(imp, l) {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
