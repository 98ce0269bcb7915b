package buildkit

import (
	"context"
	"io"
	"net"
	"sync/atomic"

	"github.com/moby/buildkit/client"
)

// dial connects with a daemon. The client speaks to it, and on a connection
// within that it serves the daemon, which asks for inputs there.
func dial(ctx context.Context, address string, opts ...client.ClientOpt) (*client.Client, error) {
	var c *client.Client
	session := func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
		conn, err := c.Dialer()(ctx, proto, meta)
		if err != nil {
			return nil, err
		}
		return &sessionConn{Conn: conn}, nil
	}
	var err error
	c, err = client.New(ctx, address, append(opts, client.WithSessionDialer(session))...)
	return c, err
}

// sessionConn is a connection that has nothing to read once it is closed. The
// library's gives old bytes again then, about which the HTTP server that reads
// them complains on stderr.
type sessionConn struct {
	net.Conn
	closed atomic.Bool
}

// Read implements net.Conn.
func (c *sessionConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.closed.Load() {
		return 0, io.EOF
	}
	return n, err
}

// Close implements net.Conn.
func (c *sessionConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}
