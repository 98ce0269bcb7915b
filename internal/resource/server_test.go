package resource

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/google/go-cmp/cmp"
	talos "github.com/siderolabs/talos/pkg/machinery/client"
	"github.com/siderolabs/talos/pkg/machinery/extensions"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"google.golang.org/grpc/codes"

	"github.com/graftlinux/graft/internal/extension"
)

var (
	gvisor = extension.Layer{
		Image:  "000.ghcr.io-siderolabs-gvisor-20220117.0-v1.0.0.sqsh",
		Digest: "sha256:4ad4cf4eb3e8ba71a33ee6cb3ff40b4de8b0e5ee6ebd9e40ba7e6e0c4b5dc1c4",
		Metadata: extension.Metadata{
			Name:          "gvisor",
			Version:       "20220117.0-v1.0.0",
			Author:        "Andrew Rynhard",
			Description:   "This system extension provides gVisor using containerd's runtime handler.\n",
			Compatibility: extension.Compatibility{Talos: extension.Constraint{Version: ">= v1.0.0"}},
		},
	}
	schematic = extension.Layer{
		Image:    "001.schematic.sqsh",
		Metadata: extension.Metadata{Name: "schematic", Version: "376567", ExtraInfo: "customization: {}\n"},
	}
)

// newState makes a state with two extensions.
func newState(t testing.TB) *State {
	t.Helper()
	s, err := NewState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddExtensions(t.Context(), []extension.Layer{gvisor, schematic}); err != nil {
		t.Fatal(err)
	}
	return s
}

