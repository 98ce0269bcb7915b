package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/filestate"
)

// listing is the tree as text: what a reader of a failed test can compare.
func listing(t *testing.T, tr *Tree) string {
	t.Helper()
	if err := tr.Hash(context.Background()); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	err := tr.Walk(func(e Entry) error {
		fmt.Fprintf(&b, "%v %d %s", e.Mode, e.Size, e.Path)
		switch {
		case e.Target != "":
			fmt.Fprintf(&b, " -> %s", e.Target)
		case e.Hardlink != "":
			fmt.Fprintf(&b, " = %s", e.Hardlink)
		}
		if e.Label != "" {
			fmt.Fprintf(&b, " %s", e.Label)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func put(t *testing.T, tr *Tree, name string, n *Node) {
	t.Helper()
	if err := tr.Put(name, n); err != nil {
		t.Fatal(err)
	}
}

func TestPutAndWalk(t *testing.T) {
	tr := New()
	file := File(0o644, []byte("hello"))
	put(t, tr, "usr/local/bin/tool", file)
	put(t, tr, "/usr/local/bin/alias/", file)
	put(t, tr, "./usr/local-x", Symlink("local"))
	put(t, tr, "usr/local", Dir(0o700)) // keeps what is in it
	put(t, tr, "etc", File(0o600, nil))
	put(t, tr, "etc", Dir(0o755)) // a file makes place
	want := `drwxr-xr-x 0 .
drwxr-xr-x 0 etc
drwxr-xr-x 0 usr
drwx------ 0 usr/local
drwxr-xr-x 0 usr/local/bin
-rw-r--r-- 5 usr/local/bin/alias
-rw-r--r-- 5 usr/local/bin/tool = usr/local/bin/alias
Lrwxrwxrwx 0 usr/local-x -> local
`
	if d := cmp.Diff(want, listing(t, tr)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if tr.Len() != 7 {
		t.Errorf("got %d entries, want 7", tr.Len())
	}
	tr.Remove("usr/local")
	tr.Remove("nothing/there")
	if tr.Len() != 3 {
		t.Errorf("after removing: got %d entries, want 3", tr.Len())
	}
}

func TestPutRefuses(t *testing.T) {
	tr := New()
	put(t, tr, "link", Symlink("/etc"))
	for name, kind := range map[string]ProblemKind{
		"../x":                       Traversal,
		"a/../../x":                  Traversal,
		"link/passwd":                BelowLink,
		strings.Repeat("n", 256):     BadName,
		"a\x00b":                     BadName,
		strings.Repeat("d/", 300):    BadName,
		strings.Repeat("dddd/", 900): BadName,
	} {
		err := tr.Put(name, File(0o644, nil))
		var pe *pathError
		if !errors.As(err, &pe) || pe.kind != kind {
			t.Errorf("%.20q: got %v, want the kind %s", name, err, kind)
		}
	}
	if tr.Len() != 1 {
		t.Errorf("got %d entries, want 1", tr.Len())
	}
}

func TestResolve(t *testing.T) {
	tr := New()
	put(t, tr, "usr/lib/x", File(0o644, nil))
	put(t, tr, "lib", Symlink("usr/lib"))
	put(t, tr, "usr/lib/abs", Symlink("/usr/lib/x"))
	put(t, tr, "usr/lib/up", Symlink("../../../etc"))
	put(t, tr, "usr/lib/loop", Symlink("loop"))
	put(t, tr, "usr/lib/chain", Symlink("/lib/abs"))
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{"lib/x", "usr/lib/x", nil},
		{"/lib/chain", "usr/lib/x", nil},
		{"usr/lib/../lib/x", "usr/lib/x", nil},
		{"usr/lib/up", "", ErrEscapes},
		{"usr/lib/loop", "", ErrLoop},
		{"lib/missing/a", "usr/lib/missing/a", fs.ErrNotExist},
	} {
		got, _, err := tr.Resolve(c.path)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %q, %v, want %q, %v", c.path, got, err, c.want, c.err)
		}
	}
}

func TestFromDir(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, perm fs.FileMode) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), perm); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, perm); err != nil {
			t.Fatal(err)
		}
	}
	write("manifest.yaml", "version: v1alpha1\n", 0o644)
	write("rootfs/usr/local/bin/tool", "tool", 0o4755|fs.ModeSetuid)
	if err := os.Link(filepath.Join(dir, "rootfs/usr/local/bin/tool"), filepath.Join(dir, "rootfs/usr/local/bin/alias")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../tool", filepath.Join(dir, "rootfs/usr/local/bin/up")); err != nil {
		t.Fatal(err)
	}
	tr, err := FromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := `drwxr-xr-x 0 .
-rw-r--r-- 18 manifest.yaml
drwxr-xr-x 0 rootfs
drwxr-xr-x 0 rootfs/usr
drwxr-xr-x 0 rootfs/usr/local
drwxr-xr-x 0 rootfs/usr/local/bin
urwxr-xr-x 4 rootfs/usr/local/bin/alias
urwxr-xr-x 4 rootfs/usr/local/bin/tool = rootfs/usr/local/bin/alias
Lrwxrwxrwx 0 rootfs/usr/local/bin/up -> ../tool
`
	if d := cmp.Diff(want, listing(t, tr)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	digest, err := tr.Digest(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	sub, err := tr.Filter(func(e Entry) bool { return strings.HasSuffix(e.Path, "bin/tool") })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sub.Get("rootfs/usr/local/bin/tool").Mode, fs.ModeSetuid|0o755; got != want || sub.Len() != 5 {
		t.Errorf("filtered: got %v and %d entries, want %v and 5", got, sub.Len(), want)
	}

	write("rootfs/usr/local/bin/tool", "TOOL", 0o755|fs.ModeSetuid)
	changed, err := FromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := changed.Digest(context.Background()); err != nil || d == digest {
		t.Errorf("a changed file: got the digest %s again, %v", d, err)
	}
}

// TestChangedFile makes sure that a file is not taken for what it was.
func TestChangedFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := FromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.ReadFile("f", 100); !errors.Is(err, ErrChanged) {
		t.Errorf("a longer file: got %v, want %v", err, ErrChanged)
	}
	if err := errors.Join(os.Remove(name), os.Symlink("/etc/passwd", name)); err != nil {
		t.Fatal(err)
	}
	if err := tr.Hash(context.Background()); err == nil {
		t.Error("a symlink in the file's place: got no error")
	}
}

