package recipe

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// synthetic is a tree of n packages that is like the public one: most are
// extensions with a manifest, variables of their own, a base that all share,
// conditions on the architecture, and packages that others are made from.
func synthetic(n int) map[string]string {
	r := rand.New(rand.NewPCG(1, 2))
	files := map[string]string{
		"Pkgfile":       "# syntax = example.org/frontend:v1\nformat: v1alpha2\nvars:\n  TOOLS: example.org/tools:v1\n  MIRROR: https://example.org\nlabels:\n  org.opencontainers.image.source: https://example.org/tree\n",
		"vars.yaml":     "TAG: '{{ .BUILD_ARG_TAG }}'\nTIER: extra\n",
		"base/pkg.yaml": "name: base\nvariant: scratch\nshell: /bin/bash\ndependencies:\n  - image: '{{ .TOOLS }}'\n  - image: example.org/validator@sha256:" + sha256Of + "\nfinalize:\n  - from: /\n    to: /\n",
	}
	for i := range n - 1 {
		dir := fmt.Sprintf("category-%d/package-%d", i%13, i)
		files[dir+"/vars.yaml"] = syntheticVars(i)
		files[dir+"/pkg.yaml"] = syntheticPackage(r, i)
		if i%4 != 0 {
			files[dir+"/manifest.yaml.tmpl"] = syntheticManifest
		}
		files[dir+"/files/config.conf"] = "plain"
	}
	return files
}

const syntheticManifest = `version: v1alpha1
metadata:
  name: {{ .NAME }}
  version: "{{ .VERSION }}"
  author: nobody
  description: |
    [{{ .TIER }}] This system extension says what it does
    in two lines.
  compatibility:
    talos:
      version: ">= v1.10.0"
`

func syntheticVars(i int) string {
	return fmt.Sprintf("NAME: package-%d\nVERSION: 1.%d.0-{{ .TAG }}\nTIER: core\nINTERNAL_PACKAGE: %t\n# {{ if eq .ARCH \"aarch64\" }}\nSHA256: %[4]s\n# {{ else }}\nSHA256: %[4]s\n# {{ end }}\nSHA512: %[5]s\n", i, i, i%4 == 0, sha256Of, sha512Of)
}

// syntheticPackage depends on the base and on up to three of the packages
// before it.
func syntheticPackage(r *rand.Rand, i int) string {
	var deps strings.Builder
	for range min(i, 3) {
		fmt.Fprintf(&deps, "  - stage: package-%d\n    from: /rootfs\n    to: /extra\n", r.IntN(i))
	}
	return fmt.Sprintf(`name: package-%d
variant: scratch
shell: /bin/bash
dependencies:
  - stage: base
%s  # {{ if eq .ARCH "x86_64" }}
  - image: example.org/library-%d:v1@sha256:%s
  # {{ end }}
steps:
  - sources:
      - url: '{{ .MIRROR }}/{{ .NAME }}-{{ .VERSION | replace "." "_" }}.tar.gz'
        destination: source.tar.gz
        sha256: '{{ .SHA256 }}'
        sha512: '{{ .SHA512 }}'
    env:
      CGO_ENABLED: 0
    cachePaths:
      - /.cache/go-build
    network: default
    prepare:
      - |
        tar -xzf source.tar.gz --strip-components=1
        # {{ if eq .ARCH "aarch64" }}
        export X={{ .TARGET }}
        # {{ else }}
        export X={{ .CFLAGS }}
        # {{ end }}
    build:
      - |
        make -j $(nproc)
    install:
      - |
        mkdir -p /rootfs/usr/local/bin
        install -m 755 {{ .NAME }} /rootfs/usr/local/bin
    test:
      - |
        mkdir -p /extensions-validator-rootfs
        /extensions-validator validate --rootfs=/extensions-validator-rootfs --pkg-name="${PKG_NAME}"
    sbom:
      outputPath: /rootfs/usr/local/share/spdx/{{ .NAME }}.spdx.json
      version: '{{ .VERSION }}'
      cpes:
        - cpe:2.3:a:example:{{ .NAME }}:1.0:*:*:*:*:*:*:*
      licenses:
        - Apache-2.0
finalize:
  - from: /rootfs
    to: /rootfs
  - from: /pkg/manifest.yaml
    to: /
`, i, deps.String(), i%36, sha256Of)
}

func writeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loadAndGraph is what graft graph does before it draws.
func loadAndGraph(t testing.TB, dir string, args map[string]string) (*Set, *Graph) {
	t.Helper()
	s, err := Load(t.Context(), dir, Options{Target: "linux/amd64", BuildArgs: args})
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.Graph("")
	if err != nil {
		t.Fatal(err)
	}
	return s, g
}

// A tree of 500 packages takes less than a second of one core, and 200 MiB. Not
// parallel, so that nothing else of this process is measured.
func TestLargeTree(t *testing.T) {
	dir := writeTree(t, synthetic(500))
	start, _ := usage(t)
	s, g := loadAndGraph(t, dir, nil)
	end, memory := usage(t)
	checkMessages(t, "problems", s.Problems)
	equal(t, "packages", len(s.Packages), 500)
	if len(g.Edges) < 1500 {
		t.Errorf("%d edges", len(g.Edges))
	}
	if took := end - start; took > time.Second && !raceEnabled {
		t.Errorf("it took %v of processor time", took)
	}
	if memory > 200<<20 && !raceEnabled && runtime.GOOS == "linux" { // others count in bytes
		t.Errorf("the process had %d MiB", memory>>20)
	}
	t.Logf("%v of processor time, %d MiB, %d warnings", end-start, memory>>20, len(s.Warnings))
}

// usage is the processor time and the largest memory of this process so far.
func usage(t *testing.T) (time.Duration, int64) {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Maxrss << 10
}

func BenchmarkLoadAndGraph(b *testing.B) {
	for _, n := range []int{116, 500} {
		for name, args := range map[string]map[string]string{"": {"TAG": "v1.13.0"}, "undefined": nil} {
			b.Run(fmt.Sprintf("%d%s", n, name), func(b *testing.B) {
				dir := writeTree(b, synthetic(n))
				b.ReportAllocs()
				for b.Loop() {
					loadAndGraph(b, dir, args)
				}
			})
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	dir := writeTree(b, synthetic(116))
	for b.Loop() {
		u, err := NewUpdate(b.Context(), dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := u.SourcesUsing(b.Context(), Variable{"Pkgfile", "MIRROR"}); err != nil {
			b.Fatal(err)
		}
	}
}
