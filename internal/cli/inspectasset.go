package cli

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/inspect"
)

// assetPrinter prints tables one after the other, and keeps their errors.
type assetPrinter struct {
	w   io.Writer
	err error
}

func printAsset(w io.Writer, a *inspect.Asset) error {
	p := &assetPrinter{w: w}
	head := []string{
		"Source", a.Source, "Kind", kindWords(a), "Size", sizeIfAny(a.Size),
		"Image", a.Ref, "Digest", a.Digest, "Platform", a.Platform, "Layers", countIfAny(a.Layers),
	}
	if k := a.Kernel; k != nil {
		head = append(head, "Release", k.Release, "Architecture", k.Arch)
	}
	head = append(append(head, diskFields(a.Disk)...), programFields(a.Program)...)
	if a.ISO != nil {
		head = append(head, "Volume", a.ISO.Label)
	}
	p.fields(head...)
	p.disk(a.Disk)
	p.iso(a.ISO)
	p.program(a.Program)
	p.files("Files", "", a.Files)
	return errors.Join(p.err, problems(w, a.Problems))
}

func sizeIfAny(n int64) string {
	if n == 0 {
		return ""
	}
	return size(n)
}

func countIfAny(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// kindWords says what it is, and what is around it: "disk in qcow2 in zst".
func kindWords(a *inspect.Asset) string {
	words := string(a.Kind)
	for i := len(a.Formats) - 1; i >= 0; i-- {
		words += " in " + a.Formats[i]
	}
	return words
}

func (p *assetPrinter) fields(pairs ...string) { p.err = errors.Join(p.err, fields(p.w, pairs...)) }

func (p *assetPrinter) section(heading string, rows [][]string) {
	p.err = errors.Join(p.err, section(p.w, heading, someRows(rows)))
}

func diskFields(d *inspect.Disk) []string {
	if d == nil {
		return nil
	}
	code := "none"
	if d.BootCode {
		code = "in the MBR"
	}
	return []string{"Disk", fmt.Sprintf("%s, sectors of %d bytes", size(d.Size), d.SectorSize), "GUID", d.GUID, "Boot code", code}
}

func (p *assetPrinter) disk(d *inspect.Disk) {
	if d == nil {
		return
	}
	rows := [][]string{{"PARTITION", "TYPE", "OFFSET", "SIZE", "HOLDS"}}
	for _, part := range d.Partitions {
		rows = append(rows, []string{part.Label, part.Type, size(part.Offset), size(part.Size), holds(part)})
	}
	p.section("Partitions", rows)
	for _, part := range d.Partitions {
		values := [][]string{{"TAG", "VALUE"}}
		for _, m := range part.Meta {
			values = append(values, []string{m.Tag, m.Value})
		}
		p.section("Values in "+part.Label, values)
		if part.FileSystem != nil {
			p.files("Files in "+part.Label, part.Label+": ", part.FileSystem.Files)
		}
	}
}

func holds(part inspect.Partition) string {
	switch {
	case part.FileSystem != nil:
		return fmt.Sprintf("%s, %s", part.FileSystem.Type, count(len(part.FileSystem.Files), "file"))
	case len(part.Meta) > 0:
		return count(len(part.Meta), "value")
	case part.Empty:
		return "nothing"
	case part.Type == "BIOS boot":
		return "a boot loader"
	}
	return "unknown"
}

func (p *assetPrinter) iso(r *inspect.ISO) {
	if r == nil {
		return
	}
	boots := [][]string{{"FIRMWARE", "SIZE", "HOLDS"}}
	for _, b := range r.Boot {
		what := "a boot loader"
		if b.FileSystem != nil {
			what = fmt.Sprintf("%s, %s", b.FileSystem.Type, count(len(b.FileSystem.Files), "file"))
		}
		boots = append(boots, []string{b.Firmware, size(b.Size), what})
	}
	p.section("Boot images", boots)
	parts := [][]string{{"TABLE", "NUMBER", "TYPE", "OFFSET", "SIZE"}}
	for _, v := range r.Partitions {
		parts = append(parts, []string{v.Table, strconv.Itoa(v.Number), v.Type, size(v.Offset), size(v.Size)})
	}
	p.section("Partitions", parts)
	p.files("Files", "", r.Files)
	for _, b := range r.Boot {
		if b.FileSystem != nil {
			p.files("Files for "+b.Firmware, b.Firmware+": ", b.FileSystem.Files)
		}
	}
}

// files lists them, and then what is in those that hold something.
func (p *assetPrinter) files(heading, place string, files []inspect.Entry) {
	rows := append([][]string{{"FILE", "SIZE", "IS"}}, fileRows(files)...)
	p.section(heading, rows)
	for _, e := range files {
		if e.Program != nil && len(e.Program.Profiles) > 0 {
			fmt.Fprintf(p.w, "\n%s\n", printable(place+e.Path))
			p.fields(programFields(e.Program)...)
			p.program(e.Program)
		}
		if e.Initramfs != nil {
			p.initramfs(place+e.Path, e.Initramfs)
		}
		p.menu(place+e.Path, e.Menu)
	}
}

// manyFiles are so many nameless ones in a directory that they become one row.
const manyFiles = 8

func fileRows(files []inspect.Entry) [][]string {
	nameless := map[string][]inspect.Entry{}
	for _, e := range files {
		if fileWords(e) == "" {
			nameless[path.Dir(e.Path)] = append(nameless[path.Dir(e.Path)], e)
		}
	}
	var rows [][]string
	for _, e := range files {
		words := fileWords(e)
		siblings := nameless[path.Dir(e.Path)]
		switch {
		case words != "" || len(siblings) < manyFiles:
			rows = append(rows, []string{e.Path, size(e.Size), words})
		case siblings[0].Path == e.Path:
			var sum int64
			for _, s := range siblings {
				sum += s.Size
			}
			rows = append(rows, []string{path.Dir(e.Path) + "/", size(sum), count(len(siblings), "file")})
		}
	}
	return rows
}

// fileWords says in a few words what a file is, "" if nobody knows.
func fileWords(e inspect.Entry) string {
	switch {
	case e.Program != nil:
		return programWords(e.Program)
	case e.Kernel != nil:
		return strings.TrimSpace("kernel " + e.Kernel.Release)
	case e.Initramfs != nil:
		return fmt.Sprintf("initramfs of %s with %s", strings.TrimSpace(e.Initramfs.Base.OS+" "+e.Initramfs.Base.Version), count(len(e.Initramfs.Layers), "layer"))
	case e.Menu != nil:
		return "menu"
	case e.Enrolment != nil:
		return enrolmentWords(e.Enrolment)
	case e.Signer != nil:
		return "certificate of " + e.Signer.Subject
	case e.Cmdline != "":
		return "command line"
	}
	var settings []string
	for _, s := range e.Loader {
		settings = append(settings, s.Key+" "+s.Value)
	}
	return strings.Join(settings, ", ")
}

func programWords(r *inspect.Program) string {
	words := "EFI program"
	if len(r.Profiles) > 0 {
		words = strings.TrimSpace("UKI of " + r.OS + " " + r.Version)
	}
	for _, s := range r.Signatures {
		switch {
		case s.Certificate == nil:
			words += ", signed by an unknown key"
		case !s.Valid:
			words += ", NOT VALIDLY signed by " + s.Certificate.Subject
		default:
			words += ", signed by " + s.Certificate.Subject
		}
	}
	return words
}

func enrolmentWords(r *inspect.Enrolment) string {
	var keys []string
	for _, k := range r.Keys {
		if k.Certificate != nil {
			keys = append(keys, k.Certificate.Subject)
		} else {
			keys = append(keys, "a program")
		}
	}
	return strings.TrimSpace("enrols "+r.Variable) + ": " + strings.Join(keys, "; ")
}

func (p *assetPrinter) menu(name string, m *inspect.Menu) {
	if m == nil {
		return
	}
	rows := [][]string{{"ENTRY", "KERNEL", "INITRD", "COMMAND LINE"}}
	for _, e := range m.Entries {
		title := e.Title
		if title == m.Default {
			title += " (default)"
		}
		rows = append(rows, []string{title, e.Kernel, strings.Join(e.Initrds, " "), e.Cmdline})
	}
	p.section("Menu in "+name, rows)
}

// initramfs is one inside of something else.
func (p *assetPrinter) initramfs(name string, r *inspect.Initramfs) {
	p.err = errors.Join(p.err, section(p.w, "Layers of "+name+", the lowest first", layerRows(r)),
		section(p.w, "Verified when it was made", verifiedRows(r)))
}

func programFields(r *inspect.Program) []string {
	if r == nil {
		return nil
	}
	base := ""
	if r.Initramfs != nil {
		base = strings.TrimSpace(r.Initramfs.Base.OS + " " + r.Initramfs.Base.Version)
	}
	return []string{"OS", strings.TrimSpace(r.OS + " " + r.Version), "Kernel", kernelRelease(r), "Architecture", r.Arch, "Base", base, "PCR key", r.PCRKey}
}

// stubSections are those with the code of an EFI program, which say nothing.
var stubSections = map[string]bool{
	".text": true, ".reloc": true, ".data": true, ".rodata": true, ".bss": true,
	".dynamic": true, ".dynsym": true, ".rela": true, ".sdmagic": true,
}

// program prints what is in an EFI program, after its fields.
func (p *assetPrinter) program(r *inspect.Program) {
	if r == nil {
		return
	}
	if r.Initramfs != nil {
		p.err = errors.Join(p.err, section(p.w, "Layers, the lowest first", layerRows(r.Initramfs)),
			section(p.w, "Verified when it was made", verifiedRows(r.Initramfs)))
	}
	p.signatures(r)
	p.profiles(r)
	sections := [][]string{{"SECTION", "PROFILE", "SIZE", "SHA-256"}}
	for _, s := range r.Sections {
		if !stubSections[s.Name] {
			sections = append(sections, []string{s.Name, s.Profile, size(s.Size), strings.TrimPrefix(s.Digest, "sha256:")})
		}
	}
	p.section("Sections", sections)
}

func kernelRelease(r *inspect.Program) string {
	if r.Release == "" && r.Kernel != nil {
		return r.Kernel.Release
	}
	return r.Release
}

func (p *assetPrinter) signatures(r *inspect.Program) {
	rows := [][]string{{"SIGNED BY", "ISSUER", "VALID", "FROM", "TO", "FINGERPRINT"}}
	for _, s := range r.Signatures {
		valid := "no"
		if s.Valid {
			valid = "yes"
		}
		c := s.Certificate
		if c == nil {
			rows = append(rows, []string{"unknown", "", valid, "", "", ""})
			continue
		}
		rows = append(rows, []string{c.Subject, c.Issuer, valid, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly), c.Fingerprint})
	}
	p.section("Signatures", rows)
}

func (p *assetPrinter) profiles(r *inspect.Program) {
	profiles := [][]string{{"PROFILE", "TITLE", "COMMAND LINE"}}
	registers := [][]string{{"PROFILE", "PCR 11 (SHA-256)", "SIGNED"}}
	for _, v := range r.Profiles {
		profiles = append(profiles, []string{v.ID, v.Title, v.Cmdline})
		for _, pcr := range v.PCR11 {
			if pcr.Bank == "sha256" {
				registers = append(registers, []string{v.ID, pcr.Value, policyWords(pcr)})
			}
		}
	}
	p.section("Profiles", profiles)
	p.section("PCR 11 when disks are unlocked", registers)
}

func policyWords(pcr inspect.PCR) string {
	switch {
	case pcr.Valid:
		return "yes, by the PCR key"
	case pcr.Signed:
		return "NOT VALIDLY, by the key " + pcr.Key
	}
	return "no"
}
