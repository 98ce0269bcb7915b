package build

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/recipe"
)

// TestSection5Order has later dependencies on top of earlier ones, each with
// what it brings along right after it.
func TestSection5Order(t *testing.T) {
	t.Parallel()
	s := open(t, data("a", "finalize: [{from: /pkg/f, to: /}]\n")+"-- a/f/x --\na\n-- a/f/a --\na\n"+
		data("b", "dependencies: [{stage: c, runtime: true}, {stage: hidden}]\nfinalize: [{from: /pkg/f, to: /}]\n")+"-- b/f/x --\nb\n-- b/f/b --\nb\n-- b/f/y --\nb\n"+
		data("c", "dependencies: [{stage: d, runtime: true, from: /d, to: /moved/d}]\nfinalize: [{from: /pkg/f, to: /}]\n")+"-- c/f/x --\nc\n-- c/f/c --\nc\n-- c/f/y --\nc\n"+
		data("d", "finalize: [{from: /pkg/f, to: /}]\n")+"-- d/f/d --\nd\n-- d/f/not-taken --\nd\n"+
		data("hidden", "finalize: [{from: /pkg, to: /hidden}]\n")+
		data("p", "dependencies: [{stage: b, to: /in}, {stage: b}, {stage: a, to: /in}]\nfinalize: [{from: /in, to: /in}, {from: /y, to: /}, {from: /c, to: /}, {from: /moved, to: /moved}]\n"))
	// b is taken twice, for "to" differs, and what it needs at run time once.
	s.want("p", `
c -rw-r--r-- c
in drwxr-xr-x
in/a -rw-r--r-- a
in/b -rw-r--r-- b
in/x -rw-r--r-- a
in/y -rw-r--r-- b
moved drwxr-xr-x
moved/d -rw-r--r-- d
y -rw-r--r-- b
`)
}

// TestSection5Kept pins a difference: bldr drops the second of two that differ
// in "from" only.
func TestSection5Kept(t *testing.T) {
	t.Parallel()
	s := open(t, data("q", "finalize: [{from: /pkg, to: /}]\n")+"-- q/one/1 --\n1\n-- q/two/2 --\n2\n"+
		data("p", "dependencies:\n  - {stage: q, from: /one}\n  - {stage: q, from: /two}\n  - {stage: q, from: /one}\nfinalize: [{from: /1, to: /1}, {from: /2, to: /2}]\n"))
	s.want("p", "1 -rw-r--r-- 1\n2 -rw-r--r-- 2")
	s.wantWarning("p/pkg.yaml:5", "package p takes q twice", "both are kept")
}

func TestSection5Stacking(t *testing.T) {
	t.Parallel()
	s := open(t, script("one", `echo one >a; mkdir d; echo one >d/one; chmod 700 d; ln -s d link; mkdir real; echo 1 >real/x; echo file >file-then-dir`)+
		script("two", `echo two >a; mkdir d; echo two >d/two; mkdir link; echo 2 >link/x; ln -s d real; mkdir file-then-dir`)+
		data("both", "dependencies: [{stage: one}, {stage: two}]\nfinalize: [{from: /, to: /}]\n")+
		script("three", `mkdir d; chmod 1777 d; echo three >d/three`)+
		data("p", "dependencies: [{stage: both}, {stage: three}]\nfinalize: [{from: /, to: /}]\n"))
	s.want("p", `
a -rw-r--r-- two
d dtrwxrwxrwx
d/one -rw-r--r-- one
d/three -rw-r--r-- three
d/two -rw-r--r-- two
file-then-dir drwxr-xr-x
link drwxr-xr-x
link/x -rw-r--r-- 2
pkg drwxr-xr-x
pkg/pkg.yaml -rw-r--r-- name: p
    variant: scratch
    dependencies: [{stage: both}, {stage: three}]
    finalize: [{from: /, to: /}]
real -> d
`)
}

// sample has everything that is hard to copy.
const sample = `
	mkdir -p dir/sub dir/empty; echo f >dir/file; echo s >dir/sub/deep; ln dir/file dir/sub/hard
	ln -s file dir/inner; ln -s missing dir/dangling; ln -s dir to-dir; ln -s dir/file to-file; ln -s to-dir/sub chain
	echo x >dir/setuid; chmod 4755 dir/setuid; mkdir dir/sticky; chmod 1777 dir/sticky; mkdir dir/closed; chmod 0 dir/closed
	echo "*" >'dir/*'; mkfifo dir/fifo; chmod 600 dir/fifo
`

