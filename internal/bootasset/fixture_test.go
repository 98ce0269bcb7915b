package bootasset

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/profile"
	"github.com/graftlinux/graft/internal/secureboot"
	"github.com/graftlinux/graft/internal/testkit"
)

// epoch is the time of all assets here, one that FAT, too, can express.
var epoch = time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)

// grubSources are where GRUB's files may be: installed, or in the packages that
// base/fetch.sh gets.
func grubSources() []string {
	if _, err := os.Stat("/usr/lib/grub/i386-pc/kernel.img"); err == nil {
		return []string{"/usr/lib/grub"}
	}
	found, _ := filepath.Glob("../../out/kernel/grub-*-bin_*.deb")
	return found
}

// baseFor writes the files of a base, in a new directory, with its programs
// made up.
func baseFor(t testing.TB, arch, talos string) BaseOptions {
	t.Helper()
	root := map[string]string{
		"usr/lib/os-release": "NAME=Test\nVERSION_ID=" + talos + "\n",
		"usr/sbin/init":      "init",
	}
	dir := t.TempDir()
	o := BaseOptions{
		Kernel: filepath.Join(dir, "vmlinuz"), Initramfs: baseInitramfs(t, root), Stub: filepath.Join(dir, "stub"), BootLoader: filepath.Join(dir, "boot"),
		GRUB: grubSources(), Arch: arch,
	}
	for name, data := range map[string][]byte{
		o.Kernel: testkit.Kernel(arch, "6.18.2-talos"), o.Stub: testkit.Stub(arch, 257), o.BootLoader: testkit.EFIProgram(arch, ".text", "systemd-boot"),
	} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// keyFiles makes the keys once: it takes its time.
var keyFiles = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	names, err := secureboot.GenerateKeys(context.Background(), dir, "graft test", epoch, epoch.AddDate(10, 0, 0))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, n := range names {
		if files[n], err = os.ReadFile(filepath.Join(dir, n)); err != nil {
			return nil, err
		}
	}
	return files, nil
})

// keyDir writes the keys to a new directory.
func keyDir(t testing.TB) string {
	t.Helper()
	files, err := keyFiles()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// withKeys is a profile with the keys of a directory.
func withKeys(p profile.Profile, dir string) profile.Profile {
	file := func(name string) string { return filepath.Join(dir, name) }
	return p.Merge(profile.Profile{Input: profile.Input{SecureBoot: &profile.SecureBootAssets{
		SecureBootSigner: profile.Signer{KeyPath: file(secureboot.SigningKeyFile), CertPath: file(secureboot.SigningCertificateFile)},
		PCRSigner:        profile.Signer{KeyPath: file(secureboot.PCRKeyFile)},
	}}})
}

// wish is an asset that a test wants.
type wish struct {
	profile string // "" is metal
	over    profile.Profile
	arch    string // "" is amd64
	talos   string // "" is v1.14.0
}

// profileOf is the profile of a wish.
func (w wish) profileOf(t testing.TB) profile.Profile {
	t.Helper()
	name := w.profile
	if name == "" {
		name = "metal"
	}
	p, ok := profile.Get(name)
	if !ok {
		t.Fatalf("there is no profile %s", name)
	}
	p = p.Merge(w.over)
	p.Arch = w.arch
	return p
}

// complete has the defaults filled in.
func (w wish) complete() wish {
	if w.arch == "" {
		w.arch = profile.AMD64
	}
	if w.talos == "" {
		w.talos = "v1.14.0"
	}
	return w
}

// workshop is a place where assets are made.
type workshop struct {
	base       BaseOptions
	cache      *cache.Cache
	keys       string // directory
	extensions []string
}

// newWorkshop has a base of its own, and nothing in its cache.
func newWorkshop(t testing.TB, w wish, extensions ...string) *workshop {
	t.Helper()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w = w.complete()
	return &workshop{base: baseFor(t, w.arch, w.talos), cache: c, keys: keyDir(t), extensions: extensions}
}

// plan resolves a wish.
func (s *workshop) plan(t testing.TB, w wish) *profile.Plan {
	t.Helper()
	w = w.complete()
	p := w.profileOf(t)
	if p.Secure() {
		p = withKeys(p, s.keys)
	}
	plan, err := p.Resolve(w.talos)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// build makes an asset, which can be read until the test ends.
func (s *workshop) build(t testing.TB, w wish) (*Output, error) {
	t.Helper()
	ctx := t.Context()
	base, err := OpenBase(ctx, s.cache, s.base)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { base.Close() })
	opts := Options{Base: base, Cache: s.cache}
	for _, dir := range s.extensions {
		img, err := oci.Open(ctx, dir, oci.Options{SpoolDir: s.cache.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		opts.Extensions = append(opts.Extensions, Extension{Source: filepath.Base(dir), Image: img})
	}
	a, err := Prepare(ctx, opts)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { a.Close() })
	plan := s.plan(t, w)
	keys, err := OpenKeys(ctx, plan, epoch)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { keys.Close() })
	return a.Build(ctx, plan, keys, epoch)
}

// make is build where nothing can go wrong.
func (s *workshop) make(t testing.TB, w wish) *Output {
	t.Helper()
	out, err := s.build(t, w)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// needGRUB skips a test where there are no files of GRUB.
func needGRUB(t testing.TB) {
	t.Helper()
	if len(grubSources()) == 0 {
		testkit.Absent(t, "there are no files of GRUB: Debian's package grub-pc-bin has them")
	}
}

// file is an image in a file of a name, with its holes.
func file(t testing.TB, m *sparse.Image, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := m.WriteFile(t.Context(), f, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

// sameImage compares the bytes of two images, and skips what is a hole in both.
func sameImage(t testing.TB, a, b *sparse.Image) bool {
	t.Helper()
	if a.Size() != b.Size() {
		t.Errorf("one has %d bytes, the other %d", a.Size(), b.Size())
		return false
	}
	const chunk = 1 << 20
	look := map[int64]bool{}
	for _, m := range []*sparse.Image{a, b} {
		for e := range m.Extents() {
			for at := e.Offset / chunk; at*chunk < e.Offset+e.Size; at++ {
				look[at] = true
			}
		}
	}
	x, y := make([]byte, chunk), make([]byte, chunk)
	for at := range look {
		n, err := a.ReadAt(x, at*chunk)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if _, err := b.ReadAt(y[:n], at*chunk); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if !bytes.Equal(x[:n], y[:n]) {
			t.Errorf("they differ between %d and %d", at*chunk, (at+1)*chunk)
			return false
		}
	}
	return true
}
