package cli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/bootasset"
	"github.com/graftlinux/graft/internal/format/compress"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/oci"
)

// finish writes what was laid out.
func (j *imageJob) finish(ctx context.Context) error {
	if len(j.made) == 0 { // a dry run
		return nil
	}
	first := j.made[0]
	for _, m := range j.made {
		for _, w := range m.out.Warnings {
			fmt.Fprintln(j.s.Err, "warning:", w)
		}
	}
	target := j.target()
	if file := first.out.Installer == nil && !j.pxe && !j.flags.toStdout && target != "-"; file {
		return j.writeFile(ctx, target, first)
	}
	for _, m := range j.made { // what is sent off cannot be taken back
		if err := m.verify(ctx); err != nil {
			return err
		}
	}
	switch {
	case first.out.Installer != nil:
		return j.writeInstaller(ctx)
	case j.pxe:
		return j.writePXE(ctx, first)
	case j.flags.toStdout:
		return j.tarToStdout(ctx, first)
	}
	if err := j.pack(ctx, struct{ io.Writer }{j.s.Out}, first); err != nil {
		return err
	}
	summarize(j.s.Err, first.out.Summary)
	return nil
}

// writeFile writes an asset to a file. What it is made of is verified at the
// same time; the file only appears if that was right. What is no regular file
// gets everything at once, so it is verified before.
func (j *imageJob) writeFile(ctx context.Context, target string, m madeAsset) error {
	if info, err := os.Stat(target); err == nil && !info.Mode().IsRegular() {
		if err := m.verify(ctx); err != nil {
			return err
		}
	}
	err := writeAsset(j.s, target, m.plan.File, func(w io.Writer) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return m.verify(ctx) })
		g.Go(func() error { return j.pack(ctx, w, m) })
		return g.Wait()
	})
	if err != nil {
		return err
	}
	summarize(j.s.Err, m.out.Summary)
	return nil
}

// target is where the asset goes: below a directory under its own name.
func (j *imageJob) target() string {
	out := j.flags.output
	info, err := os.Stat(out)
	if out != "" && (strings.HasSuffix(out, "/") || err == nil && info.IsDir()) {
		return filepath.Join(out, j.made[0].plan.File)
	}
	return out
}

// writeAsset writes to a file that appears whole or not at all.
func writeAsset(s Streams, output, name string, write func(io.Writer) error) error {
	if output == "" {
		output = name
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o777); err != nil {
		return err
	}
	err := atomicfile.Write(output, func(f *os.File) error { return write(f) })
	if err == nil {
		fmt.Fprintln(s.Out, output)
	}
	return err
}

// packWorkers bounds the memory that packing takes, 25 to 35 MB for each of
// them: with five, graft stays below 256 MiB in all.
const packWorkers = 5

// pack writes an asset in its output format.
func (j *imageJob) pack(ctx context.Context, w io.Writer, m madeAsset) error {
	bars := newProgress(j.s)
	defer bars.wait()
	add, done := bars.start("writing "+m.plan.File, m.out.Image.DataSize())
	defer done()
	o := compress.Options{Progress: add, Workers: min(runtime.GOMAXPROCS(0), packWorkers)}
	if j.flags.compression == string(bootasset.Best) {
		o.Level = compress.Best
	}
	format, err := compress.ParseFormat(string(m.plan.Profile.Output.OutFormat))
	if err != nil {
		return err
	}
	switch format {
	case compress.Raw:
		return writeImage(ctx, w, m.out.Image, add)
	case compress.TarGz:
		return compress.WriteTarGz(ctx, w, m.plan.ArchiveMember, m.out.Image, time.Unix(0, 0), o)
	default:
		return compress.Write(ctx, w, m.out.Image, format, o)
	}
}

// writeImage writes an image as it is, to a file with its holes.
func writeImage(ctx context.Context, w io.Writer, m *sparse.Image, add func(int64)) error {
	if f, ok := w.(*os.File); ok {
		return m.WriteFile(ctx, f, add)
	}
	_, err := m.WriteTo(w)
	return err
}

// tarToStdout writes a tar with the asset, as Talos' imager does it for people
// who run it in a container.
func (j *imageJob) tarToStdout(ctx context.Context, m madeAsset) error {
	blob, err := m.cache.Scratch(func(f *os.File) error { return j.pack(ctx, f, m) })
	if err != nil {
		return err
	}
	defer blob.Close()
	w := tar.NewWriter(j.s.Out)
	if err := w.WriteHeader(&tar.Header{Name: m.plan.File, Mode: 0o644, Size: blob.Size, ModTime: time.Unix(0, 0), Format: tar.FormatGNU}); err != nil {
		return err
	}
	if _, err := io.Copy(w, blob); err != nil {
		return err
	}
	return w.Close()
}

