package vm

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/testkit/guest"
)

// pipeline is how Talos' imager compresses, by the version of Talos.
type pipeline struct {
	name     string
	squashfs []string // of mksquashfs
	initrd   []string // what compresses the archive
}

var pipelines = []pipeline{
	{"since 1.8", []string{"-comp", "zstd", "-Xcompression-level", "18"}, []string{"zstd", "-T0", "-18", "-q", "-c"}},
	{"before 1.8", []string{"-comp", "xz", "-Xdict-size", "100%"}, []string{"xz", "-0", "-e", "-C", "crc32", "-c"}},
}

// testUpstream boots what the programs make that Talos' imager runs: layers
// that are only numbered, no digests, one compressed archive after the base.
func testUpstream(t *testing.T, base *guest.Base, p pipeline) {
	exts := []ext{
		{"first", "1.0.0", map[string]string{"usr/local/share/both": "of the first", "usr/local/share/first": strings.Repeat("first ", 100_000)}},
		{"second", "2.0.0", map[string]string{"usr/local/share/both": "of the second", "usr/lib/firmware/blob.bin": "firmware"}},
	}
	m := boot(t, base, p.make(t, base, exts), "")
	f := probed(t, m)
	checkFiles(t, f, exts)
	checkReadOnly(t, f)
	const want = `NODE        NAMESPACE   TYPE              ID   VERSION   NAME     VERSION
127.0.0.1   runtime     ExtensionStatus   0    1         first    1.0.0
127.0.0.1   runtime     ExtensionStatus   1    1         second   2.0.0
`
	if got := get(t, m, "table"); got != want {
		t.Errorf("graft get extensions: got\n%s\nwant\n%s", got, want)
	}
}

// make does what the imager does, one step after the other.
func (p pipeline) make(t *testing.T, base *guest.Base, exts []ext) string {
	t.Helper()
	dir := t.TempDir()
	config := "layers:\n"
	for i, e := range exts {
		rootfs := filepath.Join(e.write(t), "rootfs")
		moveFirmware(t, rootfs, dir)
		image := fmt.Sprintf("%d.sqsh", i)
		args := append([]string{rootfs, filepath.Join(dir, image), "-all-root", "-noappend", "-no-progress"}, p.squashfs...)
		run(t, nil, testkit.Judge(t, "mksquashfs"), args...)
		config += fmt.Sprintf("    - image: %s\n      metadata:\n        name: %s\n        version: %s\n", image, e.name, e.version)
	}
	put(t, filepath.Join(dir, "extensions.yaml"), config, 0o644)
	archive := run(t, []byte(names(t, dir)), testkit.Judge(t, "cpio"), "-D", dir, "-H", "newc", "--create", "--reproducible", "--quiet", "-R", "+0:+0")
	appended := run(t, archive, testkit.Judge(t, p.initrd[0]), p.initrd[1:]...)
	before, err := os.ReadFile(base.Initramfs)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "initramfs.xz")
	put(t, out, string(before)+string(appended), 0o644)
	return out
}

// moveFirmware takes the firmware out of a layer, to be beside it.
func moveFirmware(t *testing.T, rootfs, dir string) {
	t.Helper()
	const firmware = "usr/lib/firmware"
	if err := os.MkdirAll(filepath.Join(dir, "usr/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := os.Rename(filepath.Join(rootfs, firmware), filepath.Join(dir, firmware))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// names lists what is below a directory as find does, parents first.
func names(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, _ fs.DirEntry, err error) error {
		if name != "." {
			fmt.Fprintln(&b, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func run(t *testing.T, stdin []byte, program string, args ...string) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, stderr.String())
	}
	return out
}
