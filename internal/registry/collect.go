package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// CollectOptions say what is garbage.
type CollectOptions struct {
	// Before is how old garbage is at least: what was pushed, mounted or asked for
	// later may be part of a push that is under way.
	Before time.Time

	// Untagged takes manifests, too, that no tag leads to: neither itself, nor
	// through an index, nor by referring to one that a tag leads to.
	Untagged bool

	// Lists, if not nil, says which images, digests of them, a tagged one lists
	// without an index, as a catalog does. With Untagged these stay, with what
	// belongs to them, in whichever repository they are. layout is the OCI layout
	// that the image is in. If it cannot tell, no manifest is removed.
	Lists func(ctx context.Context, layout string, i Image) ([]string, error)

	// DryRun removes nothing.
	DryRun bool
}

// Collected is what a collection removed, or would.
type Collected struct {
	Manifests    int   `json:"manifests" yaml:"manifests"`
	Blobs        int   `json:"blobs" yaml:"blobs"` // links to them: the same blob in two repositories is two
	Uploads      int   `json:"uploads" yaml:"uploads"`
	Repositories int   `json:"repositories" yaml:"repositories"` // those that were empty
	Bytes        int64 `json:"bytes" yaml:"bytes"`               // freed on the disk
	Listed       int   `json:"listed" yaml:"listed"`             // manifests that stay for the sake of Lists alone
}

// Collect removes garbage from the registry in a directory. Servers may be
// running on it. A repository that cannot be understood is left as it is, and
// is part of the error; the others are collected all the same.
func Collect(ctx context.Context, dir string, opts CollectOptions) (Collected, error) {
	st, err := existing(dir)
	if err != nil {
		return Collected{}, err
	}
	defer st.close()
	c := &collection{store: st, CollectOptions: opts, gone: map[digest.Digest]int{}}
	err = c.run(ctx)
	return c.Collected, err
}

type collection struct {
	*store
	CollectOptions
	Collected
	gone   map[digest.Digest]int // links of a blob that were, or would be removed
	listed map[digest.Digest]bool
}

func (c *collection) run(ctx context.Context) error {
	names, err := c.repositories()
	if err != nil {
		return err
	}
	var problems []error
	if c.Untagged && c.Lists != nil {
		if err := c.list(ctx, names); err != nil {
			problems = append(problems, fmt.Errorf("no manifest was removed, as it is not known which are listed: %w", err))
			c.Untagged = false
		}
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.repository(c.repo(name)); err != nil {
			problems = append(problems, fmt.Errorf("collecting garbage in %s: %w", name, err))
		}
	}
	sizes, err := c.expireUploads(c.Before, c.DryRun)
	problems = append(problems, err)
	c.Uploads = len(sizes)
	for _, size := range sizes {
		c.Bytes += size
	}
	return errors.Join(append(problems, c.contents(ctx))...)
}

// list notes what the tagged images of all repositories list.
func (c *collection) list(ctx context.Context, names []string) error {
	c.listed = map[digest.Digest]bool{}
	for _, name := range names {
		images, err := c.repo(name).images()
		if err != nil {
			return fmt.Errorf("listing %s: %w", name, err)
		}
		for _, i := range images {
			if i.Tag == "" {
				continue
			}
			digests, err := c.Lists(ctx, c.repo(name).dir, i)
			if err != nil {
				return err
			}
			for _, d := range digests {
				c.listed[digest.Digest(d)] = true
			}
		}
	}
	return nil
}

// repository removes what one repository does not need.
func (c *collection) repository(r repo) error {
	unlock, err := c.lock(r.name)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(r.dir); err != nil {
		return ignoreAbsent(err) // another collection was faster
	}
	list, err := r.indexOrNone()
	if err != nil {
		return err
	}
	if c.Untagged {
		if list, err = c.untagged(r, list); err != nil {
			return err
		}
	}
	needed, err := r.neededBy(list)
	if err != nil {
		return err
	}
	left, err := c.sweep(r, needed)
	if err != nil || left > 0 || len(list) > 0 {
		return err
	}
	c.Repositories++
	if c.DryRun {
		return nil
	}
	c.synced.Delete(r.name)
	return os.RemoveAll(r.dir)
}

// sweep removes old blobs that nothing needs, and returns how many are left.
func (c *collection) sweep(r repo, needed map[digest.Digest]digest.Digest) (left int, err error) {
	err = eachBlob(filepath.Join(r.dir, "blobs"), func(d digest.Digest, info os.FileInfo) error {
		if _, ok := needed[d]; ok || !info.ModTime().Before(c.Before) {
			left++
			return nil
		}
		c.Blobs++
		c.gone[d]++
		if links(info) == 1 {
			c.Bytes += info.Size()
		}
		if c.DryRun {
			return nil
		}
		return r.removeBlob(d)
	})
	return left, err
}

