package vm

import (
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/testkit/guest"
)

// facts are what the probe has seen inside of a machine.
type facts struct {
	files   map[string]string // "0755 12 <sha256>" by path
	links   map[string]string // target by path
	dirs    map[string]string // "0755" by path
	writes  map[string]string // what became of writing to a path
	mounts  map[string]string // "overlay ro,relatime" by path, of the topmost mount
	modules map[string]string // state by name
	kernel  []string          // "1.234567 graft-init: ..."
	errors  []string
}

// probed waits until the probe is done and returns what it said.
func probed(t *testing.T, m *guest.Machine) *facts {
	t.Helper()
	m.WaitFor("probe: done")
	f := &facts{
		files: map[string]string{}, links: map[string]string{}, dirs: map[string]string{},
		writes: map[string]string{}, mounts: map[string]string{}, modules: map[string]string{},
	}
	for _, line := range m.Console() {
		if _, said, ok := strings.Cut(line, "probe: "); ok {
			f.add(said)
		}
	}
	for _, err := range f.errors {
		t.Errorf("the probe says: %s", err)
	}
	return f
}

func (f *facts) add(said string) {
	kind, rest, _ := strings.Cut(said, " ")
	last := strings.LastIndexByte(rest, ' ')
	switch kind {
	case "file":
		f.files[rest[last+1:]] = rest[:last]
	case "link":
		f.links[rest[last+1:]] = rest[:last]
	case "dir":
		f.dirs[rest[last+1:]] = rest[:last]
	case "write":
		path, outcome, _ := strings.Cut(rest, ": ")
		f.writes[path] = outcome
	case "mounted":
		path, how, _ := strings.Cut(rest, " ")
		f.mounts[path] = how
	case "module":
		name, state, _ := strings.Cut(rest, " ")
		f.modules[strings.TrimSuffix(name, ":")] = state
	case "kernel":
		f.kernel = append(f.kernel, rest)
	case "error:", "special":
		f.errors = append(f.errors, said)
	}
}
