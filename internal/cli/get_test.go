package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cosi-project/runtime/api/v1alpha1"
	cosi "github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/resource"
)

// The extensions of the founding documents.
var foundingLayers = []extension.Layer{
	{
		Image: "000.ghcr.io-talos-systems-gvisor-54b831d.sqsh",
		Metadata: extension.Metadata{
			Name:          "gvisor",
			Version:       "20220117.0-v1.0.0",
			Author:        "Andrew Rynhard",
			Description:   "This system extension provides gVisor using containerd's runtime handler.\n",
			Compatibility: extension.Compatibility{Talos: extension.Constraint{Version: ">= v1.0.0"}},
		},
	},
	{
		Image: "001.ghcr.io-talos-systems-intel-ucode-54b831d.sqsh",
		Metadata: extension.Metadata{
			Name:          "intel-ucode",
			Version:       "microcode-20210608-v1.0.0",
			Author:        "Spencer Smith",
			Description:   "This system extension provides Intel microcode binaries.\n",
			Compatibility: extension.Compatibility{Talos: extension.Constraint{Version: ">= v1.0.0"}},
		},
	},
}

// node is a node in this process, in maintenance mode.
type node struct {
	state *resource.State
	addr  string
}

func startNode(t *testing.T, layers []extension.Layer) node {
	t.Helper()
	state, err := resource.NewState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := state.AddExtensions(t.Context(), layers); err != nil {
		t.Fatal(err)
	}
	server, err := resource.NewServer(state)
	if err != nil {
		t.Fatal(err)
	}
	l := listenTCP(t)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { server.Serve(ctx, l) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return node{state, l.Addr().String()}
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// deadNode is an address at which nobody listens.
func deadNode(t *testing.T) string {
	l := listenTCP(t)
	l.Close()
	return l.Addr().String()
}

// get runs "graft get" without a talosconfig of the person who runs the tests.
func get(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if os.Getenv("TALOSCONFIG") == "" {
		t.Setenv("TALOSCONFIG", filepath.Join(t.TempDir(), "none"))
	}
	var out, err bytes.Buffer
	code = Run(t.Context(), append([]string{"get"}, args...), Streams{In: strings.NewReader(""), Out: &out, Err: &err})
	return code, out.String(), err.String()
}

var timeRE = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// atFixedTime replaces the times in an output.
func atFixedTime(s string) string { return timeRE.ReplaceAllString(s, "2022-02-10T18:25:04Z") }

// golden compares an output with a file; times are replaced.
func golden(t *testing.T, name, got string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), atFixedTime(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestGetFormats(t *testing.T) {
	n := startNode(t, foundingLayers)
	for _, tt := range []struct {
		file string
		args []string
	}{
		{"get-extensions.txt", []string{"extensions"}},
		{"get-extensions.txt", []string{"ExtensionStatus"}},
		{"get-extension.yaml", []string{"extensions", foundingLayers[1].ID(), "-o", "yaml"}},
		{"get-extensions.yaml", []string{"extensionstatuses.runtime.talos.dev", "-o", "yaml"}},
		{"get-extension.json", []string{"extensions", foundingLayers[0].ID(), "-o", "json"}},
		{"get-rd.txt", []string{"rd"}},
	} {
		code, stdout, stderr := get(t, append(tt.args, "--insecure", "-n", n.addr)...)
		if code != exitOK || stderr != "" {
			t.Errorf("%v: got exit code %d and %q", tt.args, code, stderr)
		}
		golden(t, tt.file, stdout)
	}
}

func TestGetJSONOfAllIsOneObjectEach(t *testing.T) {
	n := startNode(t, foundingLayers)
	_, stdout, _ := get(t, "extensions", "--insecure", "-n", n.addr, "-o", "json")
	dec := json.NewDecoder(strings.NewReader(stdout))
	var ids []string
	for {
		var o struct{ Metadata struct{ ID string } }
		err := dec.Decode(&o)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, o.Metadata.ID)
	}
	if diff := cmp.Diff([]string{foundingLayers[0].ID(), foundingLayers[1].ID()}, ids); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func TestGetFromSeveralNodes(t *testing.T) {
	a, b := startNode(t, foundingLayers[:1]), startNode(t, foundingLayers[1:])
	dead := deadNode(t)
	code, stdout, stderr := get(t, "extensions", "--insecure", "-n", a.addr+","+dead+","+b.addr, "-n", a.addr)
	if code != exitDependency {
		t.Errorf("got exit code %d, want %d", code, exitDependency)
	}
	// Ports tell the nodes apart, for they have one host.
	want := fmt.Sprintf(`NODE              NAMESPACE   TYPE              ID                                              VERSION   NAME          VERSION
%s   runtime     ExtensionStatus   000.ghcr.io-talos-systems-gvisor-54b831d        1         gvisor        20220117.0-v1.0.0
%s   runtime     ExtensionStatus   001.ghcr.io-talos-systems-intel-ucode-54b831d   1         intel-ucode   microcode-20210608-v1.0.0
`, a.addr, b.addr)
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if want := "graft: node " + dead + ": connecting to " + dead + ": opening the connection: connect: connection refused\n"; stderr != want {
		t.Errorf("got %q, want %q", stderr, want)
	}
}

func TestGetFromDeadNodes(t *testing.T) {
	a, b := deadNode(t), deadNode(t)
	code, stdout, stderr := get(t, "extensions", "--insecure", "-n", a, "-n", b)
	if code != exitDependency || stdout != "" {
		t.Errorf("got exit code %d and %q", code, stdout)
	}
	for _, addr := range []string{a, b} {
		if strings.Count(stderr, "node "+addr) != 1 {
			t.Errorf("got %q, want one line about node %s", stderr, addr)
		}
	}
}

func TestGetFromSlowNode(t *testing.T) {
	slow := listenTCP(t).Addr().String() // accepts, says nothing
	good := startNode(t, foundingLayers)
	begin := time.Now()
	code, stdout, stderr := get(t, "extensions", "--insecure", "-n", slow, "-n", good.addr, "--timeout", "500ms")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if code != exitDependency || strings.Count(stdout, "\n") != 3 {
		t.Errorf("got exit code %d and\n%s", code, stdout)
	}
	if !strings.Contains(stderr, "TLS handshake: no answer in time") || !strings.Contains(stderr, "hint: is the node up") {
		t.Errorf("got %q", stderr)
	}
}

// widget is a type beside ExtensionStatus whose names are also its names.
type (
	widget           = typed.Resource[widgetSpec, widgetDefinition]
	widgetSpec       map[string]any
	widgetDefinition struct{}
)

func (s widgetSpec) DeepCopy() widgetSpec          { return s }
func (s widgetSpec) MarshalProto() ([]byte, error) { return nil, nil }
func (widgetDefinition) ResourceDefinition() meta.ResourceDefinitionSpec {
	return meta.ResourceDefinitionSpec{
		Type:             "Widgets.graft.test",
		Aliases:          []cosi.Type{"extensions", "gadgets"},
		DefaultNamespace: resource.RuntimeNamespace,
		PrintColumns: []meta.PrintColumn{
			{Name: "Ready", JSONPath: `{.conditions[?(@.type=="Ready")].status}`},
			{Name: "Ports", JSONPath: `{.endpoints[*].port}`},
			{Name: "Hosts", JSONPath: `{.hosts}`},
		},
	}
}

func newWidget(id string, spec widgetSpec) *widget {
	md := cosi.NewMetadata(resource.RuntimeNamespace, "Widgets.graft.test", id, cosi.VersionUndefined)
	return typed.NewResource[widgetSpec, widgetDefinition](md, spec)
}

func TestGetAnyType(t *testing.T) {
	n := startNode(t, foundingLayers)
	if err := n.state.Register(t.Context(), &widget{}); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*widget{
		newWidget("full", widgetSpec{
			"conditions": []any{map[string]any{"type": "Ready", "status": "True"}},
			"endpoints":  []any{map[string]any{"port": 80}, map[string]any{"port": 443}},
			"hosts":      []string{"a", "b"},
		}),
		newWidget("empty", widgetSpec{}),
		newWidget("hostile\x1b[2J", widgetSpec{"hosts": "x\n\x1b]0;y\a"}),
	} {
		if err := n.state.Create(t.Context(), w, "test"); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, stderr := get(t, "gadgets", "--insecure", "-n", n.addr)
	if code != exitOK {
		t.Fatalf("got exit code %d and %q", code, stderr)
	}
	want := "NODE        NAMESPACE   TYPE     ID            VERSION   READY   PORTS    HOSTS\n" +
		"127.0.0.1   runtime     Widget   empty         1                          \n" +
		"127.0.0.1   runtime     Widget   full          1         True    80 443   [\"a\",\"b\"]\n" +
		"127.0.0.1   runtime     Widget   hostile�[2J   1                          x��]0;y�\n"
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}

	code, _, stderr = get(t, "extensions", "--insecure", "-n", n.addr)
	wantErr := fmt.Sprintf("graft: node 127.0.0.1: resource type %q is ambiguous: it may be extensionstatuses.runtime.talos.dev or widgets.graft.test\n"+
		"  hint: name it in full: extensionstatuses.runtime.talos.dev\n", "extensions")
	if code != exitInvalid || stderr != wantErr {
		t.Errorf("got exit code %d and %q, want %q", code, stderr, wantErr)
	}
}

func TestGetErrors(t *testing.T) {
	n := startNode(t, foundingLayers)
	mutual := startMutualNode(t)
	for _, tt := range []struct {
		name string
		args []string
		code int // negative: any but 0
		want string
	}{
		{"no type", nil, -1, "accepts between 1 and 2 arg(s)"},
		{"no node", []string{"extensions", "--insecure"}, exitInvalid, "no node is named\n  hint: -n HOST"},
		{"bad node", []string{"extensions", "--insecure", "-n", "a:b:c"}, exitInvalid, `parsing endpoint "a:b:c"`},
		{"bad format", []string{"extensions", "--insecure", "-n", n.addr, "-o", "xml"}, exitInvalid, "none of table, yaml, json"},
		{"insecure by way of another", []string{"extensions", "--insecure", "-n", n.addr, "-e", n.addr}, -1, "exclude each other"},
		{"no talosconfig", []string{"extensions", "-n", n.addr}, exitInvalid, "hint: a node in maintenance mode needs none, but --insecure"},
		{"unknown type", []string{"extensins", "--insecure", "-n", n.addr}, exitInvalid,
			"resource type \"extensins\" is not known to the node\n  hint: did you mean extensions?\n  hint: graft get rd --insecure -n " + n.addr + " lists the types\n"},
		{"unknown id", []string{"extensions", "nope", "--insecure", "-n", n.addr}, exitInvalid,
			"(NotFound)\n  hint: graft get extensions --insecure -n " + n.addr + " lists what is there\n"},
		{"unknown namespace", []string{"extensions", "--insecure", "-n", n.addr, "--namespace", "x"}, exitDependency, `in namespace "x" (NotFound)`},
		{"not in maintenance mode", []string{"extensions", "--insecure", "-n", mutual.addr}, exitDependency,
			"hint: the node is not in maintenance mode: ask it with a talosconfig, without --insecure"},
		{"dead, watched", []string{"extensions", "--insecure", "-n", deadNode(t), "-w"}, exitDependency, "connection refused"},
		{"unknown type, watched", []string{"nope", "--insecure", "-n", n.addr, "-w"}, exitInvalid, "is not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := get(t, tt.args...)
			if code != tt.code && (tt.code >= 0 || code == exitOK) || !strings.Contains(stderr, tt.want) || stdout != "" {
				t.Errorf("got exit code %d, stdout %q, stderr %q; want %d and %q", code, stdout, stderr, tt.code, tt.want)
			}
		})
	}
}

// lines is a writer that gives its lines to a channel.
type lines struct {
	mu   sync.Mutex
	part string
	out  chan string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part += string(b)
	for {
		line, rest, found := strings.Cut(l.part, "\n")
		if !found {
			return len(b), nil
		}
		l.out <- line
		l.part = rest
	}
}

func (l *lines) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l.out:
		return line
	case <-time.After(20 * time.Second):
		t.Fatal("no line in time")
		return ""
	}
}

