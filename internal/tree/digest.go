package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/ctxio"
)

// Sum is the SHA-256 of a regular file's content. It is known after Hash.
func (n *Node) Sum() [32]byte {
	if n.sum == nil {
		return sha256.Sum256(nil)
	}
	return *n.sum
}

// Hash reads every regular file once, in parallel, and remembers the sums of
// their contents. Files that have been hashed are not read again.
func (t *Tree) Hash(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	err := t.Walk(func(e Entry) error {
		if !e.Mode.IsRegular() || e.Hardlink != "" || e.sum != nil {
			return ctx.Err()
		}
		g.Go(func() error {
			if err := e.Node.hash(ctx); err != nil {
				return fmt.Errorf("hashing %s: %w", e.Path, err)
			}
			return nil
		})
		return ctx.Err()
	})
	if werr := g.Wait(); werr != nil {
		return werr
	}
	return err
}

var hashBuffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

func (n *Node) hash(ctx context.Context) error {
	r, err := n.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	buf := hashBuffers.Get().(*[128 << 10]byte)
	defer hashBuffers.Put(buf)
	h := sha256.New()
	size, err := io.CopyBuffer(onlyWriter{h}, ctxio.NewReader(ctx, io.LimitReader(r, n.Size+1)), buf[:])
	if err != nil {
		return err
	}
	if size != n.Size {
		return ErrChanged
	}
	n.sum = (*[32]byte)(h.Sum(nil))
	return nil
}

// onlyWriter hides ReadFrom, so that io.CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

// Digest identifies all that the tree holds: "sha256:" and the hex digest of
// its listing. Two trees with equal digests give equal layers.
func (t *Tree) Digest(ctx context.Context) (string, error) {
	if err := t.Hash(ctx); err != nil {
		return "", err
	}
	h := sha256.New()
	err := t.Walk(func(e Entry) error {
		_, err := fmt.Fprintln(h, e.Line())
		return err
	})
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), err
}

// Line is the entry as one line of a listing: mode, size, SHA-256 of the
// content, label, path and link target. Strings are quoted, so that a name
// with a newline cannot pass for two entries.
func (e Entry) Line() string {
	sum := "-"
	if e.Mode.IsRegular() {
		s := e.Sum()
		sum = hex.EncodeToString(s[:])
	}
	return fmt.Sprintf("%v %d %s %q %q %q %q", e.Mode, e.Size, sum, e.Label, e.Path, e.Target, e.Hardlink)
}
