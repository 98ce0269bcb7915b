package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/tree"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "build"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// layer fills a draft and commits it.
func layer(t *testing.T, s *Store, fill func(dir string) error) *Layer {
	t.Helper()
	d, err := s.Draft()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	if err := fill(d.FS); err != nil {
		t.Fatal(err)
	}
	l, err := d.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// files makes what lines say: "d NAME", "f NAME CONTENT", "l NAME TARGET",
// "h NAME FIRST", "w NAME" (a whiteout), "o NAME" (an opaque directory).
func files(lines string) func(dir string) error {
	return func(dir string) error {
		for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
			w := append(strings.Fields(line), "", "")
			name := filepath.Join(dir, w[1])
			var err error
			switch w[0] {
			case "d":
				err = os.MkdirAll(name, 0o755)
			case "f":
				err = os.WriteFile(name, []byte(w[2]), 0o644)
			case "l":
				err = os.Symlink(w[2], name)
			case "h":
				err = os.Link(filepath.Join(dir, w[2]), name)
			case "w":
				err = unix.Mknod(name, unix.S_IFCHR, 0)
			case "o":
				err = errors.Join(os.Mkdir(name, 0o755), unix.Setxattr(name, opaqueXattr, []byte("y"), 0))
			}
			if err != nil {
				return fmt.Errorf("%s: %w", line, err)
			}
		}
		return nil
	}
}

func listing(t *testing.T, v *View) string {
	t.Helper()
	if err := v.Tree().Hash(context.Background()); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	err := v.Tree().Walk(func(e tree.Entry) error {
		data := ""
		if e.Mode.IsRegular() {
			content, err := v.Tree().ReadFile(e.Path, 1<<20)
			if err != nil {
				return err
			}
			data = " " + string(content)
		}
		if e.Hardlink != "" {
			data = " = " + e.Hardlink
		}
		if e.Target != "" {
			data = " -> " + e.Target
		}
		if e.Path != "." {
			fmt.Fprintf(&b, "%s%s\n", e.Path, data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestView stacks layers as overlayfs does.
func TestView(t *testing.T) {
	s := open(t)
	stack := Stack{
		layer(t, s, files("d a/b\nf a/b/one 1\nf a/gone x\nd hidden/deep\nf hidden/deep/x x\nl link a\nf file 1\nd dir\nf dir/x x")),
		layer(t, s, files("d a/b\nf a/b/two 2\nw a/gone\no hidden\nf hidden/new n\nd link\nf link/now-a-directory d\nf dir now-a-file\nd file\nh a/b/three a/b/two")),
	}
	v, err := stack.View()
	if err != nil {
		t.Fatal(err)
	}
	want := `a
a/b
a/b/one 1
a/b/three 2
a/b/two = a/b/three
dir now-a-file
file
hidden
hidden/new n
link
link/now-a-directory d
`
	if got := listing(t, v); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestContentNames wants the same files to be the same layer, whenever they
// were made.
func TestContentNames(t *testing.T) {
	s := open(t)
	a := layer(t, s, files("f x same"))
	b := layer(t, s, func(dir string) error {
		name := filepath.Join(dir, "x")
		return errors.Join(os.WriteFile(name, []byte("same"), 0o644), os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)))
	})
	c := layer(t, s, files("f x other"))
	if a.Name != b.Name || a.Name == c.Name {
		t.Errorf("names %s, %s and, of other files, %s", a.Name, b.Name, c.Name)
	}
	if empty := layer(t, s, func(string) error { return nil }); empty != nil {
		t.Errorf("a layer of nothing: %v", empty)
	}
}

func TestCopy(t *testing.T) {
	s := open(t)
	stack := Stack{layer(t, s, files("d src/sub\nf src/file f\nf src/sub/deep d\nh src/sub/hard src/file\nl src/inner file\nl to-dir src\nl to-file src/file\nd empty"))}
	v, err := stack.View()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"/src", "/", "file f\ninner -> file\nsub\nsub/deep d\nsub/hard = file\n"},
		{"/src/", "/a/b", "a\na/b\na/b/file f\na/b/inner -> file\na/b/sub\na/b/sub/deep d\na/b/sub/hard = a/b/file\n"},
		{"/src/file", "/renamed", "renamed f\n"},
		{"/src/file", "/in/", "in\nin/file f\n"},
		{"/src/file", "/", "file f\n"},
		{"/to-dir", "/x", "x\nx/file f\nx/inner -> file\nx/sub\nx/sub/deep d\nx/sub/hard = x/file\n"},
		{"/to-file", "/x", "x f\n"},
		{"/to-file", "/in/", "in\nin/to-file f\n"},
		{"/empty", "/x", "x\n"},
	} {
		d, err := s.Draft()
		if err != nil {
			t.Fatal(err)
		}
		l, err := d.Copy(context.Background(), v, c.from, c.to)
		d.Discard()
		if err != nil {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
			continue
		}
		got, err := Stack{l}.View()
		if err != nil {
			t.Fatal(err)
		}
		if text := listing(t, got); text != c.want {
			t.Errorf("%s to %s: got\n%swant\n%s", c.from, c.to, text, c.want)
		}
		checkListing(t, l)
	}
}

// checkListing wants what is on disk to be what the listing says.
func checkListing(t *testing.T, l *Layer) {
	t.Helper()
	want, err := scan(context.Background(), l.FS())
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Entries()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed\n%v\nthere is\n%v", got, want)
	}
}

func TestCopyMissing(t *testing.T) {
	s := open(t)
	v, err := Stack{layer(t, s, files("d rootfs/usr\nf rootfs/usr/x x"))}.View()
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Draft()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	_, err = d.Copy(context.Background(), v, "/rootfs/usr/local/bin", "/")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/rootfs/usr/local/bin is not there (/rootfs/usr has x)") {
		t.Errorf("got %v", err)
	}
}

