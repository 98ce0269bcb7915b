package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

// fakeApk notes how it was called, what there was, and makes a file of every
// name that it is to install.
const fakeApk = `#!/bin/sh
echo "$@ | $ARCH $PKG_NAME | $PWD | $([ -e /pkg/pkg.yaml ] && echo context) $([ -e /dep ] && echo dependencies) | $(readlink /proc/self/ns/net)" >>/apk.log
for name; do case $name in add|--*) ;; *) echo installed >/bin/$name.installed;; esac; done
`

// TestSection7Install runs apk in what the dependencies gave, with a network and
// before the context comes, whatever the variant.
func TestSection7Install(t *testing.T) {
	t.Parallel()
	s := open(t, data("apk", "finalize: [{from: /pkg/sbin, to: /sbin}, {from: /pkg/dep, to: /}]\n")+"-- apk/sbin/apk 0755 --\n"+fakeApk+"-- apk/dep --\n"+
		pkg("p", `  - stage: apk
install: [zlib-dev, "b c"]
steps:
  - install: ["cat /apk.log '/bin/b c.installed' /bin/zlib-dev.installed >/out"]
finalize: [{from: /out, to: /out}]
`))
	s.want("p", `out -rw-r--r-- add --no-cache zlib-dev b c | x86_64 p | /pkg |  dependencies | `+networkHere(t)+`
    installed
    installed`)
	s.wantRan("p:install", "p:install-0")
	s.write("-- p/new --\n")
	s.build("p")
	s.wantRan("p:install-0")
}

// TestSection7InstallNothing has no apk to call.
func TestSection7InstallNothing(t *testing.T) {
	t.Parallel()
	s := open(t, data("p", "install: [x]\nfinalize: [{from: /, to: /}]\n")+pkg("q", "install: [x]\nfinalize: [{from: /, to: /}]\n"))
	s.wantError("p", "p/pkg.yaml: install needs /sbin/apk", "a dependency has to bring it")
	s.wantError("q", "q:install", "/sbin/apk", "not in the root")
}

// TestSection7Alpine starts with the image that stands for Alpine, and does to it
// what bldr does.
func TestSection7Alpine(t *testing.T) {
	t.Parallel()
	root := testkit.Programs(t, "cat", "ln", "readlink")
	if err := errors.Join(root.Put("sbin/apk", tree.File(0o755, []byte(fakeApk))), root.Put("bin/bash.real", tree.File(0o755, nil))); err != nil {
		t.Fatal(err)
	}
	s := open(t, data("extra", "finalize: [{from: /pkg, to: /dep}]\n")+
		"-- p/pkg.yaml --\nname: p\nvariant: alpine\ninstall: [git]\ndependencies: [{stage: extra}]\n"+`steps:
  - install: ["cat /apk.log >/out; readlink /bin/sh >>/out"]
finalize: [{from: /out, to: /out}]
`)
	s.plan.Alpine = pack(t, "alpine", oci.Packed{Platform: amd64, Tree: root})
	s.want("p", strings.ReplaceAll(`out -rw-r--r-- add --no-cache bash | x86_64 p | /pkg |   | NET
    add --no-cache git | x86_64 p | /pkg |  dependencies | NET
    /bin/bash`, "NET", networkHere(t)))
	s.wantRan("p:base", "p:install", "p:install-0")
}

var amd64 = oci.Platform{OS: "linux", Arch: "amd64"}

// pack makes an OCI layout and returns the reference of it for recipes.
func pack(t *testing.T, name string, images ...oci.Packed) string {
	t.Helper()
	ref := "oci:" + filepath.Join(t.TempDir(), name)
	if _, err := oci.Pack(t.Context(), images, ref, oci.PackOptions{Name: name + ":latest", Compression: oci.None}); err != nil {
		t.Fatal(err)
	}
	return ref
}

// networkHere is the network namespace of the tests.
func networkHere(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestSection7ImageConfig ignores what an image says about how to run it.
func TestSection7ImageConfig(t *testing.T) {
	t.Parallel()
	index, err := layout.ImageIndexFromPath(kitchen(t))
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Env: []string{"LEAKED=1", "CFLAGS=bad"}, User: "nobody", WorkingDir: "/w", Entrypoint: []string{"/bin/false"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "configured")
	out, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = out.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, script("p", `echo "${LEAKED-clean} $CFLAGS $(id -u):$(id -g)" >f; [ ! -e /w ]`))
	s.args["KITCHEN"] = dir
	s.want("p", "f -rw-r--r-- clean -O2 -g0 -march=x86-64-v2 -mtune=generic 0:0")
}

