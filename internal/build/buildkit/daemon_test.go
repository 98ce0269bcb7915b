package buildkit_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graftlinux/graft/internal/build/buildkit"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/testkit/buildkitd"
	"github.com/graftlinux/graft/internal/tree"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		o    buildkit.Options
		want string
	}{
		{buildkit.Options{Address: "/run/buildkitd.sock"}, "needs unix://"},
		{buildkit.Options{Address: "ssh://host"}, "needs unix://"},
		{buildkit.Options{Address: "unix://run/sock"}, "after three slashes"},
		{buildkit.Options{Address: "tcp://host"}, "a host and a port"},
		{buildkit.Options{Address: "docker-container://"}, "docker-container://NAME"},
		{buildkit.Options{Address: "tcp://a b"}, "invalid character"},
		{buildkit.Options{Address: "unix:///x", TLS: buildkit.TLS{CA: "ca.pem"}}, "are for tcp://"},
		{buildkit.Options{Address: "tcp://x:1", TLS: buildkit.TLS{Cert: "cert.pem"}}, "only one was given"},
		{buildkit.Options{CacheFrom: []string{"ref=x"}}, "it has no type"},
		{buildkit.Options{CacheFrom: []string{"type=local,dest=x"}}, "needs src="},
		{buildkit.Options{CacheTo: []string{"type=local,src=x"}}, "needs dest="},
		{buildkit.Options{CacheTo: []string{"type=registry,x"}}, "is not KEY=VALUE"},
		{buildkit.Options{CacheTo: []string{`type="`}}, "reading the cache option"},
		{buildkit.Options{Address: "unix:///no/such/socket"}, "start buildkitd"},
		{buildkit.Options{Address: "tcp://127.0.0.1:1"}, "see that buildkitd listens there"},
		{buildkit.Options{Address: "tcp://127.0.0.1:1", TLS: buildkit.TLS{CA: "no-such-file"}}, "no-such-file"},
	}
	for _, test := range tests {
		e, err := buildkit.New(t.Context(), test.o)
		if err == nil || e != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v, want %q", test.o, err, test.want)
		}
	}
	_, err := buildkit.New(t.Context(), buildkit.Options{Address: "x", CacheFrom: []string{"type="}, CacheTo: []string{"type="}})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not all problems: %v", err)
	}
}

func TestEntitlementOfDaemon(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{Address: buildkitd.Own(t).Address(), Allow: []string{"network.host"}})
	_, err := fails(t, e, script(shell(t), "host", "true", func(k *plan.Exec) { k.Network = plan.HostNetwork }))
	if !errors.Is(err, plan.ErrNotAllowed) || !strings.Contains(err.Error(), "--allow-insecure-entitlement network.host") {
		t.Errorf("got %v", err)
	}
}

