package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/squashfs"
)

// TestMain lets scripts call graft, which is this test binary.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"graft": func() {
		os.Exit(Run(context.Background(), os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}})
}

// TestScripts runs the user stories of test/script. Each has a registry of its
// own, $REGISTRY, and a home of its own, so that no cache or login is shared.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../test/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"mkbase": makeBase},
		Setup: func(env *testscript.Env) error {
			srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
			env.Defer(srv.Close)
			env.Setenv("REGISTRY", strings.TrimPrefix(srv.URL, "http://"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/.cache")
			return nil
		},
	})
}

// makeBase is the command "mkbase DIR FILE": the initramfs of a base with the
// directory as its root filesystem.
func makeBase(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mkbase DIR FILE")
	}
	dir, image := ts.MkAbs(args[0]), ts.MkAbs(args[1]+".sqsh")
	f, err := os.Create(image)
	ts.Check(err)
	w, err := squashfs.NewWriter(f, squashfs.Options{})
	ts.Check(err)
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		info, ierr := d.Info()
		name, rerr := filepath.Rel(dir, p)
		if err := errors.Join(err, ierr, rerr); err != nil {
			return err
		}
		h := &squashfs.Header{Name: filepath.ToSlash(name), Mode: info.Mode(), Size: info.Size()}
		return w.Add(h, func() (io.ReadCloser, error) { return os.Open(p) })
	})
	ts.Check(errors.Join(err, w.Close(), f.Close()))
	data, err := os.ReadFile(image)
	ts.Check(err)
	var b bytes.Buffer
	z, err := cpio.NewCompressor(&b, cpio.Zstd, cpio.Default)
	ts.Check(err)
	c := cpio.NewWriter(z)
	ts.Check(c.WriteHeader(&cpio.Header{Name: "rootfs.sqsh", Mode: 0o644, Size: int64(len(data))}))
	_, err = c.Write(data)
	ts.Check(errors.Join(err, c.Close(), z.Close(), os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o644)))
}
