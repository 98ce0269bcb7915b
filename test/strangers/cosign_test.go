// Package strangers has programs of others as judges of what graft says to them
// and understands of them: cosign, of versions 2 and 3, and crane. They are
// built from the module proxy, which takes minutes the first time.
package strangers

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/graftlinux/graft/internal/cli"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/testkit/sigstore"
)

// password is that of every key of these tests.
const password = "correct horse"

// program builds one of others.
func program(t *testing.T, module, pkg string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("building " + pkg + " takes long")
	}
	return testkit.GoProgram(t, module, pkg)
}

func cosign3(t *testing.T) string {
	t.Helper()
	return program(t, "test/cosign", "github.com/sigstore/cosign/v3/cmd/cosign")
}

// nightly says that there is time for all: GRAFT_TEST_NIGHTLY is set.
var nightly = os.Getenv("GRAFT_TEST_NIGHTLY") != ""

func cosign2(t *testing.T) string {
	t.Helper()
	if !nightly {
		t.Skip("building cosign 2 takes minutes: make nightly")
	}
	return program(t, "test/cosign2", "github.com/sigstore/cosign/v2/cmd/cosign")
}

// cosigns are the versions that there is time for.
func cosigns(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"cosign 3": cosign3(t)}
	if nightly {
		all["cosign 2"] = cosign2(t)
	}
	return all
}

func crane(t *testing.T) string {
	return program(t, ".", "github.com/google/go-containerregistry/cmd/crane")
}

// site is a registry with an image, and a directory with keys.
type site struct {
	t     *testing.T
	dir   string
	host  string
	count *int
}

// in is the same site for a part of the test.
func (s *site) in(t *testing.T) *site {
	part := *s
	part.t = t
	return &part
}

func newSite(t *testing.T) *site {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	s := &site{t: t, dir: t.TempDir(), host: strings.TrimPrefix(srv.URL, "http://"), count: new(int)}
	t.Setenv("COSIGN_PASSWORD", password)
	t.Setenv("HOME", s.dir)
	t.Setenv("XDG_CACHE_HOME", s.dir)
	s.write("none.json", `{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "rekorTlogConfig": {}, "tsaConfig": {}}`)
	return s
}

