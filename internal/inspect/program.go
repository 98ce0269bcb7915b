package inspect

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/secureboot"
)

// Program is the report on an EFI program: a unified kernel image if it has
// Profiles.
type Program struct {
	Arch       string      `json:"arch" yaml:"arch"`
	Size       int64       `json:"size" yaml:"size"`                           // bytes
	OS         string      `json:"os,omitempty" yaml:"os,omitempty"`           // NAME of .osrel
	Version    string      `json:"version,omitempty" yaml:"version,omitempty"` // VERSION_ID of .osrel
	Release    string      `json:"release,omitempty" yaml:"release,omitempty"` // .uname: of the kernel
	SBAT       []string    `json:"sbat,omitempty" yaml:"sbat,omitempty"`       // components and their generations
	Sections   []Section   `json:"sections" yaml:"sections"`
	Profiles   []Profile   `json:"profiles,omitempty" yaml:"profiles,omitempty"`
	PCRKey     string      `json:"pcrKey,omitempty" yaml:"pcrKey,omitempty"` // fingerprint of .pcrpkey, as in its signatures
	Signatures []Signature `json:"signatures,omitempty" yaml:"signatures,omitempty"`
	Kernel     *Kernel     `json:"kernel,omitempty" yaml:"kernel,omitempty"`
	Initramfs  *Initramfs  `json:"initramfs,omitempty" yaml:"initramfs,omitempty"`
}

// Section is a part of an EFI program.
type Section struct {
	Name    string `json:"name" yaml:"name"`
	Profile string `json:"profile,omitempty" yaml:"profile,omitempty"` // whose own it is
	Size    int64  `json:"size" yaml:"size"`
	Digest  string `json:"digest" yaml:"digest"`
}

// Profile is one of the ways in which a UKI boots.
type Profile struct {
	ID      string `json:"id" yaml:"id"`
	Title   string `json:"title,omitempty" yaml:"title,omitempty"`
	Cmdline string `json:"cmdline" yaml:"cmdline"`
	PCR11   []PCR  `json:"pcr11" yaml:"pcr11"`
}

// Signature is an Authenticode signature.
type Signature struct {
	Certificate *Certificate `json:"certificate,omitempty" yaml:"certificate,omitempty"` // of the signer
	Hash        string       `json:"hash" yaml:"hash"`
	Digest      string       `json:"digest" yaml:"digest"`   // that was signed, hexadecimal
	Matches     bool         `json:"matches" yaml:"matches"` // the program is what was signed
	Valid       bool         `json:"valid" yaml:"valid"`     // and the certificate's key did it
}

// program reports on an EFI program. If only its parts are damaged, that is a
// problem.
func (i *inspector) program(r io.ReaderAt, size int64) (*Program, error) {
	m, err := uki.Read(r, size)
	if err != nil {
		return nil, err
	}
	p := &Program{Arch: m.Machine, Size: size}
	if err := i.sections(p, m.Sections); err != nil {
		return nil, err
	}
	i.describe(p, m.Sections)
	if len(m.Certificates) > 0 {
		if err := i.signatures(p, r, size); err != nil {
			return nil, err
		}
	}
	if _, ok := uki.Find(m.Sections, ".linux"); !ok {
		return p, nil
	}
	if err := i.profiles(p, m.Sections); err != nil {
		return nil, err
	}
	return p, i.payload(p, m.Sections)
}

// sections lists all of them; after a .profile they are of that one.
func (i *inspector) sections(p *Program, sections []uki.Section) error {
	profile := ""
	for n, s := range sections {
		if s.Name == profileSection {
			profile = profileOf(sections[n:]).ID
		}
		digest, err := i.digest(s.Content, s.Content.Size())
		if err != nil {
			return fmt.Errorf("reading section %s: %w", s.Name, err)
		}
		p.Sections = append(p.Sections, Section{s.Name, profile, s.Content.Size(), digest})
	}
	return nil
}

// text is the content of a section for people, "" if it is not there.
func (i *inspector) text(sections []uki.Section, name string) string {
	s, ok := uki.Find(sections, name)
	if !ok {
		return ""
	}
	t, err := s.Text()
	if err != nil {
		i.problem("%v", err)
	}
	return t
}