// TestFill writes a tree with one time and gives the same listing as a scan.
func TestFill(t *testing.T) {
	s := open(t)
	tr := tree.New()
	shared := tree.File(0o755|fs.ModeSetuid, []byte("x"))
	for name, n := range map[string]*tree.Node{
		"d/a": shared, "d/b": shared, "l": tree.Symlink("nowhere"), "closed": tree.Dir(0o500), "closed/f": tree.File(0o400, nil),
	} {
		if err := tr.Put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	d, err := s.Draft()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	l, err := d.Fill(context.Background(), tr, plan.FileTime)
	if err != nil {
		t.Fatal(err)
	}
	checkListing(t, l)
	for _, name := range []string{"d", "d/a", "l", "closed/f"} {
		info, err := os.Lstat(filepath.Join(l.FS(), name))
		if err != nil || !info.ModTime().Equal(plan.FileTime) {
			t.Errorf("%s: time %v, %v", name, info.ModTime(), err)
		}
	}
}

func TestResults(t *testing.T) {
	s := open(t)
	key := KeyOf("a", "b")
	if KeyOf("ab") == key || KeyOf("a", "b") != key {
		t.Error("keys are no function of the parts")
	}
	if _, err := s.Result(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v for an unknown key", err)
	}
	l := layer(t, s, files("f x x"))
	if err := s.SetResult(key, "test", Stack{l}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Result(key)
	if err != nil || len(got) != 1 || got[0].Name != l.Name {
		t.Errorf("got %v, %v", got, err)
	}
	if err := os.WriteFile(s.path("results", string(key)), []byte("{dama"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Result(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v for a damaged result", err)
	}
}

func TestLock(t *testing.T) {
	s := open(t)
	var mu sync.Mutex
	holders, most := 0, 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			unlock, err := s.Lock(context.Background(), "k")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			holders++
			most = max(most, holders)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			holders--
			mu.Unlock()
			unlock()
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d held one lock at a time", most)
	}
}

func TestPrune(t *testing.T) {
	s := open(t)
	kept, old := layer(t, s, files("f kept 123")), layer(t, s, files("f old 12345"))
	for key, l := range map[Key]*Layer{"kept": kept, "old": old} {
		if err := s.SetResult(key, string(key), Stack{l}); err != nil {
			t.Fatal(err)
		}
	}
	orphan := layer(t, s, files("d closed/below\nf closed/below/x 1"))
	if err := os.Chmod(filepath.Join(orphan.FS(), "closed"), 0); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(s.path("results", "old"), long, long); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Prune(s.Dir(), Limits{}); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v while the store is open", err)
	}
	s.Close()
	results, bytes, err := Prune(s.Dir(), Limits{MaxAge: time.Minute})
	if err != nil || results != 1 || bytes != 6 {
		t.Errorf("pruned %d results, %d bytes, %v", results, bytes, err)
	}
	uses, err := List(s.Dir())
	if err != nil || len(uses) != 1 || uses[0].Label != "kept" || uses[0].Size != 3 {
		t.Errorf("left %v, %v", uses, err)
	}
	if _, _, err := Prune(s.Dir(), Limits{All: true}); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.path("layers")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestSweep removes what a killed process left, and nothing of one that works.
func TestSweep(t *testing.T) {
	s := open(t)
	alive, err := s.Draft()
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Discard()
	dead := s.path("tmp", draftPrefix+"dead")
	if err := errors.Join(os.MkdirAll(filepath.Join(dead, "work", "work"), 0o700), os.Chmod(filepath.Join(dead, "work"), 0)); err != nil {
		t.Fatal(err)
	}
	result := s.path("tmp", resultPrefix+"dead")
	if err := os.WriteFile(result, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, left := range []string{dead, result} {
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the dead draft %s: %v", left, err)
		}
	}
	if _, err := os.Stat(alive.FS); err != nil {
		t.Error(err)
	}
}

// TestNotText keeps names that are no UTF-8: two that only differ in such bytes
// are two layers.
func TestNotText(t *testing.T) {
	s := open(t)
	a, b := layer(t, s, files("f bad\xff a\nl link \xfe\xff\nh hard\xff bad\xff")), layer(t, s, files("f bad\xfe a\nl link \xfe\xff\nh hard\xff bad\xfe"))
	if a.Name == b.Name {
		t.Error("two layers have one name")
	}
	v, err := Stack{a, b}.View()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := listing(t, v), "bad\xfe a\nbad\xff a\nhard\xff = bad\xfe\nlink -> \xfe\xff\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	d, err := s.Draft()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	l, err := d.Copy(context.Background(), v, "/", "/")
	if err != nil {
		t.Fatal(err)
	}
	checkListing(t, l)
}

// TestPowerFailure wants results of an earlier boot only if all was on disk then.
func TestPowerFailure(t *testing.T) {
	s := open(t)
	if s.boot == "" {
		t.Skip("this system does not name its boots")
	}
	dir := s.Dir()
	if err := s.SetResult("k", "k", Stack{layer(t, s, files("f x x"))}); err != nil {
		t.Fatal(err)
	}
	// after is how a store of the next boot sees the result.
	after := func() error {
		next, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		next.boot = "another"
		_, err = next.Result("k")
		return errors.Join(err, next.use.Close()) // it wrote nothing
	}
	if err := after(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before anything was synced: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := after(); err != nil {
		t.Errorf("after the store was closed: %v", err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.SetResult("other", "other", nil); err != nil {
		t.Fatal(err)
	}
	if err := after(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("while something new is written: %v", err)
	}
}

// TestDamagedLayer replaces what a power failure may have damaged.
func TestDamagedLayer(t *testing.T) {
	s := open(t)
	old := layer(t, s, files("f x good"))
	if err := errors.Join(os.WriteFile(filepath.Join(old.FS(), "x"), nil, 0o644), os.WriteFile(filepath.Join(old.dir, "boot"), []byte("before"), 0o600)); err != nil {
		t.Fatal(err)
	}
	again := layer(t, s, files("f x good"))
	if again.Name != old.Name {
		t.Fatalf("names %s and %s", old.Name, again.Name)
	}
	checkListing(t, again)
}
