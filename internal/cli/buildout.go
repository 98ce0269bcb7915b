package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/build"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

// explain shows a script that failed, and gives errors their exit code.
func (w *work) explain(screen *screen, err error) error {
	var exec *plan.ExecError
	if errors.As(err, &exec) {
		return w.explainScript(screen, exec)
	}
	var source *fetch.ChecksumError
	switch {
	case errors.As(err, &source):
		return withCode(exitInvalid, err, "if the new content is what you want, graft update writes its checksums into the recipe")
	case errors.Is(err, plan.ErrPlatform):
		return withCode(exitUnsupported, err)
	case errors.Is(err, plan.ErrNotAllowed):
		return withCode(exitInvalid, err)
	}
	var f *fetch.Error
	if errors.As(err, &f) {
		return fetchError(err, f)
	}
	return recipeError(err)
}

// fetchError is that of a build without a source. What a recipe says wrong is not
// the network's fault.
func fetchError(err error, f *fetch.Error) error {
	code := exitDependency
	if errors.Is(err, fetch.ErrOtherPackage) {
		code = exitInvalid
	}
	if f.Hint == "" {
		return withCode(code, err)
	}
	return withCode(code, err, f.Hint)
}

// lastLines of a failed script's output are shown.
const lastLines = 25

func (w *work) explainScript(screen *screen, exec *plan.ExecError) error {
	e, ok := exec.Op.Kind.(*plan.Exec)
	if !ok {
		return exec
	}
	out := w.streams.Err
	fmt.Fprintf(out, "\n%s failed. Its script (%s):\n", exec.Op.Name, strings.Join(e.Args[:min(2, len(e.Args))], " "))
	for i, line := range strings.Split(strings.TrimRight(shown(e), "\n"), "\n") {
		fmt.Fprintf(out, "  %3d | %s\n", i+1, printable(line))
	}
	lines := strings.Split(strings.TrimRight(string(exec.Output), "\n"), "\n")
	if more := len(lines) - lastLines; more > 0 {
		lines = lines[more:]
	}
	if len(exec.Output) > 0 {
		fmt.Fprintln(out, "The last that it printed:")
	}
	for _, line := range lines {
		if line != "" {
			fmt.Fprintf(out, "      | %s\n", shorten(printable(line)))
		}
	}
	var hints []string
	if log := screen.logOf(exec.Op); log != "" {
		hints = append(hints, "all that it printed is in "+log)
	}
	if !w.engine.shell {
		hints = append(hints, "--shell-on-error starts a shell where it failed")
	}
	if exec.Err != nil {
		return hostError(withCode(exitUnknown, exec, hints...))
	}
	return withCode(exitUnknown, exec, hints...)
}

// shown is the script as the shell got it, so that line numbers are its own.
func shown(e *plan.Exec) string {
	if len(e.Args) == 3 && e.Args[1] == "-c" {
		return e.Args[2]
	}
	return e.Script
}

// again builds a second time, from nothing and on one CPU, and compares.
func (w *work) again(ctx context.Context, first *outcome) error {
	fmt.Fprintln(w.streams.Err, "building again, from nothing, to compare")
	twice := *w
	b := *w.building
	b.engine.parallel = 1
	twice.building = &b
	release := oneCPU()
	o, err := twice.build(ctx, second{scope: fmt.Sprintf("again %d %d ", os.Getpid(), time.Now().UnixNano())})
	release()
	if err != nil {
		return fmt.Errorf("building a second time: %w", err)
	}
	defer o.close()
	different := 0
	for i, f := range first.built {
		for j, r := range f.Platforms {
			n, err := w.compare(ctx, f.Name+" for "+r.Platform.String(), r.Tree, o.built[i].Platforms[j].Tree)
			if err != nil {
				return err
			}
			different += n
		}
	}
	if different > 0 {
		return withCode(exitUnknown, fmt.Errorf("not reproducible: %s in the second build", count(different, "difference")),
			"compilers: -trimpath, -ffile-prefix-map; archives: --mtime=@$SOURCE_DATE_EPOCH --sort=name; dates: $SOURCE_DATE_EPOCH")
	}
	fmt.Fprintln(w.streams.Err, "reproducible: both builds gave the same files, bit for bit")
	return nil
}

const maxDifferences = 20 // printed of one package

func (w *work) compare(ctx context.Context, what string, a, b *tree.Tree) (int, error) {
	changes, err := tree.Diff(ctx, a, b)
	if err != nil {
		return 0, err
	}
	for i, c := range changes {
		if i == maxDifferences {
			fmt.Fprintf(w.streams.Err, "  and %d more\n", len(changes)-i)
			break
		}
		fmt.Fprintf(w.streams.Err, "%s: %s: %s\n", what, printable(c.Path), printable(c.What))
	}
	return len(changes), nil
}

// report prints what the rules found.
func (w *work) report(o *outcome) error {
	var findings []check.Finding
	for i := range o.built {
		findings = append(findings, findingsOf(&o.built[i])...)
	}
	errs, _ := check.Worst(findings)
	if err := printFindings(w.streams.Err, findings, "table"); err != nil {
		return err
	}
	mends(w.streams.Err, findings)
	if errs > 0 && !w.force {
		return withCode(exitInvalid, fmt.Errorf("%s in what was built; nothing was written", count(errs, "error")),
			"graft validate --rules explains each rule", "--force writes it nevertheless")
	}
	return nil
}

