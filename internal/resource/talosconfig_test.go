package resource

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/talos/pkg/machinery/client/config"
)

const exampleConfig = `context: prod
contexts:
    prod:
        endpoints: [10.0.0.1, 10.0.0.2]
        nodes: [10.0.0.3]
        ca: ""
    old:
        target: 10.0.1.1
    omni:
        endpoints: [https://omni.example]
        auth: {siderov1: {identity: me@example.org}}
    empty:
`

// The judge is the parser of talosctl.
func TestParseTalosconfig(t *testing.T) {
	got, err := ParseTalosconfig([]byte(exampleConfig))
	if err != nil {
		t.Fatal(err)
	}
	want, err := config.FromString(strings.TrimSuffix(exampleConfig, "    empty:\n")) // it panics on an empty one
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "prod", "old", "omni"} {
		c, err := got.Pick(name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if name == "" {
			name = want.Context
		}
		if diff := cmp.Diff(want.Contexts[name].Endpoints, c.Endpoints); diff != "" {
			t.Errorf("%q: endpoints (-talosctl +graft):\n%s", name, diff)
		}
		if diff := cmp.Diff(want.Contexts[name].Nodes, c.Nodes); diff != "" {
			t.Errorf("%q: nodes (-talosctl +graft):\n%s", name, diff)
		}
	}
	for name, want := range map[string]string{"nope": `no context "nope", but empty, old, omni, prod`, "empty": "no context"} {
		if _, err := got.Pick(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error that says %q", name, err, want)
		}
	}
	if _, err := new(Talosconfig).Pick(""); err == nil || !strings.Contains(err.Error(), "has no context") {
		t.Errorf("empty file: got %v", err)
	}
}

func TestTalosContextTLS(t *testing.T) {
	certificate, err := selfSigned(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	crt := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))
	secret := base64.StdEncoding.EncodeToString([]byte("secret"))
	for _, tt := range []struct {
		name string
		c    TalosContext
		want string
	}{
		{"nothing", TalosContext{}, ""},
		{"authority only", TalosContext{CA: crt}, ""},
		{"ca is no base64", TalosContext{CA: "!"}, "decoding ca"},
		{"ca is no PEM", TalosContext{CA: secret}, "no PEM certificate"},
		{"crt is no base64", TalosContext{Crt: "!", Key: secret}, "decoding crt"},
		{"key is no base64", TalosContext{Crt: crt, Key: "!"}, "decoding key"},
		{"key is missing", TalosContext{Crt: crt}, "reading crt and key"},
		{"key is no key", TalosContext{Crt: crt, Key: secret}, "reading crt and key"},
	} {
		got, err := tt.c.TLS()
		if tt.want == "" {
			if err != nil || (tt.c.CA != "") != (got.RootCAs != nil) {
				t.Errorf("%s: got %v, %v", tt.name, got, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v, want an error that says %q and no secret", tt.name, err, tt.want)
		}
	}
	c, err := ParseTalosconfig([]byte(exampleConfig))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Contexts["omni"].TLS(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("omni: got %v, want ErrUnsupported", err)
	}
}

func TestFindTalosconfig(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("TALOS_HOME", "")
	t.Setenv("TALOSCONFIG", "")
	if _, err := FindTalosconfig(); !errors.Is(err, ErrNoTalosconfig) || !strings.Contains(err.Error(), filepath.Join(home, ".talos", "config")) {
		t.Errorf("got %v, want ErrNoTalosconfig with the places", err)
	}
	inHome, elsewhere := filepath.Join(home, ".talos", "config"), filepath.Join(t.TempDir(), "config")
	for _, name := range []string{inHome, elsewhere} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(exampleConfig), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ env, talosHome, want string }{
		{"", "", inHome},
		{"", filepath.Dir(elsewhere), elsewhere},
		{"/anywhere", filepath.Dir(elsewhere), "/anywhere"},
	} {
		t.Setenv("TALOSCONFIG", tt.env)
		t.Setenv("TALOS_HOME", tt.talosHome)
		if got, err := FindTalosconfig(); err != nil || got != tt.want {
			t.Errorf("%+v: got %s, %v", tt, got, err)
		}
	}
	if c, err := ReadTalosconfig(inHome); err != nil || c.Context != "prod" {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := ReadTalosconfig("/nowhere"); !errors.Is(err, ErrNoTalosconfig) || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("got %v, want ErrNoTalosconfig", err)
	}
	if err := os.WriteFile(inHome, []byte("context: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTalosconfig(inHome); err == nil || !strings.HasPrefix(err.Error(), inHome+": parsing the talosconfig: ") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func FuzzParseTalosconfig(f *testing.F) {
	f.Add([]byte(exampleConfig))
	f.Add([]byte("contexts: {a: {ca: QQ==, crt: QQ==, key: QQ==}}\ncontext: a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseTalosconfig(data)
		if err != nil {
			return
		}
		if picked, err := c.Pick(""); err == nil {
			picked.TLS()
			for _, e := range picked.Endpoints {
				ParseEndpoint(e)
			}
		}
	})
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"10.0.0.2", "[fd00::2]:50001", "https://omni.example:443", "node.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEndpoint(s)
		if err != nil {
			return
		}
		again, err := ParseEndpoint(e.String())
		if err != nil || again.String() != e.String() {
			t.Errorf("%q gives %s, which gives %s, %v", s, e, again, err)
		}
	})
}