// TestSection7Env has the variables of steps add up, literally.
func TestSection7Env(t *testing.T) {
	t.Parallel()
	s := open(t, pkg("p", `steps:
  - env: {A: "1", B: $A, CFLAGS: -O0, EMPTY: ""}
    install: ['echo "$A $B $CFLAGS ${C-unset} ${EMPTY-unset}." >>/f']
  - env: {A: "2", C: "$(id)", PATH: "/bin:/x"}
    install: ['echo "$A $B $CFLAGS $C $PATH $PKG_NAME" >>/f']
  - install: ['echo "$A $C" >>/f']
finalize: [{from: /f, to: /f}]
`))
	s.want("p", `f -rw-r--r-- 1 $A -O0 unset .
    2 $A -O0 $(id) /bin:/x p
    2 $(id)`)
}

// TestSection7TempDir has all steps share /tmp/build, their directory.
func TestSection7TempDir(t *testing.T) {
	t.Parallel()
	s := open(t, pkg("p", `steps:
  - {}
  - prepare: ["pwd >log; stat -c '%a %u:%g' . >>log"]
    build: ["mkdir sub; cd sub; X=1", "pwd >>log; echo ${X-unset} >>log"]
  - install: ["ls >>log; [ -d sub ]"]
finalize: [{from: /tmp/build/log, to: /}]
`))
	s.want("p", `log -rw-r--r-- /tmp/build
    755 0:0
    /tmp/build
    unset
    log
    sub`)
}

// TestSection7Order runs prepare, build, install and test of one step before
// those of the next, wherever they stand in the file.
func TestSection7Order(t *testing.T) {
	t.Parallel()
	s := open(t, pkg("p", `steps:
  - test: ["echo test0 >>/log; cat /log >/cache/log"]
    install: [echo install0a >>/log, echo install0b >>/log]
    build: [echo build0 >>/log]
    prepare: [echo prepare0 >>/log]
    cachePaths: [/cache]
  - build: [echo build1 >>/log]
finalize: [{from: /log, to: /}]
`)+pkg("look", "steps:\n  - cachePaths: [/cache]\n    install: [cat /cache/log >/out]\nfinalize: [{from: /out, to: /}]\n"))
	s.want("p", `log -rw-r--r-- prepare0
    build0
    install0a
    install0b
    build1`)
	s.wantRan("p:prepare-0", "p:build-0", "p:install-0.0", "p:install-0.1", "p:test-0", "p:build-1")
	s.want("look", `out -rw-r--r-- prepare0
    build0
    install0a
    install0b
    test0`)
}

// TestSection7Test throws away what tests do to files, not what they say.
func TestSection7Test(t *testing.T) {
	t.Parallel()
	s := open(t, pkg("p", `steps:
  - install: [mkdir /out; echo 1 >/out/kept; echo 1 >/out/removed]
    test: [rm /out/removed; echo changed >/out/kept; echo >/out/new, '[ ! -e /out/removed ]; [ -e /out/new ]; read x </out/kept; [ "$x" = changed ]']
  - install: ["ls /out >/out/seen"]
finalize: [{from: /out, to: /}]
`))
	s.want("p", `kept -rw-r--r-- 1
removed -rw-r--r-- 1
seen -rw-r--r-- kept
    removed
    seen`)
	s.write(pkg("p", "steps:\n  - install: [mkdir /out]\n    test: ['true', exit 3]\nfinalize: [{from: /out, to: /}]\n"))
	var failed *plan.ExecError
	if err := s.wantError("p", "p:test-0.1", "exit code 3"); !errors.As(err, &failed) {
		t.Errorf("got %T", err)
	}
	// Who only needs the package wants it tested, too.
	s.write(data("user", "dependencies: [{stage: p, to: /x}]\nfinalize: [{from: /x, to: /}]\n"))
	s.wantError("user", "p:test-0.1")
}

