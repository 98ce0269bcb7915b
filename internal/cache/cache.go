// Package cache keeps what was costly to make: squashfs layers, compressed
// archives, facts about extensions. An entry is found by a key, which spells
// out everything that its content depends on; the content is a file named by
// its own SHA-256 and is verified each time it is handed out. One that is large
// and was not touched since it was verified is verified once a day.
//
// Several processes may use one cache at the same time. Files appear by
// rename, so a process that is killed leaves at worst a file in tmp, which
// Prune removes once its owner is gone. Two that want the same entry wait for
// one to make it. Whoever holds an open Blob can read it even if it is pruned
// meanwhile.
//
//	v1/refs/<sha256 of the key>   which blob a key stands for (JSON)
//	v1/blobs/<sha256>             contents
//	v1/checked/<sha256>           state of the file when its content was last verified
//	v1/locks/<sha256 of the key>  held while an entry is made
//	v1/tmp/                       files in the making
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Cache is a directory of entries.
type Cache struct{ dir string }

// DefaultDir is graft's directory in the user's cache directory: below
// $XDG_CACHE_HOME or ~/.cache on Linux.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w (set XDG_CACHE_HOME or use --cache-dir)", err)
	}
	return filepath.Join(dir, "graft"), nil
}

// Open makes the directory ready for use.
func Open(dir string) (*Cache, error) {
	c := &Cache{dir: filepath.Join(dir, "v1")}
	for _, sub := range []string{"refs", "blobs", "checked", "locks", "tmp"} {
		if err := os.MkdirAll(filepath.Join(c.dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("opening the cache: %w", err)
		}
	}
	if err := tag(dir); err != nil {
		return nil, fmt.Errorf("opening the cache: %w", err)
	}
	return c, nil
}

// TagName is a file that says that its directory is a cache, to programs that
// copy or search directories (the Cache Directory Tagging Specification).
const TagName = "CACHEDIR.TAG"

func tag(dir string) error {
	name := filepath.Join(dir, TagName)
	if _, err := os.Lstat(name); err == nil {
		return nil
	}
	return os.WriteFile(name, []byte("Signature: 8a477f597d28d172789f06886806bc55\n# This is a cache of graft. It may be removed.\n"), 0o644)
}

// Existing opens a cache that is there, for looking at it; fs.ErrNotExist if
// there is none.
func Existing(dir string) (*Cache, error) {
	if _, err := os.Stat(filepath.Join(dir, "v1", "refs")); err != nil {
		return nil, fmt.Errorf("opening the cache: %w", err)
	}
	return Open(dir)
}

// TempDir is for files that are unlinked at once, on the file system of the cache.
func (c *Cache) TempDir() string { return filepath.Join(c.dir, "tmp") }

// Blob is the content of an entry, open for reading.
type Blob struct {
	*os.File
	Digest string // "sha256:" and hex
	Size   int64

	check *unverified // nil if it is known to be what its digest says
}

// ref is the file in refs.
type ref struct {
	Key    string    `json:"key"`
	Label  string    `json:"label"`
	Digest string    `json:"digest"`
	Size   int64     `json:"size"`
	Made   time.Time `json:"made"`
}

// Get returns the content for a key, or an error that is fs.ErrNotExist. An
// entry whose content is damaged counts as absent, and is removed.
func (c *Cache) Get(key string) (*Blob, error) { return c.get(key, c.openBlob) }

func (c *Cache) get(key string, open func(ref) (*Blob, error)) (*Blob, error) {
	r, err := c.readRef(c.refPath(key))
	if err != nil {
		return nil, fmt.Errorf("looking up %q in the cache: %w", key, err)
	}
	b, err := open(r)
	if err != nil {
		_ = os.Remove(c.refPath(key)) // as good as absent; if it stays, the next reader finds the same
		return nil, fmt.Errorf("looking up %q in the cache: %w", key, err)
	}
	now := time.Now()
	_ = os.Chtimes(c.refPath(key), now, now) // last used, for Prune; a read-only cache has none
	return b, nil
}

// Make returns the content for a key, and calls fill to write it if there is
// none yet. The label is for people who list the cache. While fill runs,
// others that want the same key wait.
func (c *Cache) Make(ctx context.Context, key, label string, fill func(*os.File) error) (*Blob, error) {
	return c.make(ctx, key, label, fill, c.openBlob)
}

func (c *Cache) make(ctx context.Context, key, label string, fill func(*os.File) error, open func(ref) (*Blob, error)) (*Blob, error) {
	if b, err := c.get(key, open); err == nil {
		return b, nil
	}
	unlock, err := c.lock(ctx, key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if b, err := c.get(key, open); err == nil { // somebody made it while we waited
		return b, nil
	}
	return c.put(key, label, fill)
}

// Scratch makes a file that is in no entry, and gone when it is closed.
func (c *Cache) Scratch(fill func(*os.File) error) (*Blob, error) {
	f, err := c.tempFile()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(f.Name()), fill(f)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	digest, size, err := hashFile(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a scratch file: %w", err), f.Close())
	}
	return &Blob{File: f, Digest: "sha256:" + digest, Size: size}, nil
}

// File is a file of the user's as a Blob, read where it is.
func File(name string) (*Blob, error) {
	if info, err := os.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %s: it is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	digest, size, err := hashFile(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Blob{File: f, Digest: "sha256:" + digest, Size: size}, nil
}

func (c *Cache) put(key, label string, fill func(*os.File) error) (*Blob, error) {
	f, err := c.tempFile()
	if err != nil {
		return nil, err
	}
	b, err := c.fill(f, key, label, fill)
	if err != nil {
		return nil, errors.Join(err, removeIfThere(f.Name()), f.Close())
	}
	return b, nil
}

func (c *Cache) fill(f *os.File, key, label string, fill func(*os.File) error) (*Blob, error) {
	if err := fill(f); err != nil {
		return nil, err
	}
	digest, size, err := hashFile(f)
	if err != nil {
		return nil, fmt.Errorf("storing %s in the cache: %w", label, err)
	}
	unlock, err := c.storing(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := os.Rename(f.Name(), c.blobPath(digest)); err != nil {
		return nil, fmt.Errorf("storing %s in the cache: %w", label, err)
	}
	r := ref{Key: key, Label: label, Digest: "sha256:" + digest, Size: size, Made: time.Now().UTC()}
	if err := c.writeRef(r); err != nil {
		return nil, fmt.Errorf("storing %s in the cache: %w", label, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return &Blob{File: f, Digest: r.Digest, Size: size}, nil
}

// tempFile makes a file in tmp that is locked as long as this process has it
// open, so that Prune can tell it from an orphan.
func (c *Cache) tempFile() (*os.File, error) {
	f, err := os.CreateTemp(c.TempDir(), "new-*")
	if err != nil {
		return nil, fmt.Errorf("making a file in the cache: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
		return nil, errors.Join(fmt.Errorf("locking a file in the cache: %w", err), os.Remove(f.Name()), f.Close())
	}
	return f, nil
}

func (c *Cache) writeRef(r ref) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := c.tempFile()
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = os.Rename(f.Name(), c.refPath(r.Key))
	}
	if err != nil {
		return errors.Join(err, removeIfThere(f.Name()), f.Close())
	}
	return f.Close()
}

const maxRefSize = 64 << 10

func (c *Cache) readRef(path string) (ref, error) {
	var r ref
	f, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRefSize))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%w: its entry is damaged: %w", fs.ErrNotExist, err)
	}
	return r, nil
}

// openBlob opens and verifies the content of an entry.
func (c *Cache) openBlob(r ref) (*Blob, error) {
	want, ok := hexDigest(r.Digest)
	if !ok {
		return nil, fmt.Errorf("%w: its entry is damaged", fs.ErrNotExist)
	}
	f, err := os.Open(c.blobPath(want))
	if err != nil {
		return nil, err
	}
	got, size, err := hashFile(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if got != want {
		return nil, errors.Join(fmt.Errorf("%w: its content is damaged", fs.ErrNotExist), os.Remove(f.Name()), f.Close())
	}
	return &Blob{File: f, Digest: r.Digest, Size: size}, nil
}

// hexDigest takes the hex digits out of a "sha256:…" digest.
func hexDigest(digest string) (string, bool) {
	const prefix = "sha256:"
	if len(digest) != len(prefix)+64 || digest[:len(prefix)] != prefix {
		return "", false
	}
	if _, err := hex.DecodeString(digest[len(prefix):]); err != nil {
		return "", false
	}
	return digest[len(prefix):], true
}

// hashFile reads a file from its start and leaves it there.
func hashFile(f *os.File) (digest string, size int64, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	h := sha256.New()
	size, err = io.CopyBuffer(h, io.LimitReader(f, 1<<62), make([]byte, 256<<10))
	if err != nil {
		return "", 0, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

func (c *Cache) refPath(key string) string  { return filepath.Join(c.dir, "refs", hashKey(key)) }
func (c *Cache) blobPath(hex string) string { return filepath.Join(c.dir, "blobs", hex) }

func hashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// storing is held, shared, while a content and its entry appear, and alone by
// Prune, which would take a content without an entry for garbage.
func (c *Cache) storing(how int) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, "locks", "storing"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the cache: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking the cache: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// lockPoll is how often a waiting process looks again: short against the
// seconds that making a layer takes.
const lockPoll = 20 * time.Millisecond

// lock waits for the exclusive right to make an entry. The kernel drops the
// lock of a process that dies.
func (c *Cache) lock(ctx context.Context, key string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, "locks", hashKey(key)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking an entry of the cache: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking an entry of the cache: %w", err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(lockPoll):
		}
	}
}
