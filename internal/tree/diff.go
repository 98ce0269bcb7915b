package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Change is something in which two trees differ.
type Change struct {
	Path string
	What string // for people
}

// Diff lists in what two trees differ, in the order of paths.
func Diff(ctx context.Context, a, b *Tree) ([]Change, error) {
	if err := errors.Join(a.Hash(ctx), b.Hash(ctx)); err != nil {
		return nil, err
	}
	as, bs := a.entries(), b.entries()
	paths := maps.Clone(as)
	maps.Copy(paths, bs)
	var changes []Change
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		x, inA := as[p]
		y, inB := bs[p]
		what := ""
		switch {
		case !inB:
			what = "only in the first"
		case !inA:
			what = "only in the second"
		case x.Line() != y.Line():
			what = difference(x, y)
		}
		if what != "" {
			changes = append(changes, Change{p, what})
		}
	}
	return changes, nil
}

func (t *Tree) entries() map[string]Entry {
	all := map[string]Entry{}
	_ = t.Walk(func(e Entry) error { // the function returns no error
		all[e.Path] = e
		return nil
	})
	return all
}

func difference(a, b Entry) string {
	switch {
	case a.Mode != b.Mode:
		return fmt.Sprintf("mode %v, then %v", a.Mode, b.Mode)
	case a.Target != b.Target:
		return fmt.Sprintf("link to %q, then to %q", a.Target, b.Target)
	case a.Hardlink != b.Hardlink:
		return fmt.Sprintf("hard link to %q, then to %q", a.Hardlink, b.Hardlink)
	case a.Label != b.Label:
		return fmt.Sprintf("label %q, then %q", a.Label, b.Label)
	case a.Size != b.Size:
		return fmt.Sprintf("%d bytes, then %d; the first difference is at byte %s", a.Size, b.Size, firstDifference(a.Node, b.Node))
	}
	return "other content; the first difference is at byte " + firstDifference(a.Node, b.Node)
}

// firstDifference shows the offset where two contents part, and what is there.
func firstDifference(a, b *Node) string {
	x, errX := a.Open()
	if errX == nil {
		defer x.Close()
	}
	y, errY := b.Open()
	if errY == nil {
		defer y.Close()
	}
	if err := errors.Join(errX, errY); err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	var bufX, bufY [64 << 10]byte
	for off := int64(0); ; {
		n, _ := io.ReadFull(x, bufX[:])
		m, _ := io.ReadFull(y, bufY[:])
		if i := mismatch(bufX[:n], bufY[:m]); i < max(n, m) {
			return fmt.Sprintf("%d: %s, then %s", off+int64(i), around(bufX[:n], i), around(bufY[:m], i))
		}
		if n == 0 {
			return fmt.Sprint(off)
		}
		off += int64(n)
	}
}

func mismatch(a, b []byte) int {
	n := min(len(a), len(b))
	if bytes.Equal(a[:n], b[:n]) {
		return n
	}
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// around quotes the bytes at an offset, with a few before them.
func around(data []byte, i int) string {
	return fmt.Sprintf("%q", data[max(0, i-8):min(len(data), i+24)])
}