// TestSection7Strict stops scripts at errors, at unset variables and at
// failures in pipes.
func TestSection7Strict(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		script string
		code   int
		output string
	}{
		"error":          {"false; echo reached", 1, ""},
		"unset variable": {`echo "$NEVER_SET"; echo reached`, 1, "NEVER_SET"},
		"pipe":           {"(exit 4) | cat; echo reached", 4, ""},
		"exit code":      {"echo said; echo complained >&2; exit 77", 77, "said\ncomplained\n"},
		"signal":         {"kill -TERM $$", 128 + 15, ""},
		"unknown":        {"no-such-program", 127, "no-such-program"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, script("p", tt.script))
			_, err := s.try("p")
			var failed *plan.ExecError
			if !errors.As(err, &failed) {
				t.Fatalf("got %v", err)
			}
			out := string(failed.Output)
			if failed.ExitCode != tt.code || failed.Op.Name != "p:install-0" || strings.Contains(out, "reached") || !strings.Contains(out, tt.output) {
				t.Errorf("got exit code %d of %s, output %q", failed.ExitCode, failed.Op.Name, out)
			}
			e := failed.Op.Kind.(*plan.Exec)
			want := "mkdir /out; cd /out\n" + tt.script + "\n"
			if diff := cmp.Diff([]string{"/bin/sh", "-c", "set -eou pipefail\n" + want}, e.Args); diff != "" || e.Script != want {
				t.Errorf("the command, -want +got:\n%s\nscript %q", diff, e.Script)
			}
		})
	}
}

// TestSection7Shell runs the shell of the recipe, and says so when it is not
// there.
func TestSection7Shell(t *testing.T) {
	t.Parallel()
	steps := "steps:\n  - install: ['echo $0 >/f']\nfinalize: [{from: /f, to: /}]\n"
	s := open(t, pkg("default", steps)+pkg("empty", "shell: ''\n"+steps)+pkg("bash", "shell: /bin/bash\n"+steps)+pkg("missing", "shell: /bin/zsh\n"+steps)+data("scratch", steps))
	s.want("default", "f -rw-r--r-- /bin/sh")
	s.want("empty", "f -rw-r--r-- /bin/sh")
	s.want("bash", "f -rw-r--r-- /bin/bash")
	s.wantError("missing", "missing:install-0", "/bin/zsh", "not in the root")
	s.wantError("scratch", "scratch:install-0", "/bin/sh", "not in the root")
}

// TestSection7Network gives scripts what their step says.
func TestSection7Network(t *testing.T) {
	t.Parallel()
	step := "\n    install: ['readlink /proc/self/ns/net >/f; cat /proc/net/dev >/d']\nfinalize: [{from: /f, to: /}, {from: /d, to: /}]\n"
	s := open(t, pkg("unsaid", "steps:\n  - env: {}"+step)+pkg("none", "steps:\n  - network: none"+step)+
		pkg("default", "steps:\n  - network: default"+step)+pkg("host", "steps:\n  - network: host"+step))
	s.engine.AllowHostNetwork = true
	here := networkHere(t) + "\n"
	built := s.build("unsaid", "none", "default", "host")
	for i, wantHere := range []bool{false, false, true, true} {
		tr := built[i].Platforms[0].Tree
		if got := file(t, tr, "f"); (got == here) != wantHere {
			t.Errorf("%s: network %s, that of the host is %s", built[i].Name, got, here)
		}
		if lines := strings.Count(file(t, tr, "d"), ":"); !wantHere && lines != 1 {
			t.Errorf("%s has %d interfaces:\n%s", built[i].Name, lines, file(t, tr, "d"))
		}
	}
	s.engine.AllowHostNetwork = false
	s.write("-- host/new --\n")
	if err := s.wantError("host", "host:install-0", "--allow network.host"); !errors.Is(err, plan.ErrNotAllowed) {
		t.Errorf("got %v", err)
	}
}

