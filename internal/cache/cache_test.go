package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *Cache {
	t.Helper()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func text(s string) func(*os.File) error {
	return func(f *os.File) error { _, err := f.WriteString(s); return err }
}

func never(*os.File) error { return errors.New("it was made again") }

func read(t *testing.T, b *Blob, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	data, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) != b.Size {
		t.Errorf("got %d bytes, Size says %d", len(data), b.Size)
	}
	return string(data)
}

func TestMakeAndGet(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	c := open(t, dir)
	b, err := c.Make(ctx, "k", "label", text("one"))
	if got := read(t, b, err); got != "one" {
		t.Errorf("got %q, want one", got)
	}
	b, err = open(t, dir).Make(ctx, "k", "label", never)
	if got := read(t, b, err); got != "one" {
		t.Errorf("got %q, want one", got)
	}
	if _, err := c.Get("other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	broken := errors.New("broken")
	if _, err := c.Make(ctx, "bad", "label", func(*os.File) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if _, err := c.Get("bad"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after an error: got %v, want %v", err, fs.ErrNotExist)
	}
	wantFiles(t, dir, "tmp", 0)
}

// TestDamage makes the files of an entry wrong, one way after the other: it
// must be made again, never be handed out.
func TestDamage(t *testing.T) {
	ctx := context.Background()
	for name, damage := range map[string]func(blob, ref string) error{
		"flipped":   func(blob, _ string) error { return os.WriteFile(blob, []byte("two"), 0o600) },
		"truncated": func(blob, _ string) error { return os.Truncate(blob, 1) },
		"gone":      func(blob, _ string) error { return os.Remove(blob) },
		"no ref":    func(_, ref string) error { return os.WriteFile(ref, []byte("{"), 0o600) },
		"traversal": func(_, ref string) error {
			return os.WriteFile(ref, []byte(`{"digest":"sha256:../../../../../../../../../../../../../../../../../../../../etc/passwd"}`), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := open(t, dir)
			b, err := c.Make(ctx, "k", "label", text("one"))
			read(t, b, err)
			if err := damage(only(t, dir, "blobs"), only(t, dir, "refs")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Get("k"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v, want %v", err, fs.ErrNotExist)
			}
			b, err = c.Make(ctx, "k", "label", text("one"))
			if got := read(t, b, err); got != "one" {
				t.Errorf("got %q, want one", got)
			}
		})
	}
}

func only(t *testing.T, dir, sub string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "v1", sub, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v, want one file", files, err)
	}
	return files[0]
}

func wantFiles(t *testing.T, dir, sub string, want int) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "v1", sub))
	if err != nil || len(files) != want {
		t.Errorf("%s: got %v, %v, want %d files", sub, files, err, want)
	}
}

func TestMakeOnce(t *testing.T) {
	c := open(t, t.TempDir())
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			b, err := c.Make(context.Background(), "k", "label", func(f *os.File) error {
				made.Add(1)
				time.Sleep(20 * time.Millisecond)
				return text("x")(f)
			})
			if err != nil {
				t.Error(err)
				return
			}
			b.Close()
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times, want once", made.Load())
	}
}

func TestMakeCanceled(t *testing.T) {
	c := open(t, t.TempDir())
	unlock, err := c.lock(context.Background(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := c.Make(ctx, "k", "label", text("x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestPrune(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	c := open(t, dir)
	for i := range 4 {
		b, err := c.Make(ctx, fmt.Sprint("k", i), fmt.Sprint("entry ", i), text(fmt.Sprintf("%0100d", i)))
		read(t, b, err)
		used := time.Now().Add(-time.Duration(i) * time.Hour)
		if err := os.Chtimes(c.refPath(fmt.Sprint("k", i)), used, used); err != nil {
			t.Fatal(err)
		}
	}
	held, err := c.Get("k0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for _, step := range []struct {
		limits Limits
		left   int
	}{
		{Limits{}, 4},
		{Limits{MaxAge: 150 * time.Minute}, 3},
		{Limits{MaxSize: 250}, 2},
		{Limits{All: true}, 0},
	} {
		if _, err := c.Prune(step.limits); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, "refs", step.left)
		wantFiles(t, dir, "blobs", step.left)
	}
	if data, err := io.ReadAll(held); err != nil || len(data) != 100 {
		t.Errorf("an open blob after pruning: got %d bytes, %v", len(data), err)
	}
}

// TestKilled kills a process in the middle of making an entry, at moments that
// shift from try to try: the cache must stay usable and give back the room.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("CACHE_VICTIM"); dir != "" {
		victim(dir)
	}
	dir := t.TempDir()
	for i := range 10 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "CACHE_VICTIM="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+7*i) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
	}
	c := open(t, dir)
	for i := range 5 {
		key := fmt.Sprint("k", i)
		want := string(content(i))
		b, err := c.Make(context.Background(), key, key, text(want))
		if got := read(t, b, err); got != want {
			t.Errorf("%s: got %d bytes, want %d", key, len(got), len(want))
		}
	}
	if _, err := c.Prune(Limits{}); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, "tmp", 0)
	wantFiles(t, dir, "blobs", 5)
}

func content(i int) []byte {
	data := make([]byte, 1<<20)
	for j := range data {
		data[j] = byte(i + j>>10)
	}
	return data
}

// victim makes and drops entries until it is killed.
func victim(dir string) {
	c, err := Open(dir)
	if err != nil {
		panic(err)
	}
	for n := 0; ; n++ {
		key := fmt.Sprint("k", n%5)
		b, err := c.Make(context.Background(), key, key, func(f *os.File) error {
			_, err := f.Write(content(n % 5))
			return err
		})
		if err != nil {
			panic(err)
		}
		b.Close()
		if n%7 == 6 {
			if _, err := c.Prune(Limits{All: true}); err != nil {
				panic(err)
			}
		}
	}
}