func TestGetWatch(t *testing.T) {
	n := startNode(t, foundingLayers[:1])
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &lines{out: make(chan string, 100)}
	stderr := &lines{out: make(chan string, 100)}
	code := make(chan int, 1)
	go func() {
		args := []string{"get", "extensions", "-w", "--insecure", "-n", n.addr, "-n", deadNode(t)}
		code <- Run(ctx, args, Streams{In: strings.NewReader(""), Out: out, Err: stderr})
	}()
	host := n.addr
	pad := strings.Repeat(" ", len(host)-len("NODE"))
	for _, want := range []string{
		"NODE" + pad + "   *   NAMESPACE   TYPE              ID                                         VERSION   NAME     VERSION",
		host + "   +   runtime     ExtensionStatus   000.ghcr.io-talos-systems-gvisor-54b831d   1         gvisor   20220117.0-v1.0.0",
	} {
		if got := out.next(t); got != want {
			t.Errorf("got line\n%q, want\n%q", got, want)
		}
	}
	late := extension.Layer{Image: "9.sqsh", Metadata: extension.Metadata{Name: "late", Version: "v1"}}
	if err := n.state.AddExtensions(ctx, []extension.Layer{late}); err != nil {
		t.Fatal(err)
	}
	want := host + "   +   runtime     ExtensionStatus   9                                          1         late     v1"
	if got := out.next(t); got != want {
		t.Errorf("got line\n%q, want\n%q", got, want)
	}
	if got := stderr.next(t); !strings.Contains(got, "connection refused") {
		t.Errorf("got %q, want to hear of the dead node", got)
	}
	cancel()
	if got := <-code; got != exitOK {
		t.Errorf("got exit code %d, want %d: a person ends a watch", got, exitOK)
	}
}