// findingsOf are the findings of a package: what all platforms have once, what only
// some have with the platform.
func findingsOf(b *build.Built) (all []check.Finding) {
	platforms := map[check.Finding][]string{}
	for _, r := range b.Platforms {
		for _, f := range r.Findings {
			if platforms[f] == nil {
				all = append(all, f)
			}
			if name := r.Platform.String(); !slices.Contains(platforms[f], name) {
				platforms[f] = append(platforms[f], name)
			}
		}
	}
	for i, f := range all {
		if on := platforms[f]; len(on) < len(b.Platforms) {
			all[i].Source += " for " + strings.Join(on, ", ")
		}
	}
	return all
}

// write puts what was built where it belongs, and prints the answer.
func (w *work) write(ctx context.Context, o *outcome) error {
	var meta []builtImage
	for _, b := range o.built {
		m, err := w.writeOne(ctx, b, len(o.built) > 1)
		if err != nil {
			return err
		}
		meta = append(meta, m)
		if _, err := fmt.Fprintln(w.streams.Out, m.answer(len(o.built) > 1)); err != nil {
			return err
		}
	}
	if w.provenance != "" {
		if err := w.writeProvenance(ctx, o); err != nil {
			return err
		}
	}
	if w.metadata == "" {
		return nil
	}
	return atomicfile.Write(w.metadata, func(f *os.File) error { return printJSON(f, meta) })
}

func (w *work) writeProvenance(ctx context.Context, o *outcome) error {
	data, err := o.builder.Provenance(ctx, w.targets[0], w.platforms, w.recipes.args())
	if err != nil {
		return err
	}
	return atomicfile.Write(w.provenance, func(f *os.File) error {
		_, err := f.Write(append(data, '\n'))
		return err
	})
}

// builtImage is an entry of the metadata file.
type builtImage struct {
	Name      string          `json:"name"`
	Image     string          `json:"image,omitempty"` // NAME:TAG
	Ref       string          `json:"ref,omitempty"`   // NAME@DIGEST in a registry
	Digest    string          `json:"containerimage.digest,omitempty"`
	Size      int64           `json:"size,omitempty"`
	Directory string          `json:"directory,omitempty"`
	Platforms []string        `json:"platforms"`
	Findings  []check.Finding `json:"findings,omitempty"`
}

// answer is the line on standard output.
func (m builtImage) answer(several bool) string {
	switch {
	case m.Directory != "":
		return m.Directory
	case m.Ref != "":
		return m.Ref
	case several:
		return m.Image + "@" + m.Digest
	}
	return m.Digest
}

func (w *work) writeOne(ctx context.Context, b build.Built, several bool) (builtImage, error) {
	m := builtImage{Name: b.Name}
	for _, r := range b.Platforms {
		m.Platforms = append(m.Platforms, r.Platform.String())
		m.Findings = append(m.Findings, r.Findings...)
	}
	if dir, ok := strings.CutPrefix(w.dest, "dir:"); ok {
		if several {
			dir = filepath.Join(dir, b.Name)
		}
		m.Directory = dir
		return m, w.writeDir(ctx, dir, b)
	}
	return m, w.writeImage(ctx, &m, b, several)
}

// writeDir writes the files; of several platforms each has a directory.
func (w *work) writeDir(ctx context.Context, dir string, b build.Built) error {
	for _, r := range b.Platforms {
		dest := dir
		if len(b.Platforms) > 1 {
			dest = filepath.Join(dir, strings.ReplaceAll(r.Platform.String(), "/", "_"))
		}
		if err := r.Tree.WriteDir(ctx, dest, w.epoch); err != nil {
			return withCode(exitIO, fmt.Errorf("writing %s: %w", dest, err))
		}
	}
	return nil
}

func (w *work) writeImage(ctx context.Context, m *builtImage, b build.Built, several bool) error {
	compression, err := oci.ParseCompression(w.compression)
	if err != nil {
		return usageError(err)
	}
	opts := oci.PackOptions{
		Name: b.Name + ":latest", Epoch: w.epoch, Compression: compression, Labels: w.labels(b),
		Insecure: w.checks.sources.insecure, SpoolDir: w.cache.TempDir(), Cache: w.cache,
	}
	if b.Manifest != nil && b.Manifest.Metadata.Version != "" {
		opts.Name = b.Name + ":" + b.Manifest.Metadata.Version
	}
	if w.name != "" {
		opts.Name = w.name
	}
	var images []oci.Packed
	for _, r := range b.Platforms {
		images = append(images, oci.Packed{Platform: r.Platform, Tree: r.Tree})
	}
	var res oci.Result
	if w.dest == "" {
		res, err = oci.Describe(ctx, images, opts)
	} else {
		res, err = oci.Pack(ctx, images, destination(w.dest, b.Name, several), opts)
	}
	if err != nil {
		return inputError(err)
	}
	m.Image, m.Ref, m.Digest, m.Size = opts.Name, res.Ref, res.Digest, res.Size
	if w.dest != "" {
		sayPacked(w.streams.Err, res, m.Platforms)
	}
	return nil
}

// labels are those of the Pkgfile, and what the manifest says.
func (w *work) labels(b build.Built) map[string]string {
	labels := map[string]string{}
	if b.Manifest != nil {
		labels = manifestLabels(b.Manifest.Metadata, w.epoch)
	}
	for k, v := range b.Labels {
		labels[k] = v
	}
	return labels
}

// destination adds the package's name where several go to one place.
func destination(dest, name string, several bool) string {
	switch {
	case strings.HasSuffix(dest, ".tar"):
		if several {
			return strings.TrimSuffix(dest, ".tar") + "-" + name + ".tar"
		}
	case strings.HasSuffix(dest, "/"):
		return dest + name
	case several:
		return path.Join(dest, name)
	}
	return dest
}
