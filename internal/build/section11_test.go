package build

import (
	"os"
	"path/filepath"
	"testing"
)

// kitchenTree has a package that two others use, and one on its own.
func kitchenTree() string {
	return script("shared", "cp /pkg/input f") + "-- shared/input --\n1\n" +
		pkg("a", "  - stage: shared\nsteps:\n  - install: [cat /f >/a; echo a >>/a]\nfinalize: [{from: /a, to: /}]\n") +
		pkg("b", "  - stage: shared\nsteps:\n  - install: [cat /f >/b]\nfinalize: [{from: /b, to: /}]\n") +
		script("c", "echo '{{ .SHOWN }}' >f") + "-- c/vars.yaml --\nSHOWN: x\nHIDDEN: x\n"
}

// TestSection11Once builds what several packages need once.
func TestSection11Once(t *testing.T) {
	t.Parallel()
	s := open(t, kitchenTree())
	built := s.build("a", "b", "a")
	wantListing(t, built[0].Platforms[0].Tree, "a -rw-r--r-- 1\n    a")
	wantListing(t, built[1].Platforms[0].Tree, "b -rw-r--r-- 1")
	s.wantRan("shared:install-0", "a:install-0", "b:install-0")
}

// TestSection11Changes runs again what a change reaches, and nothing else.
func TestSection11Changes(t *testing.T) {
	t.Parallel()
	parent := t
	s := open(t, kitchenTree())
	all := func() { s.build("a", "b", "c") }
	all()
	s.wantRan("shared:install-0", "a:install-0", "b:install-0", "c:install-0")
	for _, tt := range []struct {
		name, files string
		ran         []string
	}{
		{"nothing", "", nil},
		{"context", "-- shared/input --\n2\n", []string{"shared:install-0", "a:install-0", "b:install-0"}},
		{"context with the same result", "-- shared/other --\n", []string{"shared:install-0"}},
		{"one user's context", "-- b/new --\n", []string{"b:install-0"}},
		{"a package that is not needed", script("d", "true"), nil},
		{"a file of no package", "-- README.md --\n", nil},
		{"a variable that is printed", "-- c/vars.yaml --\nSHOWN: y\nHIDDEN: x\n", []string{"c:install-0"}},
		{"a variable that is not printed", "-- vars.yaml --\nHIDDEN_TOO: y\n", nil},
		{"back again", "-- shared/input --\n1\n", []string{"shared:install-0", "b:install-0"}},
		{"a variable of Pkgfile that is not printed", "-- Pkgfile --\nformat: v1alpha2\nvars: {X: y}\nlabels: {a: b}\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			defer func() { s.t = parent }()
			s.write(tt.files)
			all()
			s.wantRan(tt.ran...)
		})
	}
}

// TestSection11Key has a script run again for all that it can see.
func TestSection11Key(t *testing.T) {
	t.Parallel()
	recipe := func(before, step string) string {
		return pkg("p", before+"steps:\n  - "+step+"\nfinalize: [{from: /pkg/f, to: /}]\n") + "-- p/f --\n"
	}
	s := open(t, recipe("", "install: ['true']")+data("dep", "finalize: [{from: /pkg/x, to: /}]\n")+"-- dep/x --\n")
	s.build("p")
	for name, text := range map[string]string{
		"text":        recipe("", "install: [':']"),
		"shell":       recipe("shell: /bin/bash\n", "install: ['true']"),
		"environment": recipe("", "{env: {A: b}, install: ['true']}"),
		"network":     recipe("", "{network: default, install: ['true']}"),
		"mounts":      recipe("", "{cachePaths: [/c], install: ['true']}"),
		"files":       recipe("  - stage: dep\n", "install: ['true']"),
	} {
		s.write(text)
		s.build("p")
		if len(s.ran) != 1 {
			t.Errorf("%s: ran %v", name, s.ran)
		}
		s.build("p")
		if len(s.ran) != 0 {
			t.Errorf("%s: the second time ran %v", name, s.ran)
		}
	}
}

// TestSection11NoCache runs scripts again (9: downloads and copies not), and
// keeps what they gave.
func TestSection11NoCache(t *testing.T) {
	t.Parallel()
	web := newSite(t)
	s := open(t, pkg("p", "steps:\n  - sources: ["+web.source("f", "x")+"]\n    install: [cat f /proc/sys/kernel/random/uuid >/f]\nfinalize: [{from: /f, to: /}]\n"))
	first := s.build("p")[0].Platforms[0].Digest
	s.engine.NoCache = true
	second := s.build("p")[0].Platforms[0].Digest
	s.wantRan("p:install-0")
	if first == second {
		t.Error("the script gave the same random words")
	}
	s.engine.NoCache = false
	if got := s.build("p")[0].Platforms[0].Digest; got != second {
		t.Errorf("got %s, the last result was %s", got, second)
	}
	if n := web.requests(); n != 1 {
		t.Errorf("%d downloads", n)
	}
}

// TestSection11Damaged makes again what is missing in the cache.
func TestSection11Damaged(t *testing.T) {
	t.Parallel()
	s := open(t, kitchenTree())
	s.want("a", "a -rw-r--r-- 1\n    a")
	layers, err := filepath.Glob(filepath.Join(s.cacheDir, "build", "layers", "*"))
	if err != nil || len(layers) < 4 {
		t.Fatalf("layers %v, %v", layers, err)
	}
	for _, l := range layers {
		if err := os.RemoveAll(l); err != nil {
			t.Fatal(err)
		}
		s.want("a", "a -rw-r--r-- 1\n    a")
	}
}
