package build

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const contextTree = `
-- vars.yaml --
WHO: root
-- p/vars.yaml --
WHO: p
-- p/pkg.yaml --
name: p
variant: scratch
finalize: [{from: /pkg, to: /}]
-- p/.hidden --
h
-- p/run 0700 --
#!/bin/sh
-- p/private 0600 --
x
-- p/open 0666 --
x
-- p/link -> run --
-- p/empty/ --
-- p/_out/kept --
x
-- p/manifest.yaml.tmpl --
who: {{ .WHO }}
-- p/deep/er/f.txt.tmpl 0600 --
{{ .WHO }}
-- p/n/pkg.yaml --
name: n
variant: scratch
finalize: [{from: /pkg, to: /}]
-- p/n/vars.yaml --
WHO: n
-- p/n/t.tmpl --
{{ .WHO }}
`

// TestSection6Context has all of the package's directory in /pkg, templates
// beside what they gave.
func TestSection6Context(t *testing.T) {
	t.Parallel()
	s := open(t, contextTree)
	s.want("p", `
.hidden -rw-r--r-- h
_out drwxr-xr-x
_out/kept -rw-r--r-- x
deep drwxr-xr-x
deep/er drwxr-xr-x
deep/er/f.txt -rw-r--r-- p
deep/er/f.txt.tmpl -rw-r--r-- {{ .WHO }}
empty drwxr-xr-x
link -> run
manifest.yaml -rw-r--r-- who: p
manifest.yaml.tmpl -rw-r--r-- who: {{ .WHO }}
n drwxr-xr-x
n/pkg.yaml -rw-r--r-- name: n
    variant: scratch
    finalize: [{from: /pkg, to: /}]
n/t.tmpl -rw-r--r-- {{ .WHO }}
n/vars.yaml -rw-r--r-- WHO: n
open -rw-r--r-- x
pkg.yaml -rw-r--r-- name: p
    variant: scratch
    finalize: [{from: /pkg, to: /}]
private -rw-r--r-- x
run -rwxr-xr-x #!/bin/sh
vars.yaml -rw-r--r-- WHO: p
`)
	s.want("n", `
pkg.yaml -rw-r--r-- name: n
    variant: scratch
    finalize: [{from: /pkg, to: /}]
t -rw-r--r-- n
t.tmpl -rw-r--r-- {{ .WHO }}
vars.yaml -rw-r--r-- WHO: n
`)
}

// TestSection6Root leaves out the results of builds at the root of the tree, and
// nothing else.
func TestSection6Root(t *testing.T) {
	t.Parallel()
	s := open(t, "-- pkg.yaml --\nname: p\nvariant: scratch\nfinalize: [{from: /pkg, to: /}]\n-- _out/result --\nx\n-- .dir/f --\nf\n-- d/_out/f --\nf\n")
	s.want("p", `
.dir drwxr-xr-x
.dir/f -rw-r--r-- f
Pkgfile -rw-r--r-- format: v1alpha2
d drwxr-xr-x
d/_out drwxr-xr-x
d/_out/f -rw-r--r-- f
pkg.yaml -rw-r--r-- name: p
    variant: scratch
    finalize: [{from: /pkg, to: /}]
`)
}

// TestSection6Times pins what scripts see of context files: root's, in the modes
// that Git keeps, with one time.
func TestSection6Times(t *testing.T) {
	t.Parallel()
	s := open(t, script("p", "cd /pkg; stat -c '%n %u:%g %a %Y' . a b b/c l f >/out/stat")+"-- p/a 0664 --\n-- p/b/c 0750 --\n-- p/l -> a --\n-- p/f.tmpl --\n")
	s.want("p", `
stat -rw-r--r-- . 0:0 755 315619200
    a 0:0 644 315619200
    b 0:0 755 315619200
    b/c 0:0 755 315619200
    l 0:0 777 315619200
    f 0:0 644 315619200
`)
}

// TestSection6Umask has working copies of another umask, another owner and
// another time give the same, without a script that runs again.
func TestSection6Umask(t *testing.T) {
	t.Parallel()
	s := open(t, script("p", "cp -a /pkg/dir /pkg/x /out")+"-- p/dir/f 0644 --\nf\n-- p/x 0755 --\nx\n")
	first := s.build("p")[0].Platforms[0].Digest
	dir := filepath.Join(s.root, "p")
	err := errors.Join(os.Chmod(filepath.Join(dir, "dir/f"), 0o600), os.Chmod(filepath.Join(dir, "x"), 0o775), os.Chmod(filepath.Join(dir, "dir"), 0o2770))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.build("p")[0].Platforms[0].Digest; got != first {
		t.Errorf("got %s, before %s", got, first)
	}
	s.wantRan()
}

// TestSection6Bad has files that cannot be brought along.
func TestSection6Bad(t *testing.T) {
	t.Parallel()
	s := open(t, data("p", "finalize: [{from: /pkg, to: /}]\n")+"-- p/t.tmpl --\n{{ \"x\" | fail }}\n-- p/u.tmpl --\n{{ if }}\n")
	s.wantError("p", "p/t.tmpl", "p/u.tmpl")
	s.write("-- p/t.tmpl --\n-- p/u.tmpl --\n")
	if err := unix.Mkfifo(filepath.Join(s.root, "p", "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.wantError("p", "reading the files of p/pkg.yaml", "fifo is a special file")
}
