package resource

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// fakeNode serves any answers.
func fakeNode(t *testing.T, answers v1alpha1.StateServer) *Client {
	t.Helper()
	certificate, err := selfSigned(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}})))
	v1alpha1.RegisterStateServer(g, answers)
	l, e := listen(t)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	return dialed(t, e)
}

// hostile answers what no honest node would.
type hostile struct {
	v1alpha1.UnimplementedStateServer
	resource *v1alpha1.Resource
	times    int // to send it in a list; negative is without end
}

func (h hostile) Get(context.Context, *v1alpha1.GetRequest) (*v1alpha1.GetResponse, error) {
	return &v1alpha1.GetResponse{Resource: h.resource}, nil
}

func (h hostile) List(_ *v1alpha1.ListRequest, stream v1alpha1.State_ListServer) error {
	for i := 0; i != h.times; i++ {
		if err := stream.Send(&v1alpha1.ListResponse{Resource: h.resource}); err != nil {
			return err
		}
	}
	return nil
}

func (h hostile) Watch(_ *v1alpha1.WatchRequest, stream v1alpha1.State_WatchServer) error {
	stream.Send(&v1alpha1.WatchResponse{Event: []*v1alpha1.Event{{EventType: 99}, {EventType: v1alpha1.EventType_CREATED, Resource: h.resource}}})
	return status.Error(codes.Unavailable, "going \x1b[2J down")
}

// wire makes a resource with a spec.
func wire(spec string) *v1alpha1.Resource {
	return &v1alpha1.Resource{
		Metadata: &v1alpha1.Metadata{Namespace: "x", Type: "Xs.x.x", Id: "x", Version: "1", Phase: "running"},
		Spec:     &v1alpha1.Spec{YamlSpec: spec},
	}
}

func TestHostileAnswers(t *testing.T) {
	for _, tt := range []struct {
		name string
		node hostile
		want string
	}{
		{"nothing", hostile{times: 1}, "metadata is missing"},
		{"no spec", hostile{resource: &v1alpha1.Resource{Metadata: wire("").Metadata}, times: 1}, "spec is missing"},
		{"bad version", hostile{resource: &v1alpha1.Resource{Metadata: &v1alpha1.Metadata{Version: "x", Phase: "running"}, Spec: &v1alpha1.Spec{}}, times: 1}, "decoding a resource"},
		{"without end", hostile{resource: wire(strings.Repeat("x", 1<<20)), times: -1}, "more than the 67108864 bytes"},
		{"one too big", hostile{resource: wire(strings.Repeat("x", MaxMessage)), times: 1}, "ResourceExhausted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := fakeNode(t, tt.node)
			_, err := c.List(t.Context(), "x", "Xs.x.x")
			if err == nil || !strings.Contains(err.Error(), "listing Xs.x.x: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("list: got %v, want an error that says %q", err, tt.want)
			}
			if tt.node.times == 1 {
				if _, err := c.Get(t.Context(), "x", "Xs.x.x", "x"); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("get: got %v, want an error that says %q", err, tt.want)
				}
			}
		})
	}
}

func TestHostileDefinition(t *testing.T) {
	c := fakeNode(t, hostile{resource: &v1alpha1.Resource{
		Metadata: wire("").Metadata,
		Spec:     &v1alpha1.Spec{ProtoSpec: []byte{0xff, 0xff}},
	}, times: 1})
	if _, err := c.Definitions(t.Context()); err == nil || !strings.Contains(err.Error(), `decoding the definition of "x"`) {
		t.Errorf("got %v, want an error about the definition", err)
	}
}

func TestHostileSpec(t *testing.T) {
	for name, spec := range map[string]string{
		"no YAML":       "a: [",
		"alias bomb":    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n",
		"deep":          strings.Repeat("[", 100_000),
		"unknown alias": "a: *b",
	} {
		c := fakeNode(t, hostile{resource: wire(spec)})
		r, err := c.Get(t.Context(), "x", "Xs.x.x", "x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Spec(r); err == nil || !strings.Contains(err.Error(), `reading the spec of "x"`) {
			t.Errorf("%s: got %v, want an error about the spec", name, err)
		}
		if _, err := YAML(r); err == nil && name != "alias bomb" { // as YAML it stays small
			t.Errorf("%s: YAML gives no error", name)
		}
	}
}

func TestHostileWatch(t *testing.T) {
	c := fakeNode(t, hostile{resource: wire("a: b")})
	seen := 0
	err := c.Watch(t.Context(), "x", "Xs.x.x", "", func(e *Event) error {
		seen++
		return nil
	})
	if want := "watching Xs.x.x: going �[2J down (Unavailable)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if seen != 1 {
		t.Errorf("got %d events, want 1: kinds that are not known are passed over", seen)
	}
}

// TestServerSurvivesPanic proves that a request cannot end the process.
func TestServerSurvivesPanic(t *testing.T) {
	crash := func(context.Context, any) (any, error) { panic("boom") }
	if _, err := survive(t.Context(), nil, nil, crash); status.Code(err) != codes.Internal {
		t.Errorf("unary: got %v, want Internal", err)
	}
	err := surviveStream(nil, nil, nil, func(any, grpc.ServerStream) error { panic(errors.New("boom")) })
	if status.Code(err) != codes.Internal {
		t.Errorf("stream: got %v, want Internal", err)
	}
}
