package tree

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func sample(t *testing.T, content string) *Tree {
	t.Helper()
	tr := New()
	for name, n := range map[string]*Node{
		"manifest.yaml": File(0o644, []byte("version: v1alpha1\n")), "rootfs/usr/local/bin/x": File(0o755, []byte(content)),
		"rootfs/usr/local/link": Symlink("bin/x"), "rootfs/closed": Dir(0o500),
	} {
		if err := tr.Put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func TestWriteDir(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "a", "out")
	epoch := time.Unix(1_700_000_000, 0)
	for _, content := range []string{"one", "another"} { // the second time in place of the first
		want := sample(t, content)
		if err := want.WriteDir(ctx, dir, epoch); err != nil {
			t.Fatal(err)
		}
		got, err := FromDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if changes, err := Diff(ctx, want, got); err != nil || len(changes) > 0 {
			t.Errorf("read back: %v, %v", changes, err)
		}
		info, err := os.Stat(filepath.Join(dir, "rootfs/usr/local/bin/x"))
		if err != nil || !info.ModTime().Equal(epoch) {
			t.Errorf("time %v, %v", info.ModTime(), err)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// TestWriteDirKeeps wants other people's files to stay.
func TestWriteDirKeeps(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := sample(t, "x").WriteDir(context.Background(), dir, time.Unix(0, 0))
	if err == nil || !strings.Contains(err.Error(), "precious") {
		t.Errorf("got %v, want a refusal that names the file", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "precious")); err != nil {
		t.Error(err)
	}
}

func TestDiff(t *testing.T) {
	a, b := sample(t, "same then A"), sample(t, "same then B")
	for _, err := range []error{
		a.Put("gone", File(0o644, nil)), b.Put("new", Symlink("x")),
		a.Put("link", Symlink("x")), b.Put("link", Symlink("y")),
		a.Put("mode", File(0o644, nil)), b.Put("mode", File(0o755, nil)),
		a.Put("size", File(0o644, []byte("12"))), b.Put("size", File(0o644, []byte("123"))),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	changes, err := Diff(context.Background(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"gone: only in the first",
		`link: link to "x", then to "y"`,
		"mode: mode -rw-r--r--, then -rwxr-xr-x",
		"new: only in the second",
		`rootfs/usr/local/bin/x: other content; the first difference is at byte 10: "me then A", then "me then B"`,
		`size: 2 bytes, then 3; the first difference is at byte 2: "12", then "123"`,
	}
	var got []string
	for _, c := range changes {
		got = append(got, c.Path+": "+c.What)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
