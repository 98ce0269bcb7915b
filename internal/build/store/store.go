// Package store keeps the file systems of builds: layers, which are directories
// on disk named by their content, and results, which say what layers a key
// stands for.
//
// A layer is what one operation adds to a file system, in the form of overlayfs'
// upper directories: a character device 0:0 removes what is below it, a directory
// with the attribute user.overlay.opaque hides it. Layers never change, so they
// are mounted where they are, and files that one layer has from another are hard
// links. A layer's name is the digest of its listing: types, modes, owners and
// contents of all its entries, but not their times, so that a command that makes
// the same files again makes the same layer.
//
// Several processes may use a store at a time. A layer appears by rename. Who
// makes one holds the lock of its key, and whoever wants it, too, waits. All
// users hold the store's lock shared, Prune has it alone.
//
//	build/layers/<digest>/fs      the files
//	build/layers/<digest>/list    the listing, JSON
//	build/layers/<digest>/boot    when the machine had started that made it
//	build/results/<key>           the digests of the layers, JSON
//	build/mounts/<id>             directories that persist between commands
//	build/locks/<key>             held while a result is made
//	build/tmp/                    in the making
//	build/synced/<boot>           everything made in that boot is on disk
package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Store is a directory of layers and results.
type Store struct {
	dir  string
	use  *os.File // holds the store's lock
	boot string

	mu     sync.Mutex
	soiled bool // something was written since the last mark
}

// Open makes a directory ready for use. It waits while the store is pruned.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir) // sandboxes have another working directory
	if err != nil {
		return nil, fmt.Errorf("opening the build cache: %w", err)
	}
	s := &Store{dir: dir, boot: bootID()}
	for _, sub := range []string{"layers", "results", "mounts", "locks", "tmp", "synced"} {
		// The layers have set-uid programs in them, which are nobody else's to run.
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("opening the build cache: %w", err)
		}
	}
	if s.use, err = lockFile(context.Background(), filepath.Join(dir, "lock"), shared); err != nil {
		return nil, fmt.Errorf("opening the build cache: %w", err)
	}
	if err := s.sweepDrafts(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the build cache: %w", err), s.use.Close())
	}
	return s, nil
}

// Close gives the store back. Trees of its layers must not be read after.
func (s *Store) Close() error { return errors.Join(s.settle(), s.use.Close()) }

// Dir is where the store is.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// Key is the name of a result: the SHA-256 of all that it depends on.
type Key string

// KeyOf makes a key. The parts are kept apart, so {"ab"} and {"a", "b"} differ.
func KeyOf(parts ...string) Key {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return Key(hex.EncodeToString(h.Sum(nil)))
}

// Stack is a file system: layers, the lowest first.
type Stack []*Layer

// Names lists the digests of the layers.
func (s Stack) Names() []string {
	names := make([]string, len(s))
	for i, l := range s {
		names[i] = l.Name
	}
	return names
}

// result is the content of a file in results/.
type result struct {
	Label  string   `json:"label"`
	Layers []string `json:"layers"`
	Boot   string   `json:"boot,omitempty"` // see durable
}

// Result returns what a key stands for; fs.ErrNotExist if that is not known, or
// a layer of it is gone.
func (s *Store) Result(key Key) (Stack, error) {
	file := s.path("results", string(key))
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r result
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("reading %s: %w: it is damaged", file, fs.ErrNotExist)
	}
	if !s.durable(r.Boot) {
		return nil, fmt.Errorf("%s was made shortly before the machine stopped: %w", r.Label, fs.ErrNotExist)
	}
	stack := Stack{}
	for _, name := range r.Layers {
		l, err := s.layer(name)
		if err != nil {
			return nil, err
		}
		stack = append(stack, l)
	}
	now := time.Now()
	_ = os.Chtimes(file, now, now) // only Prune looks at it
	return stack, nil
}

// SetResult says what a key stands for. The label is for people who list the
// store.
func (s *Store) SetResult(key Key, label string, stack Stack) error {
	data, err := json.Marshal(result{label, stack.Names(), s.boot})
	if err := errors.Join(err, s.soil()); err != nil {
		return err
	}
	// Nobody sweeps meanwhile, so what sweepDrafts finds is of a process that is gone.
	making, err := lockFile(context.Background(), s.path("drafts.lock"), exclusive)
	if err != nil {
		return err
	}
	defer making.Close()
	tmp, err := os.CreateTemp(s.path("tmp"), resultPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), s.path("results", string(key)))
}

// Lock waits until nobody else makes the result of a key.
func (s *Store) Lock(ctx context.Context, key Key) (unlock func(), err error) {
	f, err := lockFile(ctx, s.path("locks", string(key)), exclusive)
	if err != nil {
		return nil, fmt.Errorf("waiting for another build: %w", err)
	}
	return func() { f.Close() }, nil
}

// Mount is the directory that persists under an ID between commands.
func (s *Store) Mount(id string) (string, error) {
	dir := s.path("mounts", string(KeyOf(id)))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// What the commands of any build see of it, whatever the umask here.
	return dir, os.Chmod(dir, 0o755)
}

// RemoveMount removes such a directory.
func (s *Store) RemoveMount(id string) error {
	return removeAll(s.path("mounts", string(KeyOf(id))))
}
