package oci

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// headerTimeout is how long a registry may think before it answers.
const headerTimeout = 30 * time.Second

// backoff is between three attempts of one request: 1 and 3 seconds.
var backoff = transport.Backoff{Duration: time.Second, Factor: 3, Jitter: 0.1, Steps: 3}

// busyCodes are answers that may be different next time.
var busyCodes = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// registry is the store of a repository in a registry.
type registry struct {
	ref    name.Reference
	client *http.Client
	base   *http.Transport
}

// dialRegistry finds what the reference points to.
func dialRegistry(ctx context.Context, s string, insecure bool) (*registry, named, error) {
	ref, err := parseReference(s, insecure)
	if err != nil {
		return nil, named{}, err
	}
	r, err := newRegistry(ctx, ref, insecure)
	if err != nil {
		return nil, named{}, explain(ref, err)
	}
	d, err := r.root(ctx)
	if err != nil {
		return nil, named{}, errors.Join(r.explain(err), r.Close())
	}
	return r, named{Descriptor: d}, nil
}

func parseReference(s string, insecure bool) (name.Reference, error) {
	var opts []name.Option
	if insecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(s, opts...)
	if err != nil {
		return nil, fmt.Errorf("parsing the reference %q: %w", s, err)
	}
	return ref, nil
}

func newRegistry(ctx context.Context, ref name.Reference, insecure bool) (*registry, error) {
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, ref.Context())
	if err != nil {
		return nil, fmt.Errorf("looking for credentials: %w", err)
	}
	base := newTransport(insecure)
	retrying := transport.NewRetry(base, transport.WithRetryBackoff(backoff),
		transport.WithRetryPredicate(isTemporary), transport.WithRetryStatusCodes(busyCodes...))
	scopes := []string{ref.Scope(transport.PullScope)}
	t, err := transport.NewWithContext(ctx, ref.Context().Registry, auth, retrying, scopes)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: t, CheckRedirect: checkRedirect}
	if insecure {
		client.CheckRedirect = nil
	}
	return &registry{ref: ref, base: base, client: client}, nil
}

func newTransport(insecure bool) *http.Transport {
	t := remote.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = headerTimeout
	t.DisableCompression = true // blobs are what they are
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return t
}

// isTemporary says whether the same request may succeed in a moment.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	if errors.As(err, &t) && t.Temporary() {
		return true
	}
	for _, cause := range []error{io.ErrUnexpectedEOF, io.EOF, syscall.EPIPE, syscall.ECONNRESET, net.ErrClosed} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

// checkRedirect refuses to be sent from a public registry to an address of the
// network that graft runs in.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("more than 10 redirects")
	}
	from, to := via[0].URL, req.URL
	if from.Hostname() == to.Hostname() || private(from) {
		return nil
	}
	if private(to) {
		return fmt.Errorf("%s redirects to the private address %s, which --insecure allows", from.Host, to.Host)
	}
	return nil
}

func private(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return u.Hostname() == "localhost"
	}
	ip = ip.Unmap()
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()
}

func (r *registry) Close() error {
	r.base.CloseIdleConnections()
	return nil
}

func (r *registry) explain(err error) error { return explain(r.ref, err) }

// manifestTypes is what graft can read, for the Accept header.
var manifestTypes = strings.Join([]string{
	string(types.OCIManifestSchema1), string(types.OCIImageIndex),
	string(types.DockerManifestSchema2), string(types.DockerManifestList),
}, ", ")

// root reads what the reference points to. If that is a digest, it is verified
// by the resolver as any other.
func (r *registry) root(ctx context.Context) (v1.Descriptor, error) {
	resp, err := r.get(ctx, "manifests", r.ref.Identifier(), http.Header{"Accept": {manifestTypes}}, http.StatusOK)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer resp.Body.Close()
	raw, err := readLimited(resp.Body)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("reading the manifest of %s: %w", r.ref, err)
	}
	d := embedded("", raw)
	if pinned, ok := r.ref.(name.Digest); ok {
		if d.Digest, err = v1.NewHash(pinned.DigestStr()); err != nil {
			return v1.Descriptor{}, err
		}
	}
	return d, nil
}

func (r *registry) manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	resp, err := r.get(ctx, "manifests", d.Digest.String(), http.Header{"Accept": {manifestTypes}}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (r *registry) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return newDownload(ctx, d.Size, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		header, status := http.Header{}, http.StatusOK
		if offset > 0 {
			header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, d.Size-1))
			status = http.StatusPartialContent
		}
		resp, err := r.get(ctx, "blobs", d.Digest.String(), header, status)
		if err != nil {
			return nil, err
		}
		if n := resp.ContentLength; n >= 0 && n != d.Size-offset {
			err := fmt.Errorf("the registry has %d bytes of it, its descriptor says %d", offset+n, d.Size)
			return nil, errors.Join(err, resp.Body.Close())
		}
		return resp.Body, nil
	})
}

// get asks for a manifest or a blob; the answer has the wanted status.
func (r *registry) get(ctx context.Context, kind, id string, h http.Header, status int) (*http.Response, error) {
	repo := r.ref.Context()
	u := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/" + kind + "/" + id}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = h
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, status); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}
