package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// registry is the store of what a reference is in: a repository of a registry.
type registry struct {
	*repository
	ref name.Reference
	end func() // of a client that is for this one only
}

// dialRegistry finds what the reference points to.
func dialRegistry(ctx context.Context, s string, opts Options) (*registry, named, error) {
	r, err := openRegistry(ctx, s, transport.PullScope, opts)
	if err != nil {
		return nil, named{}, err
	}
	d, err := r.root(ctx)
	if err != nil {
		return nil, named{}, errors.Join(r.explain(err), r.Close())
	}
	return r, named{Descriptor: d}, nil
}

// openRegistry signs in where the reference leads.
func openRegistry(ctx context.Context, s, scope string, opts Options) (*registry, error) {
	ref, err := parseReference(s, opts.Insecure)
	if err != nil {
		return nil, err
	}
	client, end := opts.Client.shared()
	repo, err := client.repository(ctx, ref.Context(), access{scope: scope, insecure: opts.Insecure})
	if err != nil {
		end()
		return nil, explain(ref, err)
	}
	return &registry{repo, ref, end}, nil
}

func parseReference(s string, insecure bool) (name.Reference, error) {
	if err := refuseURL(s); err != nil {
		return nil, err
	}
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

// isTemporary says whether the same request may succeed in a moment. One that
// took its time and failed has been made again already, see retrying.
func isTemporary(err error) bool {
	if isTimeout(err) {
		return false
	}
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

// Close implements io.Closer.
func (r *registry) Close() error {
	r.end()
	return nil
}

func (r *registry) explain(err error) error { return explain(r.ref, err) }

// root reads what the reference points to. If that is a digest, it is verified
// by the resolver as any other.
func (r *registry) root(ctx context.Context) (v1.Descriptor, error) {
	raw, err := r.manifestOf(ctx, r.ref.Identifier())
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := embedded("", raw)
	if pinned, ok := r.ref.(name.Digest); ok {
		if d.Digest, err = v1.NewHash(pinned.DigestStr()); err != nil {
			return v1.Descriptor{}, err
		}
	}
	return d, nil
}