func TestGetWatchMissingID(t *testing.T) {
	n := startNode(t, nil)
	for format, want := range map[string][]string{
		"yaml": {"node: 127.0.0.1", "event: destroyed", "metadata:", "    namespace: runtime"},
		"json": {"{", `    "event": "destroyed",`},
		"table": {"NODE        *   NAMESPACE   TYPE              ID   VERSION     NAME   VERSION",
			"127.0.0.1   -   runtime     ExtensionStatus   x    undefined          "},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &lines{out: make(chan string, 100)}
		done := make(chan int, 1)
		go func() {
			args := []string{"get", "extensions", "x", "-w", "-o", format, "--insecure", "-n", n.addr}
			done <- Run(ctx, args, Streams{In: strings.NewReader(""), Out: out, Err: io.Discard})
		}()
		for _, line := range want {
			if got := out.next(t); got != line {
				t.Errorf("%s: got line %q, want %q", format, got, line)
			}
		}
		cancel()
		<-done
	}
}

// mutualNode wants client certificates and passes requests on, as Talos does
// once it is configured.
type mutualNode struct {
	addr        string
	talosconfig string
	asked       chan string // the values of the metadata "node"
}

// startMutualNode starts a node whose answer to everything is an empty list.
func startMutualNode(t *testing.T) *mutualNode {
	t.Helper()
	ca := newAuthority(t)
	server, client := ca.issue(t, "server"), ca.issue(t, "client")
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	m := &mutualNode{asked: make(chan string, 100)}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{server},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		MinVersion:   tls.VersionTLS13,
	})))
	v1alpha1.RegisterStateServer(g, &askedServer{asked: m.asked})
	l := listenTCP(t)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	m.addr = l.Addr().String()
	key, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	m.talosconfig = filepath.Join(t.TempDir(), "talosconfig")
	content := fmt.Sprintf("context: demo\ncontexts:\n  demo:\n    endpoints: [%s, %s]\n    nodes: [10.9.8.7]\n    ca: %s\n    crt: %s\n    key: %s\n",
		deadNode(t), m.addr, encode("CERTIFICATE", ca.certificate.Raw), encode("CERTIFICATE", client.Certificate[0]), encode("PRIVATE KEY", key))
	if err := os.WriteFile(m.talosconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

type askedServer struct {
	v1alpha1.UnimplementedStateServer
	asked chan string
}

func (s *askedServer) List(q *v1alpha1.ListRequest, stream v1alpha1.State_ListServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	s.asked <- strings.Join(md.Get("node"), ",")
	return nil
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.certificate, a.key = certify(t, nil, &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true})
	return a
}

