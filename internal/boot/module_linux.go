package boot

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func (s LoadModule) run(m *machine) error {
	f, err := os.Open(s.File)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	switch {
	case errors.Is(err, unix.EEXIST): // loaded already, or built in
		return nil
	case errors.Is(err, unix.ENODEV):
		m.log.debug("module " + s.File + " finds no device to drive")
		return nil
	case errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.EKEYREJECTED):
		return advise(err, "the modules in "+ModuleDir+" must be those of this kernel: take kernel and initramfs from the same base")
	case errors.Is(err, unix.ENOENT):
		return advise(err, "a module that this one needs must come before it, by name, in "+ModuleDir)
	}
	return err
}
