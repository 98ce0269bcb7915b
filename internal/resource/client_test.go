package resource

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// dialed connects as to a node in maintenance mode.
func dialed(t testing.TB, e Endpoint) *Client {
	t.Helper()
	c, err := Dial(t.Context(), e, Insecure(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestGet(t *testing.T) {
	c := dialed(t, serve(t, newState(t)))
	r, err := c.Get(t.Context(), RuntimeNamespace, ExtensionStatusType, gvisor.ID())
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Metadata().ID(); got != gvisor.ID() {
		t.Errorf("got %s, want %s", got, gvisor.ID())
	}
	_, err = c.Get(t.Context(), RuntimeNamespace, ExtensionStatusType, "nope")
	if !IsNotFound(err) || !strings.Contains(err.Error(), `getting ExtensionStatuses.runtime.talos.dev "nope": resource`) {
		t.Errorf("got %v, want NotFound that says what was asked", err)
	}
}

func TestWatchOne(t *testing.T) {
	c := dialed(t, serve(t, newState(t)))
	for id, want := range map[string]string{gvisor.ID(): "created 1", "nope": "destroyed undefined"} {
		enough := errors.New("enough")
		var got []string
		err := c.Watch(t.Context(), RuntimeNamespace, ExtensionStatusType, id, func(e *Event) error {
			if e == nil {
				return enough
			}
			got = append(got, e.Change.String()+" "+e.Resource.Metadata().Version().String())
			return nil
		})
		if !errors.Is(err, enough) {
			t.Errorf("%s: got %v, want the callback's error", id, err)
		}
		if diff := cmp.Diff([]string{want}, got); diff != "" {
			t.Errorf("%s: events (-want +got):\n%s", id, diff)
		}
	}
	err := c.Watch(t.Context(), "elsewhere", ExtensionStatusType, "", func(*Event) error { return nil })
	if status.Code(err) != codes.NotFound {
		t.Errorf("unknown namespace: got %v, want NotFound", err)
	}
}

// TestDialError has a bad endpoint per way to be bad.
func TestDialError(t *testing.T) {
	good := serve(t, newState(t))
	for _, tt := range []struct {
		name     string
		endpoint Endpoint
		config   *tls.Config
		doing    string
		says     string
		check    func(*DialError) bool
	}{
		{"nobody listens", closedPort(t), Insecure(), "opening the connection", "connection refused", nil},
		{"no such name", Endpoint{Host: "node.invalid", Port: Port}, Insecure(), "opening the connection", "node.invalid", nil},
		{"unknown authority", good, &tls.Config{}, "TLS handshake", "certificate", (*DialError).Untrusted},
		{"wants a certificate", mutualTLS(t), Insecure(), "greeting", "", (*DialError).Refused},
		{"speaks no TLS", talks(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), Insecure(), "TLS handshake", "does not look like a TLS handshake", nil},
		{"hangs up", talks(t, ""), Insecure(), "TLS handshake", "EOF", nil},
		{"says nothing", silent(t), Insecure(), "TLS handshake", "no answer in time", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := Dial(ctx, tt.endpoint, tt.config, "")
			var failed *DialError
			if !errors.As(err, &failed) {
				t.Fatalf("got %v, want a DialError", err)
			}
			if failed.Doing != tt.doing || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), tt.endpoint.String()) {
				t.Errorf("got %q while %q, want one that says %q while %q", err, failed.Doing, tt.says, tt.doing)
			}
			if tt.check != nil && !tt.check(failed) {
				t.Errorf("%v is not recognized", err)
			}
		})
	}
}

func listen(t *testing.T) (net.Listener, Endpoint) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	e, err := ParseEndpoint(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return l, e
}

func closedPort(t *testing.T) Endpoint {
	l, e := listen(t)
	l.Close()
	return e
}

// talks accepts connections, writes a text and hangs up.
func talks(t *testing.T, text string) Endpoint {
	l, e := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte(text))
			conn.(*net.TCPConn).CloseWrite()
			time.AfterFunc(time.Second, func() { conn.Close() })
		}
	}()
	return e
}

// silent accepts connections and says nothing, as a port that QEMU forwards does before the
// guest listens.
func silent(t *testing.T) Endpoint {
	_, e := listen(t)
	return e
}

// mutualTLS wants client certificates, as Talos does when it is configured.
func mutualTLS(t *testing.T) Endpoint {
	certificate, err := selfSigned(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, e := listen(t)
	secure := tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAnyClientCert,
		NextProtos:   []string{"h2"},
	})
	go func() {
		for {
			conn, err := secure.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.(*tls.Conn).Handshake()
				// Let the client read the alert before the connection is reset.
				time.Sleep(200 * time.Millisecond)
			}()
		}
	}()
	return e
}

func TestParseEndpoint(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"10.0.0.2", "10.0.0.2:50000"},
		{"10.0.0.2:50001", "10.0.0.2:50001"},
		{"node.example", "node.example:50000"},
		{"node.example:1", "node.example:1"},
		{"fd00::2", "[fd00::2]:50000"},
		{"[fd00::2]", "[fd00::2]:50000"},
		{"[fd00::2]:65535", "[fd00::2]:65535"},
		{"https://omni.example", "omni.example:443"},
		{"https://omni.example:8443", "omni.example:8443"},
	} {
		got, err := ParseEndpoint(tt.in)
		if err != nil || got.String() != tt.want {
			t.Errorf("%s: got %s, %v, want %s", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{"", ":50000", "a:b", "a:0", "a:65536", "a:1:2", "a b", "https://", "http://a", "a/b", "x@y", "a:", "\x1b[2J"} {
		if got, err := ParseEndpoint(in); err == nil {
			t.Errorf("%q: got %s, want an error", in, got)
		}
	}
}

func TestYAMLIsThatOfTheFoundingDocuments(t *testing.T) {
	c := dialed(t, serve(t, newState(t)))
	r, err := c.Get(t.Context(), RuntimeNamespace, ExtensionStatusType, gvisor.ID())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2022, 2, 10, 18, 25, 4, 0, time.UTC)
	r.Metadata().SetCreated(at)
	r.Metadata().SetUpdated(at)
	got, err := YAML(r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "extension.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("YAML (-want +got):\n%s", diff)
	}
}
