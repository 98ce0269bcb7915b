package registry

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// freshness is for how long the time of a blob is not renewed when it is asked
// for.
const freshness = 10 * time.Minute

// commit puts a verified upload into a repository as a blob. When it returns,
// the blob is on the disk and the upload is no more.
func (r repo) commit(s *session, d digest.Digest) error {
	if err := s.Sync(); err != nil {
		return err
	}
	unlock, err := r.lock(r.name)
	if err != nil {
		return err
	}
	defer unlock()
	return r.commitLocked(s, d)
}

// commitLocked is commit for an upload that is on the disk, in a repository that
// the caller has locked.
func (r repo) commitLocked(s *session, d digest.Digest) error {
	if err := r.make(); err != nil {
		return err
	}
	if sameSize(r.store.blobPath(d), s.size) {
		err := r.link(r.store.blobPath(d), d, s.size)
		if err == nil {
			return s.remove()
		}
		if !errors.Is(err, fs.ErrNotExist) { // collected just now
			return err
		}
	}
	// Read-only, since whoever changed it would change it in all repositories.
	if err := errors.Join(s.Chmod(0o444), os.Rename(s.Name(), r.store.blobPath(d))); err != nil {
		return err
	}
	s.sum.n = 0
	err := r.link(r.store.blobPath(d), d, s.size)
	if errors.Is(err, fs.ErrNotExist) { // collected before it had a second link
		err = r.copyBlob(s.File, d)
	}
	return err
}

func sameSize(name string, size int64) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// link gives the repository, which the caller has locked, a blob that is in a
// file of this registry.
func (r repo) link(from string, d digest.Digest, size int64) error {
	to := r.blobPath(d)
	if sameSize(to, size) {
		if err := touch(to); err != nil {
			return err
		}
		return syncDirs(filepath.Dir(to))
	}
	if err := touch(from); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) { // damaged
		return err
	}
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrNotExist) || err == nil {
		return errors.Join(err, syncDirs(filepath.Dir(to)))
	}
	f, oerr := os.Open(from) // no hard links here, or no more of this file
	if oerr != nil {
		return errors.Join(err, oerr)
	}
	defer f.Close()
	return r.copyBlob(f, d)
}

// copyBlob gives the repository a blob of its own.
func (r repo) copyBlob(from *os.File, d digest.Digest) error {
	to := r.blobPath(d)
	temp, err := os.OpenFile(filepath.Join(r.dir, ".blob"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer temp.Close()
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(temp, from); err != nil {
		return err
	}
	if err := errors.Join(temp.Chmod(0o444), temp.Sync(), os.Rename(temp.Name(), to)); err != nil {
		return err
	}
	return syncDirs(filepath.Dir(to))
}

// touch makes a file young again, so that no collection takes it.
func touch(name string) error {
	now := time.Now()
	return os.Chtimes(name, now, now)
}

// mount gives the repository a blob that another one has, or that any has if
// none is named; fs.ErrNotExist if there is none.
func (r repo) mount(from string, d digest.Digest) error {
	source := r.store.blobPath(d)
	if from != "" {
		source = r.repo(from).blobPath(d)
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	unlock, err := r.lock(r.name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.make(); err != nil {
		return err
	}
	return r.link(source, d, info.Size())
}

// openBlob opens a blob of the repository for a client, who may rely on it being
// there when it pushes a manifest soon.
func (r repo) openBlob(d digest.Digest, renew bool) (*os.File, os.FileInfo, error) {
	f, err := os.Open(r.blobPath(d))
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && renew && time.Since(info.ModTime()) > freshness {
		err = r.renew(d)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

func (r repo) renew(d digest.Digest) error {
	unlock, err := r.lock(r.name)
	if err != nil {
		return err
	}
	defer unlock()
	return touch(r.blobPath(d))
}
