package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/extension"
)

// moduleFiles lists the base's modules; there may be none.
func moduleFiles() ([]string, error) {
	entries, err := os.ReadDir(ModuleDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing kernel modules: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".ko") {
			return nil, advise(fmt.Errorf("listing kernel modules: %s/%s is no .ko file", ModuleDir, e.Name()),
				"the base must bring modules that are not compressed, and nothing else, in "+ModuleDir)
		}
		names = append(names, e.Name())
	}
	return names, nil
}

// gather finds out what a plan depends on. Modules are loaded by then, so that
// the kernel shows what it can do.
func gather() (Facts, error) {
	f := Facts{Firmware: firmware(), Extra: isDir(extraDir), LowerdirAdd: hasLowerdirAdd()}
	var err error
	if f.Files, err = rootFiles(); err != nil {
		return f, err
	}
	f.Extensions, err = readConfig()
	return f, err
}

func rootFiles() ([]string, error) {
	entries, err := os.ReadDir("/")
	if err != nil {
		return nil, fmt.Errorf("listing the initramfs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// readConfig returns nil if there is no extensions.yaml.
func readConfig() (*extension.Config, error) {
	info, err := os.Stat(configFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var data []byte
	switch {
	case err != nil:
		return nil, err
	case info.Size() > extension.MaxConfigSize:
		return nil, advise(fmt.Errorf("%s has %d bytes, more than the %d that are allowed", configFile, info.Size(), extension.MaxConfigSize), remake)
	}
	if data, err = os.ReadFile(configFile); err != nil {
		return nil, err
	}
	c, err := extension.ParseConfig(data)
	return &c, advise(err, remake)
}

// firmware finds directories by their real names, which are those that are
// kept when the initramfs is freed.
func firmware() []string {
	var found []string
	for _, dir := range firmwareDirs {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil || slices.Contains(found, real) {
			continue
		}
		if entries, _ := os.ReadDir(real); len(entries) > 0 {
			found = append(found, real)
		}
	}
	return found
}

func isDir(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.IsDir()
}

// hasLowerdirAdd asks the kernel's overlay, if there is one, for the option.
// Before Linux 6.5 overlay took any option at first and looked at it later: a
// yes counts only from one that can say no.
func hasLowerdirAdd() bool {
	return takesOption("lowerdir+") && !takesOption("no-such-option")
}

func takesOption(key string) bool {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fs)
	return unix.FsconfigSetString(fs, key, "/") == nil
}
