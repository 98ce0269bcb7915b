package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/trust"
)

// policyVariable names the policy of those who do not want to name it each time.
const policyVariable = "GRAFT_POLICY"

// policyFlags say what must vouch for images before anything of them is used.
type policyFlags struct {
	file     string
	rootFile string
}

func (p *policyFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var((*given)(&p.file), "policy", "file of rules that images must fulfil before they are used, see graft verify (default: $"+policyVariable+")")
	f.StringVar(&p.rootFile, "trusted-root", "", "Sigstore's trusted_root.json, for rules with identities (default: that of the public services, fetched and kept)")
}

// given is the value of a flag that decides whom to trust. An empty one, which a
// variable that is not set becomes, must not mean that the flag is not there.
type given string

func (g *given) Type() string   { return "string" }
func (g *given) String() string { return string(*g) }

func (g *given) Set(s string) error {
	if s == "" {
		return errors.New("it is empty: is a variable not set?")
	}
	*g = given(s)
	return nil
}

// gate lets in what the policy allows. A nil gate lets everything in.
type gate struct {
	file     string
	policy   *trust.Policy
	registry oci.Options

	mu       sync.Mutex
	verified []extension.Verified
}

// gate is the policy in force, nil if there is none.
func (p *policyFlags) gate(registry oci.Options, cacheDir string) (*gate, error) {
	file := p.file
	if file == "" {
		file = os.Getenv(policyVariable)
	}
	if file == "" {
		return nil, nil
	}
	root := verifying{rootFile: p.rootFile, cacheDir: cacheDir}
	policy, err := trust.Load(file, trust.Options{Root: root.root, Registry: registry})
	if err != nil {
		return nil, inputError(err)
	}
	return &gate{file: file, policy: policy, registry: registry}, nil
}

// admit finds what a source names and says its digest, or why it may not be
// used. The digest is "" where there is no policy.
func (g *gate) admit(ctx context.Context, source string) (digest string, err error) {
	if g == nil {
		return "", nil
	}
	d, err := oci.Resolve(ctx, source, g.registry)
	if err != nil && !oci.IsLocal(source) {
		return "", inputError(err)
	}
	if err != nil { // a directory, say: only a rule that skips it lets it in
		d = oci.Descriptor{Ref: explicit(source)}
	}
	verified, refused := g.policy.Check(ctx, d.Ref, d)
	switch {
	case refused == nil:
		g.record(verified)
		return d.Digest, nil
	case err != nil && !errors.As(refused, new(*trust.Refused)):
		return "", withCode(exitInvalid, err, "the policy wants a signature, and only images in registries and OCI layouts have one",
			"a rule for this path with skip: true lets it in")
	case errors.As(refused, new(*trust.Refused)):
		return "", withCode(exitInvalid, refused, "nothing of it was used; graft verify --policy "+g.file+" shows what vouches for an image")
	}
	return "", signError(refused)
}

// explicit is a source on this machine in a form that is no image's name.
func explicit(source string) string {
	if strings.HasPrefix(source, "/") || strings.HasPrefix(source, ".") || strings.Contains(source, ":") {
		return source
	}
	return "./" + source
}

// pin is admit for those who go on with a name: it gives the one that names what
// was verified.
func (g *gate) pin(ctx context.Context, source string) (string, error) {
	digest, err := g.admit(ctx, source)
	if err != nil || digest == "" || strings.Contains(source, "@sha256:") {
		return source, err
	}
	return source + "@" + digest, nil
}

// vouched is admit for those who only want to know that it may be used.
func (g *gate) vouched(ctx context.Context, source string) error {
	_, err := g.admit(ctx, source)
	return err
}

// record keeps what was verified, each signer of an image once. Where a layout
// is on this machine does not belong into an asset, which is the same elsewhere.
func (g *gate) record(verified []trust.Verified) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, v := range verified {
		one := extension.Verified{Image: v.Image, Rule: v.Rule, Signer: v.Signer, Issuer: v.Issuer}
		if oci.IsLocal(v.Image) {
			one.Image = cmp.Or(v.Digest, "files without a digest")
		}
		if !slices.Contains(g.verified, one) {
			g.verified = append(g.verified, one)
		}
	}
}

// recorded is what was verified, nothing without a policy.
func (g *gate) recorded() []extension.Verified {
	if g == nil {
		return nil
	}
	return g.verified
}
