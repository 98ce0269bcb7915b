package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sign"
	"github.com/graftlinux/graft/internal/trust"
)

// signHelp explains who signs, for graft sign and graft attest.
const signHelp = `IMAGE is in a registry or an OCI layout (oci:DIR[:NAME]). A name without a digest
is resolved once; the answer on stdout is what was signed, NAME@DIGEST.

Who signs is a key (--key, of cosign or any PEM; its password is in
COSIGN_PASSWORD, in --password-file, or is asked for), or else an identity: with
a token of OpenID Connect from --identity-token, SIGSTORE_ID_TOKEN or a GitHub
workflow (permission id-token: write), Fulcio certifies it, and the log Rekor
makes name and digest public for good. Keys are logged with --rekor-url only;
then graft verify and cosign verify want --insecure-ignore-tlog without it.

There are two forms, and both are made unless --format says otherwise: the
bundle, which refers to the image (cosign 3), and legacy, at the tag
sha256-<digest>.sig or .att (cosign 2). What is there already is not made again.`

// signing is one call of graft sign or graft attest.
type signing struct {
	streams     Streams
	key         string
	password    string
	token       string
	services    sign.Services
	rootFile    string
	format      string
	name        string
	annotations []string
	insecure    bool
}

func newSign(s Streams) *cobra.Command {
	c := signing{streams: s}
	cmd := &cobra.Command{
		Use:   "sign IMAGE...",
		Short: "Sign images as cosign does",
		Long:  "Sign images, so that graft, cosign and Talos can verify who made them.\n\n" + signHelp,
		Example: `  graft keys generate signing
  graft sign --key cosign.key ghcr.io/me/gvisor:v1
  graft sign --key cosign.key -a tier=core oci:out
  graft sign --identity-token token.jwt ghcr.io/me/gvisor@sha256:...`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.sign(cmd.Context(), args) },
	}
	c.flags(cmd)
	cmd.Flags().StringArrayVarP(&c.annotations, "annotations", "a", nil, "KEY=VALUE, signed with the image; may be repeated")
	return cmd
}

