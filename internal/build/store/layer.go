package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/graftlinux/graft/internal/tree"
)

// Layer is what one operation added to a file system.
type Layer struct {
	Name string // the digest of its listing, in hex
	dir  string

	list func() ([]Entry, error)
}

// Entry is one name of a layer's listing.
type Entry struct {
	Path string      `json:"p"` // relative, with slashes; "." is the root
	Mode fs.FileMode `json:"m"`
	UID  int         `json:"u,omitempty"`
	GID  int         `json:"g,omitempty"`
	Size int64       `json:"s,omitempty"`
	Sum  string      `json:"h,omitempty"` // of a regular file: SHA-256, hex
	// Target of a symbolic link.
	Target string `json:"t,omitempty"`
	// Hardlink is the first name of a file that has several.
	Hardlink string `json:"l,omitempty"`
	// Opaque hides what lower layers have in the directory.
	Opaque bool `json:"o,omitempty"`
}

// whiteout says whether an entry removes what is below it. Other devices cannot
// come to be: commands run without the right to make them.
func (e *Entry) whiteout() bool { return e.Mode&fs.ModeCharDevice != 0 }

// FS is the directory with the layer's files, as overlayfs wants it.
func (l *Layer) FS() string { return filepath.Join(l.dir, "fs") }

// Entries lists the layer in the order of tree.Walk.
func (l *Layer) Entries() ([]Entry, error) { return l.list() }

// layer finds a layer; fs.ErrNotExist if it is not there.
func (s *Store) layer(name string) (*Layer, error) {
	dir := s.path("layers", name)
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	return newLayer(name, dir), nil
}

func newLayer(name, dir string) *Layer {
	return &Layer{name, dir, sync.OnceValues(func() ([]Entry, error) { return readList(filepath.Join(dir, "list")) })}
}

func readList(file string) ([]Entry, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []Entry
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading %s: %w (graft cache prune --all mends it)", file, err)
	}
	for i := range list {
		for _, text := range list[i].texts() {
			if raw, ok := strings.CutPrefix(*text, notText); ok {
				name, err := base64.StdEncoding.DecodeString(raw)
				if err != nil {
					return nil, fmt.Errorf("reading %s: %w (graft cache prune --all mends it)", file, err)
				}
				*text = string(name)
			}
		}
	}
	return list, nil
}

// notText begins names in listings that are no UTF-8, which JSON cannot carry:
// the rest is base64. No name has a byte of 0.
const notText = "\x00"

// marshalList is the listing as readList reads it.
func marshalList(list []Entry) ([]byte, error) {
	list = slices.Clone(list)
	for i := range list {
		for _, text := range list[i].texts() {
			if !utf8.ValidString(*text) {
				*text = notText + base64.StdEncoding.EncodeToString([]byte(*text))
			}
		}
	}
	return json.Marshal(list)
}

func (e *Entry) texts() []*string { return []*string{&e.Path, &e.Target, &e.Hardlink} }

// Draft is a layer in the making: a directory FS to fill and, on the same file
// system, a directory Work that overlayfs needs.
type Draft struct {
	FS, Work string

	store *Store
	dir   string
	lock  *os.File
}

// Draft begins a layer. The caller must end it with Discard, whatever else
// became of it.
func (s *Store) Draft() (*Draft, error) {
	// Nobody sweeps while a draft is there that has no lock yet.
	making, err := lockFile(context.Background(), s.path("drafts.lock"), exclusive)
	if err != nil {
		return nil, err
	}
	defer making.Close()
	dir, err := os.MkdirTemp(s.path("tmp"), draftPrefix)
	if err != nil {
		return nil, err
	}
	d := &Draft{FS: filepath.Join(dir, "fs"), Work: filepath.Join(dir, "work"), store: s, dir: dir}
	if d.lock, err = tryLock(filepath.Join(dir, "lock"), exclusive); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	err = errors.Join(os.Mkdir(d.FS, 0o755), os.Mkdir(d.Work, 0o755), os.Chmod(d.FS, 0o755))
	if err != nil {
		d.Discard()
		return nil, err
	}
	return d, nil
}

// What is in tmp begins with one of these.
const (
	draftPrefix  = "layer-"
	resultPrefix = "result-"
)

// sweepDrafts removes drafts, of layers and results, whose process is gone.
func (s *Store) sweepDrafts() error {
	sweeping, err := lockFile(context.Background(), s.path("drafts.lock"), exclusive)
	if err != nil {
		return err
	}
	defer sweeping.Close()
	drafts, err := filepath.Glob(s.path("tmp", draftPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range drafts {
		lock, err := tryLock(filepath.Join(dir, "lock"), exclusive)
		if err != nil {
			continue // somebody works on it
		}
		_ = removeAll(dir) // the next one tries again
		lock.Close()
	}
	results, err := filepath.Glob(s.path("tmp", resultPrefix+"*"))
	for _, file := range results {
		_ = os.Remove(file) // as above
	}
	return err
}

// Discard removes what is left of the draft.
func (d *Draft) Discard() {
	_ = removeAll(d.dir) // Prune tries again
	d.lock.Close()
}

// Commit reads what is in the draft and makes it a layer. It returns nil for a
// draft that holds nothing.
func (d *Draft) Commit(ctx context.Context) (*Layer, error) {
	list, err := scan(ctx, d.FS)
	if err != nil {
		return nil, fmt.Errorf("reading the new layer: %w", err)
	}
	return d.CommitList(list)
}

// CommitList makes the draft a layer whose listing is known.
func (d *Draft) CommitList(list []Entry) (*Layer, error) {
	if len(list) <= 1 && !(len(list) == 1 && list[0].Opaque) {
		return nil, nil
	}
	data, err := marshalList(list)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	dir := d.store.path("layers", name)
	if d.store.reusable(dir) {
		return newLayer(name, dir), nil
	}
	if err := d.store.soil(); err != nil {
		return nil, err
	}
	final := filepath.Join(d.dir, "layer")
	err = errors.Join(os.Mkdir(final, 0o700),
		os.WriteFile(filepath.Join(final, "list"), data, 0o600),
		os.WriteFile(filepath.Join(final, "boot"), []byte(d.store.boot), 0o600),
		rename(d.FS, filepath.Join(final, "fs")))
	if err != nil {
		return nil, err
	}
	// What a power failure may have damaged makes room.
	if err := os.Rename(dir, filepath.Join(d.dir, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.Rename(final, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, other := os.Stat(dir); other != nil {
			return nil, err
		}
	}
	return newLayer(name, dir), nil
}

// reusable says whether a layer is there, and whole.
func (s *Store) reusable(dir string) bool {
	boot, err := os.ReadFile(filepath.Join(dir, "boot"))
	return err == nil && s.durable(string(boot))
}

// rename moves a directory, which needs the right to write into it, even where
// its own mode denies that: its ".." changes.
func rename(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.Chmod(from, 0o700); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return os.Chmod(to, info.Mode()&modeBits)
}

const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// file is content in a layer, whose sum is known.
type file struct{ path string }

// Open implements tree.Content.
func (f file) Open() (tree.Reader, error) { return os.Open(f.path) }
