package store

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// Layers are not written to disk one by one: that would cost more than most
// commands. So after a power failure some may be damaged. What was made since the
// machine started is in memory, and good. What was made before it started is good
// if the last build then had time to write everything: it left a mark.

// bootID names the time since the machine started; "" where the system has no
// such name, and then everything counts as good.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (s *Store) mark(boot string) string { return s.path("synced", boot) }

// durable says whether a result that was made in some boot can be relied on.
func (s *Store) durable(boot string) bool {
	if boot == "" || boot == s.boot {
		return true
	}
	_, err := os.Stat(s.mark(boot))
	return err == nil
}

// soil takes the mark away before something new is written.
func (s *Store) soil() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.soiled || s.boot == "" {
		return nil
	}
	if err := os.Remove(s.mark(s.boot)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.soiled = true
	return nil
}

// settle writes everything to disk and leaves the mark, unless somebody else
// still works: then that is left to the last one.
func (s *Store) settle() error {
	if s.boot == "" || !upgrade(s.use) {
		return nil
	}
	if _, err := os.Stat(s.mark(s.boot)); err == nil {
		return nil
	}
	if err := syncFileSystem(s.use); err != nil {
		return err
	}
	f, err := os.Create(s.mark(s.boot))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
