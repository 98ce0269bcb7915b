package node

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/graftlinux/graft/internal/format/kmod"
)

// modulesLoadDirs hold lists of modules to load, as systemd-modules-load reads
// them: a file in an earlier directory hides the one of that name in a later one.
// Extensions bring theirs below /usr/local.
var modulesLoadDirs = []string{"etc/modules-load.d", "run/modules-load.d", "usr/local/lib/modules-load.d", "usr/lib/modules-load.d"}

// configuredModules are the modules that somebody wants, whatever the
// hardware: by the words modules_load= of the command line and the files in
// modulesLoadDirs. A file that cannot be read hides no other one.
func configuredModules(root fs.FS, c cmdline) ([]string, error) {
	var names []string
	for _, key := range []string{"modules_load", "modules-load"} {
		for value := range c.values(key) {
			names = append(names, strings.Split(value, ",")...)
		}
	}
	files := map[string]string{}
	for _, dir := range slices.Backward(modulesLoadDirs) {
		entries, err := fs.ReadDir(root, dir)
		if err != nil {
			continue // it is usual for most of them to be missing
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".conf") {
				files[e.Name()] = path.Join(dir, e.Name())
			}
		}
	}
	var failed []error
	for _, base := range slices.Sorted(maps.Keys(files)) {
		listed, err := readModulesLoad(root, files[base])
		if err != nil {
			failed = append(failed, fmt.Errorf("reading the list of modules: %w", err))
		}
		names = append(names, listed...)
	}
	return unique(names), errors.Join(failed...)
}

// unique keeps the first of equal strings and drops empty ones.
func unique(all []string) []string {
	seen := map[string]bool{"": true}
	return slices.DeleteFunc(all, func(s string) bool {
		again := seen[s]
		seen[s] = true
		return again
	})
}

// maxModulesLoad bounds a list of modules, in bytes; real ones have a few lines.
const maxModulesLoad = 1 << 20

func readModulesLoad(root fs.FS, name string) ([]string, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > maxModulesLoad {
		return nil, fmt.Errorf("%s: more than %d bytes, or no file", name, maxModulesLoad)
	}
	var names []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line != "" && line[0] != '#' && line[0] != ';' {
			names = append(names, line)
		}
	}
	return names, lines.Err()
}

// deviceAliases are the aliases by which the devices of the machine ask for
// modules, each once: the files modalias below /sys/devices.
func deviceAliases(sys fs.FS) []string {
	var found []string
	fs.WalkDir(sys, "devices", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // devices come and go
		}
		if e.Name() == "modalias" {
			if data, err := fs.ReadFile(sys, name); err == nil {
				found = append(found, strings.TrimSpace(string(data)))
			}
		}
		return nil
	})
	slices.Sort(found)
	return unique(found)
}

// loader loads modules, each at most once.
type loader struct {
	index *kmod.Index
	// insert gives the kernel the module in a file below /lib/modules/VERSION.
	// A module that is loaded already is no error.
	insert func(l kmod.Load) error
	tried  map[string]error // by path
	loaded []string         // names, in order
}

func newLoader(index *kmod.Index, insert func(kmod.Load) error) *loader {
	return &loader{index: index, insert: insert, tried: map[string]error{}}
}

// load loads what a name or an alias stands for, with all that it needs.
func (l *loader) load(name string) error {
	steps, err := l.index.Resolve(name)
	if err != nil {
		return fmt.Errorf("loading module: %w", err)
	}
	for _, step := range steps {
		err, done := l.tried[step.Path]
		if !done {
			err = l.insert(step)
			l.tried[step.Path] = err
			if err == nil {
				l.loaded = append(l.loaded, step.Name)
			}
		}
		if err != nil && !step.Optional {
			return fmt.Errorf("loading module %s: %w", step.Name, err)
		}
	}
	return nil
}

// maxRounds is how often new devices may show up: a driver of a bus makes
// those on the bus appear. Real machines take three rounds.
const maxRounds = 8

// loadForDevices loads the modules that devices ask for, and those for the
// devices that appear then, until no new ones do. That a device has no module
// is usual, and so is a module that finds no device it likes: many of them
// answer to every processor, and look for themselves.
func (l *loader) loadForDevices(aliases func() []string) error {
	failed := map[string]error{}
	seen := map[string]bool{}
	for range maxRounds {
		fresh := 0
		for _, alias := range aliases() {
			if seen[alias] {
				continue
			}
			seen[alias] = true
			fresh++
			err := l.load(alias)
			if err != nil && !errors.Is(err, kmod.ErrNotFound) && !errors.Is(err, syscall.ENODEV) {
				failed[err.Error()] = err
			}
		}
		if fresh == 0 {
			break
		}
	}
	var all []error
	for _, text := range slices.Sorted(maps.Keys(failed)) {
		all = append(all, failed[text])
	}
	return errors.Join(all...)
}
