package vm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/deb"
	"github.com/graftlinux/graft/internal/testkit/guest"
)

// ext is an extension to be written to a directory. A file's name that ends in
// "*" is executable, one with "->" in it is a symbolic link.
type ext struct {
	name, version string
	files         map[string]string
}

// write makes the directory that an author would have.
func (e ext) write(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), e.name)
	put(t, filepath.Join(dir, "manifest.yaml"), fmt.Sprintf(`version: v1alpha1
metadata:
  name: %s
  version: %s
  author: the boot test
  description: %s, for the boot test
  compatibility:
    talos:
      version: ">= v1.10.0"
`, e.name, e.version, e.name), 0o644)
	for name, content := range e.files {
		name, target, isLink := strings.Cut(name, " -> ")
		name, isProgram := strings.CutSuffix(name, "*")
		file := filepath.Join(dir, "rootfs", name)
		switch {
		case isLink:
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, file); err != nil {
				t.Fatal(err)
			}
		case isProgram:
			put(t, file, content, 0o755)
		default:
			put(t, file, content, 0o644)
		}
	}
	return dir
}

func put(t *testing.T, file, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// expect adds to the facts what the probe must see of the extension; what an
// earlier one has at the same path is hidden.
func (e ext) expect(files, links map[string]string) {
	for name, content := range e.files {
		name, target, isLink := strings.Cut(name, " -> ")
		name, isProgram := strings.CutSuffix(name, "*")
		delete(files, "/"+name)
		delete(links, "/"+name)
		mode := "0644"
		if isProgram {
			mode = "0755"
		}
		if isLink {
			links["/"+name] = target
			continue
		}
		files["/"+name] = fmt.Sprintf("%s %d %x", mode, len(content), sha256.Sum256([]byte(content)))
	}
}

// kernelModules takes modules out of the kernel package that the base is from.
func kernelModules(t *testing.T, names ...string) map[string]string {
	t.Helper()
	f, err := os.Open(guest.KernelPackage(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := deb.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n+".ko"] = true
	}
	files := map[string]string{}
	for len(files) < len(wanted) {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("the kernel package has %d of the modules %v", len(files), names)
		}
		if err != nil {
			t.Fatal(err)
		}
		if wanted[path.Base(h.Name)] {
			var content bytes.Buffer
			if _, err := io.Copy(&content, r); err != nil {
				t.Fatal(err)
			}
			files["usr/"+strings.TrimPrefix(h.Name, "usr/")] = content.String()
		}
	}
	return files
}
