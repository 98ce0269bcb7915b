package trust

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ryanuber/go-glob"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/types/security"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sign"
	"github.com/graftlinux/graft/internal/testkit/sigstore"
)

const policyHead = "apiVersion: v1alpha1\nkind: ImageVerificationConfig\nrules:\n"

func writePolicy(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func keyRule(pattern string, o owner) string {
	pem := strings.ReplaceAll(strings.TrimSpace(string(o.rule.Key.PEM())), "\n", "\n        ")
	return fmt.Sprintf("  - image: %q\n    publicKey:\n      certificate: |\n        %s\n", pattern, pem)
}

func TestPolicy(t *testing.T) {
	o, other := newOwner(t), newOwner(t)
	services := sigstore.Start(t)
	root := func(context.Context) (*sign.Root, error) { return sign.ParseRoot(services.TrustedRoot(t)) }
	host := newRegistry(t).host
	image := func(name string) oci.Descriptor { return packed(t, host+"/"+name+":1", name) }
	keyed, named, bare, foreign := image("keyed/a/b"), image("named/a"), image("open/a"), image("keyed/foreign")
	o.sign(t, keyed, Both)
	other.sign(t, foreign, Both)
	identity := must(sign.WithIdentity(sigstore.Token("https://login.example", "me@example.com"), sign.Services{Fulcio: services.Fulcio, Rekor: services.Rekor}))(t)
	must(Sign(t.Context(), named, Signing{Signer: identity}, oci.Options{}))(t)
	keyless := func(pattern, issuer, subject string) string {
		return fmt.Sprintf("  - image: %q\n    keyless:\n      issuer: %s\n      subjectRegex: %s\n", pattern, issuer, subject)
	}
	file := writePolicy(t, "machine: {}\n---\n"+policyHead+
		fmt.Sprintf("  - image: %s/denied/*\n    deny: true\n", host)+
		keyRule(host+"/keyed/*", o)+
		keyless(host+"/named/*", "https://login.example", "^me@")+
		keyless(host+"/misnamed/*", "https://login.example", "^you@")+
		fmt.Sprintf("  - image: %s/open/*\n    skip: true\n", host))
	p := must(Load(file, Options{Root: root}))(t)
	for name, c := range map[string]struct {
		name string
		d    oci.Descriptor
		says string // of the refusal; "" is verified
		rule string
	}{
		"key":          {keyed.Ref, keyed, "", "rule 2 ("},
		"identity":     {named.Ref, named, "", "rule 3 ("},
		"skip":         {bare.Ref, bare, "", "rule 5 ("},
		"deny":         {host + "/denied/x", keyed, "is refused by rule 1 (" + host + "/denied/*) of " + file + ": it denies", ""},
		"no rule":      {"ghcr.io/x/y:1", keyed, "is refused by the policy " + file + ": no rule matches ghcr.io/x/y", ""},
		"no signature": {host + "/keyed/x", bare, "it has no signature", ""},
		"wrong key":    {foreign.Ref, foreign, "wanted is the key " + o.rule.Key.Fingerprint(), ""},
		"wrong name":   {host + "/misnamed/x", named, `signed by "me@example.com" (issuer "https://login.example"); the rule wants what matches "^you@"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time from memory
				got, err := p.Check(t.Context(), c.name, c.d)
				if c.says != "" {
					wantRefused(t, err, c.says)
					continue
				}
				if err != nil || len(got) == 0 || !strings.HasPrefix(got[0].Rule, c.rule) || got[0].Digest != c.d.Digest {
					t.Errorf("got %+v, %v", got, err)
				}
				if got[0].Skipped != (name == "skip") {
					t.Errorf("skipped: %v", got[0].Skipped)
				}
			}
		})
	}
	t.Run("of the platforms", func(t *testing.T) {
		d := image("keyed/platforms")
		for _, platform := range d.Platforms {
			_, err := p.Check(t.Context(), d.Ref, d)
			wantRefused(t, err, "it has no signature")
			o.sign(t, must(ofPlatform(t.Context(), d, platform, oci.Options{}))(t), Legacy)
		}
		if got := must(p.Check(t.Context(), d.Ref, d))(t); len(got) != len(d.Platforms) {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("no root", func(t *testing.T) {
		p := must(Load(file, Options{}))(t)
		_, err := p.Check(t.Context(), named.Ref, named)
		wantRefused(t, err, "rule log: no trusted transparency log")
		p = must(Load(file, Options{Root: func(context.Context) (*sign.Root, error) { return nil, errors.New("no network") }}))(t)
		if _, err := p.Check(t.Context(), named.Ref, named); err == nil || !strings.Contains(err.Error(), "no network") {
			t.Errorf("got %v", err)
		}
	})
}

func TestPolicyErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"empty":           {"", "there is no document with kind: ImageVerificationConfig"},
		"another kind":    {"kind: Other\n", "there is no document"},
		"no YAML":         {"{", "yaml"},
		"a key twice":     {policyHead + "  - image: a/b\n    skip: true\nrules: []\n", "already defined"},
		"version":         {"apiVersion: v2\nkind: ImageVerificationConfig\n", `apiVersion "v2" is not v1alpha1`},
		"unknown key":     {policyHead + "  - image: a/b\n    skip: true\n    allow: true\n", `rule 1 (a/b): line 6: "allow" is not known here`},
		"unknown above":   {"apiVersion: v1alpha1\nkind: ImageVerificationConfig\nrule: []\n", `line 3: "rule" is not known`},
		"unknown below":   {policyHead + "  - image: a/b\n    keyless:\n      isuer: x\n", `"isuer" is not known`},
		"no image":        {policyHead + "  - skip: true\n", "image is missing"},
		"no verifier":     {policyHead + "  - image: a/*\n", "exactly one of keyless, publicKey, skip, deny"},
		"two":             {policyHead + "  - image: a/*\n    skip: true\n    deny: true\n", "exactly one"},
		"tag":             {policyHead + "  - image: a.b/c:1\n    skip: true\n", "without tag and digest"},
		"no issuer":       {policyHead + "  - image: a/*\n    keyless: {subject: x}\n", "issuer, and subject or subjectRegex, are missing"},
		"bad expression":  {policyHead + "  - image: a/*\n    keyless: {issuer: x, subjectRegex: '('}\n", "regular expression"},
		"no key":          {policyHead + "  - image: a/*\n    publicKey: {certificate: x}\n", "there is no key in it"},
		"two documents":   {policyHead + "---\n" + policyHead, "a second document"},
		"too long":        {strings.Repeat("#", maxPolicy+1), "more than"},
		"too many":        {policyHead + strings.Repeat("  - {image: a, skip: true}\n", maxRules+1), "1001 rules"},
		"not a list":      {"apiVersion: v1alpha1\nkind: ImageVerificationConfig\nrules: 1\n", "line 3"},
		"a list at first": {"- kind: ImageVerificationConfig\n", "there is no document"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(writePolicy(t, c.text), Options{})
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "reading the policy ") {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestTalosPolicy: what Talos writes graft reads, and the other way round.
func TestTalosPolicy(t *testing.T) {
	yes, o := true, newOwner(t)
	doc := security.NewImageVerificationConfigV1Alpha1()
	doc.ConfigRules = []security.ImageVerificationRuleV1Alpha1{
		{RuleImagePattern: "registry.k8s.io/*", RuleKeylessVerifier: &security.ImageKeylessVerifierV1Alpha1{KeylessIssuer: "https://accounts.google.com", KeylessSubject: "krel-trust@k8s-releng-prod.iam.gserviceaccount.com"}},
		{RuleImagePattern: "my-registry/*", RulePublicKeyVerifier: &security.ImagePublicKeyVerifierV1Alpha1{ConfigCertificate: string(o.rule.Key.PEM())}},
		{RuleImagePattern: "localhost:3000/*", RuleDeny: &yes},
		{RuleImagePattern: "*", RuleSkip: &yes},
	}
	data := must(encoder.NewEncoder(doc).Encode())(t)
	rules := must(parsePolicy(data))(t)
	if len(rules) != 4 || rules[0].who.Subject.Exact != "krel-trust@k8s-releng-prod.iam.gserviceaccount.com" || rules[1].who.Key.Fingerprint() != o.rule.Key.Fingerprint() || !rules[2].Deny || !rules[3].Skip {
		t.Errorf("got %+v", rules)
	}
	ours := policyHead + keyRule("registry.example/*", o) + "  - image: \"*\"\n    deny: true\n"
	must(parsePolicy([]byte(ours)))(t)
	provider, err := configloader.NewFromBytes([]byte(ours))
	if err != nil {
		t.Fatal(err)
	}
	theirs := provider.ImageVerificationConfig().Rules()
	if len(theirs) != 2 || theirs[0].ImagePattern() != "registry.example/*" || !theirs[1].Deny() {
		t.Errorf("Talos reads %+v", theirs)
	}
}

func TestName(t *testing.T) {
	for ref, want := range map[string]string{
		"nginx":           "docker.io/library/nginx",
		"me/nginx:1":      "docker.io/me/nginx",
		"docker.io/nginx": "docker.io/library/nginx",
		"index.docker.io/library/nginx:1@sha256:x": "docker.io/library/nginx",
		"ghcr.io/siderolabs/gvisor:1":              "ghcr.io/siderolabs/gvisor",
		"docker://ghcr.io/a/b@sha256:x":            "ghcr.io/a/b",
		"GHCR.io:443/a/b":                          "ghcr.io/a/b",
		"ghcr.io./a/b":                             "ghcr.io/a/b",
		"ghcr.io.:443/a/b":                         "ghcr.io/a/b",
		"localhost/a":                              "localhost/a",
		"localhost:5000/a:1":                       "localhost:5000/a",
		"oci:/dir/x:hello:1@sha256:x":              "oci:/dir/x:hello:1",
	} {
		if got := Name(ref); got != want {
			t.Errorf("Name(%q) = %q, want %q", ref, got, want)
		}
	}
}

// FuzzGlob has the library that Talos matches with as its judge.
func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{
		{"ghcr.io/*", "ghcr.io/a/b"}, {"*", ""}, {"*a*b", "xaxb"}, {"a*a", "a"}, {"**", "x"}, {"a", "a"}, {"", ""}, {"*b*b", "ab"}, {"a**b", "ab"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if got, want := match(pattern, s), glob.Glob(pattern, s); got != want {
			t.Errorf("%q matches %q: %v, Talos says %v", pattern, s, got, want)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(policyHead + "  - image: a/*\n    skip: true\n"))
	f.Add([]byte(policyHead + "  - image: a/*\n    keyless: {issuer: x, subjectRegex: '.*'}\n---\nkind: x\n"))
	f.Add([]byte(policyHead + "  - image: a/*\n    publicKey:\n      certificate: x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := parsePolicy(data)
		if err != nil {
			return
		}
		for _, r := range rules {
			if !r.Skip && !r.Deny && r.who.Key == nil && (r.who.Subject.Empty() || r.who.Issuer.Empty()) {
				t.Errorf("%s wants nobody", r.name)
			}
		}
	})
}

// TestPlace: a rule for a directory is for what is in it, however one gets there.
func TestPlace(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, d := range []string{"good/x", "evil", "with:colon"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../evil", "good/link"); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"./good/x":                     "./good/x",
		"./good/x/":                    "./good/x",
		"./good/../evil":               "./evil",
		"./good/link":                  "./evil",
		"./none/../../x":               "../x",
		"dir:good/link":                "dir:evil",
		"oci:good/link:name:1":         "oci:evil:name:1",
		"oci:good/link@sha256:" + hex:  "oci:evil",
		"oci:with:colon:name":          "oci:with:colon:name",
		"oci:" + dir + "/good/../evil": "oci:" + dir + "/evil",
		dir + "/good/link":             dir + "/evil",
	} {
		if got := Name(ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
}

var hex = strings.Repeat("0", 64)
