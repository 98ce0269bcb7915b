package recipe

import (
	"testing"
)

func templated(p *Package) map[string]string {
	all := map[string]string{}
	for _, f := range p.TemplatedFiles {
		all[f.Path] = string(f.Content)
	}
	return all
}

func TestSection6Templates(t *testing.T) {
	t.Parallel()
	s := load(t, pkgfile+`-- a/pkg.yaml --
name: a
variant: scratch
-- a/vars.yaml --
V: of a
-- a/manifest.yaml.tmpl --
version: {{ .V }}
-- a/files/deep/x.conf.tmpl --
{{ .V }} {{ .ARCH }}
-- a/files/vars.yaml --
V: of files
-- a/nested/pkg.yaml --
name: nested
variant: scratch
-- a/nested/vars.yaml --
V: of nested
-- a/nested/y.tmpl --
{{ .V }}
-- a/pkg.yaml.tmpl --
not a package
-- a/plain.txt --
{{ .V }}
`)
	equal(t, "of the variables of the package, not of the directory", templated(s.Package("a")), map[string]string{
		"manifest.yaml": "version: of a\n", "files/deep/x.conf": "of a x86_64\n", "pkg.yaml": "not a package\n",
	})
	equal(t, "nested", templated(s.Package("nested")), map[string]string{"y": "of nested\n"})
}

func TestSection6TemplateAtRoot(t *testing.T) {
	t.Parallel()
	s := load(t, pkgfile+"-- pkg.yaml --\nname: p\nvariant: scratch\n-- x.tmpl --\nx\n-- a/y.tmpl --\ny\n")
	equal(t, "templates", templated(s.Package("p")), map[string]string{"x": "x\n", "a/y": "y\n"})
}

func TestSection6Problems(t *testing.T) {
	t.Parallel()
	checkProblems(t, pkgfile+`-- lost/x.tmpl --
x
-- p/pkg.yaml --
name: p
variant: scratch
-- p/bad.tmpl --
fine
{{ .X.
-- p/fails.tmpl --
{{ fail "on purpose" }}
-- broken/pkg.yaml --
name: [
-- broken/fine.tmpl --
{{ .ARCH }}
-- broken/bad.tmpl --
{{ end }}
`,
		"broken/bad.tmpl:1: rendering: unexpected {{end}}",
		"broken/pkg.yaml:2: parsing YAML",
		"lost/x.tmpl: a template belongs to a package, and there is no pkg.yaml in its directory or above",
		"p/bad.tmpl:2: rendering: ",
		`p/fails.tmpl:1: rendering: at <fail "on purpose">: error calling fail: on purpose`)
}

func TestSection6ExcerptOfATemplate(t *testing.T) {
	t.Parallel()
	s := loadWith(t, minimal+"-- p/x.tmpl --\n1\n2\n3\n\x1b[31m\t{{ fail .ARCH }}\n5\n6\n7\n", amd64)
	equal(t, "excerpt", s.Problems[0].Excerpt, "     2 | 2\n     3 | 3\n>    4 | ·[31m {{ fail .ARCH }}\n     5 | 5\n     6 | 6\n")
}
