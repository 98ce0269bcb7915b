package recipe

import (
	"fmt"
	"strings"
	"testing"
)

// withStep is a package p with one step.
func withStep(step string) string {
	return minimal + "finalize: [{from: /rootfs, to: /rootfs}]\nsteps:\n  - " + strings.ReplaceAll(strings.TrimSpace(step), "\n", "\n    ") + "\n"
}

func TestSection73StepKeys(t *testing.T) {
	t.Parallel()
	s := checkWarnings(t, withStep("{}"))
	equal(t, "a step may have no key", s.Package("p").Steps, []Step{{}})
	s = checkWarnings(t, withStep("env:\n  A: 1\n  B:\ncachePaths: [/c]\ntest: [a]"))
	equal(t, "step", s.Package("p").Steps, []Step{{Env: map[string]string{"A": "1", "B": ""}, CachePaths: []string{"/c"}, Test: []string{"a"}}})
	s = checkWarnings(t, withStep("env: {}\nprepare: []\nsources:\nnetwork:"))
	equal(t, "empty is not absent", s.Package("p").Steps, []Step{{Env: map[string]string{}, Prepare: []string{}}})
}

func TestSection73Networks(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]Network{"": NetworkNone, "network: none": NetworkNone, "network: default": NetworkDefault, "network: host": NetworkHost} {
		equal(t, word, checkWarnings(t, withStep("env: {}\n"+word)).Package("p").Steps[0].Network, want)
	}
	checkProblems(t, withStep("network: ''"), `p/pkg.yaml:5: steps[0].network is ""`)
}

func TestSection75Sources(t *testing.T) {
	t.Parallel()
	ok := fmt.Sprintf("  sha256: %s\n  sha512: %s\n", sha256Of, sha512Of)
	for _, tt := range []struct {
		name, source string
		problems     []string
		warnings     []string
	}{
		{"fine", "- url: https://example.org/a\n  destination: a\n" + ok, nil, nil},
		{"upper case", "- url: https://example.org/a\n  destination: a\n  sha256: " + strings.ToUpper(sha256Of) + "\n  sha512: " + sha512Of, nil, nil},
		{"nothing", "- {}", []string{"6: steps[0].sources[0].url is missing", "6: steps[0].sources[0].sha256 is missing", "6: steps[0].sources[0].sha512 is missing", "6: steps[0].sources[0].destination is missing"}, nil},
		{"empty", "- url: ''\n  destination: ''\n  sha256:\n  sha512: ''\n", []string{"6: steps[0].sources[0].url is missing", "7: steps[0].sources[0].destination is missing", "8: steps[0].sources[0].sha256 is missing", "9: steps[0].sources[0].sha512 is missing"}, nil},
		{"no URL", "- url: 'https://exa mple.org'\n  destination: a\n" + ok, []string{`steps[0].sources[0].url: parse "https://exa mple.org"`}, nil},
		{"no server", "- url: a/b\n  destination: a\n" + ok, nil, []string{`steps[0].sources[0].url is "a/b", which names no server`}},
		{"lengths", "- url: https://example.org/a\n  destination: a\n  sha256: abc\n  sha512: " + sha256Of, []string{"8: steps[0].sources[0].sha256 has 3 characters; wanted are 64 hex digits", "9: steps[0].sources[0].sha512 has 64 characters; wanted are 128 hex digits"}, nil},
		{"no hex digits", "- url: https://example.org/a\n  destination: a\n  sha256: " + strings.Repeat("x", 64) + "\n  sha512: " + sha512Of, nil, []string{"8: steps[0].sources[0].sha256 has characters that are no hex digits"}},
		{"a sub-directory", "- url: https://example.org/a\n  destination: a/b\n" + ok, []string{`steps[0].sources[0].destination is "a/b": it must be a bare file name`}, nil},
		{"upwards", "- url: https://example.org/a\n  destination: ..\n" + ok, []string{`destination is "..": it must be a bare file name`}, nil},
		{"one name twice", "- url: https://example.org/a\n  destination: a\n" + ok + "- url: https://example.org/b\n  destination: a\n" + ok, nil, []string{`steps[0].sources[1] has the destination "a", as one before it`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := checkProblems(t, withStep("sources:\n"+tt.source), tt.problems...)
			checkMessages(t, "warnings", s.Warnings, tt.warnings...)
		})
	}
}

