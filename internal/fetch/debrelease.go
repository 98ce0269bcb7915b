package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"github.com/graftlinux/graft/internal/cache"
)

// maxRelease bounds a Release file: those of Debian have 200 KB.
const maxRelease = 16 << 20

// release is what a repository says of its indexes.
type release struct {
	components []string
	byHash     bool
	files      map[string]releaseFile // by path below the suite's directory
	signed     bool                   // by a key that apt trusts for it
}

type releaseFile struct {
	sha256 string
	size   int64
}

// parseRelease reads a Release file (https://wiki.debian.org/DebianRepository/Format).
func parseRelease(text string) (release, error) {
	r := release{files: map[string]releaseFile{}}
	stanzas, err := parseStanzas(text)
	if err == nil && len(stanzas) != 1 {
		err = fmt.Errorf("it has %d paragraphs, not one", len(stanzas))
	}
	if err != nil {
		return r, fmt.Errorf("reading the Release file: %w", err)
	}
	s := stanzas[0]
	r.byHash = isYes(s["acquire-by-hash"])
	for _, c := range s.words("components") {
		r.components = append(r.components, path.Base(c)) // of security suites "updates/main" stands for "main"
	}
	for line := range strings.Lines(s["sha256"]) {
		f := strings.Fields(line)
		if len(f) != 3 || !hex256.MatchString(f[0]) {
			continue
		}
		if size, err := strconv.ParseInt(f[1], 10, 64); err == nil && size > 0 && size <= maxIndex {
			r.files[f[2]] = releaseFile{f[0], size}
		}
	}
	return r, nil
}

// release gets and verifies the Release file of a suite. It is asked for once a
// day, and kept if it is good.
func (c *call) release(ctx context.Context, s aptSource, keys openpgp.EntityList) (release, error) {
	key := fmt.Sprintf("deb release v1\n%s\n%s\n%s", s.dist("Release").Redacted(), today(), keyIDs(s, keys))
	b, err := c.Cache.Make(ctx, key, "Release of "+s.dist("").Redacted(), func(dst *os.File) error {
		text, signed, err := c.releaseText(ctx, s, keys)
		if err != nil {
			return err
		}
		if _, err := parseRelease(text); err != nil {
			return err
		}
		_, err = fmt.Fprintf(dst, "%v\n%s", signed, text)
		return err
	})
	if err != nil {
		return release{}, err
	}
	defer b.Close()
	data, err := readBlob(b, maxRelease+10)
	if err != nil {
		return release{}, err
	}
	signed, text, _ := strings.Cut(string(data), "\n")
	r, err := parseRelease(text)
	r.signed = signed == "true"
	return r, err
}

// keyIDs stands for what a Release file was verified with.
func keyIDs(s aptSource, keys openpgp.EntityList) string {
	if s.trusted {
		return "trusted"
	}
	h := sha256.New()
	for _, k := range keys {
		h.Write(k.PrimaryKey.Fingerprint)
	}
	return hexSum(h)
}

func (c *call) releaseText(ctx context.Context, s aptSource, keys openpgp.EntityList) (text string, signed bool, err error) {
	inline, err := c.small(ctx, s.dist("InRelease"))
	if err == nil {
		return verifyInRelease(inline, keys, s.trusted)
	}
	var status *StatusError
	if !errors.As(err, &status) || !status.gone() {
		return "", false, err
	}
	plain, err := c.small(ctx, s.dist("Release"))
	if err != nil {
		return "", false, err
	}
	if len(keys) == 0 || s.trusted {
		return string(plain), false, nil
	}
	signature, err := c.small(ctx, s.dist("Release.gpg"))
	if err != nil {
		return "", false, err
	}
	_, err = openpgp.CheckArmoredDetachedSignature(keys, bytes.NewReader(plain), bytes.NewReader(signature), nil)
	return string(plain), err == nil, badSignature(err)
}

// dist is the URL of a file in the suite's directory.
func (s aptSource) dist(name string) *url.URL {
	return s.base.JoinPath("dists", s.suite, name)
}

