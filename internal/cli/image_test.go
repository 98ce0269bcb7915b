package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/graftlinux/graft/internal/encode"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/secureboot"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

// makeImager is the command "mkimager INITRAMFS DEST [ARCH]": a base image with
// that initramfs, programs that are made up and, if this machine has it, GRUB.
func makeImager(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: mkimager INITRAMFS DEST [ARCH]")
	}
	arch := "amd64"
	if len(args) == 3 {
		arch = args[2]
	}
	initramfs, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(packImager(ts.MkAbs(args[1]), initramfs, arch))
}

// packImager writes a base image for some architectures.
func packImager(dest string, initramfs []byte, arches ...string) error {
	var images []oci.Packed
	for _, arch := range arches {
		root := tree.New()
		for name, data := range map[string][]byte{
			extension.InitramfsPath(arch):  initramfs,
			extension.KernelPath(arch):     testkit.Kernel(arch, "6.18.2-talos"),
			extension.StubPath(arch):       testkit.Stub(arch, 257),
			extension.BootLoaderPath(arch): testkit.EFIProgram(arch, ".text", "systemd-boot"),
			"usr/bin/installer":            []byte("of the imager, too"),
		} {
			if err := root.Put(name, tree.File(0o644, data)); err != nil {
				return err
			}
		}
		for _, platform := range []string{"i386-pc", "x86_64-efi"} {
			files, err := tree.FromDir("/usr/lib/grub/" + platform)
			if err != nil {
				continue
			}
			err = files.Walk(func(e tree.Entry) error { return root.Put("usr/lib/grub/"+platform+"/"+e.Path, e.Node) })
			if err != nil {
				return err
			}
		}
		images = append(images, oci.Packed{Platform: oci.Platform{OS: "linux", Arch: arch}, Tree: root})
	}
	_, err := oci.Pack(context.Background(), images, dest, oci.PackOptions{Name: "imager:test", Compression: oci.None})
	return err
}

// testInitramfs is that of a base of a version.
func testInitramfs(t *testing.T, version string) []byte {
	t.Helper()
	root := tree.New()
	if err := root.Put("usr/lib/os-release", tree.File(0o644, []byte("VERSION_ID="+version+"\n"))); err != nil {
		t.Fatal(err)
	}
	image, err := os.Create(filepath.Join(t.TempDir(), "rootfs.sqsh"))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if err := encode.Squashfs(t.Context(), image, root, squashfs.Options{}, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(image.Name())
	if err != nil {
		t.Fatal(err)
	}
	files := tree.New()
	if err := files.Put("rootfs.sqsh", tree.File(0o644, data)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := encode.Cpio(t.Context(), &b, files, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// testLayer is a layer with one file.
func testLayer(t *testing.T, file string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(file))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, file); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// baseInstaller is an image of so many layers: the program, then each a file
// layerN.
func baseInstaller(t *testing.T, arch string, layers int) v1.Image {
	t.Helper()
	files := []string{"bin/installer"}
	for i := range layers - 1 {
		files = append(files, fmt.Sprintf("layer%d", i+1))
	}
	img := empty.Image
	for _, f := range files {
		var err error
		if img, err = mutate.AppendLayers(img, testLayer(t, f)); err != nil {
			t.Fatal(err)
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", arch
	cf.Config.Env = []string{"PATH=/bin"}
	cf.Config.Labels = map[string]string{"kept": "yes"}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

// graftImage runs the command, which has to end well, and returns what it prints.
func graftImage(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"image"}, args...)
	if code := Run(t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs}); code != 0 {
		t.Fatalf("graft %s: exit code %d\n%s", strings.Join(args, " "), code, &errs)
	}
	return strings.TrimSpace(out.String())
}

// imageFiles are the paths of the files in an image's layers, the lowest first.
func imageFiles(t *testing.T, img v1.Image) (files []string) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		rc, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		r := tar.NewReader(rc)
		for {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				files = append(files, h.Name)
			}
		}
		rc.Close()
	}
	return files
}

// installerPlace is a registry with base installers, and a base beside it.
func installerPlace(t *testing.T) (host, base string) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	base = filepath.Join(t.TempDir(), "imager")
	if err := packImager(base, testInitramfs(t, "v1.14.0"), "amd64", "arm64"); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(srv.URL, "http://"), base
}

