package oci

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Client keeps what calls can share: connections to registries, and what these
// have granted for a repository. Give the same one to many calls, which may
// run at the same time, to sign in once for each repository. The zero Client
// works; a call without one has its own.
type Client struct {
	mu    sync.Mutex
	bases map[bool]*http.Transport // by whether they are insecure
	repos map[repositoryKey]*signedIn
	locks map[string]*sync.Mutex // of the tags that this process rewrites
}

// repositoryKey is what a registry's grant is for.
type repositoryKey struct {
	name, scope, more string
	insecure          bool
}

// signedIn is a repository that somebody signs in to at this moment, or has.
type signedIn struct {
	once sync.Once
	repo *repository
	err  error
}

// NewClient makes a Client.
func NewClient() *Client { return &Client{} }

// Close ends connections that nobody uses.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.bases {
		t.CloseIdleConnections()
	}
}

// shared is c, or a Client for one call, and what ends that.
func (c *Client) shared() (client *Client, end func()) {
	if c != nil {
		return c, func() {}
	}
	client = NewClient()
	return client, client.Close
}

// access is what a call wants of a repository.
type access struct {
	scope    string // transport.PullScope or PushScope
	insecure bool
	from     *name.Repository // of the same registry, to mount blobs from; nil for none
}

// repository signs in to a repository, unless that was done before.
func (c *Client) repository(ctx context.Context, repo name.Repository, a access) (*repository, error) {
	key := repositoryKey{name: repo.Name(), scope: a.scope, insecure: a.insecure}
	if a.from != nil {
		key.more = a.from.Name()
	}
	for {
		s, key := c.signedIn(key)
		s.once.Do(func() { s.repo, s.err = c.signIn(ctx, repo, a) })
		if s.err == nil {
			return s.repo, nil
		}
		c.forget(key, s)
		if ctx.Err() != nil || !isCanceled(s.err) { // else it was another call that was stopped
			return nil, s.err
		}
	}
}

// forget lets the next call sign in again.
func (c *Client) forget(key repositoryKey, s *signedIn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.repos[key] == s {
		delete(c.repos, key)
	}
}

// signedIn finds who signs in, or has. Who may push may pull.
func (c *Client) signedIn(key repositoryKey) (*signedIn, repositoryKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.repos == nil {
		c.repos = map[repositoryKey]*signedIn{}
	}
	pushing := key
	pushing.scope = transport.PushScope
	if s := c.repos[pushing]; s != nil {
		return s, pushing
	}
	s := c.repos[key]
	if s == nil {
		s = &signedIn{}
		c.repos[key] = s
	}
	return s, key
}

func (c *Client) signIn(ctx context.Context, repo name.Repository, a access) (*repository, error) {
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repo)
	if err != nil {
		return nil, fmt.Errorf("looking for credentials: %w", err)
	}
	scopes := []string{repo.Scope(a.scope)}
	if a.from != nil {
		scopes = append(scopes, a.from.Scope(transport.PullScope))
	}
	t, err := transport.NewWithContext(ctx, repo.Registry, auth, retrying{patient{c.base(a.insecure)}}, scopes)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: t, CheckRedirect: checkRedirect}
	if a.insecure {
		client.CheckRedirect = nil
	}
	return &repository{repo: repo, http: client, lock: c.lock}, nil
}

// base is the transport of all connections.
func (c *Client) base(insecure bool) *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.bases[insecure]; t != nil {
		return t
	}
	if c.bases == nil {
		c.bases = map[bool]*http.Transport{}
	}
	c.bases[insecure] = newTransport(insecure)
	return c.bases[insecure]
}

func newTransport(insecure bool) *http.Transport {
	t := remote.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	t.TLSHandshakeTimeout = tlsTimeout
	t.ResponseHeaderTimeout = headerTimeout
	t.DisableCompression = true // blobs are what they are
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return t
}

// lock makes writers of the same tag wait for each other.
func (c *Client) lock(tag string) (unlock func()) {
	c.mu.Lock()
	if c.locks == nil {
		c.locks = map[string]*sync.Mutex{}
	}
	l := c.locks[tag]
	if l == nil {
		l = &sync.Mutex{}
		c.locks[tag] = l
	}
	c.mu.Unlock()
	l.Lock()
	return l.Unlock
}
