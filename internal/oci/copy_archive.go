package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graftlinux/graft/internal/atomicfile"
)

// shipArchives writes the files that images go to.
func (c *copier) shipArchives(ctx context.Context, cargos []*cargo) error {
	var order []*archive
	goods := map[*archive][]*cargo{}
	for _, cargo := range cargos {
		t, ok := cargo.to.(archiveTarget)
		if !ok {
			continue
		}
		if goods[t.archive] == nil {
			order = append(order, t.archive)
		}
		goods[t.archive] = append(goods[t.archive], cargo)
		if err := t.list(cargo); err != nil {
			return cargo.failed(err)
		}
	}
	for _, a := range order {
		if err := c.writeArchive(ctx, a, goods[a]); err != nil {
			return err
		}
	}
	return nil
}

// writeArchive writes all blobs at once, each to its place: the sizes are
// known, so the places are, too.
func (c *copier) writeArchive(ctx context.Context, a *archive, cargos []*cargo) error {
	plan, err := planArchive(a, cargos)
	if err != nil {
		return err
	}
	return atomicfile.Write(a.path, func(f *os.File) error {
		if err := f.Truncate(plan.size); err != nil {
			return err
		}
		g, gctx := group(ctx, copyParallel)
		for _, e := range plan.entries {
			g.Go(func() error { return c.writeArchived(gctx, f, e) })
		}
		return g.Wait()
	})
}

// archived is a file of an archive: its header, and its content or where that
// is from.
type archived struct {
	at    int64
	head  []byte
	desc  v1.Descriptor
	data  []byte // nil for a blob
	cargo *cargo // that has the blob
}

// archivePlan says where everything in an archive goes.
type archivePlan struct {
	entries []archived
	size    int64
}

const tarBlock = 512

// planArchive lays out an archive: index.json and manifests first, which makes
// it quick to look into.
func planArchive(a *archive, cargos []*cargo) (*archivePlan, error) {
	index, err := jsonBlob("", v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: a.entries})
	if err != nil {
		return nil, err
	}
	p := &archivePlan{}
	p.data(layoutFile, []byte(layoutVersion))
	p.data(indexFile, withData(index).Data)
	for _, dir := range []string{blobsDir, blobsDir + "/sha256"} {
		p.add(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, archived{})
	}
	seen := map[v1.Hash]bool{}
	for _, c := range cargos {
		for _, m := range c.manifests {
			if !seen[m.Digest] {
				seen[m.Digest] = true
				p.data(blobPath(m.Digest), m.Data)
			}
		}
	}
	for _, c := range cargos {
		for _, d := range c.blobs {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				p.add(&tar.Header{Typeflag: tar.TypeReg, Name: blobPath(d.Digest), Size: d.Size, Mode: 0o644}, archived{desc: d, cargo: c})
			}
		}
	}
	p.size += 2 * tarBlock // the end
	return p, nil
}

func (p *archivePlan) data(name string, data []byte) {
	p.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644}, archived{data: data})
}

// add lays out one more file. A header that cannot be written has a negative size.
func (p *archivePlan) add(h *tar.Header, e archived) {
	h.ModTime = time.Unix(0, 0)
	var head bytes.Buffer
	_ = tar.NewWriter(&head).WriteHeader(h) // to memory
	e.at, e.head = p.size, head.Bytes()
	p.size += int64(head.Len()) + (h.Size+tarBlock-1)/tarBlock*tarBlock
	p.entries = append(p.entries, e)
}

func (c *copier) writeArchived(ctx context.Context, f *os.File, e archived) error {
	w := io.NewOffsetWriter(f, e.at)
	if _, err := w.Write(append(e.head, e.data...)); err != nil || e.cargo == nil {
		return err
	}
	count := c.progress.counter()
	for attempt := 1; ; attempt++ {
		err := c.writeArchivedBlob(ctx, io.NewOffsetWriter(f, e.at+int64(len(e.head))), e, count)
		if err == nil {
			return nil
		}
		if attempt == attempts || ctx.Err() != nil || !isTemporary(err) {
			return e.cargo.failed(fmt.Errorf("blob %s: %w", e.desc.Digest, err))
		}
		if err := sleep(ctx, pause(attempt)); err != nil {
			return err
		}
	}
}

func (c *copier) writeArchivedBlob(ctx context.Context, w io.Writer, e archived, count *counter) error {
	count.set(0)
	r, err := openChecked(ctx, e.cargo.from, e.desc, count)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = copyTo(w, r)
	return err
}