const sampleDir = `* -rw-r--r-- *
closed d---------
dangling -> missing
empty drwxr-xr-x
fifo prw-------
file -rw-r--r-- f
inner -> file
setuid urwxr-xr-x x
sticky dtrwxrwxrwx
sub drwxr-xr-x
sub/deep -rw-r--r-- s
sub/hard = file
`

// TestSection5Copy copies in dependencies, and as 7.9 says in finalize by the
// same rules.
func TestSection5Copy(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, from, to, want string }{
		{"a directory to the root", "/dir", "/", sampleDir},
		{"a directory to a deep one", "/dir/sub", "/a/b/c", "a drwxr-xr-x\na/b drwxr-xr-x\na/b/c drwxr-xr-x\na/b/c/deep -rw-r--r-- s\na/b/c/hard -rw-r--r-- f"},
		{"a directory to one with a slash", "/dir/sub/", "/a/", "a drwxr-xr-x\na/deep -rw-r--r-- s\na/hard -rw-r--r-- f"},
		{"an empty directory", "/dir/empty", "/e", "e drwxr-xr-x"},
		{"a directory of another mode", "/dir/sticky", "/x", "x drwxr-xr-x"},
		{"a file to a new name", "/dir/file", "/new", "new -rw-r--r-- f"},
		{"a file to a deep name", "/dir/file", "/a/b", "a drwxr-xr-x\na/b -rw-r--r-- f"},
		{"a file into a directory", "/dir/file", "/a/", "a drwxr-xr-x\na/file -rw-r--r-- f"},
		{"a file to the root", "/dir/file", "/", "file -rw-r--r-- f"},
		{"a set-uid file", "/dir/setuid", "/s", "s urwxr-xr-x x"},
		{"below a symlink", "/to-dir/sub", "/", "deep -rw-r--r-- s\nhard -rw-r--r-- f"},
		{"a symlink to a file", "/to-file", "/new", "new -rw-r--r-- f"},
		{"a symlink to a file into a directory", "/to-file", "/a/", "a drwxr-xr-x\na/to-file -rw-r--r-- f"},
		{"a symlink to a directory", "/chain", "/", "deep -rw-r--r-- s\nhard -rw-r--r-- f"},
		{"a name that looks like a pattern", "/dir/*", "/star", "star -rw-r--r-- *"},
	}
	recipes := script("sample", sample)
	var targets []string
	for i, tt := range tests {
		dep, fin := fmt.Sprintf("dep%d", i), fmt.Sprintf("fin%d", i)
		recipes += data(dep, fmt.Sprintf("dependencies: [{stage: sample, from: %q, to: %q}]\nfinalize: [{from: /x, to: /}]\n", tt.from, "/x"+tt.to)) +
			data(fin, fmt.Sprintf("dependencies: [{stage: sample}]\nfinalize: [{from: %q, to: %q}]\n", tt.from, tt.to))
		targets = append(targets, dep, fin)
	}
	built := open(t, recipes).build(targets...)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantListing(t, built[2*i].Platforms[0].Tree, tt.want)
			wantListing(t, built[2*i+1].Platforms[0].Tree, tt.want)
		})
	}
}

// TestSection5All takes a whole file system to a place.
func TestSection5All(t *testing.T) {
	t.Parallel()
	s := open(t, script("q", "echo 1 >f; mkdir d")+data("p", "dependencies: [{stage: q, to: /q}]\nfinalize: [{from: /q, to: /all}]\n"))
	s.want("p", "all drwxr-xr-x\nall/d drwxr-xr-x\nall/f -rw-r--r-- 1")
}