// Through docker and kubectl: programs that only connect to the daemon.
func TestPrograms(t *testing.T) {
	address := buildkitd.Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"docker", "kubectl"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv(socketEnv, strings.TrimPrefix(address, "unix://"))
	for _, address := range []string{"docker-container://buildkitd", "kube-pod://buildkitd-0?namespace=build"} {
		want := entries(t, map[string]*tree.Node{"address": file(address)})
		got, _ := solve(t, connect(t, buildkit.Options{Address: address}), files(t, "x", want))
		wantTree(t, got[0], want)
	}
	t.Setenv("PATH", t.TempDir())
	_, err = buildkit.New(t.Context(), buildkit.Options{Address: "docker-container://buildkitd"})
	if err == nil || !strings.Contains(err.Error(), "the program docker must be installed") {
		t.Errorf("without docker: %v", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newCA(t, dir)
	ca.issue(t, dir, "server", net.IPv4(127, 0, 0, 1))
	ca.issue(t, dir, "client", nil)
	pem := func(name string) string { return filepath.Join(dir, name+".pem") }
	address := "tcp://127.0.0.1:" + freePort(t)
	buildkitd.Own(t, "--addr", address, "--tlscacert", pem("ca"), "--tlscert", pem("server"), "--tlskey", pem("server-key"))

	full := buildkit.TLS{CA: pem("ca"), Cert: pem("client"), Key: pem("client-key")}
	got, _ := solve(t, connect(t, buildkit.Options{Address: address, TLS: full}), script(shell(t), "tls", "echo yes > /tls"))
	if text(t, got[0], "tls") != "yes\n" {
		t.Error("no result")
	}
	named := full
	named.ServerName = "another.example"
	for what, o := range map[string]buildkit.TLS{"plain": {}, "without certificate": {CA: pem("ca")}, "without CA": {Cert: full.Cert, Key: full.Key}, "another name": named} {
		if _, err := buildkit.New(t.Context(), buildkit.Options{Address: address, TLS: o}); err == nil || !strings.Contains(err.Error(), "wants TLS") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T, dir string) authority {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{c, key}
	a.sign(t, dir, "ca", c, key)
	return a
}

// issue writes a certificate and its key as PEM files.
func (a authority) issue(t *testing.T, dir, name string, ip net.IP) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip != nil {
		c.IPAddresses = []net.IP{ip}
	}
	a.sign(t, dir, name, c, key)
}

func (a authority) sign(t *testing.T, dir, name string, c *x509.Certificate, key *ecdsa.PrivateKey) {
	cert, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: cert}, name + "-key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Two daemons share results through a registry, and through a directory.
func TestSharedCache(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/cache:latest"
	dir := filepath.Join(t.TempDir(), "cache")
	for name, c := range map[string]struct{ from, to string }{
		"registry": {ref, "type=registry,mode=max,ref=" + ref},
		"local":    {"type=local,src=" + dir, "type=local,mode=max,dest=" + dir},
	} {
		t.Run(name, func(t *testing.T) {
			op := script(shell(t), "made-once", "echo "+t.Name()+" > /made")
			root := copyOf(op, "/made", "/")
			from := connect(t, buildkit.Options{CacheFrom: []string{c.from}, CacheTo: []string{c.to}}) // where there is none yet
			want, _ := solve(t, from, root)
			got, ev := solve(t, connect(t, buildkit.Options{Address: buildkitd.Own(t).Address(), CacheFrom: []string{c.from}}), root)
			wantTree(t, got[0], want[0])
			if ev.last(op) != plan.Cached {
				t.Errorf("states: %v", ev.states(op))
			}
		})
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	want := everything(t)
	p := []oci.Packed{
		{Platform: oci.Platform{OS: "linux", Arch: "amd64"}, Tree: want},
		{Platform: oci.Platform{OS: "linux", Arch: "arm64"}, Tree: entries(t, map[string]*tree.Node{"arm": file("64")})},
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	dir := t.TempDir()
	for _, ref := range []string{host + "/image:1", "docker://" + host + "/image:2", "oci:" + filepath.Join(dir, "layout") + ":x", filepath.Join(dir, "image.tar")} {
		res, err := oci.Pack(t.Context(), p, ref, oci.PackOptions{Name: "image:1"})
		if err != nil {
			t.Fatal(err)
		}
		refs := []string{ref}
		if res.Ref != "" {
			refs = append(refs, res.Ref)
		}
		for _, ref := range refs {
			amd := &plan.Op{Name: "image", Platform: "linux/amd64", Kind: &plan.Image{Ref: ref}}
			arm := &plan.Op{Name: "image", Platform: "linux/arm64", Kind: &plan.Image{Ref: ref}}
			got, _ := solve(t, e, amd, arm)
			wantTree(t, got[0], want)
			wantTree(t, got[1], p[1].Tree)
		}
	}
	for _, ref := range []string{host + "/image:none", "oci:" + filepath.Join(dir, "nothing")} {
		_, err := fails(t, e, &plan.Op{Name: "image " + ref, Platform: "linux/amd64", Kind: &plan.Image{Ref: ref}})
		if !strings.Contains(err.Error(), "image "+ref+": ") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// What a layer of an image removes stays in what is below the image.
func TestImageRemoves(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/image:1")
	if err != nil {
		t.Fatal(err)
	}
	img := empty.Image
	for _, files := range []map[string]string{{"opt/a": "a", "opt/b": "b"}, {"opt/.wh.a": ""}} {
		layer := static.NewLayer(tarOf(t, files), types.OCIUncompressedLayer)
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	image := &plan.Op{Name: "image", Platform: "linux/amd64", Kind: &plan.Image{Ref: ref.String()}}
	other := files(t, "other", entries(t, map[string]*tree.Node{"opt/a": file("other")}))
	got, _ := solve(t, connect(t, buildkit.Options{}), image, merge(other, image))
	wantTree(t, got[0], entries(t, map[string]*tree.Node{"opt/b": file("b")}))
	wantTree(t, got[1], entries(t, map[string]*tree.Node{"opt/a": file("other"), "opt/b": file("b")}))
}

// An input is read once, and again only by a daemon that does not have it.
func TestInputsOnce(t *testing.T) {
	t.Parallel()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	read, content := 0, "content"
	op := func() *plan.Op {
		return &plan.Op{Name: "source", Kind: &plan.Files{Key: t.Name(), Tree: func(context.Context, plan.Log) (*tree.Tree, error) {
			read++
			return entries(t, map[string]*tree.Node{"source": file(content)}), nil
		}}}
	}
	expect := func(address string, times int) {
		t.Helper()
		e := connect(t, buildkit.Options{Address: address, Cache: c})
		got, _ := solve(t, e, copyOf(op(), "/source", "/one"), copyOf(op(), "/source", "/two"))
		if text(t, got[0], "one") != "content" || text(t, got[1], "two") != "content" {
			t.Error("the content is another")
		}
		if read != times {
			t.Errorf("read %d times, want %d", read, times)
		}
	}
	expect("", 1)
	expect("", 1)
	expect(buildkitd.Own(t).Address(), 2)
	content = "another content"
	expect("", 2) // the daemon has it
	e := connect(t, buildkit.Options{Address: buildkitd.Own(t).Address(), Cache: c})
	if _, err := fails(t, e, copyOf(op(), "/source", "/")); !strings.Contains(err.Error(), "source: its files are not what they were before") {
		t.Errorf("changed under its key: %v", err)
	}
}

func TestDaemonDies(t *testing.T) {
	t.Parallel()
	d := buildkitd.Own(t)
	e := connect(t, buildkit.Options{Address: d.Address()})
	op := script(shell(t), "talker", "while echo still here; do sleep 0.1; done") // ends with who listens
	ev := &events{}
	_, err := e.Solve(t.Context(), []*plan.Op{op}, func(s plan.Status) {
		ev.report(s)
		if s.Op == op && s.State == plan.Output {
			d.Kill()
		}
	})
	if err == nil || !strings.Contains(err.Error(), "the BuildKit daemon at "+d.Address()) {
		t.Errorf("got %v", err)
	}
	if got := ev.last(op); got != plan.Canceled {
		t.Errorf("states: %v", ev.states(op))
	}
}