// serve serves a state until the test ends, and says where.
func serve(t testing.TB, s *State) Endpoint {
	t.Helper()
	server, err := NewServer(s)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	e, err := ParseEndpoint(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// talosClient is the judge: the client library that talosctl is made of, used as
// "talosctl --insecure" does.
func talosClient(t testing.TB, e Endpoint) *talos.Client {
	t.Helper()
	c, err := talos.New(t.Context(), talos.WithDefaultGRPCDialOptions(), talos.WithEndpoints(e.String()),
		talos.WithTLSConfig(&tls.Config{InsecureSkipVerify: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestTalosClientListsExtensions(t *testing.T) {
	c := talosClient(t, serve(t, newState(t)))
	list, err := safe.StateListAll[*runtime.ExtensionStatus](t.Context(), c.COSI)
	if err != nil {
		t.Fatal(err)
	}
	var got []extensions.Layer
	for r := range list.All() {
		got = append(got, *r.TypedSpec())
	}
	want := []extensions.Layer{
		{
			Image: gvisor.Image,
			Metadata: extensions.Metadata{
				Name:          gvisor.Metadata.Name,
				Version:       gvisor.Metadata.Version,
				Author:        gvisor.Metadata.Author,
				Description:   gvisor.Metadata.Description,
				Compatibility: extensions.Compatibility{Talos: extensions.Constraint{Version: ">= v1.0.0"}},
			},
		},
		{Image: schematic.Image, Metadata: extensions.Metadata{Name: "schematic", Version: "376567", ExtraInfo: "customization: {}\n"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("extensions as Talos' client sees them (-want +got):\n%s", diff)
	}
	md := list.Get(0).Metadata()
	if got, want := md.String(), "ExtensionStatuses.runtime.talos.dev(runtime/000.ghcr.io-siderolabs-gvisor-20220117.0-v1.0.0@1)"; got != want {
		t.Errorf("metadata: got %s, want %s", got, want)
	}
	if md.Owner() != "runtime.ExtensionStatusController" || md.Phase() != resource.PhaseRunning {
		t.Errorf("got owner %q and phase %s", md.Owner(), md.Phase())
	}
	if age := time.Since(md.Created()); age < 0 || age > time.Minute {
		t.Errorf("created %s ago", age)
	}
}

func TestTalosClientResolvesNames(t *testing.T) {
	c := talosClient(t, serve(t, newState(t)))
	for _, tt := range []struct{ name, want string }{
		{"extensions", "extensionstatuses.runtime.talos.dev"},
		{"Extensions", "extensionstatuses.runtime.talos.dev"},
		{"extensionstatus", "extensionstatuses.runtime.talos.dev"},
		{"extensionstatuses", "extensionstatuses.runtime.talos.dev"},
		{"ExtensionStatuses.runtime.talos.dev", "extensionstatuses.runtime.talos.dev"},
		{"rd", "resourcedefinitions.meta.cosi.dev"},
		{"ns", "namespaces.meta.cosi.dev"},
	} {
		var namespace string
		rd, err := c.ResolveResourceKind(t.Context(), &namespace, tt.name)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := rd.Metadata().ID(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestTalosClientListsDefinitions(t *testing.T) {
	c := talosClient(t, serve(t, newState(t)))
	list, err := safe.StateListAll[*meta.ResourceDefinition](t.Context(), c.COSI)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := range list.All() {
		got = append(got, r.TypedSpec().Type)
	}
	want := []string{"ExtensionStatuses.runtime.talos.dev", "Namespaces.meta.cosi.dev", "ResourceDefinitions.meta.cosi.dev"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("definitions (-want +got):\n%s", diff)
	}
	// What the definition says is what Talos' own says.
	mine, err := meta.NewResourceDefinition((&ExtensionStatus{}).ResourceDefinition())
	if err != nil {
		t.Fatal(err)
	}
	its, err := meta.NewResourceDefinition((&runtime.ExtensionStatus{}).ResourceDefinition())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*its.TypedSpec(), *mine.TypedSpec()); diff != "" {
		t.Errorf("definition of ExtensionStatus (-Talos +graft):\n%s", diff)
	}
}

func TestTalosClientWatches(t *testing.T) {
	s := newState(t)
	c := talosClient(t, serve(t, s))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events := make(chan state.Event)
	kind := resource.NewMetadata(RuntimeNamespace, ExtensionStatusType, "", resource.VersionUndefined)
	if err := c.COSI.WatchKind(ctx, kind, events, state.WithBootstrapContents(true)); err != nil {
		t.Fatal(err)
	}
	next := func() string {
		select {
		case e := <-events:
			return e.Type.String() + " " + e.Resource.Metadata().ID()
		case <-ctx.Done():
			t.Fatal("no event in time")
			return ""
		}
	}
	var got []string
	for range 3 {
		got = append(got, next())
	}
	late := extension.Layer{Image: "002.late.sqsh", Metadata: extension.Metadata{Name: "late"}}
	if err := s.AddExtensions(ctx, []extension.Layer{late}); err != nil {
		t.Fatal(err)
	}
	got = append(got, next())
	want := []string{"Created " + gvisor.ID(), "Created " + schematic.ID(), "Bootstrapped ", "Created 002.late"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// saysCode looks for a code in a text: the errors of COSI's client hide the
// status that they come from.
func saysCode(err error, c codes.Code) bool {
	return err != nil && strings.Contains(err.Error(), "code = "+c.String())
}

func TestServerRefusesToWrite(t *testing.T) {
	e := serve(t, newState(t))
	c := talosClient(t, e)
	r := runtime.NewExtensionStatus(RuntimeNamespace, "mine")
	its, err := safe.StateGetByID[*runtime.ExtensionStatus](t.Context(), c.COSI, gvisor.ID())
	if err != nil {
		t.Fatal(err)
	}
	api := dialed(t, e).api
	_, bare := api.Update(t.Context(), &v1alpha1.UpdateRequest{}) // no options: cosi's own server would crash
	for what, err := range map[string]error{
		"create":      c.COSI.Create(t.Context(), r),
		"update":      c.COSI.Update(t.Context(), its),
		"destroy":     c.COSI.Destroy(t.Context(), its.Metadata()),
		"bare update": bare,
	} {
		if !saysCode(err, codes.PermissionDenied) || !strings.Contains(err.Error(), "maintenance mode") {
			t.Errorf("%s: got %v, want PermissionDenied for maintenance mode", what, err)
		}
	}
}

func TestServerLimitsRequests(t *testing.T) {
	api := dialed(t, serve(t, newState(t))).api
	big := &v1alpha1.CreateRequest{Resource: wire(strings.Repeat("x", maxRequest))}
	if _, err := api.Create(t.Context(), big); !saysCode(err, codes.ResourceExhausted) {
		t.Errorf("got %v, want ResourceExhausted", err)
	}
}

func TestServerKnowsOnlyItsTypes(t *testing.T) {
	c := talosClient(t, serve(t, newState(t)))
	for _, md := range []resource.Metadata{
		resource.NewMetadata(RuntimeNamespace, "Nothings.graft.dev", "x", resource.VersionUndefined),
		resource.NewMetadata("elsewhere", ExtensionStatusType, "x", resource.VersionUndefined),
		resource.NewMetadata("", "", "", resource.VersionUndefined),
	} {
		if _, err := c.COSI.List(t.Context(), md); !saysCode(err, codes.NotFound) {
			t.Errorf("list %s: got %v, want NotFound", md, err)
		}
		if _, err := c.COSI.Get(t.Context(), md); !saysCode(err, codes.NotFound) {
			t.Errorf("get %s: got %v, want NotFound", md, err)
		}
		if err := c.COSI.WatchKind(t.Context(), md, nil); !saysCode(err, codes.NotFound) {
			t.Errorf("watch %s: got %v, want NotFound", md, err)
		}
	}
}

func TestServerStopsWithWatchers(t *testing.T) {
	server, err := NewServer(newState(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	e, _ := ParseEndpoint(l.Addr().String())
	watching := make(chan bool, 1)
	ended := make(chan error, 1)
	c := dialed(t, e)
	go func() {
		ended <- c.Watch(t.Context(), RuntimeNamespace, ExtensionStatusType, "", func(e *Event) error {
			if e == nil {
				watching <- true
			}
			return nil
		})
	}()
	<-watching
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(stopTimeout + 5*time.Second):
		t.Error("the server does not stop")
	}
	if err := <-ended; err == nil {
		t.Error("the watch ended without an error")
	}
}

func TestServerWantsTLS13(t *testing.T) {
	e := serve(t, newState(t))
	_, err := tls.Dial("tcp", e.String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("with TLS 1.2: got %v, want a refusal of the version", err)
	}
}

func TestServeOnClosedListener(t *testing.T) {
	server, err := NewServer(newState(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := server.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "serving resources on 127.0.0.1") {
		t.Errorf("got %v, want an error that says what was served where", err)
	}
}

func TestAddExtensionsGoesOn(t *testing.T) {
	s, err := NewState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = s.AddExtensions(t.Context(), []extension.Layer{{}, gvisor, gvisor, schematic})
	for _, want := range []string{`adding layer 0 (""): creating resource: it has no id`, `adding layer 2 ("000.ghcr.io`, "already exists"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error that says %q", err, want)
		}
	}
	items, err := dialed(t, serve(t, s)).List(t.Context(), RuntimeNamespace, ExtensionStatusType)
	if err != nil {
		t.Fatal(err)
	}
	ids := slices.Collect(func(yield func(string) bool) {
		for _, r := range items {
			if !yield(r.Metadata().ID()) {
				return
			}
		}
	})
	if diff := cmp.Diff([]string{gvisor.ID(), schematic.ID()}, ids); diff != "" {
		t.Errorf("extensions (-want +got):\n%s", diff)
	}
}