// TestSection5Owners keeps owners and times in dependencies: that of the package
// only, for all that is finalized belongs to root. An ordinary user has nobody
// to give files to.
func TestSection5Owners(t *testing.T) {
	t.Parallel()
	owner := "1234:56"
	if !manyUsers(t) {
		owner = "0:0"
	}
	s := open(t, pkg("p", `steps:
  - install: [mkdir /out; echo x >/out/f; chown 1234:56 /out/f; touch -d @1000000000 /out/f, "chmod 640 /out/f; stat -c '%u:%g %Y %a' /out/f >/own"]
finalize: [{from: /own, to: /own}, {from: /out, to: /out}]
`)+pkg("user", `  - {stage: p, from: /out, to: /copied}
  - {stage: p, to: /all}
steps:
  - install: ["stat -c '%u:%g %Y %a' /copied/f /all/out/f >/seen"]
finalize: [{from: /seen, to: /seen}]
`))
	s.want("p", "out drwxr-xr-x\nout/f -rw-r----- x\nown -rw-r--r-- "+owner+" 1000000000 640")
	s.want("user", strings.ReplaceAll("seen -rw-r--r-- OWNER 1000000000 640\n    OWNER 1000000000 640", "OWNER", owner))
}

// TestSection5Missing wants the path that is not there, and what is.
func TestSection5Missing(t *testing.T) {
	t.Parallel()
	s := open(t, data("q", "finalize: [{from: /pkg, to: /q}]\n")+"-- q/file --\n"+
		data("p", "dependencies: [{stage: q, from: /q/fiel}]\nfinalize: [{from: /, to: /}]\n")+
		data("pattern", "dependencies: [{stage: q, from: '/q/*'}]\nfinalize: [{from: /, to: /}]\n"))
	err := s.wantError("p", "p: copy /q/fiel from q", "/q/fiel is not there", "/q has file, pkg.yaml")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	s.wantError("pattern", "/q/* is not there")
}

// TestSection5Graph has what a graph can have wrong.
func TestSection5Graph(t *testing.T) {
	t.Parallel()
	s := open(t, data("a", "dependencies: [{stage: b}]\n")+data("b", "dependencies: [{stage: mispelled}]\n")+data("misspelled", "")+
		data("x", "dependencies: [{stage: y}]\n")+data("y", "dependencies: [{stage: z}]\n")+data("z", "dependencies: [{stage: y}]\n")+
		data("good", "finalize: [{from: /pkg, to: /}]\n"))
	var unknown *recipe.UnknownError
	if err := s.wantError("a", `there is no package "mispelled"`, "a → b → mispelled", "misspelled?"); !errors.As(err, &unknown) {
		t.Errorf("got a %T", err)
	}
	var cycle *recipe.CycleError
	if err := s.wantError("x", "y → z → y"); !errors.As(err, &cycle) {
		t.Errorf("got a %T", err)
	}
	s.build("good") // what is wrong elsewhere does no harm
}

// TestOddNames keeps all names that the kernel takes.
func TestOddNames(t *testing.T) {
	t.Parallel()
	s := open(t, script("q", `
echo 1 >$'new\nline'; echo 2 >'back\slash'; echo 3 >' lead trail '; echo 4 >'"'; echo 5 >$'bad\xff'; echo 6 >$'bad\xfe'; echo 7 >...; echo 8 >-dash
ln -s $'bad\xff' link; mkdir .wh..wh..opq; echo 9 >.wh.8; printf -v long 'x%.0s' {1..255}; echo 10 >$long; echo 11 >.graft; echo 12 >ünï`)+
		pkg("p", "  - {stage: q, to: /q}\nsteps: [{install: [cd /q; cat -- * >/f]}]\nfinalize: [{from: /q, to: /q}, {from: /f, to: /}]\n"))
	s.want("p", strings.NewReplacer("FE", "\xfe", "FF", "\xff", "LONG", strings.Repeat("x", 255)).Replace(`
f -rw-r--r-- 3
    4
    8
    2
    6
    5
    5
    1
    10
    12
q drwxr-xr-x
q/ lead trail  -rw-r--r-- 3
q/" -rw-r--r-- 4
q/-dash -rw-r--r-- 8
q/... -rw-r--r-- 7
q/.graft -rw-r--r-- 11
q/.wh..wh..opq drwxr-xr-x
q/.wh.8 -rw-r--r-- 9
q/back\slash -rw-r--r-- 2
q/badFE -rw-r--r-- 6
q/badFF -rw-r--r-- 5
q/link -> badFF
q/new
line -rw-r--r-- 1
q/LONG -rw-r--r-- 10
q/ünï -rw-r--r-- 12
`))
}