// contents removes contents that no repository has any more.
func (c *collection) contents(ctx context.Context) error {
	return eachBlob(c.path("blobs"), func(d digest.Digest, info os.FileInfo) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		others := links(info) - 1
		if c.DryRun {
			others -= uint64(c.gone[d])
		}
		if others > 0 || !info.ModTime().Before(c.Before) {
			return nil
		}
		c.Bytes += info.Size()
		if c.DryRun {
			return nil
		}
		return ignoreAbsent(os.Remove(c.blobPath(d)))
	})
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// eachBlob visits the blobs of a directory such as a layout's.
func eachBlob(dir string, visit func(digest.Digest, os.FileInfo) error) error {
	for _, a := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		entries, err := os.ReadDir(filepath.Join(dir, a.String()))
		if ignoreAbsent(err) != nil {
			return err
		}
		for _, e := range entries {
			d := digest.NewDigestFromEncoded(a, e.Name())
			info, err := e.Info()
			if d.Validate() != nil || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = visit(d, info)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// removeBlob takes a blob from the repository, which the caller has locked.
func (r repo) removeBlob(d digest.Digest) error {
	if err := os.Remove(r.blobPath(d)); err != nil {
		return err
	}
	return syncDirs(filepath.Dir(r.blobPath(d)))
}

// needed are the blobs that the repository's manifests need, the manifests
// themselves among them, and one manifest that needs each.
func (r repo) needed() (map[digest.Digest]digest.Digest, error) {
	list, err := r.indexOrNone()
	if err != nil {
		return nil, err
	}
	return r.neededBy(list)
}

func (r repo) neededBy(list manifestList) (map[digest.Digest]digest.Digest, error) {
	needed := map[digest.Digest]digest.Digest{}
	for _, e := range list {
		if needed[e.Digest] == e.Digest {
			continue // another tag of it
		}
		m, err := r.manifest(e)
		if err != nil {
			return nil, err
		}
		needed[e.Digest] = e.Digest
		for _, d := range m.needs() {
			if _, ok := needed[d.Digest]; !ok {
				needed[d.Digest] = e.Digest
			}
		}
	}
	return needed, nil
}

// untagged removes manifests that no tag leads to, and returns the rest.
func (c *collection) untagged(r repo, list manifestList) (manifestList, error) {
	keep, err := c.reachable(r, list)
	if err != nil {
		return nil, err
	}
	var rest manifestList
	for _, e := range list {
		if keep[e.Digest] {
			rest = append(rest, e)
		}
	}
	if len(rest) == len(list) {
		return list, nil
	}
	c.Manifests += len(list) - len(rest)
	if c.DryRun {
		return rest, nil
	}
	return rest, r.writeIndex(rest)
}

// reachable are the manifests that are tagged, young or listed, those in indexes
// that are reachable, and those that refer to reachable ones.
func (c *collection) reachable(r repo, list manifestList) (map[digest.Digest]bool, error) {
	leads := map[digest.Digest][]digest.Digest{} // from a manifest to what stays with it
	var roots, listed []digest.Digest
	for _, e := range list {
		m, err := r.manifest(e)
		if err != nil {
			return nil, err
		}
		for _, d := range m.Manifests {
			leads[e.Digest] = append(leads[e.Digest], d.Digest)
		}
		if m.Subject != nil {
			leads[m.subject()] = append(leads[m.subject()], e.Digest)
		}
		if tagOf(e) != "" || c.young(r, e) {
			roots = append(roots, e.Digest)
		} else if c.listed[e.Digest] {
			listed = append(listed, e.Digest)
		}
	}
	keep := map[digest.Digest]bool{}
	follow(roots, leads, keep)
	before := kept(list, keep)
	follow(listed, leads, keep)
	c.Listed += kept(list, keep) - before
	return keep, nil
}

// follow adds the roots, and all that they lead to.
func follow(roots []digest.Digest, leads map[digest.Digest][]digest.Digest, keep map[digest.Digest]bool) {
	for todo := roots; len(todo) > 0; {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !keep[d] {
			keep[d] = true
			todo = append(todo, leads[d]...)
		}
	}
}

// kept is how many entries of a list stay.
func kept(list manifestList, keep map[digest.Digest]bool) int {
	n := 0
	for _, e := range list {
		if keep[e.Digest] {
			n++
		}
	}
	return n
}

func (c *collection) young(r repo, e v1.Descriptor) bool {
	info, err := os.Stat(r.blobPath(e.Digest))
	return err != nil || !info.ModTime().Before(c.Before)
}
