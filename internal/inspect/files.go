package inspect

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// FileSystem is one in a partition or in an image.
type FileSystem struct {
	Type  string  `json:"type" yaml:"type"` // FAT32, XFS …
	Label string  `json:"label,omitempty" yaml:"label,omitempty"`
	Size  int64   `json:"size" yaml:"size"` // bytes
	Files []Entry `json:"files,omitempty" yaml:"files,omitempty"`
}

// Entry is a regular file, and what is in it if it is of a known kind.
type Entry struct {
	Path     string `json:"path" yaml:"path"`
	Size     int64  `json:"size" yaml:"size"`
	Digest   string `json:"digest" yaml:"digest"` // "sha256:" and hex digits
	Kind     Kind   `json:"kind,omitempty" yaml:"kind,omitempty"`
	Contents `yaml:",inline"`
}

// Limits of a file system that is walked through.
const (
	maxFiles = 1 << 17
	maxDepth = 64
)

// entries are all regular files of a file system, below a directory, by path.
func (i *inspector) entries(fsys fs.FS, root string) ([]Entry, error) {
	var all []Entry
	seen := 0
	err := fs.WalkDir(fsys, root, func(p string, d fs.DirEntry, err error) error {
		if seen++; seen > maxFiles || strings.Count(p, "/") > maxDepth {
			i.problem("there are too many files, or directories below each other: what is in %s is left out", p)
			return fs.SkipAll
		}
		if err != nil {
			i.problem("%v", err)
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		e, err := i.open(fsys, p)
		all = append(all, e)
		return err
	})
	return all, err
}

func (i *inspector) open(fsys fs.FS, p string) (Entry, error) {
	f, err := openAt(fsys, p)
	if err != nil {
		i.problem("%v", err)
		return Entry{Path: p}, nil
	}
	defer f.Close()
	return i.entry(p, f, f.size)
}

// entry reports on a file. What cannot be read of it is a problem.
func (i *inspector) entry(p string, r io.ReaderAt, size int64) (Entry, error) {
	e := Entry{Path: p, Size: size}
	err := i.at(p, func() (err error) {
		if e.Digest, err = i.digest(r, size); err != nil {
			return err
		}
		return i.recognize(&e, r)
	})
	if err == nil || i.final(err) {
		return e, err
	}
	i.at(p, func() error { i.problem("%v", err); return nil })
	return e, nil
}

// recognize looks into a file: programs and archives are known by what is in
// them, and text by its name.
func (i *inspector) recognize(e *Entry, r io.ReaderAt) (err error) {
	if read := textReader(e.Path); read != nil {
		data, err := readSmall(r, e.Size, maxTextFile)
		if err != nil {
			return err
		}
		return read(i, e, data)
	}
	switch kind := Identify(r, e.Size); kind {
	case KindUKI, KindEFI, KindKernel, KindInitramfs:
		e.Kind = kind
		e.Contents, err = i.contents(kind, r, e.Size)
	}
	return err
}

// maxTextFile is how long a configuration, or a database of keys, can be.
const maxTextFile = 4 << 20

// textReader reads what is known by its name; nil for all others.
func textReader(p string) func(*inspector, *Entry, []byte) error {
	for _, f := range []struct {
		pattern string // of the last element of the path
		read    func(*inspector, *Entry, []byte) error
	}{
		{"grub.cfg", (*inspector).grubMenu},
		{"*.ipxe", (*inspector).ipxe},
		{"loader.conf", (*inspector).loaderConf},
		{"*.auth", (*inspector).enrolment},
		{"*.der", (*inspector).certificate},
		{"cmdline-*", (*inspector).cmdline},
	} {
		if ok, _ := path.Match(f.pattern, path.Base(p)); ok {
			return f.read
		}
	}
	return nil
}

// Setting is a line of loader.conf.
type Setting struct {
	Key   string `json:"key" yaml:"key"`
	Value string `json:"value" yaml:"value"`
}

// loaderConf reads the settings of systemd-boot (loader.conf(5)).
func (i *inspector) loaderConf(e *Entry, data []byte) error {
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		e.Loader = append(e.Loader, Setting{key, strings.TrimSpace(value)})
	}
	return nil
}

func (i *inspector) cmdline(e *Entry, data []byte) error {
	e.Cmdline = strings.TrimSpace(string(data))
	return nil
}

func (i *inspector) certificate(e *Entry, data []byte) error {
	c, err := x509.ParseCertificate(data)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	e.Signer = certificateOf(c)
	return nil
}

var errNoScript = errors.New("it does not begin with #!ipxe")

// ipxe reads the last boot entry of a script, as far as it can be told without
// running it (https://ipxe.org/cmd).
func (i *inspector) ipxe(e *Entry, data []byte) error {
	if !bytes.HasPrefix(data, []byte("#!ipxe")) {
		return errNoScript
	}
	entry := MenuEntry{Title: "iPXE"}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "kernel":
			entry.Kernel, entry.Cmdline = words[1], strings.Join(words[2:], " ")
		case "initrd":
			entry.Initrds = append(entry.Initrds, words[1])
		}
	}
	e.Menu = &Menu{Entries: []MenuEntry{entry}}
	return nil
}
