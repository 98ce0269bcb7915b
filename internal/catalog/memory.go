package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
)

// pin is a catalog whose content is known, if not read.
type pin struct {
	ref    string // with the digest where there is one
	digest string // "" for a directory and a plain tar
	note   string // what a person should know of it
}

// remembered is what a tag pointed to when it was asked for.
type remembered struct {
	Ref    string    `json:"ref"`
	Pinned string    `json:"pinned"` // NAME@DIGEST
	At     time.Time `json:"at"`
}

// pin finds the digest of a catalog: it is in the reference, or was asked for not
// long ago, or is asked for now.
func (o *Options) pin(ctx context.Context, ref string) (pin, error) {
	if oci.IsLocal(ref) {
		d, err := oci.Resolve(ctx, ref, o.Images)
		if err != nil {
			return pin{ref: ref}, nil // a directory, a plain tar; or reading it says what is wrong
		}
		return pinned(d.Ref), nil
	}
	if named, digest, ok := strings.Cut(ref, "@"); ok && !strings.Contains(ref, "://") { // oci says what is wrong with a URL
		repository, _ := oci.CutTag(named)
		if !validDigest(digest) {
			return pin{}, fmt.Errorf("%q is no digest", digest)
		}
		return pinned(repository + "@" + digest), nil
	}
	known, found := o.recall(ref)
	switch {
	case o.Offline && found:
		return pinned(known.Pinned), nil
	case o.Offline:
		return pin{}, ErrOffline
	}
	if found && !asksEachTime(ref) && o.Now.Sub(known.At) < o.MaxAge && !known.At.After(o.Now) {
		return pinned(known.Pinned), nil
	}
	d, err := oci.Resolve(ctx, ref, o.Images)
	if err != nil {
		return o.offline(known, found, err)
	}
	o.remember(remembered{ref, d.Ref, o.Now})
	return pinned(d.Ref), nil
}

func pinned(ref string) pin {
	_, digest, _ := strings.Cut(ref, "@")
	return pin{ref: ref, digest: digest}
}

// offline takes what a tag was, whenever that was, where there is no way to the
// registry. An answer of the registry is one, and final.
func (o *Options) offline(known remembered, found bool, err error) (pin, error) {
	var network net.Error
	if !found || !errors.As(err, &network) || errors.Is(err, context.Canceled) {
		return pin{}, err
	}
	p := pinned(known.Pinned)
	p.note = fmt.Sprintf("%s is taken as it was at %s: %v", known.Ref, known.At.UTC().Format(time.DateTime+" UTC"), err)
	return p, nil
}

// asksEachTime says whether a registry is so near that asking costs nothing: there
// tags change while people work on them.
func asksEachTime(ref string) bool {
	host, _, _ := strings.Cut(ref, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && (ip.IsLoopback() || ip.IsPrivate())
}

func (o *Options) memo(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return filepath.Join(o.Memory, hex.EncodeToString(sum[:16])+".json")
}

// maxMemo bounds a file of the memory, in bytes.
const maxMemo = 4 << 10

// recall is what a tag pointed to; not found is one that is damaged.
func (o *Options) recall(ref string) (r remembered, found bool) {
	if o.Memory == "" {
		return r, false
	}
	data, err := os.ReadFile(o.memo(ref))
	if err != nil || len(data) > maxMemo || json.Unmarshal(data, &r) != nil {
		return remembered{}, false
	}
	_, digest, _ := strings.Cut(r.Pinned, "@")
	return r, r.Ref == ref && validDigest(digest)
}

// LastKnown is the greatest version of Talos whose catalog in a registry, named
// without a tag, is remembered; "" if there is none.
func (o *Options) LastKnown(ref string) string {
	files, err := filepath.Glob(filepath.Join(o.Memory, "*.json"))
	if err != nil || o.Memory == "" {
		return ""
	}
	best, last := "", extension.Version{}
	for _, name := range files[:min(len(files), maxMemos)] {
		var r remembered
		data, err := os.ReadFile(name)
		if err != nil || len(data) > maxMemo || json.Unmarshal(data, &r) != nil || Untagged(r.Ref) != o.Mirrors.Map(Untagged(ref)) {
			continue
		}
		tag := talosOf(r.Ref)
		if v, err := extension.ParseVersion(tag); err == nil && v.Compare(last) > 0 {
			best, last = tag, v
		}
	}
	return best
}

// maxMemos bounds the files of the memory that are looked through.
const maxMemos = 1000

// remember writes down what a tag points to. If that fails, the tag is asked for
// again next time.
func (o *Options) remember(r remembered) {
	if o.Memory == "" {
		return
	}
	data, err := json.Marshal(r)
	if err != nil || os.MkdirAll(o.Memory, 0o700) != nil {
		return
	}
	_ = atomicfile.Write(o.memo(r.Ref), func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}
