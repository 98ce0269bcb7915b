package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/filestate"
)

// ErrDamaged says that a content was not what its digest says. It is removed
// then, so that trying again makes it again.
var ErrDamaged = errors.New("an entry of the cache was damaged, and is removed: try again")

// unverified is a content whose digest nobody has computed yet.
type unverified struct {
	once    sync.Once
	entry   string // its file in refs
	checked string // its file in checked
	err     error
}

// MakeUnverified is Make for contents that are large: one that is there is not
// read. Whoever uses it must call Verify, and let nothing that was made of it
// out of hand before. Meanwhile the work goes on.
func (c *Cache) MakeUnverified(ctx context.Context, key, label string, fill func(*os.File) error) (*Blob, error) {
	return c.make(ctx, key, label, fill, func(r ref) (*Blob, error) { return c.openUnverified(r, c.refPath(key)) })
}

func (c *Cache) openUnverified(r ref, entry string) (*Blob, error) {
	want, ok := hexDigest(r.Digest)
	if !ok {
		return nil, fmt.Errorf("%w: its entry is damaged", fs.ErrNotExist)
	}
	f, err := os.Open(c.blobPath(want))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != r.Size {
		err = fmt.Errorf("%w: its content is damaged", fs.ErrNotExist)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Blob{File: f, Digest: r.Digest, Size: r.Size, check: &unverified{entry: entry, checked: filepath.Join(c.dir, "checked", want)}}, nil
}

// Verify compares the content with its digest, unless that was done before. A
// damaged one is ErrDamaged.
func (b *Blob) Verify(ctx context.Context) error {
	if b.check == nil {
		return nil
	}
	b.check.once.Do(func() { b.check.err = b.verify(ctx) })
	return b.check.err
}

func (b *Blob) verify(ctx context.Context) error {
	now := time.Now()
	state, err := b.state()
	if err != nil {
		return fmt.Errorf("verifying an entry of the cache: %w", err)
	}
	if b.check.known(state, now) {
		return nil
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, ctxio.NewReader(ctx, io.NewSectionReader(b.File, 0, b.Size)), make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("verifying an entry of the cache: %w", err)
	}
	if "sha256:"+hex.EncodeToString(h.Sum(nil)) != b.Digest {
		return errors.Join(ErrDamaged, removeIfThere(b.Name()), removeIfThere(b.check.entry))
	}
	b.check.remember(state, now)
	return nil
}

func (b *Blob) state() (filestate.State, error) {
	info, err := b.Stat()
	if err != nil {
		return filestate.State{}, err
	}
	return filestate.Of(info), nil
}

// checkEvery is how long a content that nobody touched is taken for what it
// was. Disks forget, too, and no time of change tells of that.
const checkEvery = 24 * time.Hour

// known says whether a file was verified in the state that it is in, not long ago.
func (u *unverified) known(state filestate.State, now time.Time) bool {
	info, err := os.Stat(u.checked)
	if err != nil || now.Sub(info.ModTime()) > checkEvery || info.ModTime().After(now) {
		return false
	}
	data, err := os.ReadFile(u.checked)
	return err == nil && string(data) == state.String()
}

// remember that a file was verified in this state. If that fails, it is
// verified again the next time.
func (u *unverified) remember(state filestate.State, now time.Time) {
	if state.Settled(now) {
		_ = atomicfile.Write(u.checked, func(f *os.File) error {
			_, err := f.WriteString(state.String())
			return err
		})
	}
}
