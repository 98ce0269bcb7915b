package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/format/kmod"
)

// modulesRoot holds a directory per kernel release.
const modulesRoot = "/usr/lib/modules"

// loadModules loads what somebody has configured, then what the hardware asks
// for.
func (m *machine) loadModules(context.Context) error {
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	dir := filepath.Join(modulesRoot, release)
	index, err := kmod.LoadIndex(os.DirFS(dir))
	if err != nil {
		return err
	}
	l := newLoader(index, func(step kmod.Load) error {
		return insertModule(filepath.Join(dir, step.Path), m.cmdline.moduleParameters(step.Name))
	})
	names, err := configuredModules(os.DirFS("/"), m.cmdline)
	failed := []error{err}
	for _, name := range names {
		failed = append(failed, l.load(name))
	}
	failed = append(failed, l.loadForDevices(func() []string { return deviceAliases(os.DirFS("/sys")) }))
	if len(l.loaded) > 0 {
		m.log.Info("loaded modules " + strings.Join(l.loaded, ", "))
	}
	return errors.Join(failed...)
}

func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("asking for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// insertModule gives the kernel a module. A compressed one is for the kernel to
// decompress (Linux 5.17 and newer, CONFIG_MODULE_DECOMPRESS).
func insertModule(file, parameters string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(file, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.FinitModule(int(f.Fd()), parameters, flags)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