// TestSection7CachePaths has directories that persist between builds and
// packages, by path and namespace, and leave no trace.
func TestSection7CachePaths(t *testing.T) {
	t.Parallel()
	count := func(name string) string {
		return pkg(name, `steps:
  - cachePaths: [/var/cache/../cache/n/, /c]
    install: [echo x >>/var/cache/n/log; cat /var/cache/n/log >/f; echo c >/c/c]
  - install: ["ls -d /c /var/cache /var/cache/n >/g 2>/dev/null || true"]
finalize: [{from: /f, to: /}, {from: /g, to: /}]
`)
	}
	s := open(t, count("a")+count("b")+count("c"))
	s.want("a", "f -rw-r--r-- x\ng -rw-r--r--")
	s.want("a", "f -rw-r--r-- x\ng -rw-r--r--")
	s.wantRan()
	s.want("b", "f -rw-r--r-- x\n    x\ng -rw-r--r--")
	s.plan.CacheNS = "mine"
	s.want("c", "f -rw-r--r-- x\ng -rw-r--r--")
}

// TestSection7CachePathsIdle pins a difference: a warning where they do nothing.
func TestSection7CachePathsIdle(t *testing.T) {
	t.Parallel()
	s := open(t, pkg("p", "steps:\n  - cachePaths: [/c]\n  - install: ['[ ! -e /c ]']\nfinalize: [{from: /pkg/pkg.yaml, to: /x/}]\n"))
	s.build("p")
	s.wantWarning("p/pkg.yaml:6", "cachePaths has no effect")
}

// TestSection7CachePathsShared lets two scripts use one at a time, which also
// shows that scripts that do not need each other run at the same time.
func TestSection7CachePathsShared(t *testing.T) {
	t.Parallel()
	meet := func(me, other string) string {
		return pkg(me, `steps:
  - cachePaths: [/c]
    install:
      - |
        echo >/c/`+me+`
        for i in {1..500}; do
          if [ -e /c/`+other+` ]; then echo met >/f; exit; fi
          sleep 0.02
        done
        exit 1
finalize: [{from: /f, to: /}]
`)
	}
	s := open(t, meet("a", "b")+meet("b", "a"))
	for _, b := range s.build("a", "b") {
		wantListing(t, b.Platforms[0].Tree, "f -rw-r--r-- met")
	}
}

// TestSection7Finalize copies relative paths from where the recipe was, one on
// top of the other.
func TestSection7Finalize(t *testing.T) {
	t.Parallel()
	s := open(t, pkg("steps", `steps:
  - install: [mkdir d; echo 1 >d/f; echo 2 >/f; umask 077; echo x >/private; chmod 4755 d/f]
finalize:
  - {from: d}
  - {from: /f, to: f}
  - {from: /private, to: /a/b/}
  - {from: ./d/../d/f, to: /a/c}
  - {from: d, to: replaced}
  - {from: /f, to: replaced}
  - {from: /pkg/link, to: /linked}
`)+"-- steps/link -> dir --\n-- steps/dir/x --\nx\n"+
		data("context", "finalize: [{from: dir}, {to: all}]\n")+"-- context/dir/x --\nx\n"+
		data("nothing", ""))
	s.want("steps", `
a drwxr-xr-x
a/b drwxr-xr-x
a/b/private -rw------- x
a/c urwxr-xr-x 1
f -rw-r--r-- 2
linked drwxr-xr-x
linked/x -rw-r--r-- x
replaced -rw-r--r-- 2
`)
	s.want("context", `
all drwxr-xr-x
all/dir drwxr-xr-x
all/dir/x -rw-r--r-- x
all/pkg.yaml -rw-r--r-- name: context
    variant: scratch
    finalize: [{from: dir}, {to: all}]
x -rw-r--r-- x
`)
	s.want("nothing", "")
}

// TestSection7FinalizeMissing names what is not there, and what is.
func TestSection7FinalizeMissing(t *testing.T) {
	t.Parallel()
	s := open(t, pkg("p", "steps:\n  - install: [mkdir -p /rootfs/usr; echo >/rootfs/usr/x]\nfinalize:\n  - {from: /rootfs/usr/local/bin/x, to: /rootfs}\n"))
	s.wantError("p", "p: copy /rootfs/usr/local/bin/x to /rootfs", "is not there", "/rootfs/usr has x")
	s.write(pkg("p", "steps:\n  - install: ['true']\n"))
	s.wantError("p", "p/pkg.yaml", "steps but no finalize")
}

// TestSection7Umask gives scripts the usual one, whatever that of the caller.
func TestSection7Umask(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	s := open(t, script("p", "umask >f; mkdir d"))
	s.want("p", "d drwxr-xr-x\nf -rw-r--r-- 0022")
}
