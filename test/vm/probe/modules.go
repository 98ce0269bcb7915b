//go:build linux

package main

import (
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// loadModules loads the modules that the kernel's command line names
// (probe.modules=a,b), with those that modules.dep says they need.
func loadModules() error {
	names, err := wantedModules()
	if err != nil || len(names) == 0 {
		return err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	dir := path.Join("/lib/modules", unix.ByteSliceToString(u.Release[:]))
	dep, err := readDep(path.Join(dir, "modules.dep"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := load(dir, dep, name); err != nil {
			say("module %s: %v", name, err)
		}
	}
	return listModules(names)
}

func wantedModules() ([]string, error) {
	data, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	for word := range strings.FieldsSeq(string(data)) {
		if list, ok := strings.CutPrefix(word, "probe.modules="); ok {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}

// readDep reads modules.dep (modules.dep(5)): a module, then what it needs, the
// last of which is to be loaded first. The key of the map is a module's name.
func readDep(file string) (map[string][]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	dep := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		file, needs, _ := strings.Cut(line, ":")
		name := strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
		dep[name] = append([]string{file}, strings.Fields(needs)...)
	}
	return dep, nil
}

func load(dir string, dep map[string][]string, name string) error {
	files := dep[name]
	if files == nil {
		return fmt.Errorf("not in modules.dep")
	}
	for i := len(files) - 1; i >= 0; i-- {
		f, err := os.Open(path.Join(dir, files[i]))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("loading %s: %w", files[i], err)
		}
	}
	return nil
}

// listModules says in which state the kernel has the modules.
func listModules(names []string) error {
	data, err := os.ReadFile("/proc/modules")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		for _, name := range names {
			if fields[0] == name {
				say("module %s %s", name, fields[4])
			}
		}
	}
	return nil
}