// writeInstaller puts the layers on their base installers: one image, or an
// index of several.
func (j *imageJob) writeInstaller(ctx context.Context) error {
	first := j.made[0]
	epoch, err := sourceDateEpoch()
	if err != nil {
		return usageError(err)
	}
	bars := newProgress(j.s)
	defer bars.wait()
	opts := oci.PackOptions{
		Epoch: epoch, Insecure: j.flags.sources.insecure, SpoolDir: first.cache.TempDir(), Cache: first.cache, Progress: uploads(bars),
		Entrypoint: []string{bootasset.InstallerPath},
	}
	dest, err := j.installerDest()
	if err != nil {
		return err
	}
	if first.installer.Ref() != "" {
		opts.Name = imageName(first.installer.Ref())
	}
	var images []oci.Packed
	for _, m := range j.made {
		images = append(images, oci.Packed{
			Platform: oci.Platform{OS: "linux", Arch: m.plan.Profile.Arch}, Tree: m.out.Installer,
			On: &oci.Below{Image: m.installer, Layers: installerLayers(m.installer)},
		})
	}
	res, err := oci.Pack(ctx, images, dest, opts)
	if err != nil {
		return inputError(err)
	}
	bars.wait()
	fmt.Fprintf(j.s.Err, "%s for %s (%s) in %s\n", first.plan.File, count(len(images), "platform"), size(res.Size), res.Place)
	answer := res.Digest
	if res.Ref != "" {
		answer = res.Ref
	}
	fmt.Fprintln(j.s.Out, answer)
	summarize(j.s.Err, first.out.Summary)
	return nil
}

// installerDest is where an installer goes, below a directory a tarball.
func (j *imageJob) installerDest() (string, error) {
	dest := j.flags.output
	info, err := os.Stat(dest)
	switch {
	case dest == "-" || j.flags.toStdout:
		return "", usageError(errors.New("an installer is an image, which is not written to standard output: name a tarball, an OCI layout or a registry"))
	case dest == "" || strings.HasSuffix(dest, "/") || err == nil && info.IsDir() && !isLayout(dest):
		if err := os.MkdirAll(filepath.Join(dest, "."), 0o777); err != nil {
			return "", err
		}
		return filepath.Join(dest, j.made[0].plan.File), nil
	}
	return dest, nil
}

// installerLayers is how many layers of a base installer stay: of two, the last
// has the assets of another build (Talos, pkg/imager/out.go).
func installerLayers(img *oci.Image) int {
	if img.Layers() == 2 {
		return 1
	}
	return img.Layers()
}

func isLayout(dir string) bool { return fileThere(filepath.Join(dir, "oci-layout")) }

// imageName is a reference without its digest, as a tarball names its image.
func imageName(ref string) string {
	name, _, _ := strings.Cut(ref, "@")
	return name
}

// namedImage is a file of several.
type namedImage struct {
	name string
	m    *sparse.Image
}

// writePXE writes what a machine needs to boot over the network into a
// directory.
func (j *imageJob) writePXE(ctx context.Context, m madeAsset) error {
	if j.flags.output == "-" || j.flags.toStdout {
		return usageError(errors.New("several files are made for PXE, which are not written to standard output: name a directory"))
	}
	kernel, err := m.base.Kernel()
	if err != nil {
		return buildError(err)
	}
	initramfs, sum, err := m.asset.Initramfs(ctx)
	if err != nil {
		return buildError(err)
	}
	arch, machine := m.plan.Profile.Arch, m.plan.Profile.Platform+"-"+m.plan.Profile.Arch
	kernelName, initramfsName := "kernel-"+arch, "initramfs-"+machine+".xz"
	script, err := bootasset.IPXE(kernelName, initramfsName, m.plan.Cmdline)
	if err != nil {
		return inputError(err)
	}
	files := []namedImage{
		{filepath.Join(j.flags.output, kernelName), kernel},
		{filepath.Join(j.flags.output, initramfsName), initramfs},
		{filepath.Join(j.flags.output, m.plan.File), m.out.Image},
		{filepath.Join(j.flags.output, machine+".ipxe"), sparse.Bytes(script)},
	}
	if err := os.MkdirAll(filepath.Dir(files[0].name), 0o777); err != nil {
		return err
	}
	if err := writeTogether(ctx, files); err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintln(j.s.Out, f.name)
	}
	summarize(j.s.Err, sum)
	return nil
}

// writeTogether writes files that appear when all of them are whole, in their
// order, so that what a script names is there before the script: each is written
// before those in front of it, and gets its name after them.
func writeTogether(ctx context.Context, files []namedImage) error {
	if len(files) == 0 {
		return nil
	}
	last := len(files) - 1
	return atomicfile.Write(files[last].name, func(f *os.File) error {
		if err := writeImage(ctx, f, files[last].m, nil); err != nil {
			return err
		}
		return writeTogether(ctx, files[:last])
	})
}

func summarize(w io.Writer, sum bootasset.Summary) {
	for _, l := range sum.Layers {
		fmt.Fprintf(w, "%s  %s %s, %s\n", l.Image, l.Metadata.Name, l.Metadata.Version, size(l.Size))
	}
	if sum.Size > 0 {
		fmt.Fprintf(w, "initramfs of %s with %s\n", size(sum.Size), count(len(sum.Layers), "layer"))
	}
}
