package sign

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Root is what is trusted from the start: the authorities that certify
// identities and timestamps, and the keys of the logs. A nil Root trusts none.
type Root struct{ material root.TrustedMaterial }

// ParseRoot reads Sigstore's trusted_root.json.
func ParseRoot(data []byte) (*Root, error) {
	if err := tooLarge(len(data), maxRoot); err != nil {
		return nil, fmt.Errorf("parsing the trusted root: %w", err)
	}
	m, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("parsing the trusted root: %w", err)
	}
	return &Root{m}, nil
}

// rootDays is how old a copy of the public root may get before it is asked for
// again, as with cosign.
const rootDays = 1

// FetchRoot gets the root of the public services, with TUF: what it trusts at
// first is built in, and each version vouches for the next. A copy is kept in
// the directory.
func FetchRoot(ctx context.Context, dir string) (*Root, error) {
	return fetchRoot(ctx, tuf.DefaultOptions().WithCachePath(dir))
}

func fetchRoot(ctx context.Context, opts *tuf.Options) (*Root, error) {
	m, err := root.FetchTrustedRootWithOptions(opts.WithCacheValidity(rootDays).WithFetcher(fetcher{ctx}))
	if err != nil {
		return nil, &ServiceError{fmt.Errorf("getting the trusted root from %s: %w", opts.RepositoryBaseURL, err)}
	}
	return &Root{m}, nil
}

// fetcher is a client of TUF that can be interrupted.
type fetcher struct{ ctx context.Context }

// DownloadFile reads what has at most so many bytes.
func (f fetcher) DownloadFile(url string, limit int64, _ time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(f.ctx, serviceTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: resp.StatusCode, URL: url} // 404: there is no newer root
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf("%s has more than %d bytes", url, limit)}
	}
	return data, nil
}

// with is the root and a key.
func (r *Root) with(key root.TimeConstrainedVerifier) root.TrustedMaterial {
	t := &trusted{TrustedMaterial: &root.BaseTrustedMaterial{}, key: key}
	if r != nil {
		t.TrustedMaterial = r.material
	}
	return t
}

type trusted struct {
	root.TrustedMaterial
	key root.TimeConstrainedVerifier
}

func (t *trusted) PublicKeyVerifier(hint string) (root.TimeConstrainedVerifier, error) {
	if t.key == nil {
		return nil, fmt.Errorf("there is no key %q", hint)
	}
	return t.key, nil
}