func reference(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestInstaller reads the tarball of an installer as docker load does: what is
// below stays, but for the assets of another build in a second layer.
func TestInstaller(t *testing.T) {
	host, base := installerPlace(t)
	const assets = "usr/install/amd64/"
	for _, c := range []struct {
		layers  int
		version string
		want    []string
	}{
		{1, "v1.14.0", []string{"bin/installer", assets + "systemd-boot.efi", assets + "vmlinuz.efi"}},
		{2, "v1.14.0", []string{"bin/installer", assets + "systemd-boot.efi", assets + "vmlinuz.efi"}},
		{3, "v1.14.0", []string{"bin/installer", "layer1", "layer2", assets + "systemd-boot.efi", assets + "vmlinuz.efi"}},
		{2, "v1.9.0", []string{"bin/installer", assets + "initramfs.xz", assets + "vmlinuz"}},
	} {
		t.Run(fmt.Sprintf("%d layers, %s", c.layers, c.version), func(t *testing.T) {
			from := fmt.Sprintf("%s/installer:%d", host, c.layers)
			if err := remote.Write(reference(t, from), baseInstaller(t, "amd64", c.layers)); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			graftImage(t, "installer", "--base", base, "--talos-version", c.version, "--base-installer-image", from, "-o", dir)
			tag, err := name.NewTag(from)
			if err != nil {
				t.Fatal(err)
			}
			img, err := tarball.ImageFromPath(filepath.Join(dir, "installer-amd64.tar"), &tag)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(img); err != nil {
				t.Error(err)
			}
			if d := cmp.Diff(c.want, imageFiles(t, img)); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
			cf, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if cf.Config.Labels["kept"] != "yes" || !slices.Equal(cf.Config.Env, []string{"PATH=/bin"}) || !slices.Equal(cf.Config.Entrypoint, []string{"/bin/installer"}) {
				t.Errorf("the config is %+v", cf.Config)
			}
		})
	}
}

// TestInstallerIndex makes one installer for both architectures: in a registry,
// an OCI layout and a tarball it is the same.
func TestInstallerIndex(t *testing.T) {
	host, base := installerPlace(t)
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: baseInstaller(t, arch, 1), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	from := host + "/installer-base:v1"
	if err := remote.WriteIndex(reference(t, from), index); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	flags := []string{"installer", "--base", base, "--base-installer-image", from, "--arch", "arm64,amd64", "-o"}
	pushed := graftImage(t, append(flags, host+"/me/installer:v1")...)
	inLayout := graftImage(t, append(flags, "oci:"+filepath.Join(dir, "layout"))...)
	inTarball := graftImage(t, append(flags, filepath.Join(dir, "installer.tar"))...)
	if _, digest, _ := strings.Cut(pushed, "@"); digest != inLayout || digest != inTarball {
		t.Errorf("got %s, %s and %s, want one digest", pushed, inLayout, inTarball)
	}
	got, err := remote.Index(reference(t, pushed))
	if err != nil {
		t.Fatal(err)
	}
	judgeIndex(t, got)
	root, err := layout.ImageIndexFromPath(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	hash, err := v1.NewHash(inLayout)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = root.ImageIndex(hash); err != nil {
		t.Fatal(err)
	}
	judgeIndex(t, got)
}

// judgeIndex looks at an index of installers for both architectures.
func judgeIndex(t *testing.T, index v1.ImageIndex) {
	t.Helper()
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, d := range manifest.Manifests {
		img, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, d.Platform.String())
		files = append(files, imageFiles(t, img)...)
	}
	want := []string{
		"linux/amd64", "bin/installer", "usr/install/amd64/systemd-boot.efi", "usr/install/amd64/vmlinuz.efi",
		"linux/arm64", "bin/installer", "usr/install/arm64/systemd-boot.efi", "usr/install/arm64/vmlinuz.efi",
	}
	if d := cmp.Diff(want, files); d != "" {
		t.Errorf("images (-want +got):\n%s", d)
	}
}

// TestExpiredKeys: firmware does not mind the age of a certificate, so it is for
// the person to judge.
func TestExpiredKeys(t *testing.T) {
	_, base := installerPlace(t)
	dir := t.TempDir()
	then := time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC)
	if _, err := secureboot.GenerateKeys(t.Context(), dir, "old", then, then.AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	args := []string{"image", "secureboot-metal-uki", "--base", base, "--secureboot-keys", dir, "-o", filepath.Join(dir, "uki.efi")}
	code := Run(t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	if want := "warning: the certificate CN=old has expired on 2025-01-02\n"; code != 0 || !strings.Contains(errs.String(), want) {
		t.Errorf("exit code %d, %s\nwant %q in it", code, &errs, want)
	}
}

// TestInterrupted: Ctrl-C is told from an error, as shells do it.
func TestInterrupted(t *testing.T) {
	_, base := installerPlace(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := filepath.Join(t.TempDir(), "out.xz")
	var out, errs bytes.Buffer
	code := Run(ctx, []string{"image", "initramfs", "--base", base, "-o", file}, Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	if want := "graft: interrupted; nothing was left half-written\n"; code != 130 || errs.String() != want || out.Len() > 0 || fileThere(file) {
		t.Errorf("exit code %d, %q, %q", code, &out, &errs)
	}
}