// small gets a file of a mirror into memory.
func (c *call) small(ctx context.Context, u *url.URL) ([]byte, error) {
	b, err := c.Cache.Scratch(func(dst *os.File) error { return c.download(ctx, u, maxRelease, dst) })
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return readBlob(b, maxRelease)
}

// verifyInRelease takes the signed text out of an InRelease file. Without keys
// it is what it is.
func verifyInRelease(data []byte, keys openpgp.EntityList, trusted bool) (text string, signed bool, err error) {
	block, _ := clearsign.Decode(data)
	if block == nil {
		return "", false, errors.New("the InRelease file has no signature")
	}
	text = strings.ReplaceAll(string(block.Bytes), "\r\n", "\n")
	if len(keys) == 0 || trusted {
		return text, false, nil
	}
	_, err = block.VerifySignature(keys, nil)
	return text, err == nil, badSignature(err)
}

func badSignature(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("checking the signature of the Release file with apt's keys: %w", err)
}

// keys reads the keyrings of a source. Without any that can be read there is
// nothing to verify signatures with, and the list is empty.
func (s aptSource) keys(aptDir string) openpgp.EntityList {
	if strings.Contains(s.signedBy, "-----BEGIN PGP") {
		return parseKeys([]byte(strings.ReplaceAll(s.signedBy, "\n.\n", "\n\n")))
	}
	var files []string
	for _, word := range strings.Fields(s.signedBy) {
		if filepath.IsAbs(word) {
			files = append(files, word)
		}
	}
	if len(files) == 0 {
		files, _ = filepath.Glob(filepath.Join(aptDir, "trusted.gpg.d", "*")) // the pattern is good
		files = append(files, filepath.Join(aptDir, "trusted.gpg"))
	}
	var all openpgp.EntityList
	for _, name := range files {
		if data, err := readFile(name, maxAptFile); err == nil {
			all = append(all, parseKeys(data)...)
		}
	}
	return all
}

func parseKeys(data []byte) openpgp.EntityList {
	read := openpgp.ReadKeyRing
	if bytes.Contains(data, []byte("-----BEGIN PGP")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	return keys
}

// indexName is the path of an index below its component.
func indexName(arch string) string {
	if arch == SourceArch {
		return "source/Sources"
	}
	return "binary-" + arch + "/Packages"
}

// packagesFile chooses the form of an index to download. gzip comes first: its
// decoder is quick and takes little memory whatever the file says.
func (r release) packagesFile(component, arch string) (string, releaseFile, bool) {
	base := component + "/" + indexName(arch)
	endings := []string{".gz", ""}
	if r.signed {
		endings = []string{".gz", ".xz", ""}
	}
	for _, ending := range endings {
		if f, ok := r.files[base+ending]; ok {
			return base + ending, f, true
		}
	}
	return "", releaseFile{}, false
}

// remoteIndex gets the index of a component, verified by its Release file.
func (c *call) remoteIndex(ctx context.Context, s aptSource, r release, component, arch string) (index, error) {
	label := fmt.Sprintf("%s %s %s", s.label(), component, arch)
	name, file, ok := r.packagesFile(component, arch)
	if !ok {
		return nil, nil // a component that does not have the architecture
	}
	return c.index(ctx, label, file.sha256, func() (*cache.Blob, error) {
		u := s.dist(name)
		if r.byHash { // what was replaced a moment ago is still there
			u = s.dist(name).JoinPath("..", "by-hash", "SHA256", file.sha256)
		}
		return c.Cache.Scratch(func(dst *os.File) error {
			if err := c.download(ctx, u, file.size, dst); err != nil {
				return err
			}
			got, err := sums(dst)
			if err != nil {
				return err
			}
			return compare(Checksum{"sha256", file.sha256, got.SHA256})
		})
	})
}

// others are the components of a release that a source does not name; none if
// it names none, which stands for all.
func (r release) others(s aptSource) []string {
	if len(s.components) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.components), func(c string) bool { return slices.Contains(s.components, c) })
}