func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	c, key := certify(t, a, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

func certify(t *testing.T, by *authority, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func TestGetByTalosconfig(t *testing.T) {
	m := startMutualNode(t)
	other := startNode(t, nil) // its certificate is signed by nobody we know
	for _, tt := range []struct {
		name  string
		args  []string
		asked string // the node that the endpoint is asked to ask
		code  int
		want  string
	}{
		// The node of this test knows no types: that it says so proves the way to it.
		{"node of the talosconfig", nil, "10.9.8.7", exitInvalid, "node 10.9.8.7: resource type"},
		{"named node", []string{"-n", "10.1.1.1"}, "10.1.1.1", exitInvalid, "node 10.1.1.1: resource type"},
		{"named endpoint", []string{"-e", m.addr}, "10.9.8.7", exitInvalid, "node 10.9.8.7: resource type"},
		{"node with a port", []string{"-n", m.addr}, "", exitInvalid, "node 127.0.0.1: resource type"},
		{"named context", []string{"--context", "demo"}, "10.9.8.7", exitInvalid, "resource type"},
		{"missing context", []string{"--context", "x"}, "-", exitInvalid, `has no context "x", but demo`},
		{"node in maintenance mode", []string{"-n", other.addr}, "-", exitDependency, "hint: --insecure asks a node in maintenance mode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := get(t, append([]string{"extensions", "--talosconfig", m.talosconfig}, tt.args...)...)
			if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("got exit code %d, stdout %q, stderr %q; want %d and %q", code, stdout, stderr, tt.code, tt.want)
			}
			asked := "-"
			if len(m.asked) > 0 {
				asked = <-m.asked
			}
			if asked != tt.asked {
				t.Errorf("the endpoint was asked for node %q, want %q", asked, tt.asked)
			}
		})
	}
	t.Setenv("TALOSCONFIG", m.talosconfig)
	if code, _, stderr := get(t, "extensions"); code != exitInvalid || !strings.Contains(stderr, "node 10.9.8.7: resource type") {
		t.Errorf("by $TALOSCONFIG: got exit code %d and %q", code, stderr)
	}
}