func newAttest(s Streams) *cobra.Command {
	c := signing{streams: s}
	var predicate, kind string
	cmd := &cobra.Command{
		Use:   "attest IMAGE --predicate FILE --type TYPE",
		Short: "Say something about an image, signed",
		Long: `Say something about an image, signed: its provenance, its SBOM. FILE is a JSON
object, the predicate of an in-toto statement; - is stdin. TYPE is a URI, or one
of ` + strings.Join(slices.Sorted(maps.Keys(sign.PredicateNames)), ", ") + ".\n\n" + signHelp,
		Example: `  graft attest --key cosign.key --type spdxjson --predicate gvisor.spdx.json ghcr.io/me/gvisor:v1
  graft verify --key cosign.pub --insecure-ignore-tlog --attestation spdxjson ghcr.io/me/gvisor:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.attest(cmd.Context(), args[0], predicate, kind)
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&predicate, "predicate", "", "file with the predicate (required)")
	cmd.Flags().StringVar(&kind, "type", "", "type of the predicate (required)")
	complete(cmd, "type", slices.Sorted(maps.Keys(sign.PredicateNames))...)
	return cmd
}

func (c *signing) flags(cmd *cobra.Command) {
	c.signerFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&c.rootFile, "trusted-root", "", "Sigstore's trusted_root.json: to see what an identity has signed already")
	f.StringVar(&c.name, "sign-container-identity", "", "what the image is called in the signature (default: its repository)")
	insecureFlag(cmd, &c.insecure)
}

// signerFlags say who signs, and how.
func (c *signing) signerFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var((*given)(&c.key), "key", "file with the private key")
	f.StringVar(&c.password, "password-file", "", "file with the password of the key")
	f.StringVar(&c.token, "identity-token", "", "identity token, or a file with it")
	f.StringVar(&c.services.Fulcio, "fulcio-url", sign.PublicGood.Fulcio, "who certifies an identity")
	f.StringVar(&c.services.Rekor, "rekor-url", "", "the log that gets the signature (default for an identity: "+sign.PublicGood.Rekor+")")
	f.StringVar(&c.services.Timestamp, "timestamp-server-url", "", "a timestamp authority (RFC 3161)")
	f.StringVar(&c.format, "format", string(trust.Both), "form of the signature: both, bundle, legacy")
	complete(cmd, "format", string(trust.Both), string(trust.Bundle), string(trust.Legacy))
}

func (c *signing) sign(ctx context.Context, images []string) error {
	annotations, err := keyValues("--annotations", c.annotations)
	if err != nil {
		return usageError(err)
	}
	s, err := c.signer(ctx)
	if err != nil {
		return err
	}
	s.Annotations = annotations
	return c.each(ctx, images, "signed", func(d oci.Descriptor, opts oci.Options) ([]trust.Form, error) {
		return trust.Sign(ctx, d, s, opts)
	})
}

// maxPredicate is the size of what an attestation says, in bytes.
const maxPredicate = 16 << 20

func (c *signing) attest(ctx context.Context, image, file, kind string) error {
	if file == "" || kind == "" {
		return usageError(errors.New("--predicate and --type say what to attest: both are needed"))
	}
	uri, err := sign.ParsePredicateType(kind)
	if err != nil {
		return usageError(fmt.Errorf("--type: %w", err))
	}
	predicate, err := readInput(c.streams.In, file, maxPredicate)
	if err != nil {
		return fmt.Errorf("reading the predicate: %w", err)
	}
	s, err := c.signer(ctx)
	if err != nil {
		return err
	}
	return c.each(ctx, []string{image}, "attested", func(d oci.Descriptor, opts oci.Options) ([]trust.Form, error) {
		return trust.Attest(ctx, d, s, uri, predicate, opts)
	})
}

// each resolves images, does something with them, and prints what they are.
func (c *signing) each(ctx context.Context, images []string, done string, do func(oci.Descriptor, oci.Options) ([]trust.Form, error)) error {
	opts := oci.Options{Insecure: c.insecure, Client: oci.NewClient()}
	for _, name := range images {
		d, err := oci.Resolve(ctx, name, opts)
		if err != nil {
			return inputError(err)
		}
		forms, err := do(d, opts)
		if err != nil {
			return signError(err)
		}
		if len(forms) == 0 {
			fmt.Fprintf(c.streams.Err, "%s: it was %s before\n", d.Ref, done)
		} else {
			fmt.Fprintf(c.streams.Err, "%s %s (%s)\n", done, d.Ref, joinForms(forms))
		}
		fmt.Fprintln(c.streams.Out, d.Ref)
	}
	return nil
}

func joinForms(forms []trust.Form) string {
	var names []string
	for _, f := range forms {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// signError gives the services of Sigstore the exit code of registries.
func signError(err error) error {
	var service *sign.ServiceError
	if errors.As(err, &service) {
		return withCode(exitDependency, err)
	}
	return inputError(err)
}

// signer is the key or the identity.
func (c *signing) signer(ctx context.Context) (trust.Signing, error) {
	created, err := signingTime()
	if err != nil {
		return trust.Signing{}, usageError(err)
	}
	s := trust.Signing{Name: c.name, Created: created.Format(time.RFC3339)}
	if s.Form, err = trust.ParseForm(c.format); err != nil {
		return s, usageError(fmt.Errorf("--format: %w", err))
	}
	if c.rootFile != "" {
		if s.Root, err = readRoot(c.rootFile); err != nil {
			return s, err
		}
	}
	if c.key != "" {
		if c.token != "" {
			return s, usageError(errors.New("--key or --identity-token: not both"))
		}
		s.Signer, err = c.withKey()
		return s, err
	}
	s.Signer, err = c.withIdentity(ctx)
	return s, err
}

// signingTime is now, or the time that SOURCE_DATE_EPOCH sets.
func signingTime() (time.Time, error) {
	if os.Getenv("SOURCE_DATE_EPOCH") == "" {
		return time.Now().UTC(), nil
	}
	return sourceDateEpoch()
}

func (c *signing) withKey() (*sign.Signer, error) {
	data, err := readInput(nil, c.key, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	key, err := sign.ParsePrivateKey(data, func() ([]byte, error) {
		return keyPassword(c.streams, c.password, "Password of "+c.key+": ")
	})
	if errors.Is(err, sign.ErrPassword) {
		return nil, withCode(exitInvalid, fmt.Errorf("reading the key %s: %w", c.key, err), "the password is in COSIGN_PASSWORD, in --password-file, or is asked for at a terminal")
	}
	if err != nil {
		return nil, inputError(fmt.Errorf("reading the key %s: %w", c.key, err))
	}
	with := c.services
	with.Fulcio = ""
	return sign.WithKey(key, with)
}

func (c *signing) withIdentity(ctx context.Context) (*sign.Signer, error) {
	token, err := c.identityToken(ctx)
	if err != nil {
		return nil, err
	}
	with := c.services
	if with.Rekor == "" && with.Timestamp == "" {
		with.Rekor = sign.PublicGood.Rekor
	}
	signer, err := sign.WithIdentity(token, with)
	if err != nil {
		return nil, inputError(err)
	}
	if with.Rekor != "" {
		fmt.Fprintf(c.streams.Err, "the log at %s will hold the name of who signs, for everybody and for good\n", with.Rekor)
	}
	return signer, nil
}

// identityToken is the one that was given, or that the environment has.
func (c *signing) identityToken(ctx context.Context) (string, error) {
	token := c.token
	if token == "" {
		token = os.Getenv("SIGSTORE_ID_TOKEN")
	}
	if token == "" {
		url, secret := os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
		if url == "" || secret == "" {
			return "", withCode(exitInvalid, errors.New("who signs? there is neither --key nor an identity token"),
				"graft keys generate signing makes a key", "--identity-token, SIGSTORE_ID_TOKEN and GitHub's workflows give a token; graft opens no browser")
		}
		token, err := sign.ActionsToken(ctx, url, secret)
		return token, signError(err)
	}
	data, err := readInput(nil, token, maxKeyFile)
	switch {
	case err == nil:
		token = string(data)
	case c.token != "" && !isWebToken(token):
		return "", fmt.Errorf("reading the identity token: %w", err)
	}
	return strings.TrimSpace(token), nil
}

// isWebToken says whether a text has the look of a JSON web token (RFC 7519), not that
// of a file's name.
func isWebToken(s string) bool { return strings.Count(s, ".") == 2 && !strings.Contains(s, "/") }

// readRoot reads Sigstore's trusted_root.json.
func readRoot(file string) (*sign.Root, error) {
	data, err := readInput(nil, file, maxPredicate)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted root: %w", err)
	}
	root, err := sign.ParseRoot(data)
	if err != nil {
		return nil, withCode(exitInvalid, fmt.Errorf("reading %s: %w", file, err), "it is a trusted_root.json, as `cosign trusted-root create` writes")
	}
	return root, nil
}

// readInput reads a file of a bounded size, or stdin for "-" if that is given.
func readInput(stdin io.Reader, file string, limit int64) ([]byte, error) {
	in := stdin
	if file != "-" || stdin == nil {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, withCode(exitInvalid, fmt.Errorf("%s has more than %d bytes", file, limit))
	}
	return data, nil
}

// keyValues reads KEY=VALUE pairs of a flag, each KEY once.
func keyValues(flag string, pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%s %q is not KEY=VALUE", flag, p)
		}
		if before, twice := m[key]; twice {
			return nil, fmt.Errorf("%s %s is given twice, as %q and %q", flag, key, before, value)
		}
		m[key] = value
	}
	return m, nil
}
