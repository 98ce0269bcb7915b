package fetch

import (
	"go/build/constraint"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConstraints(t *testing.T) {
	t.Parallel()
	tags := newTags("linux", "arm64", 21)
	for expr, want := range map[string]truth{
		"linux": yes, "arm64": yes, "unix": yes, "gc": yes, "go1.21": yes,
		"windows": no, "amd64": no, "ignore": no, "gccgo": no, "!linux": no, "!go1.5": no,
		"special": maybe, "cgo": maybe, "!special": maybe, "go1.99": maybe, "!cgo": maybe, "go1.x": maybe, "race": maybe,
		"linux && special": maybe, "windows && special": no, "linux || special": yes, "windows || special": maybe,
		"!(windows || darwin)": yes, "!(windows && special)": yes,
	} {
		x, err := constraint.Parse("//go:build " + expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := tags.eval(x); got != want {
			t.Errorf("%s: got %d, want %d", expr, got, want)
		}
	}
	if got := newTags("windows", "amd64", 21).tag("unix"); got != no {
		t.Errorf("unix on windows: got %d, want %d", got, no)
	}
	if got := newTags("android", "arm64", 21).tag("linux"); got != yes {
		t.Errorf("linux on android: got %d, want %d", got, yes)
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	tags := newTags("linux", "amd64", 21)
	for name, want := range map[string]bool{
		"a.go": true, "a_linux.go": true, "a_linux_amd64.go": true, "linux.go": true, "a_unix.go": true, "a_special.go": true,
		"a_test.go": false, "a_windows.go": false, "a_linux_arm64.go": false, "_a.go": false, ".a.go": false, "a.c": false, "a_linux_test.go": false,
	} {
		if got := tags.file(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	tags := newTags("linux", "amd64", 21)
	for name, tt := range map[string]struct {
		src   string
		paths []string
		truth truth
	}{
		"plain":      {"package x\nimport \"a\"\nimport (\n\tb \"c\"\n\t_ \"d\"\n)\n", []string{"a", "c", "d"}, yes},
		"excluded":   {"//go:build windows\n\npackage x\nimport \"a\"\n", []string{"a"}, no},
		"old":        {"// +build windows\n\npackage x\nimport \"a\"\n", []string{"a"}, no},
		"old and":    {"// +build linux\n// +build special\n\npackage x\n", nil, maybe},
		"new wins":   {"//go:build linux\n// +build windows\n\npackage x\n", nil, yes},
		"in the doc": {"package x\n\n//go:build windows\nimport \"a\"\n", []string{"a"}, yes},
		"broken":     {"package x\nimport \"a\"\nimport nonsense", []string{"a"}, yes},
		"nothing":    {"", nil, yes},
	} {
		paths, truth := tags.imports([]byte(tt.src))
		if diff := cmp.Diff(tt.paths, paths); diff != "" || truth != tt.truth {
			t.Errorf("%s: got %d, want %d (-want +got):\n%s", name, truth, tt.truth, diff)
		}
	}
}

func FuzzImports(f *testing.F) {
	f.Add("//go:build a && !b\npackage x\nimport \"a\"\n")
	f.Add("// +build a,b c\n\npackage x")
	f.Fuzz(func(t *testing.T, src string) {
		newTags("linux", "amd64", 21).imports([]byte(src))
	})
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	for imp, want := range map[string]string{"a.b/c/d": "a.b/c/d a.b/c a.b", "fmt": "fmt", "/x": "/x", "": "", ".": ""} {
		var got []string
		for p := range prefixes(imp) {
			got = append(got, p)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", imp, got, want)
		}
	}
}
