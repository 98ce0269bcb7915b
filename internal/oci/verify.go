package oci

import (
	"bytes"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// damagedError says that something is not what vouches for it promised. Where
// a registry sent it, that is the registry's error.
type damagedError struct{ error }

func damaged(format string, args ...any) error { return damagedError{fmt.Errorf(format, args...)} }

// verifier reads a blob and knows at its end whether it is the one that its
// descriptor promised. It never reads more than one byte beyond the size.
type verifier struct {
	r    io.Reader
	desc v1.Descriptor
	hash hash.Hash
	n    int64
	err  error // of r, sticky
}

func newVerifier(r io.Reader, d v1.Descriptor) (*verifier, error) {
	if d.Size < 0 {
		return nil, fmt.Errorf("its descriptor says a size of %d bytes", d.Size)
	}
	h, err := v1.Hasher(d.Digest.Algorithm)
	if err != nil {
		return nil, err
	}
	return &verifier{r: r, desc: d, hash: h}, nil
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if most := v.desc.Size - v.n + 1; int64(len(p)) > most {
		p = p[:most]
	}
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.hash.Write(p[:n])
	if v.n > v.desc.Size {
		err = damaged("it is longer than the %d bytes that its descriptor says", v.desc.Size)
	}
	v.err = err
	return n, err
}

// finish reads what is left and compares size and digest.
func (v *verifier) finish() error {
	if _, err := io.Copy(io.Discard, v); err != nil {
		return err
	}
	if v.n != v.desc.Size {
		return damaged("it ends after %d of the %d bytes that its descriptor says", v.n, v.desc.Size)
	}
	return sameDigest(v.hash, v.desc.Digest)
}

// checked reads a blob, and keeps back its last bytes until it knows that all
// are right: who passes them on never completes a wrong one.
type checked struct{ v *verifier }

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.v.Read(p)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if c.v.n < c.v.desc.Size && err == nil {
		return n, nil
	}
	if verr := c.v.finish(); verr != nil {
		return 0, verr
	}
	return n, err
}

func sameDigest(h hash.Hash, want v1.Hash) error {
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != want.Hex {
		return damaged("its content has the digest %s:%s", want.Algorithm, got)
	}
	return nil
}

// readVerified reads a small blob whole: a manifest, an index, a config.
func readVerified(r io.Reader, d v1.Descriptor) ([]byte, error) {
	return readVerifiedUpTo(r, d, MaxManifest)
}

func readVerifiedUpTo(r io.Reader, d v1.Descriptor, most int64) ([]byte, error) {
	if d.Size > most {
		return nil, fmt.Errorf("its descriptor says a size of %d bytes, %d are allowed", d.Size, most)
	}
	v, err := newVerifier(r, d)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(v); err != nil {
		return nil, err
	}
	if b.Len() == 0 { // a blob without bytes is not one that was not read
		return []byte{}, v.finish()
	}
	return b.Bytes(), v.finish()
}

// readLimited reads a file that nothing vouches for, such as index.json.
func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxManifest+1))
	if err == nil && len(data) > MaxManifest {
		err = damaged("more than the %d bytes that are allowed", MaxManifest)
	}
	return data, err
}
