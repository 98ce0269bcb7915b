package registry

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// ErrNoRegistry says that a directory holds no registry, or one of a format that
// this version does not know.
var ErrNoRegistry = errors.New("not a directory of a graft registry")

const (
	formatFile = "format"
	formatText = "graft registry 1\n"
)

// lockCount is the number of locks that repositories share.
const lockCount = 64

// store is the directory.
type store struct {
	dir     string
	locks   [lockCount]sync.Mutex // so that one goroutine of each lock waits for other processes
	hashes  hashes
	indexes indexes
	parsing chan struct{} // a token for each index or manifest that is being parsed
	synced  sync.Map      // names of repositories whose directories this process has synced
}

func newStore(dir string) *store {
	return &store{dir: dir, parsing: make(chan struct{}, maxParsing)}
}

func (st *store) close() { st.indexes.close() }

// existing opens the directory of a registry, and changes nothing in it.
func existing(dir string) (*store, error) {
	text, err := os.ReadFile(filepath.Join(dir, formatFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || err == nil && string(text) != formatText {
		return nil, fmt.Errorf("opening the registry %s: %w", dir, ErrNoRegistry)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the registry: %w", err)
	}
	return newStore(dir), nil
}

// create opens the directory of a registry, or makes one of an empty directory.
func create(dir string) (*store, error) {
	if st, err := existing(dir); !errors.Is(err, ErrNoRegistry) {
		return st, err
	}
	st := newStore(dir)
	if err := st.make(); err != nil {
		return nil, fmt.Errorf("making the registry %s: %w", dir, err)
	}
	return st, nil
}

// make lays the directory out. The file that says that it is a registry comes
// last, so that what was interrupted is made again.
func (st *store) make() error {
	if err := os.MkdirAll(st.dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(st.dir)
	if err != nil {
		return err
	}
	ours := map[string]bool{"blobs": true, "repositories": true, "uploads": true, "locks": true, "." + formatFile: true, "lost+found": true}
	for _, e := range entries {
		if !ours[e.Name()] {
			return fmt.Errorf("%s is in it: %w", e.Name(), ErrNoRegistry)
		}
	}
	for _, sub := range []string{"blobs/sha256", "blobs/sha512", "repositories", "uploads", "locks"} {
		if err := os.MkdirAll(st.path(sub), 0o755); err != nil {
			return err
		}
	}
	if err := syncDirs(st.path("blobs"), st.dir, filepath.Dir(filepath.Clean(st.dir))); err != nil {
		return err
	}
	return writeFile(st.path(formatFile), []byte(formatText))
}

// writable finds out whether files can be made where pushes make them.
func (st *store) writable() error {
	for _, sub := range []string{"blobs/sha256", "repositories", "uploads", "locks"} {
		f, err := os.CreateTemp(st.path(sub), ".writable-*")
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (st *store) path(elem ...string) string {
	return filepath.Join(st.dir, filepath.Join(elem...))
}

// repositories are the names of all repositories, in order.
func (st *store) repositories() ([]string, error) {
	entries, err := os.ReadDir(st.path("repositories"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name := strings.ReplaceAll(e.Name(), "+", "/"); validName(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// lock waits until no other goroutine or process changes the repository.
func (st *store) lock(name string) (unlock func(), err error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	n := h.Sum32() % lockCount
	st.locks[n].Lock()
	f, err := os.OpenFile(st.path("locks", strconv.Itoa(int(n))), os.O_CREATE|os.O_RDWR, 0o644)
	if err == nil {
		err = flock(f, unix.LOCK_EX)
	}
	if err != nil {
		st.locks[n].Unlock()
		return nil, err
	}
	return func() {
		_ = f.Close() // which unlocks it
		st.locks[n].Unlock()
	}, nil
}

// flock locks a file until it is closed.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// repo is a repository that may or may not exist.
type repo struct {
	*store
	name string
	dir  string
}

func (st *store) repo(name string) repo {
	return repo{st, name, st.path("repositories", strings.ReplaceAll(name, "/", "+"))}
}

func (r repo) exists() bool {
	_, err := os.Stat(r.indexPath())
	return err == nil
}

func (r repo) blobPath(d digest.Digest) string {
	return filepath.Join(r.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func (st *store) blobPath(d digest.Digest) string {
	return st.path("blobs", d.Algorithm().String(), d.Encoded())
}

// make makes the directories of the repository, which the caller has locked, and
// sees to it that they are on the disk.
func (r repo) make() error {
	if _, done := r.synced.Load(r.name); done && r.exists() {
		return nil
	}
	blobs := filepath.Join(r.dir, "blobs")
	for _, dir := range []string{filepath.Join(blobs, "sha256"), filepath.Join(blobs, "sha512")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := writeFile(filepath.Join(r.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if !r.exists() {
		if err := r.writeIndex(nil); err != nil {
			return err
		}
	}
	if err := syncDirs(blobs, r.dir, filepath.Dir(r.dir)); err != nil {
		return err
	}
	r.synced.Store(r.name, true)
	return nil
}

// writeFile replaces a file, and returns when that is on the disk. Of those who
// write the same file one at a time may be at it.
func writeFile(name string, data []byte) error {
	temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name))
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	return syncDirs(filepath.Dir(name))
}

// syncDirs brings the names in directories to the disk.
func syncDirs(dirs ...string) error {
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		err = d.Sync()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
			err = nil // this file system syncs no directories
		}
		if err := errors.Join(err, d.Close()); err != nil {
			return err
		}
	}
	return nil
}