// Kinds of sources that graft adds to the format.
func TestSourcesBeyondURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, source string
		want         []string
	}{
		{"a module", "- module: github.com/slackhq/nebula@v1.11.0\n  sum: " + sumOf + "\n  destination: nebula\n  packages: [., ./cmd/nebula, ./...]\n", nil},
		{"a version of a commit", "- module: gvisor.dev/gvisor@v0.0.0-20260905035102-0123456789ab\n  sum: " + sumOf + "\n  destination: a\n", nil},
		{"a major version", "- module: github.com/containerd/containerd/v2@v2.3.3\n  sum: " + sumOf + "\n  destination: a\n", nil},
		{"incompatible", "- module: github.com/docker/cli@v29.7.2+incompatible\n  sum: " + sumOf + "\n  destination: a\n", nil},
		{"a package", "- deb: bash=5.2.15-2+b8\n  sha256: " + sha256Of + "\n  destination: bash.deb\n", nil},
		{"a package of an architecture, unpacked", "- deb: libc6:amd64=1:2.43-1~deb13u1\n  sha256: " + sha256Of + "\n  extract: /rootfs\n", nil},
		{"a suite", "- deb: bash=5\n  suite: trixie\n  sha256: " + sha256Of + "\n  extract: /\n- deb: ls=5\n  suite: bookworm-security\n  sha256: " + sha256Of + "\n  extract: /\n- deb: cp=5\n  suite: sid\n  sha256: " + sha256Of + "\n  extract: /\n", nil},
		{"an odd suite", "- deb: bash=5\n  suite: ../x\n  sha256: " + sha256Of + "\n  extract: /\n", []string{`7: steps[0].sources[0].suite is "../x"; wanted is the codename of a release of Debian, as bookworm`}},
		{"an empty suite", "- deb: bash=5\n  suite: ''\n  sha256: " + sha256Of + "\n  extract: /\n", []string{`7: steps[0].sources[0].suite is ""; wanted is the codename`}},
		{"a suite that is a list", "- deb: bash=5\n  suite: [trixie]\n  sha256: " + sha256Of + "\n  extract: /\n", []string{`7: steps[0].sources[0].suite must be text, not a list`, `suite is ""`}},
		{"a suite of a module", "- module: a.org/b@v1.0.0\n  sum: " + sumOf + "\n  destination: a\n  suite: trixie\n", []string{"9: steps[0].sources[0].suite does not belong to a module"}},
		{"a suite of a url", "- url: https://a.org/b\n  sha256: " + sha256Of + "\n  sha512: " + sha512Of + "\n  destination: a\n  suite: trixie\n", []string{"10: steps[0].sources[0].suite does not belong to a url"}},
		{"both", "- deb: bash=5\n  url: https://example.org\n", []string{"6: steps[0].sources[0] has more than one of url, module and deb"}},
		{"an empty module", "- module:\n  destination: a\n", []string{`6: steps[0].sources[0].module is ""`, "6: steps[0].sources[0].sum is missing"}},
		{"no version", "- module: github.com/slackhq/nebula\n  sum: " + sumOf + "\n  destination: a\n", []string{`module is "github.com/slackhq/nebula"; wanted is a form like example.org/module@v1.2.3`}},
		{"a version that moves", "- module: github.com/slackhq/nebula@latest\n  sum: " + sumOf + "\n  destination: a\n", []string{"wanted is a form like"}},
		{"another major version", "- module: github.com/containerd/containerd@v2.3.3\n  sum: " + sumOf + "\n  destination: a\n", []string{"wanted is a form like"}},
		{"no name of a module", "- module: ../a@v1.0.0\n  sum: " + sumOf + "\n  destination: a\n", []string{"wanted is a form like"}},
		{"an odd sum", "- module: a.org/b@v1.0.0\n  sum: h1:abc=\n  destination: a\n", []string{`7: steps[0].sources[0].sum is "h1:abc="; wanted is the form of go.sum`}},
		{"packages elsewhere", "- module: a.org/b@v1.0.0\n  sum: " + sumOf + "\n  destination: a\n  packages: [cmd, ./../x]\n", []string{`packages[0] is "cmd"; wanted is a directory of the module`, `packages[1] is "./../x"`}},
		{"a checksum that does not belong", "- module: a.org/b@v1.0.0\n  sum: " + sumOf + "\n  destination: a\n  sha256: " + sha256Of + "\n  extract: /\n", []string{"9: steps[0].sources[0].sha256 does not belong to a module", "10: steps[0].sources[0].extract does not belong to a module"}},
		{"sums that do not belong", "- deb: bash=5\n  sha256: " + sha256Of + "\n  sha512: " + sha512Of + "\n  destination: a\n  sum: h1\n  packages: [.]\n", []string{"8: steps[0].sources[0].sha512 does not belong to a deb", "10: steps[0].sources[0].sum does not", "11: steps[0].sources[0].packages does not"}},
		{"no version of a package", "- deb: bash\n  sha256: " + sha256Of + "\n  destination: a\n", []string{`deb is "bash"; wanted is NAME=VERSION or NAME:ARCH=VERSION`}},
		{"a path as a version", "- deb: bash=../5\n  sha256: " + sha256Of + "\n  destination: a\n", []string{"wanted is NAME=VERSION"}},
		{"no checksum", "- deb: bash=5\n  destination: a\n", []string{"6: steps[0].sources[0].sha256 is missing"}},
		{"nowhere to go", "- deb: bash=5\n  sha256: " + sha256Of + "\n- module: a.org/b@v1.0.0\n  sum: " + sumOf + "\n", []string{"6: steps[0].sources[0].destination is missing", "8: steps[0].sources[1].destination is missing"}},
		{"relative", "- deb: bash=5\n  sha256: " + sha256Of + "\n  extract: rootfs\n", []string{`extract is "rootfs"; wanted is an absolute directory`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := checkProblems(t, withStep("sources:\n"+tt.source), tt.want...)
			checkMessages(t, "warnings", s.Warnings)
		})
	}
	s := load(t, withStep("sources:\n- deb: a0=1\n  sha256: "+sha256Of+"\n  suite: sid\n  extract: /r\n- module: a.org/b@v1.0.0\n  sum: "+sumOf+"\n  destination: b\n  packages: [./c]\n"))
	equal(t, "sources", s.Package("p").Steps[0].Sources, []Source{
		{Deb: "a0=1", SHA256: sha256Of, Suite: "sid", Extract: "/r"},
		{Module: "a.org/b@v1.0.0", Sum: sumOf, Destination: "b", Packages: []string{"./c"}},
	})
	s = load(t, withStep("sources:\n- deb: a0=1\n  sha256: "+sha256Of+"\n  extract: /r\n  destination: a\n"))
	checkMessages(t, "warnings", s.Warnings, "9: steps[0].sources[0].destination has no effect: the package is unpacked into /r")
	for suite, want := range map[string]string{
		"suite: bokworm-security": `7: steps[0].sources[0].suite is "bokworm-security", which is no codename of Debian that is known; did you mean bookworm?`,
		"suite: stable":           `7: steps[0].sources[0].suite is "stable", which is no codename of Debian that is known`,
		"suit: trixie":            `7: the key "steps[0].sources[0].suit" is not known and has no effect; did you mean suite or sum?`,
	} {
		checkWarnings(t, withStep("sources:\n- deb: a0=1\n  "+suite+"\n  sha256: "+sha256Of+"\n  extract: /r\n"), want)
	}
}

