package store

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Limits say what Prune keeps.
type Limits struct {
	MaxAge  time.Duration // results not used for longer go; 0 keeps any age
	MaxSize int64         // bytes of all layers together, the oldest results go first; 0 is no limit
	All     bool          // everything goes, the directories that persist, too
}

// Use is one line of a listing of the store: a result.
type Use struct {
	Label    string
	Digest   string // of the layer that it added: "sha256:" and hex
	Size     int64  // bytes of that layer
	LastUsed time.Time

	file   string
	layers []string
}

// ErrInUse says that a build runs, so nothing can be pruned.
var ErrInUse = errors.New("a build is running")

// List returns the results in a directory, the one used last first. No store
// is made if there is none.
func List(dir string) ([]Use, error) {
	files, err := os.ReadDir(filepath.Join(dir, "results"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var uses []Use
	sizes := map[string]int64{}
	for _, f := range files {
		if u, ok := readUse(dir, f, sizes); ok {
			uses = append(uses, u)
		}
	}
	slices.SortFunc(uses, func(a, b Use) int { return b.LastUsed.Compare(a.LastUsed) })
	return uses, nil
}

func readUse(dir string, f fs.DirEntry, sizes map[string]int64) (Use, bool) {
	info, err := f.Info()
	if err != nil {
		return Use{}, false
	}
	u := Use{file: filepath.Join(dir, "results", f.Name()), LastUsed: info.ModTime()}
	data, err := os.ReadFile(u.file)
	var r result
	if err != nil || json.Unmarshal(data, &r) != nil {
		return Use{}, false
	}
	u.Label, u.layers = r.Label, r.Layers
	if n := len(r.Layers); n > 0 {
		u.Digest, u.Size = "sha256:"+r.Layers[n-1], layerSize(dir, r.Layers[n-1], sizes)
	}
	return u, true
}

// layerSize is the bytes of a layer's files; what it shares with other layers
// is counted for each.
func layerSize(dir, name string, sizes map[string]int64) int64 {
	if n, ok := sizes[name]; ok {
		return n
	}
	list, err := readList(filepath.Join(dir, "layers", name, "list"))
	if err != nil {
		return 0
	}
	n := int64(0)
	for _, e := range list {
		if e.Hardlink == "" {
			n += e.Size
		}
	}
	sizes[name] = n
	return n
}

// Prune removes results beyond the limits, layers that no result needs, and
// what killed processes left. While a build runs it does nothing and returns
// ErrInUse.
func Prune(dir string, l Limits) (results int, bytes int64, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	lock, err := tryLock(filepath.Join(dir, "lock"), exclusive)
	if errors.Is(err, errBusy) {
		return 0, 0, ErrInUse
	}
	if err != nil {
		return 0, 0, err
	}
	defer lock.Close()
	uses, err := List(dir)
	if err != nil {
		return 0, 0, err
	}
	keep := map[string]bool{}
	total := int64(0)
	for _, u := range uses {
		fresh := newSize(dir, u.layers, keep)
		if l.All || l.MaxAge > 0 && time.Since(u.LastUsed) > l.MaxAge || l.MaxSize > 0 && total+fresh > l.MaxSize {
			results++
			if err := os.Remove(u.file); err != nil {
				return results, bytes, err
			}
			continue
		}
		total += fresh
		for _, name := range u.layers {
			keep[name] = true
		}
	}
	bytes, err = sweep(dir, keep, l.All)
	return results, bytes, err
}

// newSize is the bytes of those layers that are not kept yet.
func newSize(dir string, layers []string, keep map[string]bool) int64 {
	n, sizes := int64(0), map[string]int64{}
	for _, name := range layers {
		if !keep[name] {
			n += layerSize(dir, name, sizes)
		}
	}
	return n
}

// sweep removes layers that are not kept, and everything that only a running
// build needs.
func sweep(dir string, keep map[string]bool, all bool) (int64, error) {
	layers, err := os.ReadDir(filepath.Join(dir, "layers"))
	if err != nil {
		return 0, err
	}
	bytes, sizes := int64(0), map[string]int64{}
	for _, l := range layers {
		if keep[l.Name()] {
			continue
		}
		bytes += layerSize(dir, l.Name(), sizes)
		if err := removeAll(filepath.Join(dir, "layers", l.Name())); err != nil {
			return bytes, err
		}
	}
	subs := []string{"tmp", "locks"}
	if all {
		subs = append(subs, "mounts")
	}
	for _, sub := range subs {
		err := errors.Join(removeAll(filepath.Join(dir, sub)), os.Mkdir(filepath.Join(dir, sub), 0o700))
		if err != nil {
			return bytes, err
		}
	}
	return bytes, nil
}
