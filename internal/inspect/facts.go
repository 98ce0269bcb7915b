package inspect

import (
	"fmt"
	"slices"
	"strings"
)

// Kinds of facts that are asked for by name.
const (
	kindFile          = "file"
	KindExtensionFile = "extension file" // in the layer of an extension, whose name and ": " come before the path
)

func bytesOf(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// without drops facts that say nothing.
func without(facts []fact) []fact {
	return slices.DeleteFunc(facts, func(f fact) bool { return f.value == "" && f.sum == "" && f.subject == "" && len(f.parts) == 0 })
}

func (r Extension) kind() Kind { return KindExtension }

func (r Extension) facts() []fact {
	m := r.Manifest.Metadata
	all := metadataFacts("manifest", "", m.Author, m.Description, m.Compatibility.Talos.Version, m.ExtraInfo)
	all = append(all, fact{kind: "manifest", subject: "name", value: m.Name}, fact{kind: "manifest", subject: "version", value: m.Version})
	return append(all, listFacts(kindFile, "", r.Listing)...)
}

func metadataFacts(kind, prefix, author, description, talos, extra string) []fact {
	return slices.DeleteFunc([]fact{
		{kind: kind, subject: prefix + "author", value: author},
		{kind: kind, subject: prefix + "description", value: strings.Join(strings.Fields(description), " ")},
		{kind: kind, subject: prefix + "talos", value: talos},
		{kind: kind, subject: prefix + "extraInfo", value: extra},
	}, func(f fact) bool { return f.value == "" })
}

func listFacts(kind, prefix string, files []ListedFile) []fact {
	all := make([]fact, 0, len(files))
	for _, f := range files {
		item := fact{kind: kind, subject: prefix + f.Path, value: f.Mode}
		switch {
		case f.Target != "":
			item.more = []string{"to " + f.Target}
		case f.Sum != "":
			item.more, item.sum = []string{bytesOf(f.Size)}, "sha256:"+f.Sum
		}
		all = append(all, item)
	}
	return all
}

func (r *Initramfs) kind() Kind { return KindInitramfs }

func (r *Initramfs) facts() []fact {
	if r == nil {
		return nil
	}
	all := []fact{{kind: "base", value: strings.TrimSpace(r.Base.Version), sum: r.Base.Digest}}
	for _, release := range r.Base.Releases {
		all = append(all, fact{kind: "modules", value: release})
	}
	var order []string
	for _, l := range r.Layers {
		f := l.fact()
		order, all = append(order, f.subject), append(all, f)
	}
	all = append(without(all), listFacts("initramfs file", "", r.Files)...)
	return append(all, fact{kind: "order", value: strings.Join(order, " "), among: strings.Join(slices.Sorted(slices.Values(order)), " ")})
}

func (l Layer) fact() fact {
	m := l.Metadata
	name := m.Name
	if name == "" {
		name = l.Image
	}
	parts := metadataFacts("extension", name+": ", m.Author, m.Description, m.Compatibility.Talos.Version, m.ExtraInfo)
	return fact{kind: "extension", subject: name, value: m.Version, sum: l.Digest, parts: append(parts, listFacts(KindExtensionFile, name+": ", l.Files)...)}
}

func (a *Asset) kind() Kind { return a.Kind }

func (a *Asset) facts() []fact {
	all := fileFacts(a.Files)
	if a.Layers > 0 {
		all = append(all, fact{kind: "image", subject: "layers", value: fmt.Sprint(a.Layers)}, fact{kind: "image", subject: "platform", value: a.Platform})
	}
	return append(all, a.Contents.facts()...)
}

func (c Contents) facts() []fact {
	all := slices.Concat(c.Disk.facts(), c.ISO.facts(), c.Program.facts(), c.Kernel.facts(), c.Initramfs.facts(), c.Menu.facts(), cmdlineFacts(c.Cmdline))
	for _, s := range c.Loader {
		all = append(all, fact{kind: "loader", subject: s.Key, value: s.Value})
	}
	if e := c.Enrolment; e != nil {
		for _, k := range e.Keys {
			all = append(all, k.fact(e.Variable))
		}
		all = append(all, certificateFact("key", e.Variable+" signed by", e.Signer)...)
	}
	return append(all, certificateFact("key", "certificate", c.Signer)...)
}

func (k EnrolledKey) fact(variable string) fact {
	if c := k.Certificate; c != nil {
		return fact{kind: "key", subject: variable + " " + c.Subject, value: "sha256:" + c.Fingerprint}
	}
	return fact{kind: "key", subject: variable + " " + k.SHA256, value: k.Owner}
}

func certificateFact(kind, subject string, c *Certificate) []fact {
	if c == nil {
		return nil
	}
	return []fact{{kind: kind, subject: subject, value: c.Subject, sum: "sha256:" + c.Fingerprint}}
}

func (d *Disk) facts() []fact {
	if d == nil {
		return nil
	}
	all := []fact{
		{kind: "disk", subject: "size", value: bytesOf(d.Size)},
		{kind: "disk", subject: "sector size", value: bytesOf(int64(d.SectorSize))},
		{kind: "disk", subject: "boot code", value: yesNo(d.BootCode), sum: d.BootDigest},
	}
	for _, p := range d.Partitions {
		f := fact{kind: "partition", subject: p.Label, value: p.Type, more: p.words(), sum: p.Digest, place: p.Label}
		for _, m := range p.Meta {
			f.parts = append(f.parts, fact{kind: "meta", subject: m.Tag, value: m.Value})
		}
		if p.FileSystem != nil {
			f.parts = append(f.parts, fileFacts(p.FileSystem.Files)...)
		}
		all = append(all, f)
	}
	return all
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (p Partition) words() []string {
	words := []string{bytesOf(p.Size), fmt.Sprintf("at %d", p.Offset), "no file system", "not bootable by BIOS"}
	if p.FileSystem != nil {
		words[2] = p.FileSystem.Type
	}
	if p.Bootable {
		words[3] = "bootable by BIOS"
	}
	return words
}

func (r *ISO) facts() []fact {
	if r == nil {
		return nil
	}
	all := []fact{{kind: "iso", subject: "volume", value: r.Label}, {kind: "iso", subject: "size", value: bytesOf(r.Size)}, {kind: "iso", subject: "boot code", value: yesNo(r.BootDigest != ""), sum: r.BootDigest}}
	all = append(all, fact{kind: "iso", subject: "files", place: "ISO", parts: fileFacts(r.Files)})
	for _, b := range r.Boot {
		f := fact{kind: "boot image", subject: b.Firmware, value: bytesOf(b.Size), sum: b.Digest, place: b.Firmware}
		if b.FileSystem != nil {
			f.parts = fileFacts(b.FileSystem.Files)
		}
		all = append(all, f)
	}
	for _, p := range r.Partitions {
		all = append(all, fact{kind: "partition", subject: fmt.Sprintf("%s %d", p.Table, p.Number), value: p.Type, more: []string{bytesOf(p.Size), fmt.Sprintf("at %d", p.Offset)}})
	}
	return all
}

func fileFacts(files []Entry) []fact {
	var all []fact
	for _, e := range files {
		all = append(all, fact{kind: kindFile, subject: e.Path, value: bytesOf(e.Size), sum: e.Digest, place: e.Path, parts: e.Contents.facts()})
	}
	return all
}

func (k *Kernel) facts() []fact {
	if k == nil {
		return nil
	}
	return without([]fact{{kind: "kernel", value: k.Release}})
}

func (p *Program) facts() []fact {
	if p == nil {
		return nil
	}
	all := []fact{{kind: "arch", value: p.Arch}, {kind: "os", value: strings.TrimSpace(p.OS + " " + p.Version)}, {kind: "pcr key", value: p.PCRKey}}
	if p.Kernel == nil || p.Kernel.Release == "" {
		all = append(all, fact{kind: "kernel", value: p.Release})
	}
	all = append(all, p.Kernel.facts()...)
	for _, s := range p.SBAT {
		name, generation, _ := strings.Cut(s, ",")
		all = append(all, fact{kind: "sbat", subject: name, value: generation})
	}
	for _, s := range p.Sections {
		all = append(all, fact{kind: "section", subject: strings.TrimSpace(s.Profile + " " + s.Name), value: bytesOf(s.Size), sum: s.Digest})
	}
	for _, profile := range p.Profiles {
		all = append(all, profile.fact())
	}
	for _, s := range p.Signatures {
		all = append(all, s.fact())
	}
	return without(append(all, p.Initramfs.facts()...))
}

func (p Profile) fact() fact {
	f := fact{kind: "profile", subject: p.ID, value: p.Title, place: p.ID, parts: cmdlineFacts(p.Cmdline)}
	for _, pcr := range p.PCR11 {
		f.parts = append(f.parts, fact{kind: "pcr11", subject: pcr.Bank, value: pcr.Value})
		f.parts = append(f.parts, fact{kind: "pcr11 signature", subject: pcr.Bank, value: pcr.words()})
	}
	return f
}

func (p PCR) words() string {
	switch {
	case p.Valid:
		return "valid, by " + p.Key
	case p.Signed:
		return "not valid, by " + p.Key
	}
	return "none"
}

func (s Signature) fact() fact {
	f := fact{kind: "signature", value: "by an unknown key"}
	if c := s.Certificate; c != nil {
		f.value, f.sum = "by "+c.Subject, "sha256:"+c.Fingerprint
	}
	if !s.Valid {
		f.value += ", not valid"
	}
	return f
}

func (m *Menu) facts() []fact {
	if m == nil {
		return nil
	}
	all := []fact{
		{kind: "menu", subject: "default", value: m.Default}, {kind: "menu", subject: "fallback", value: m.Fallback},
		{kind: "menu", subject: "timeout", value: fmt.Sprint(m.Timeout)},
	}
	for _, e := range m.Entries {
		all = append(all, fact{
			kind: "entry", subject: e.Title, value: strings.Join(append([]string{e.Kernel}, e.Initrds...), " "), place: e.Title, parts: cmdlineFacts(e.Cmdline),
		})
	}
	return all
}

// cmdlineFacts are the arguments one by one. One that is given twice is two.
func cmdlineFacts(cmdline string) []fact {
	var all []fact
	for _, arg := range arguments(cmdline) {
		key, _, _ := strings.Cut(arg, "=")
		all = append(all, fact{kind: "cmdline", subject: key, value: arg})
	}
	return all
}

// arguments splits a command line as the kernel does: double quotes keep spaces
// together (lib/cmdline.c, next_arg).
func arguments(cmdline string) []string {
	quoted := false
	return strings.FieldsFunc(cmdline, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted || r == '\n'
	})
}
