package resource

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
)

// DialError says why an endpoint could not be reached.
type DialError struct {
	Endpoint Endpoint
	// Doing is what was being done: "opening the connection", say.
	Doing string
	Err   error
}

func (e *DialError) Error() string {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return fmt.Sprintf("connecting to %s: %s: no answer in time", e.Endpoint, e.Doing)
	}
	return fmt.Sprintf("connecting to %s: %s: %v", e.Endpoint, e.Doing, e.Err)
}

func (e *DialError) Unwrap() error { return e.Err }

// Untrusted says whether the endpoint's certificate was refused by us.
func (e *DialError) Untrusted() bool {
	var bad *tls.CertificateVerificationError
	return errors.As(e.Err, &bad)
}

// Refused says whether the endpoint refused our certificate, or that we have
// none. With TLS 1.3 it says so when the handshake is over for us, and then
// hangs up, which may arrive before its words.
func (e *DialError) Refused() bool {
	return e.Doing == greeting && !errors.Is(e.Err, context.DeadlineExceeded)
}

// connect opens a connection and waits until it can be used. gRPC would do so
// with the first request, but then tell what went wrong as text only.
func connect(ctx context.Context, e Endpoint, config *tls.Config) (*grpc.ClientConn, error) {
	p := &progress{}
	conn, err := grpc.NewClient("passthrough:///"+e.String(),
		grpc.WithTransportCredentials(watchedCredentials{credentials.NewTLS(config), p}),
		grpc.WithContextDialer(p.dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage)),
	)
	if err != nil {
		return nil, &DialError{Endpoint: e, Doing: "preparing the connection", Err: err}
	}
	conn.Connect()
	for {
		now := conn.GetState()
		if now == connectivity.Ready {
			return conn, nil
		}
		if now == connectivity.TransientFailure || !conn.WaitForStateChange(ctx, now) {
			failed := p.failure(e, ctx.Err())
			conn.Close()
			return nil, failed
		}
	}
}

// progress follows one attempt to connect.
type progress struct {
	mu    sync.Mutex
	doing string
	err   error
}

func (p *progress) set(doing string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil || p.err == nil {
		p.doing, p.err = doing, err
	}
}

// failure tells how far the attempt came. The first error counts: what
// follows is its consequence.
func (p *progress) failure(e Endpoint, otherwise error) *DialError {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.err
	if err == nil {
		err = otherwise
	}
	if err == nil {
		err = errors.New("the connection was closed")
	}
	return &DialError{Endpoint: e, Doing: p.doing, Err: err}
}

func (p *progress) dial(ctx context.Context, address string) (net.Conn, error) {
	const doing = "opening the connection"
	p.set(doing, nil)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		p.set(doing, bare(err))
	}
	return conn, err
}

// bare drops the addresses, such as "dial tcp 10.0.0.2:50000": the DialError
// says where.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// greeting is the first exchange of HTTP/2, right behind the TLS handshake.
const greeting = "greeting"

// watchedCredentials report the errors of the TLS handshake, and those of what
// comes right behind it.
type watchedCredentials struct {
	credentials.TransportCredentials
	progress *progress
}

func (w watchedCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	const doing = "TLS handshake"
	w.progress.set(doing, nil)
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		w.progress.set(doing, err)
		return nil, nil, err
	}
	w.progress.set(greeting, nil)
	return watchedConn{conn, w.progress}, info, nil
}

func (w watchedCredentials) Clone() credentials.TransportCredentials {
	return watchedCredentials{w.TransportCredentials.Clone(), w.progress}
}

type watchedConn struct {
	net.Conn
	progress *progress
}

func (c watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.note(err)
	return n, err
}

func (c watchedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.note(err)
	return n, err
}

// note notes an error unless it is only that we have closed the connection.
func (c watchedConn) note(err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.progress.set(greeting, bare(err))
	}
}