func (i *inspector) describe(p *Program, sections []uki.Section) {
	release := variablesOf(i.text(sections, ".osrel"))
	p.OS, p.Version = release["NAME"], release["VERSION_ID"]
	p.Release = i.text(sections, ".uname")
	for n, line := range strings.Split(i.text(sections, ".sbat"), "\n") {
		if fields := strings.Split(line, ","); n > 0 && len(fields) > 1 { // the first is the version of SBAT itself
			p.SBAT = append(p.SBAT, fields[0]+","+fields[1])
		}
	}
}

// variablesOf reads lines of the form NAME=value, as in os-release(5).
func variablesOf(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok {
			all[name] = strings.Trim(value, `"'`)
		}
	}
	return all
}

// profileSection begins a profile.
const profileSection = ".profile"

// profileOf describes the profile that has these sections.
func profileOf(sections []uki.Section) Profile {
	p := Profile{ID: "main"}
	if s, ok := uki.Find(sections, profileSection); ok {
		text, _ := s.Text() // described as far as it can be read
		about := variablesOf(text)
		p.ID, p.Title = about["ID"], about["TITLE"]
	}
	return p
}

func (i *inspector) profiles(p *Program, sections []uki.Section) error {
	var size int64
	for _, s := range sections {
		size += s.Content.Size()
	}
	if err := i.spend(size); err != nil {
		return err
	}
	digests, err := uki.Digest(i.ctx, sections)
	if err != nil {
		return err
	}
	key := i.pcrKey(p, sections)
	known, err := uki.KnownSections(sections)
	if err != nil {
		return err
	}
	if _, has := uki.Find(sections, profileSection); has && !known(profileSection) {
		i.problem("its systemd-stub is older than 257 and knows no profiles: which of the command lines it takes is not certain")
	}
	for _, own := range uki.Profiles(sections) {
		profile := profileOf(own)
		profile.Cmdline = i.text(own, ".cmdline")
		measured := slices.DeleteFunc(slices.Clone(own), func(s uki.Section) bool { return !known(s.Name) })
		if err := i.pcr11(&profile, digests, measured, i.policySignatures(own), key); err != nil {
			return err
		}
		p.Profiles = append(p.Profiles, profile)
	}
	return nil
}

// payload looks into the kernel and the initramfs of a UKI.
func (i *inspector) payload(p *Program, sections []uki.Section) (err error) {
	linux, _ := uki.Find(sections, ".linux")
	p.Kernel = kernelOf(linux.Content, linux.Content.Size())
	if p.Kernel.Release != "" && p.Release != "" && p.Kernel.Release != p.Release {
		i.problem("the kernel is %s, and the section .uname says %s", p.Kernel.Release, p.Release)
	}
	initrd, ok := uki.Find(sections, ".initrd")
	if !ok {
		i.problem("there is no section .initrd")
		return nil
	}
	p.Initramfs, err = i.initramfs(initrd.Content, initrd.Content.Size())
	if err != nil && !i.final(err) {
		i.problem("the section .initrd: %v", err)
		return nil
	}
	return err
}

func (i *inspector) signatures(p *Program, r io.ReaderAt, size int64) error {
	if err := i.spend(size); err != nil {
		return err
	}
	all, err := secureboot.Signatures(i.ctx, r, size)
	if err != nil && !i.final(err) {
		i.problem("%v", err)
		return nil
	}
	for _, s := range all {
		p.Signatures = append(p.Signatures, i.signature(s))
	}
	return err
}

func (i *inspector) signature(s *secureboot.Signature) Signature {
	report := Signature{Certificate: certificateOf(s.Certificate), Hash: s.Hash.String(), Digest: hex.EncodeToString(s.Digest), Matches: s.Matches()}
	switch {
	case !report.Matches:
		i.problem("it was changed after it was signed: its digest is %x, the signature is of %x", s.Actual, s.Digest)
	case s.Certificate == nil:
		i.problem("the certificate of who signed it is not there")
	default:
		err := s.Verify(s.Certificate)
		if report.Valid = err == nil; err != nil {
			i.problem("%v", err)
		}
	}
	return report
}
