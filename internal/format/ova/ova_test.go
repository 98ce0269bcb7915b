package ova

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

func sampleDisk() *sparse.Image {
	data := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{1}).Read(data)
	m := sparse.New(8 << 20)
	m.Put(0, []byte("boot"))
	m.Put(1<<20, data)
	m.Put(8<<20-4, []byte("last"))
	return m
}

var sample = Options{
	Machine: Machine{
		Name:       "node",
		SecureBoot: true,
		Product:    Product{"Linux <&>", "Somebody \"Inc.\"", "1.0"},
		Properties: []Property{{Key: "config", Label: "Configuration"}},
	},
	Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
}

func encoded(t testing.TB, o Options) []byte {
	t.Helper()
	spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	m, err := Encode(t.Context(), sampleDisk(), spool, o)
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Contents(t, m)
}

func TestRoundTrip(t *testing.T) {
	image := encoded(t, sample)
	m, err := NewReader(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(testkit.Contents(t, m), testkit.Contents(t, sampleDisk())) {
		t.Error("the disk does not read as it was written")
	}
}

func TestSameBytes(t *testing.T) {
	want := encoded(t, sample)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if !bytes.Equal(encoded(t, sample), want) {
		t.Error("another number of processors gives another archive")
	}
}

// The description is in testdata/machine.ovf, to be read by people.
func TestDescription(t *testing.T) {
	want, err := os.ReadFile("testdata/machine.ovf")
	if err != nil {
		t.Fatal(err)
	}
	got, err := sample.Machine.withDefaults().describe(&disk{File: "node-disk1.vmdk", Size: 100_000, Capacity: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error("want (-), got (+):\n", d)
	}
}

func TestEncodeErrors(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"name":        {Options{Machine: Machine{Name: "a/b"}}, `machine name "a/b": want at most 80 ASCII letters`},
		"firmware":    {Options{Machine: Machine{Firmware: "uboot"}}, `firmware "uboot", want efi or bios`},
		"memory":      {Options{Machine: Machine{MemoryMiB: -1}}, "-1 MiB of memory"},
		"Secure Boot": {Options{Machine: Machine{Firmware: "bios", SecureBoot: true}}, "firmware bios, want efi for Secure Boot"},
		"level":       {Options{Level: 99}, "compression level 99"},
		"time":        {Options{Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, "ModTime"},
	} {
		spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
		if err != nil {
			t.Fatal(err)
		}
		defer spool.Close()
		if _, err := Encode(t.Context(), sampleDisk(), spool, c.o); err == nil || !strings.HasPrefix(err.Error(), "encoding an OVA: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// tarOf is an archive of members by name and content.
func tarOf(t testing.TB, members ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: members[i], Size: int64(len(members[i+1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, members[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReaderErrors(t *testing.T) {
	image := encoded(t, sample)
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"nothing":      {nil, "there is no .vmdk file in it"},
		"no tar":       {bytes.Repeat([]byte("x"), 1024), "invalid tar header"},
		"no disk":      {tarOf(t, "a.ovf", "<xml/>"), "there is no .vmdk file in it"},
		"bad disk":     {tarOf(t, "a.ovf", "<xml/>", "A.VMDK", "x"), "A.VMDK: reading a VMDK image: the file does not begin"},
		"disk cut":     {image[:len(image)/2], "node-disk1.vmdk has"},
		"many members": {tarOf(t, make([]string, 2*maxMembers+2)...), "among the first 1000 members"},
	} {
		_, err := NewReader(bytes.NewReader(c.image), int64(len(c.image)))
		if err == nil || !strings.HasPrefix(err.Error(), "reading an OVA: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(tarOf(f, "a.ovf", "<xml/>", "a.vmdk", "KDMV\x03"))
	f.Fuzz(func(_ *testing.T, image []byte) {
		if m, err := NewReader(bytes.NewReader(image), int64(len(image))); err == nil {
			m.ReadAt(make([]byte, 1<<16), 0)
		}
	})
}

// run runs an outside judge in a directory and returns what it prints.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(testkit.Judge(t, name), args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// extracted is a directory in which tar has extracted an archive.
func extracted(t *testing.T) (dir, list string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(dir+"/a.ova", encoded(t, sample), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, run(t, dir, "tar", "-xvvf", "a.ova")
}

func TestTar(t *testing.T) {
	if !strings.Contains(run(t, ".", "tar", "--version"), "GNU tar") {
		t.Skip("the listing is that of GNU tar")
	}
	dir, list := extracted(t)
	var sizes []any
	for _, name := range []string{"node.ovf", "node.mf", "node-disk1.vmdk"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, info.Size())
	}
	want := fmt.Sprintf(`-rw-r--r-- 0/0 %d 2026-01-02 03:04 node.ovf
-rw-r--r-- 0/0 %d 2026-01-02 03:04 node.mf
-rw-r--r-- 0/0 %d 2026-01-02 03:04 node-disk1.vmdk`, sizes...)
	got := strings.Join(strings.FieldsFunc(list, func(r rune) bool { return r == ' ' }), " ")
	if d := cmp.Diff(want, strings.TrimSpace(got)); d != "" {
		t.Error("want (-), got (+):\n", d)
	}
}

// The manifest holds what sha256sum says about the files.
func TestManifest(t *testing.T) {
	dir, _ := extracted(t)
	got, err := os.ReadFile(dir + "/node.mf")
	if err != nil {
		t.Fatal(err)
	}
	if want := run(t, dir, "sha256sum", "--tag", "node.ovf", "node-disk1.vmdk"); want !=
		strings.NewReplacer("SHA256(", "SHA256 (", ")= ", ") = ").Replace(string(got)) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestXMLLint(t *testing.T) {
	dir, _ := extracted(t)
	run(t, dir, "xmllint", "--noout", "--nonet", "node.ovf")
	for query, want := range map[string]string{
		"string(//*[local-name()='Product'])":                            "Linux <&>",
		"string(//*[local-name()='Vendor'])":                             "Somebody \"Inc.\"",
		"string(//*[local-name()='Config'][1]/@*[local-name()='value'])": "efi",
		"string(//*[local-name()='Disk']/@*[local-name()='capacity'])":   "8388608",
	} {
		if got := strings.TrimSpace(run(t, dir, "xmllint", "--nonet", "--xpath", query, "node.ovf")); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

func TestQEMUReads(t *testing.T) {
	dir, _ := extracted(t)
	if err := os.WriteFile(dir+"/raw", testkit.Contents(t, sampleDisk()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "qemu-img", "compare", "-f", "raw", "-F", "vmdk", "raw", "node-disk1.vmdk")
}