// A package of the public tree in which cachePaths has no effect.
func TestSection77CachePathsWithoutScripts(t *testing.T) {
	t.Parallel()
	checkWarnings(t, withStep("cachePaths:\n  - /.cache/go-build\nenv: {A: b}"), "p/pkg.yaml:5: steps[0].cachePaths has no effect")
	for _, phase := range []string{"prepare", "build", "install", "test"} {
		checkWarnings(t, withStep("cachePaths: [/a]\n"+phase+": [make]"))
	}
}

func TestSection78CPEs(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{
		"cpe:2.3:a:slackhq:nebula:1.11.0:*:*:*:*:*:*:*",
		"cpe:2.3:o:linux:linux_kernel:6.12:rc1:-:*:*:*:x64:*",
		`cpe:2.3:a:vendor:c\+\+:1\:2:*:*:*:*:*:*:*`,
		"cpe:2.3:a:vendor:foo*:*:*:*:*:*:*:*:*", "cpe:2.3:*:*:*:*:*:*:*:*:*:*:*",
		"cpe:/a:vendor:product:1.0", "cpe:/o:linux:linux_kernel", "cpe:/a:vendor:c%2b%2b",
	} {
		if err := CheckCPE(ok); err != nil {
			t.Error(err)
		}
	}
	for bad, want := range map[string]string{
		"":                                       "begins neither",
		"cpe:2.3:a:vendor:product":               "it has 3 parts after cpe:2.3: instead of 11",
		"cpe:2.3:x:v:p:1:*:*:*:*:*:*:*":          `its kind is "x"`,
		"cpe:2.3:a:v::1:*:*:*:*:*:*:*":           `in its part ""`,
		"cpe:2.3:a:v:c++:1:*:*:*:*:*:*:*":        `in its part "c++"`,
		"cpe:2.3:a:v:<no value>:1:*:*:*:*:*:*:*": `in its part "<no value>"`,
		"cpe:2.3:a:v:p:1:*:*:*:*:*:*:*:*":        "it has 12 parts",
		`cpe:2.3:a:v:p:1:*:*:*:*:*:*:\`:          `in its part "\\"`,
		"cpe:/x:a":                               "begins neither",
	} {
		if err := CheckCPE(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckCPE(%q) = %v, want %q", bad, err, want)
		}
	}
}

func TestSection8Platforms(t *testing.T) {
	t.Parallel()
	p, err := ParsePlatform("linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "platform", p, Platform{"linux", "arm64"})
	equal(t, "name", p.String(), "linux/arm64")
	for bad, want := range map[string]string{
		"":               `parsing platform "": recipes know linux/amd64 and linux/arm64`,
		" linux/arm64":   `parsing platform " linux/arm64"`,
		"linux/amd64/v2": `parsing platform "linux/amd64/v2"`,
	} {
		if _, err := ParsePlatform(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePlatform(%q) = %v, want %q", bad, err, want)
		}
	}
}