// TestStamp waits until a directory is old enough to have a stamp.
func TestStamp(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	stamp := func() string {
		tr, err := FromDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return tr.Stamp()
	}
	if err := os.WriteFile(name, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := stamp(); got != "" {
		t.Errorf("a fresh file has the stamp %s", got)
	}
	time.Sleep(filestate.Freshness + 100*time.Millisecond)
	before := stamp()
	if before == "" || stamp() != before {
		t.Errorf("an old file: got %q, then %q", before, stamp())
	}
	// A change of the same size that sets the old time again is still seen.
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(name, []byte("two"), 0o644), os.Chtimes(name, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if got := stamp(); got == before {
		t.Error("a change left the stamp as it was")
	}
}

func TestReadFile(t *testing.T) {
	tr := New()
	put(t, tr, "f", File(0o644, []byte("12345")))
	if data, err := tr.ReadFile("f", 5); err != nil || string(data) != "12345" {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := tr.ReadFile("f", 4); err == nil {
		t.Error("a file above the limit: got no error")
	}
	if _, err := tr.ReadFile("g", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := tr.ReadFile(".", 4); err == nil {
		t.Error("a directory: got no error")
	}
}

// TestDigest guards what the digest must tell apart and what it must not.
func TestDigest(t *testing.T) {
	digest := func(change func(*Tree)) string {
		tr := New()
		put(t, tr, "a/b", File(0o644, []byte("x")))
		change(tr)
		d, err := tr.Digest(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	same := digest(func(*Tree) {})
	if digest(func(*Tree) {}) != same {
		t.Error("equal trees have different digests")
	}
	seen := map[string]string{same: "the original"}
	for name, change := range map[string]func(*Tree){
		"content": func(tr *Tree) { put(t, tr, "a/b", File(0o644, []byte("y"))) },
		"mode":    func(tr *Tree) { put(t, tr, "a/b", File(0o755, []byte("x"))) },
		"name":    func(tr *Tree) { put(t, tr, "a/c", File(0o644, []byte("x"))) },
		"dirmode": func(tr *Tree) { put(t, tr, "a", Dir(0o700)) },
		"label":   func(tr *Tree) { tr.Get("a/b").Label = "l" },
		"link":    func(tr *Tree) { put(t, tr, "a/b", Symlink("x")) },
		"newline": func(tr *Tree) { put(t, tr, "a/b\n-rw-r--r-- 1", File(0o644, []byte("x"))) },
	} {
		d := digest(change)
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
}

func TestBytes(t *testing.T) {
	r, err := File(0o644, []byte("abc")).Open()
	if err != nil {
		t.Fatal(err)
	}
	var at [2]byte
	if _, err := r.ReadAt(at[:], 1); err != nil || string(at[:]) != "bc" {
		t.Errorf("got %q, %v", at, err)
	}
	if data, err := io.ReadAll(r); err != nil || string(data) != "abc" {
		t.Errorf("got %q, %v", data, err)
	}
}

// TestHashCanceled: a large file must not keep an interrupted program.
func TestHashCanceled(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sparse")
	if err := errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, 1<<40)); err != nil {
		t.Skipf("the file system has no files of 1 TiB: %v", err)
	}
	tr, err := FromDir(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := tr.Hash(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}