func (s *site) write(name, text string) string {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return filepath.Join(s.dir, name)
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

// image packs another one each time, and returns NAME@DIGEST.
func (s *site) image() string {
	s.t.Helper()
	*s.count++
	dir := filepath.Join(s.dir, fmt.Sprint("image", *s.count))
	if err := os.MkdirAll(filepath.Join(dir, "rootfs/usr/local"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.write(fmt.Sprintf("image%d/manifest.yaml", *s.count), fmt.Sprintf("version: v1alpha1\nmetadata:\n  name: hello\n  version: v%d\n", *s.count))
	return s.graft("pack", dir, "-o", s.host+"/hello")
}

// graft is a call that must do.
func (s *site) graft(args ...string) string {
	s.t.Helper()
	out, msg, code := s.try(args...)
	if code != 0 {
		s.t.Fatalf("graft %s: %d\n%s%s", strings.Join(args, " "), code, out, msg)
	}
	return strings.TrimSpace(out)
}

func (s *site) try(args ...string) (out, msg string, code int) {
	var o, e bytes.Buffer
	code = cli.Run(context.Background(), args, cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return o.String(), e.String(), code
}

func (s *site) refused(says string, args ...string) {
	s.t.Helper()
	out, msg, code := s.try(args...)
	if code == 0 || !strings.Contains(msg, says) {
		s.t.Errorf("graft %s: %d, want a refusal that says %q\n%s%s", strings.Join(args, " "), code, says, out, msg)
	}
}

// stranger is another program that must do.
func (s *site) stranger(program string, args ...string) string {
	s.t.Helper()
	out, err := s.strangerTry(program, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return out
}

func (s *site) strangerTry(program string, args ...string) (string, error) {
	cmd := exec.CommandContext(s.t.Context(), program, args...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// keys are a pair of each kind, as cosign's files, from plain PEM.
func (s *site) keys(cosign string) []string {
	s.t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	r, err2 := rsa.GenerateKey(rand.Reader, 2048)
	p256, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err4 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for _, err := range []error{err, err2, err3, err4} {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	kinds := []string{"p256", "p384", "ed25519", "rsa"}
	for i, key := range []any{p256, p384, ed, r} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			s.t.Fatal(err)
		}
		s.write(kinds[i]+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
		s.stranger(cosign, "import-key-pair", "--key", kinds[i]+".pem", "--output-key-prefix", kinds[i])
	}
	return kinds
}

// TestCosign3Keys: what graft signs cosign verifies, and the other way round, in
// both forms.
func TestCosign3Keys(t *testing.T) {
	cosign, s := cosign3(t), newSite(t)
	for _, kind := range s.keys(cosign) {
		key, pub := s.file(kind+".key"), s.file(kind+".pub")
		t.Run("graft "+kind, func(t *testing.T) {
			s := s.in(t)
			img := s.image()
			s.graft("sign", "--key", key, "-a", "tier=core", img)
			for _, form := range []string{"true", "false"} {
				out := s.stranger(cosign, "verify", "--key", pub, "-a", "tier=core", "--new-bundle-format="+form, "--insecure-ignore-tlog", img)
				if !strings.Contains(out, `"tier":"core"`) {
					t.Errorf("cosign says %s", out)
				}
				if out, err := s.strangerTry(cosign, "verify", "--key", pub, "-a", "tier=extra", "--new-bundle-format="+form, "--insecure-ignore-tlog", img); err == nil {
					t.Errorf("cosign takes another annotation: %s", out)
				}
			}
		})
		t.Run("cosign "+kind, func(t *testing.T) {
			s := s.in(t)
			img := s.image()
			s.stranger(cosign, "sign", "--key", key, "-a", "tier=core", "--signing-config", "none.json", img)
			s.stranger(cosign, "sign", "--key", key, "-a", "tier=core", "--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false", img)
			out := s.graft("verify", "--key", pub, "-a", "tier=core", "--insecure-ignore-tlog", img)
			if !strings.Contains(out, " bundle") || !strings.Contains(out, " legacy") {
				t.Errorf("graft says %s", out)
			}
			s.refused("rule log: it has no entry", "verify", "--key", pub, "--trusted-root", s.write("root.json", emptyRoot), img)
			if out := s.graft("sign", "--key", key, "-a", "tier=core", img); out != img {
				t.Errorf("graft says %s", out)
			}
			if _, msg, _ := s.try("sign", "--key", key, "-a", "tier=core", img); !strings.Contains(msg, "signed before") {
				t.Errorf("graft signs again what cosign signed: %s", msg)
			}
		})
	}
}

const emptyRoot = `{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`

// TestCosign2Keys: version 2 writes and reads the legacy form.
func TestCosign2Keys(t *testing.T) {
	cosign, s := cosign2(t), newSite(t)
	root := s.write("root.json", emptyRoot)
	for _, kind := range s.keys(cosign) {
		key, pub := s.file(kind+".key"), s.file(kind+".pub")
		t.Run(kind, func(t *testing.T) {
			s := s.in(t)
			img := s.image()
			s.graft("sign", "--key", key, "-a", "tier=core", img)
			s.stranger(cosign, "verify", "--key", pub, "-a", "tier=core", "--insecure-ignore-tlog", "--trusted-root", root, img)
			img = s.image()
			s.graft("sign", "--key", key, "-a", "tier=core", "--format", "legacy", img)
			s.stranger(cosign, "verify", "--key", pub, "-a", "tier=core", "--insecure-ignore-tlog", "--trusted-root", root, img)
			img = s.image()
			s.stranger(cosign, "sign", "--key", key, "-a", "tier=core", "--tlog-upload=false", "-y", img)
			if out := s.graft("verify", "--key", pub, "-a", "tier=core", "--insecure-ignore-tlog", img); !strings.Contains(out, " legacy") {
				t.Errorf("graft says %s", out)
			}
		})
	}
}

// TestCosignKeyFiles: keys that one makes the other uses.
func TestCosignKeyFiles(t *testing.T) {
	s := newSite(t)
	for name, cosign := range cosigns(t) {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			prefix := strings.ReplaceAll(name, " ", "")
			s.stranger(cosign, "generate-key-pair", "--output-key-prefix", prefix)
			s.graft("keys", "generate", "signing", "-o", s.dir, "--output-key-prefix", "graft-"+prefix)
			img := s.image()
			s.graft("sign", "--key", s.file(prefix+".key"), img)
			s.stranger(cosign, "verify", "--key", prefix+".pub", "--insecure-ignore-tlog", "--trusted-root", s.write("root.json", emptyRoot), img)
			if got := s.stranger(cosign, "public-key", "--key", "graft-"+prefix+".key"); !strings.Contains(s.read("graft-"+prefix+".pub"), strings.TrimSpace(got)) {
				t.Errorf("cosign reads the public key\n%s", got)
			}
			t.Setenv("COSIGN_PASSWORD", "wrong")
			if out, err := s.strangerTry(cosign, "public-key", "--key", "graft-"+prefix+".key"); err == nil {
				t.Errorf("any password does: %s", out)
			}
		})
	}
}

func (s *site) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(s.file(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

const (
	me    = "me@example.com"
	login = "https://login.example.com"
)

// sigstoreConfig tells cosign where the services are.
func sigstoreConfig(services *sigstore.Services) string {
	service := func(url string) []map[string]any {
		return []map[string]any{{"url": url, "majorApiVersion": 1, "validFor": map[string]string{"start": "2024-01-01T00:00:00Z"}, "operator": "test"}}
	}
	data, err := json.Marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
		"caUrls":    service(services.Fulcio), "oidcUrls": service(services.Fulcio), "rekorTlogUrls": service(services.Rekor),
		"rekorTlogConfig": map[string]string{"selector": "ANY"}, "tsaUrls": service(services.Timestamp), "tsaConfig": map[string]string{"selector": "ANY"},
	})
	if err != nil {
		panic(err)
	}
	return string(data)
}

// TestCosignIdentity: an identity, certified and logged by services of the test.
func TestCosignIdentity(t *testing.T) {
	cosign, s := cosign3(t), newSite(t)
	all := cosigns(t)
	services := sigstore.Start(t)
	root := s.write("root.json", string(services.TrustedRoot(t)))
	config := s.write("config.json", sigstoreConfig(services))
	token := s.write("token", sigstore.Token(login, me))
	wants := []string{"--certificate-identity", me, "--certificate-oidc-issuer", login, "--trusted-root", root}
	other := []string{"--certificate-identity-regexp", "@siderolabs\\.com$", "--certificate-oidc-issuer", "https://accounts.google.com", "--trusted-root", root}
	t.Run("graft", func(t *testing.T) {
		s := s.in(t)
		img := s.image()
		s.graft("sign", "--identity-token", token, "--fulcio-url", services.Fulcio, "--rekor-url", services.Rekor, img)
		s.stranger(cosign, append(append([]string{"verify"}, wants...), img)...)
		s.stranger(cosign, append(append([]string{"verify", "--new-bundle-format=false", "--offline"}, wants...), img)...)
		if old := all["cosign 2"]; old != "" {
			s.stranger(old, append(append([]string{"verify", "--offline"}, wants...), img)...)
		}
		if out, err := s.strangerTry(cosign, append(append([]string{"verify"}, other...), img)...); err == nil {
			t.Errorf("cosign takes another identity: %s", out)
		}
	})
	t.Run("graft with a timestamp", func(t *testing.T) {
		s := s.in(t)
		img := s.image()
		s.graft("sign", "--identity-token", token, "--fulcio-url", services.Fulcio, "--timestamp-server-url", services.Timestamp, img)
		s.stranger(cosign, append(append([]string{"verify", "--insecure-ignore-tlog", "--use-signed-timestamps"}, wants...), img)...)
		if out := s.graft(append(append([]string{"verify", "--insecure-ignore-tlog"}, wants...), img)...); !strings.Contains(out, "(timestamp authority)") {
			t.Errorf("graft says %s", out)
		}
	})
	t.Run("cosign", func(t *testing.T) {
		s := s.in(t)
		img := s.image()
		s.stranger(cosign, "sign", "--identity-token", token, "--signing-config", config, "--trusted-root", root, "-y", img)
		s.stranger(cosign, "sign", "--identity-token", token, "--use-signing-config=false", "--new-bundle-format=false",
			"--fulcio-url", services.Fulcio, "--rekor-url", services.Rekor, "-y", img)
		out := s.graft(append(append([]string{"verify"}, wants...), img)...)
		if !strings.Contains(out, " bundle") || !strings.Contains(out, " legacy") || !strings.Contains(out, me) || !strings.Contains(out, "(log, no. ") {
			t.Errorf("graft says %s", out)
		}
		s.refused(`rule identity: signed by "me@example.com" (issuer "https://login.example.com"); the rule wants what matches`,
			append(append([]string{"verify"}, other...), img)...)
	})
}

// TestCosignAttest: attestations, both ways and in both forms.
func TestCosignAttest(t *testing.T) {
	cosign, s := cosign3(t), newSite(t)
	s.graft("keys", "generate", "signing", "-o", s.dir)
	key, pub := s.file("cosign.key"), s.file("cosign.pub")
	predicates := map[string]string{
		"https://example.com/x": `{"x": 1}`,
		"slsaprovenance1":       `{"buildDefinition":{"buildType":"https://example.com/b","externalParameters":{}},"runDetails":{"builder":{"id":"https://example.com/graft"}}}`,
		"spdxjson":              `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT"}`,
		"cyclonedx":             `{"bomFormat":"CycloneDX","specVersion":"1.6"}`,
		"openvex":               `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[]}`,
	}
	for kind, predicate := range predicates {
		t.Run(kind, func(t *testing.T) {
			s := s.in(t)
			file := s.write("predicate.json", predicate)
			img := s.image()
			s.graft("attest", "--key", key, "--type", kind, "--predicate", file, img)
			for _, form := range []string{"true", "false"} {
				s.stranger(cosign, "verify-attestation", "--type", kind, "--key", pub, "--new-bundle-format="+form, "--insecure-ignore-tlog", img)
			}
			img = s.image()
			s.stranger(cosign, "attest", "--type", kind, "--predicate", file, "--key", key, "--signing-config", "none.json", img)
			s.stranger(cosign, "attest", "--type", kind, "--predicate", file, "--key", key, "--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false", img)
			out := s.graft("verify", "--attestation", kind, "--key", pub, "--insecure-ignore-tlog", img)
			if !strings.Contains(out, " bundle") || !strings.Contains(out, " legacy") {
				t.Errorf("graft says %s", out)
			}
			s.refused("it has no signature", "verify", "--key", pub, "--insecure-ignore-tlog", img)
		})
	}
}

// TestCopies: signatures travel with an image that others copy.
func TestCopies(t *testing.T) {
	s := newSite(t)
	s.graft("keys", "generate", "signing", "-o", s.dir)
	img := s.image()
	s.graft("sign", "--key", s.file("cosign.key"), img)
	name, digest, _ := strings.Cut(img, "@")
	tag := ":" + strings.ReplaceAll(digest, ":", "-") + ".sig"
	s.stranger(crane(t), "copy", img, s.host+"/crane/hello:1")
	s.refused("it has no signature", "verify", "--key", s.file("cosign.pub"), "--insecure-ignore-tlog", s.host+"/crane/hello:1")
	s.stranger(crane(t), "copy", name+tag, s.host+"/crane/hello"+tag)
	s.graft("verify", "--key", s.file("cosign.pub"), "--insecure-ignore-tlog", s.host+"/crane/hello:1")
	s.stranger(cosign3(t), "copy", img, s.host+"/cosign/hello:1")
	s.graft("verify", "--key", s.file("cosign.pub"), "--insecure-ignore-tlog", s.host+"/cosign/hello:1")
}
