// Command typecheck says whether the packages of this module compile for other
// platforms. It reads what they import as source and generates no code, which
// takes a tenth of the time of a build:
//
//	typecheck GOOS/GOARCH...
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	failed := false
	for _, platform := range os.Args[1:] {
		errs, err := check(platform)
		if err != nil {
			errs = append(errs, err.Error())
		}
		for _, e := range errs {
			fmt.Fprintf(os.Stderr, "%s: %s\n", platform, e)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// check returns what is wrong with this module's programs and what they are made
// of, on a platform.
func check(platform string) (errs []string, err error) {
	goos, goarch, _ := strings.Cut(platform, "/")
	top, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedDeps | packages.NeedModule |
			packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo,
		Env: append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch),
		ParseFile: func(set *token.FileSet, name string, src []byte) (*ast.File, error) {
			f, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
			if f != nil && !strings.HasPrefix(name, top) {
				dropBodies(f)
			}
			return f, err
		},
	}, "./cmd/graft", "./internal/...")
	if err != nil {
		return nil, err
	}
	n := 0
	packages.Visit(loaded, nil, func(p *packages.Package) {
		if p.Module == nil || !p.Module.Main {
			return
		}
		n++
		for _, e := range p.Errors {
			errs = append(errs, e.Error())
		}
	})
	if n < 10 {
		err = fmt.Errorf("only %d packages of this module were found", n)
	}
	return errs, err
}

// dropBodies leaves declarations: what others import is declared, and that it
// compiles is their business.
func dropBodies(f *ast.File) {
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			fn.Body = nil
		}
	}
}
