package resource

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/state/protobuf/server"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Port is the TCP port of the API on every node.
const Port = "50000"

// Limits of the API. A caller needs no credential, so these bound what
// anybody can make a node hold: connections x streams x bytes.
const (
	// MaxMessage is the size that Talos allows a message of its API, in bytes.
	MaxMessage = 32 << 20
	// maxRequest bounds a request, in bytes: reading asks for names only.
	maxRequest = 64 << 10
	// maxHeaders bounds the headers of a request, in bytes; gRPC's default is 16 MiB.
	maxHeaders = 16 << 10
	// maxConnections is the number of connections that are served at a time.
	maxConnections = 64
	// maxStreams is the number of requests, watches among them, per connection.
	maxStreams = 32

	handshakeTimeout = 10 * time.Second
	// maxIdle is how long a connection without a request may stay.
	maxIdle = 2 * time.Minute
	// pingEvery and pingTimeout find the watchers that are gone.
	pingEvery   = 30 * time.Second
	pingTimeout = 20 * time.Second
	// minPing is how often a client may ping; Talos' clients do not.
	minPing = 10 * time.Second

	// stopTimeout is how long running requests may take to end. Watches never
	// end by themselves.
	stopTimeout = time.Second
)

// Server serves a State: reading only, to everybody who connects.
type Server struct{ grpc *grpc.Server }

// NewServer makes a server and a new certificate for it.
func NewServer(s *State) (*Server, error) {
	certificate, err := selfSigned(time.Now())
	if err != nil {
		return nil, err
	}
	g := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{certificate},
			MinVersion:   tls.VersionTLS13,
		})),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: maxIdle, Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(survive),
		grpc.StreamInterceptor(surviveStream),
	)
	v1alpha1.RegisterStateServer(g, readOnly{state: s, reads: server.NewState(s.core)})
	return &Server{grpc: g}, nil
}

// Serve answers on l until ctx is done, which is no error.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.stop()
	})
	err := s.grpc.Serve(netutil.LimitListener(l, maxConnections))
	if !cancel() {
		<-stopped
		return nil
	}
	s.grpc.Stop()
	return fmt.Errorf("serving resources on %s: %w", l.Addr(), err)
}

// stop lets running requests end, but not for long.
func (s *Server) stop() {
	hard := time.AfterFunc(stopTimeout, s.grpc.Stop)
	defer hard.Stop()
	s.grpc.GracefulStop()
}

// readOnly is the service as far as it reads. Requests that would write are
// refused before anything in them is decoded.
type readOnly struct {
	v1alpha1.UnimplementedStateServer
	state *State
	reads *server.State
}

func (r readOnly) Get(ctx context.Context, q *v1alpha1.GetRequest) (*v1alpha1.GetResponse, error) {
	if err := r.check(q); err != nil {
		return nil, err
	}
	return r.reads.Get(ctx, q)
}

func (r readOnly) List(q *v1alpha1.ListRequest, answer v1alpha1.State_ListServer) error {
	if err := r.check(q); err != nil {
		return err
	}
	return r.reads.List(q, answer)
}

func (r readOnly) Watch(q *v1alpha1.WatchRequest, answer v1alpha1.State_WatchServer) error {
	if err := r.check(q); err != nil {
		return err
	}
	return r.reads.Watch(q, answer)
}

// check refuses what cannot be there.
func (r readOnly) check(q interface {
	GetNamespace() string
	GetType() string
}) error {
	if r.state.serves(q.GetNamespace(), q.GetType()) {
		return nil
	}
	return status.Errorf(codes.NotFound, "this node has no resources of type %q in namespace %q", q.GetType(), q.GetNamespace())
}

var errReadOnly = status.Error(codes.PermissionDenied, "this node is in maintenance mode: its resources can be read, not changed")

func (readOnly) Create(context.Context, *v1alpha1.CreateRequest) (*v1alpha1.CreateResponse, error) {
	return nil, errReadOnly
}

func (readOnly) Update(context.Context, *v1alpha1.UpdateRequest) (*v1alpha1.UpdateResponse, error) {
	return nil, errReadOnly
}

func (readOnly) Destroy(context.Context, *v1alpha1.DestroyRequest) (*v1alpha1.DestroyResponse, error) {
	return nil, errReadOnly
}

// survive turns a panic of a request into its error: the server may be PID 1,
// whose death is the machine's.
func survive(ctx context.Context, q any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
	defer recoverAs(&err)
	return handle(ctx, q)
}

func surviveStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer recoverAs(&err)
	return handle(srv, stream)
}

func recoverAs(err *error) {
	if p := recover(); p != nil {
		*err = status.Errorf(codes.Internal, "answering the request: %v", p)
	}
}
