package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is one line of a listing of the cache.
type Entry struct {
	Label    string    `json:"label" yaml:"label"`
	Digest   string    `json:"digest" yaml:"digest"`
	Size     int64     `json:"size" yaml:"size"` // bytes
	Made     time.Time `json:"made" yaml:"made"`
	LastUsed time.Time `json:"lastUsed" yaml:"lastUsed"`

	path string
}

// List returns the entries, the one used last first.
func (c *Cache) List() ([]Entry, error) {
	files, err := os.ReadDir(filepath.Join(c.dir, "refs"))
	if err != nil {
		return nil, fmt.Errorf("listing the cache: %w", err)
	}
	var entries []Entry
	for _, f := range files {
		path := filepath.Join(c.dir, "refs", f.Name())
		info, err := f.Info()
		if err != nil {
			continue // pruned by another process meanwhile
		}
		r, err := c.readRef(path)
		if err != nil {
			r = ref{Label: "(damaged)"}
		}
		entries = append(entries, Entry{r.Label, r.Digest, r.Size, r.Made, info.ModTime(), path})
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		if c := b.LastUsed.Compare(a.LastUsed); c != 0 {
			return c
		}
		return strings.Compare(a.path, b.path)
	})
	return entries, nil
}

// Limits say what Prune keeps.
type Limits struct {
	MaxAge  time.Duration // entries not used for longer go; 0 keeps any age
	MaxSize int64         // bytes of all entries together, the oldest go first; 0 is no limit
	All     bool          // every entry goes
}

// Pruned is what Prune removed.
type Pruned struct {
	Entries int   `json:"entries" yaml:"entries"`
	Bytes   int64 `json:"bytes" yaml:"bytes"`
}

// Prune removes entries beyond the limits, contents that no entry names, and
// files that killed processes left behind.
func (c *Cache) Prune(l Limits) (Pruned, error) {
	unlock, err := c.storing(unix.LOCK_EX)
	if err != nil {
		return Pruned{}, err
	}
	defer unlock()
	entries, err := c.List()
	if err != nil {
		return Pruned{}, err
	}
	var p Pruned
	kept := map[string]bool{}
	var total int64
	for _, e := range entries {
		hex, ok := hexDigest(e.Digest)
		total += e.Size
		switch {
		case !ok, l.All,
			l.MaxAge > 0 && time.Since(e.LastUsed) > l.MaxAge,
			l.MaxSize > 0 && total > l.MaxSize:
			if err := removeIfThere(e.path); err != nil {
				return p, fmt.Errorf("pruning the cache: %w", err)
			}
			p.Entries++
		default:
			kept[hex] = true
		}
	}
	unnamed := func(path string) bool { return !kept[filepath.Base(path)] }
	return p, errors.Join(c.sweep("blobs", &p, unnamed), c.sweep("checked", &p, unnamed), c.sweep("tmp", &p, orphan))
}

// orphan says whether no living process has the file locked.
func orphan(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// sweep removes the files of a directory that drop is true for.
func (c *Cache) sweep(sub string, p *Pruned, drop func(path string) bool) error {
	files, err := os.ReadDir(filepath.Join(c.dir, sub))
	if err != nil {
		return fmt.Errorf("pruning the cache: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(c.dir, sub, f.Name())
		info, err := f.Info()
		if err != nil || !drop(path) {
			continue
		}
		if err := removeIfThere(path); err != nil {
			return fmt.Errorf("pruning the cache: %w", err)
		}
		p.Bytes += info.Size()
	}
	return nil
}
