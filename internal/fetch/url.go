package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"path"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/lazyregexp"
)

// MaxFile bounds a file that a URL or a Debian mirror gives, in bytes. The
// largest sources that people build from, firmware and browsers, have 1 to 4 GiB.
const MaxFile = 8 << 30

// URLSource is a file on a web server.
type URLSource struct {
	URL    string
	SHA256 string // hex digits
	SHA512 string // hex digits; one of the checksums may be missing
}

// Key identifies the content.
func (s URLSource) Key() string { return fileKey(s.SHA256, s.SHA512) }

// fileKey is the key of a verified file in the cache.
func fileKey(sha256, sha512 string) string {
	return fmt.Sprintf("source file v1\nsha256 %s\nsha512 %s", sha256, sha512)
}

var (
	hex256 = lazyregexp.New(`^[0-9a-f]{64}$`)
	hex512 = lazyregexp.New(`^[0-9a-f]{128}$`)
)

func checkSums(sha256, sha512 string) error {
	switch {
	case sha256 == "" && sha512 == "":
		return errors.New("it has no checksum: `graft update` writes it into the recipe")
	case sha256 != "" && !hex256.MatchString(sha256):
		return fmt.Errorf("its sha256 %q is not 64 hex digits in lower case", sha256)
	case sha512 != "" && !hex512.MatchString(sha512):
		return fmt.Errorf("its sha512 %q is not 128 hex digits in lower case", sha512)
	}
	return nil
}

// parseURL takes what a recipe may name: http and https.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, withoutURL(err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not an http or https URL", u.Redacted())
	}
	return u, nil
}

// redacted is a URL for messages.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "a URL that cannot be read"
	}
	return u.Redacted()
}

// URL gets a file. Both checksums are verified, as far as they are given.
func (f *Fetcher) URL(ctx context.Context, s URLSource) (*cache.Blob, error) {
	b, err := f.begin().url(ctx, s)
	return b, failed(redacted(s.URL), err)
}

func (c *call) url(ctx context.Context, s URLSource) (*cache.Blob, error) {
	if err := checkSums(s.SHA256, s.SHA512); err != nil {
		return nil, err
	}
	u, err := parseURL(s.URL)
	if err != nil {
		return nil, err
	}
	return c.file(ctx, u, s)
}

// file gets a file with known checksums; s.URL is not looked at.
func (c *call) file(ctx context.Context, u *url.URL, s URLSource) (*cache.Blob, error) {
	return c.Cache.Make(ctx, s.Key(), "source "+path.Base(u.Path), func(dst *os.File) error {
		if err := c.download(ctx, u, MaxFile, dst); err != nil {
			return err
		}
		got, err := sums(dst)
		if err != nil {
			return err
		}
		return s.compare(got)
	})
}

// compare compares as many checksums as s has.
func (s URLSource) compare(got URLSource) error {
	var sums []Checksum
	if s.SHA256 != "" {
		sums = append(sums, Checksum{"sha256", s.SHA256, got.SHA256})
	}
	if s.SHA512 != "" {
		sums = append(sums, Checksum{"sha512", s.SHA512, got.SHA512})
	}
	return compare(sums...)
}

// sums reads a file and tells both of its checksums.
func sums(f *os.File) (URLSource, error) {
	if err := seekStart(f); err != nil {
		return URLSource{}, err
	}
	h256, h512 := sha256.New(), sha512.New()
	if _, err := io.CopyBuffer(io.MultiWriter(h256, h512), onlyReader{f}, make([]byte, 256<<10)); err != nil {
		return URLSource{}, err
	}
	return URLSource{SHA256: hexSum(h256), SHA512: hexSum(h512)}, nil
}

// onlyReader hides the shortcuts of a file.
type onlyReader struct{ io.Reader }

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// ResolveURL downloads a file and tells its checksums. It trusts what it gets.
// The file is in the cache afterwards.
func (f *Fetcher) ResolveURL(ctx context.Context, rawURL string) (URLSource, error) {
	s, err := f.begin().resolveURL(ctx, rawURL)
	return s, failed(redacted(rawURL), err)
}

func (c *call) resolveURL(ctx context.Context, rawURL string) (URLSource, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return URLSource{}, err
	}
	got, err := c.measure(ctx, u)
	got.URL = rawURL
	return got, err
}

// measure downloads a file that has no known checksum, and keeps it.
func (c *call) measure(ctx context.Context, u *url.URL) (URLSource, error) {
	var got URLSource
	scratch, err := c.Cache.Scratch(func(dst *os.File) error {
		err := c.download(ctx, u, MaxFile, dst)
		if err == nil {
			got, err = sums(dst)
		}
		return err
	})
	if err != nil {
		return got, err
	}
	defer scratch.Close()
	kept, err := c.Cache.Make(ctx, got.Key(), "source "+path.Base(u.Path), func(dst *os.File) error {
		_, err := io.Copy(dst, scratch)
		return err
	})
	if err != nil {
		return got, err
	}
	return got, kept.Close()
}
