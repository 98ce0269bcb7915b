package uki

import (
	"context"
	"crypto"
	_ "crypto/sha256" // the banks
	_ "crypto/sha512"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// measured are the sections that systemd-stub measures into register 11, in
// its order, which is not that of the file. The signatures in .pcrsig are of
// the result and cannot be part of it.
var measured = []string{
	".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname",
	".sbat", ".pcrpkey", ".profile", ".dtbauto", ".hwids",
}

// Banks are the hashes in which a TPM may keep its registers, and for which
// policies are signed.
var Banks = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// Digests are those of section contents, in each of the banks. A content is
// known by its pointer: Profiles keep it, another Read does not.
type Digests map[*sparse.Image]map[crypto.Hash][]byte

// Digest hashes the contents of all sections that are measured, each of them
// read once. Profiles share what it returns.
func Digest(ctx context.Context, sections []Section) (Digests, error) {
	d := Digests{}
	for _, name := range measured {
		for _, s := range sections {
			if s.Name != name || d[s.Content] != nil {
				continue
			}
			sums, err := digest(ctx, s.Content)
			if err != nil {
				return nil, fmt.Errorf("measuring section %s: %w", s.Name, err)
			}
			d[s.Content] = sums
		}
	}
	return d, nil
}

// digest hashes a content in all banks at once.
func digest(ctx context.Context, content *sparse.Image) (map[crypto.Hash][]byte, error) {
	hashes := make([]hash.Hash, len(Banks))
	for i, bank := range Banks {
		hashes[i] = bank.New()
	}
	if err := feed(ctx, content.Reader(), hashes); err != nil {
		return nil, err
	}
	sums := map[crypto.Hash][]byte{}
	for i, bank := range Banks {
		sums[bank] = hashes[i].Sum(nil)
	}
	return sums, nil
}

// feedChunk is how much is read at a time, in bytes. Two chunks are in memory:
// one is hashed while the next one is read.
const feedChunk = 1 << 20

// feed gives all that r has to each of the hashes, which work at the same time.
func feed(ctx context.Context, r io.Reader, hashes []hash.Hash) error {
	var working sync.WaitGroup
	defer working.Wait()
	var chunks [2][]byte
	for i := 0; ; i = 1 - i {
		if chunks[i] == nil {
			chunks[i] = make([]byte, feedChunk)
		}
		n, err := io.ReadFull(r, chunks[i])
		working.Wait()
		for _, h := range hashes {
			working.Go(func() { h.Write(chunks[i][:n]) })
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// PCR11 predicts the value of register 11 in a bank: that of the sections of a
// profile (see [Profiles]), then of the phases of the boot, "enter-initrd" for
// one. The sections must be of those that were hashed.
func (d Digests) PCR11(sections []Section, phases []string, bank crypto.Hash) ([]byte, error) {
	pcr := make([]byte, bank.Size())
	extend := func(digest []byte) {
		h := bank.New()
		h.Write(pcr)
		h.Write(digest)
		pcr = h.Sum(nil)
	}
	for _, name := range measured {
		s, ok := Find(sections, name)
		if !ok || s.Content.Size() == 0 { // the stub takes empty for absent
			continue
		}
		content := d[s.Content][bank]
		if content == nil {
			return nil, fmt.Errorf("predicting PCR 11: there is no %v digest of section %s, which is not of the sections that were hashed", bank, name)
		}
		extend(sum(bank, name+"\x00"))
		extend(content)
	}
	for _, phase := range phases {
		extend(sum(bank, phase))
	}
	return pcr, nil
}

func sum(bank crypto.Hash, s string) []byte {
	h := bank.New()
	io.WriteString(h, s)
	return h.Sum(nil)
}
