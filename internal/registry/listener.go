package registry

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// limitConnections accepts no more connections than maxConnections at a time;
// others wait in the kernel's queue.
func limitConnections(l net.Listener) net.Listener {
	return &limited{Listener: l, free: make(chan struct{}, maxConnections), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	free   chan struct{}
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &connection{Conn: c, release: sync.OnceFunc(func() { <-l.free })}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type connection struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *connection) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// ReadFrom lets the kernel copy files to the connection, where it can.
func (c *connection) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// patientBody is the body of a request whose client must go on sending.
func (s *Server) patientBody(w http.ResponseWriter, r *http.Request) io.Reader {
	return &patient{body: r.Body, conn: http.NewResponseController(w), stall: s.stall}
}

type patient struct {
	body  io.Reader
	conn  *http.ResponseController
	stall time.Duration
	next  time.Time // when the deadline is moved again: not at each read
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	if now := time.Now(); now.After(p.next) {
		_ = p.conn.SetReadDeadline(now.Add(p.stall)) // a connection without deadlines is one of a test
		p.next = now.Add(p.stall / 8)
	}
	return p.body.Read(b)
}
