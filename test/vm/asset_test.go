package vm

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/qemu"
	"github.com/graftlinux/graft/internal/refbase"
	"github.com/graftlinux/graft/internal/secureboot"
	"github.com/graftlinux/graft/internal/testkit"
)

// referenceBase is what "make base" has made.
const referenceBase = "../../out/base"

// assets makes boot assets of the reference base and two extensions.
type assets struct {
	cache string
	args  []string // of graft image, for all of them
}

func newAssets(t *testing.T) *assets {
	t.Helper()
	if _, err := os.Stat(referenceBase); err != nil {
		testkit.Absent(t, "there is no reference base in out/base (make base makes it)")
	}
	a := &assets{cache: t.TempDir(), args: []string{"--base", referenceBase}}
	for _, e := range []ext{
		{"first", "1.0.0", map[string]string{"usr/local/share/first": "first"}},
		{"second", "2.0.0", map[string]string{"usr/local/share/second": "second"}},
	} {
		a.args = append(a.args, "--extension", e.write(t))
	}
	return a
}

// serial has the kernel of an asset say on the serial port what it does.
const serial = "--extra-kernel-arg=console=ttyS0"

// make runs graft image and returns the file.
func (a *assets) make(t *testing.T, file string, args ...string) string {
	t.Helper()
	file = filepath.Join(t.TempDir(), file)
	args = slices.Concat([]string{"image"}, args, a.args, []string{"--cache-dir", a.cache, "-o", file})
	if _, err := graft(t, args...); err != nil {
		t.Fatal(err)
	}
	return file
}

// layers is what a node tells of the extensions.
const layers = `NODE        NAMESPACE   TYPE              ID                 VERSION   NAME     VERSION
127.0.0.1   runtime     ExtensionStatus   000.first-1.0.0    1         first    1.0.0
127.0.0.1   runtime     ExtensionStatus   001.second-2.0.0   1         second   2.0.0
`

// checkLayers asks the node for its extensions.
func checkLayers(t *testing.T, m *bootedAsset) {
	t.Helper()
	if diff := cmp.Diff(layers, get(t, m, "table")); diff != "" {
		t.Errorf("graft get extensions (-want +got):\n%s", diff)
	}
}

// atOnce is how many machines may run: each has two CPUs.
const atOnce = 2

// TestBootAssets boots every form of asset as "graft boot" does it, and asks the
// node for its extensions.
func TestBootAssets(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	testkit.Judge(t, "qemu-system-x86_64")
	for _, secure := range []bool{false, true} {
		_, err := qemu.FindUEFI(refbase.Arch, secure)
		if missing := (*qemu.MissingError)(nil); errors.As(err, &missing) {
			testkit.Absent(t, missing.Error())
		}
	}
	a := newAssets(t)
	machines := make(chan struct{}, atOnce)
	parallel := func(name string, test func(*testing.T)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			machines <- struct{}{}
			t.Cleanup(func() { <-machines }) // after the machine has ended
			test(t)
		})
	}
	// The longest ones first.
	parallel("Secure Boot", func(t *testing.T) { testSecureBoot(t, a) })
	iso := a.make(t, "metal.iso", "iso", serial)
	disk := a.make(t, "metal.raw", "metal", serial, "--output-format", "raw")
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"ISO by UEFI", []string{iso}},
		{"disk by UEFI", []string{disk, "--firmware", "uefi"}},
		{"disk with large sectors by UEFI", []string{a.make(t, "4k.raw", "metal-4k", serial, "--output-format", "raw")}},
		{"UKI", []string{a.make(t, "metal.efi", "uki", serial)}},
		{"ISO by BIOS", []string{iso, "--firmware", "bios"}},
		{"disk by BIOS", []string{disk, "--firmware", "bios"}},
		{"qcow2 by BIOS", []string{a.make(t, "alibabacloud.qcow2", "alibabacloud", serial), "--firmware", "bios"}},
		{"initramfs", []string{a.make(t, "initramfs.xz", "initramfs"), "--base", referenceBase}},
	} {
		parallel(tt.name, func(t *testing.T) {
			made := modified(t, tt.args[0])
			checkLayers(t, bootAsset(t, tt.args...))
			if now := modified(t, tt.args[0]); !now.Equal(made) {
				t.Errorf("the machine has written to the file: it is of %v, was of %v", now, made)
			}
		})
	}
}

func modified(t *testing.T, file string) time.Time {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// testSecureBoot has the firmware enrol the keys of an asset and boot it, and
// refuse it after one byte of it was changed. The keys stay from the first
// machine to the second.
func testSecureBoot(t *testing.T, a *assets) {
	keys := t.TempDir()
	if _, err := secureboot.GenerateKeys(t.Context(), keys, "the boot test", time.Now().Add(-time.Hour), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	iso := a.make(t, "secureboot.iso", "secureboot-iso", serial, "--secureboot-keys", keys, "--secureboot-enroll-keys", "force")
	vars := filepath.Join(t.TempDir(), "vars.fd")
	args := []string{"--firmware", "secureboot", "--vars", vars}

	m := bootAsset(t, append(args, iso)...)
	m.WaitFor("Enrolling secure boot keys")
	m.WaitFor("Secure boot enabled")
	checkLayers(t, m)
	m.PowerOff()

	changeByte(t, iso, "talos.platform=metal") // the command line in the UKI
	m = bootAsset(t, append(args, iso)...)
	m.WaitFor("Access Denied")
	if m.Said("Linux version") {
		t.Error("the kernel was started although its UKI was changed after it was signed")
	}
}

// changeByte changes the first of these bytes, which are once in the file.
func changeByte(t *testing.T, file, text string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte(text)); n != 1 {
		t.Fatalf("%q is %d times in %s, want once", text, n, file)
	}
	data[bytes.Index(data, []byte(text))] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
