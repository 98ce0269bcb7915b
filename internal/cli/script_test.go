package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/graftlinux/graft/internal/build/sandbox"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

// TestMain lets scripts call graft, which is this test binary.
func TestMain(m *testing.M) {
	sandbox.Child()
	testscript.Main(m, map[string]func(){"graft": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(Run(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}})
}

// TestScripts runs the user stories of test/script. Each has a registry of its
// own, $REGISTRY, a web server for its directory www, $WEB, and a home of its own,
// so that no cache or login is shared. With -short, as for the race detector,
// only those run whose programs do much at the same time.
func TestScripts(t *testing.T) {
	kitchen := testkit.Programs(t, "cat", "chmod", "cp", "ln", "ls", "mkdir", "readlink", "sleep", "touch")
	params := testscript.Params{
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"mkbase": makeBase, "mkimager": makeImager, "mkkitchen": makeKitchen(kitchen)},
		Setup: func(env *testscript.Env) error {
			srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
			env.Defer(srv.Close)
			env.Setenv("REGISTRY", strings.TrimPrefix(srv.URL, "http://"))
			web := httptest.NewServer(http.FileServer(http.Dir(env.WorkDir + "/www")))
			env.Defer(web.Close)
			env.Setenv("WEB", web.URL)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/.cache")
			return nil
		},
	}
	const dir = "../../test/script"
	if testing.Short() {
		for _, name := range []string{"publish_broken", "catalog"} {
			params.Files = append(params.Files, filepath.Join(dir, name+".txtar"))
		}
	} else {
		params.Dir = dir
	}
	testscript.Run(t, params)
}

// makeKitchen is the command "mkkitchen LAYOUT [DIR]": an OCI layout with programs
// of this machine, and the files of a directory, for scripts of builds to run in.
func makeKitchen(programs *tree.Tree) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 1 || len(args) > 2 {
			ts.Fatalf("usage: mkkitchen LAYOUT [DIR]")
		}
		root, err := programs.Filter(func(tree.Entry) bool { return true })
		ts.Check(err)
		if len(args) == 2 {
			more, err := tree.FromDir(ts.MkAbs(args[1]))
			ts.Check(err)
			ts.Check(more.Walk(func(e tree.Entry) error { return root.Put(e.Path, e.Node) }))
		}
		images := []oci.Packed{{Platform: oci.Platform{OS: "linux", Arch: runtime.GOARCH}, Tree: root}}
		_, err = oci.Pack(context.Background(), images, "oci:"+ts.MkAbs(args[0]), oci.PackOptions{Name: "kitchen:latest", Compression: oci.None})
		ts.Check(err)
	}
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
