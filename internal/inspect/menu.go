package inspect

import (
	"io"
	"strings"

	"github.com/graftlinux/graft/internal/format/grub"
	"github.com/graftlinux/graft/internal/format/uki"
)

// Menu is what a boot loader starts.
type Menu struct {
	Default  string      `json:"default,omitempty" yaml:"default,omitempty"`
	Fallback string      `json:"fallback,omitempty" yaml:"fallback,omitempty"`
	Timeout  int         `json:"timeout" yaml:"timeout"` // seconds; below zero, it waits
	Entries  []MenuEntry `json:"entries" yaml:"entries"`
}

// MenuEntry is a kernel in a menu.
type MenuEntry struct {
	Title   string   `json:"title" yaml:"title"`
	Kernel  string   `json:"kernel,omitempty" yaml:"kernel,omitempty"`
	Initrds []string `json:"initrds,omitempty" yaml:"initrds,omitempty"`
	Cmdline string   `json:"cmdline,omitempty" yaml:"cmdline,omitempty"`
}

func (i *inspector) grubMenu(e *Entry, data []byte) error {
	m, err := grub.ParseConfig(data)
	if err != nil {
		return err
	}
	e.Menu = &Menu{Default: m.Default, Fallback: m.Fallback, Timeout: m.Timeout}
	for _, entry := range m.Entries {
		e.Menu.Entries = append(e.Menu.Entries, MenuEntry(entry))
	}
	return nil
}

// missingFiles notes entries of menus whose files are not beside them. The root
// of GRUB's paths is that of the file system.
func (i *inspector) missingFiles(files []Entry) {
	there := map[string]bool{}
	for _, e := range files {
		there["/"+e.Path] = true
	}
	for _, e := range files {
		if e.Menu == nil || !strings.HasSuffix(e.Path, ".cfg") {
			continue
		}
		for _, entry := range e.Menu.Entries {
			for _, p := range append([]string{entry.Kernel}, entry.Initrds...) {
				if strings.HasPrefix(p, "/") && !there[p] {
					i.problem("%s: the entry %q wants %s, which is not there", e.Path, entry.Title, p)
				}
			}
		}
	}
}

// Kernel is the report on a kernel.
type Kernel struct {
	Arch    string `json:"arch,omitempty" yaml:"arch,omitempty"`
	Release string `json:"release,omitempty" yaml:"release,omitempty"` // as of uname -r, if the format tells
	Size    int64  `json:"size" yaml:"size"`
}

// kernelOf reads the header of a kernel.
func kernelOf(r io.ReaderAt, size int64) *Kernel {
	return &Kernel{Size: size, Arch: uki.KernelArch(r), Release: uki.KernelRelease(r)}
}
