package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sign"
	"github.com/graftlinux/graft/internal/trust"
)

// verifying is one call of graft verify.
type verifying struct {
	streams       Streams
	key           string
	subject       string
	subjectRegexp string
	issuer        string
	issuerRegexp  string
	policy        string
	rootFile      string
	attestation   string
	annotations   []string
	platform      string
	ignoreLog     bool
	ignoreSCT     bool
	insecure      bool
	cacheDir      string
}

func newVerify(s Streams) *cobra.Command {
	v := verifying{streams: s}
	cmd := &cobra.Command{
		Use:   "verify IMAGE...",
		Short: "Say who signed images, and refuse them if it was nobody wanted",
		Long: `Say who signed images: which digest, when, by which rule. What no rule vouches
for is refused; the message names the rule and what was found instead.

The rule is a public key (--key), an identity that a certificate names and who
vouched for it (--certificate-identity and --certificate-oidc-issuer, or regular
expressions for these), or a file of rules (--policy), which is the document
ImageVerificationConfig of Talos 1.13: the first rule that matches decides, and
what none matches is refused.

With --attestation an attestation of that type must be there, not a signature;
-o json and -o yaml have what it says, as predicate, now that it is verified.

IMAGE is in a registry or an OCI layout (oci:DIR[:NAME]). Signatures of cosign,
versions 2 and 3, and of graft are found, in both forms. If an index has none,
all its images must be signed, or that of --platform.

Certificates and transparency logs are verified with a trusted root: a file, for
sites without a network, or that of the Sigstore project, which is fetched. A
signature must be in a log; --insecure-ignore-tlog does without, as it must for
keys that were not logged. Then a certificate must have a timestamp, or be valid
still.`,
		Example: `  graft verify --key cosign.pub --insecure-ignore-tlog registry.example/gvisor:v1
  graft verify --certificate-identity-regexp '@siderolabs\.com$' \
      --certificate-oidc-issuer https://accounts.google.com ghcr.io/siderolabs/extensions:v1.13.0
  graft verify --policy policy.yaml -o json oci:mirror:gvisor
  graft verify --key cosign.pub --attestation slsaprovenance1 -o json registry.example/gvisor:v1 | jq '.[0].predicate'`,
		Args: cobra.MinimumNArgs(1),
	}
	v.flags(cmd)
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return v.run(cmd.Context(), args, *format) }
	return cmd
}

func (v *verifying) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var((*given)(&v.key), "key", "file with the public key, or a certificate that holds it")
	f.StringVar(&v.subject, "certificate-identity", "", "who signed, as the certificate names them")
	f.StringVar(&v.subjectRegexp, "certificate-identity-regexp", "", "the same, as a regular expression; it matches anywhere without ^ and $")
	f.StringVar(&v.issuer, "certificate-oidc-issuer", "", "who vouched for them, a URL")
	f.StringVar(&v.issuerRegexp, "certificate-oidc-issuer-regexp", "", "the same, as a regular expression")
	f.Var((*given)(&v.policy), "policy", "file of rules")
	f.StringVar(&v.rootFile, "trusted-root", "", "Sigstore's trusted_root.json (default: that of the public services, fetched and kept)")
	f.StringVar(&v.attestation, "attestation", "", "verify an attestation of this type, not a signature")
	f.StringArrayVarP(&v.annotations, "annotations", "a", nil, "KEY=VALUE that must be signed with the image; may be repeated")
	f.StringVar(&v.platform, "platform", "", "which image of an index must be signed, if the index is not (default: all)")
	f.BoolVar(&v.ignoreLog, "insecure-ignore-tlog", false, "take what is in no transparency log")
	f.BoolVar(&v.ignoreSCT, "insecure-ignore-sct", false, "take certificates that are in no certificate transparency log")
	insecureFlag(cmd, &v.insecure)
	cacheDirFlag(cmd, &v.cacheDir)
	complete(cmd, "platform", "linux/amd64", "linux/arm64")
	complete(cmd, "attestation", "cyclonedx", "openvex", "slsaprovenance1", "spdxjson")
	cmd.MarkFlagsMutuallyExclusive("key", "policy")
	for _, flag := range []string{"certificate-identity", "certificate-identity-regexp"} {
		cmd.MarkFlagsMutuallyExclusive(flag, "key")
		cmd.MarkFlagsMutuallyExclusive(flag, "policy")
	}
	for _, flag := range []string{"attestation", "annotations", "insecure-ignore-tlog", "platform"} {
		cmd.MarkFlagsMutuallyExclusive(flag, "policy")
	}
}

func (v *verifying) run(ctx context.Context, images []string, format string) error {
	opts := oci.Options{Insecure: v.insecure, Platform: v.platform, Client: oci.NewClient()}
	check, err := v.checker(ctx, opts)
	if err != nil {
		return err
	}
	var all []trust.Verified
	var refused []error
	for _, name := range images {
		d, err := oci.Resolve(ctx, name, opts)
		if err != nil {
			return meant(name, inputError(err))
		}
		verified, err := check(ctx, d)
		if errors.As(err, new(*trust.Refused)) {
			refused = append(refused, err)
			continue
		}
		if err != nil {
			return signError(err)
		}
		all = append(all, verified...)
	}
	if len(all) > 0 || format != "table" && len(refused) == 0 {
		if err := v.print(all, format); err != nil {
			return err
		}
	}
	return v.refusal(refused)
}

// refusal is the one error for all images that are refused.
func (v *verifying) refusal(refused []error) error {
	if len(refused) == 0 {
		return nil
	}
	err := errors.Join(refused...)
	var hints []string
	if v.noLogEntry(refused) {
		hints = []string{"graft sign logs what a key signs with --rekor-url only: --insecure-ignore-tlog takes it without a log"}
	}
	return withCode(exitUnknown, err, hints...)
}

// noLogEntry says whether a key would do, but for the log.
func (v *verifying) noLogEntry(refused []error) bool {
	if v.key == "" || v.ignoreLog {
		return false
	}
	for _, err := range refused {
		var r *trust.Refused
		if errors.As(err, &r) && r.Lacks("log") {
			return true
		}
	}
	return false
}

type checker func(context.Context, oci.Descriptor) ([]trust.Verified, error)

// checker is the rule that the flags say.
func (v *verifying) checker(ctx context.Context, opts oci.Options) (checker, error) {
	if v.policy != "" {
		p, err := trust.Load(v.policy, trust.Options{Root: v.root, Registry: opts, IgnoreSCT: v.ignoreSCT})
		if err != nil {
			return nil, inputError(err)
		}
		return func(ctx context.Context, d oci.Descriptor) ([]trust.Verified, error) { return p.Check(ctx, d.Ref, d) }, nil
	}
	verifier, err := v.verifier(ctx)
	if err != nil {
		return nil, err
	}
	if v.attestation != "" {
		uri, err := sign.ParsePredicateType(v.attestation)
		if err != nil {
			return nil, usageError(fmt.Errorf("--attestation: %w", err))
		}
		return func(ctx context.Context, d oci.Descriptor) ([]trust.Verified, error) {
			return trust.VerifyAttestations(ctx, d, verifier, uri, opts)
		}, nil
	}
	return func(ctx context.Context, d oci.Descriptor) ([]trust.Verified, error) {
		return trust.VerifyImage(ctx, d, verifier, opts)
	}, nil
}

func (v *verifying) verifier(ctx context.Context) (*sign.Verifier, error) {
	annotations, err := keyValues("--annotations", v.annotations)
	if err != nil {
		return nil, usageError(err)
	}
	out := &sign.Verifier{Annotations: annotations, IgnoreLog: v.ignoreLog, IgnoreSCT: v.ignoreSCT}
	if out.Rule, err = v.rule(); err != nil {
		return nil, err
	}
	if out.Rule.Key == nil || !out.IgnoreLog {
		out.Root, err = v.root(ctx)
	}
	return out, err
}

func (v *verifying) rule() (sign.Rule, error) {
	var r sign.Rule
	if v.key != "" {
		data, err := readInput(nil, v.key, maxKeyFile)
		if err != nil {
			return r, fmt.Errorf("reading the key: %w", err)
		}
		if r.Key, err = sign.ParsePublicKey(data); err != nil {
			return r, withCode(exitInvalid, fmt.Errorf("reading the key %s: %w", v.key, err))
		}
		return r, nil
	}
	var err, err2 error
	r.Subject, err = sign.NewMatch(v.subject, v.subjectRegexp)
	r.Issuer, err2 = sign.NewMatch(v.issuer, v.issuerRegexp)
	if err := errors.Join(err, err2); err != nil {
		return r, usageError(err)
	}
	if r.Subject.Empty() || r.Issuer.Empty() {
		return r, withCode(exitInvalid, errors.New("who must have signed? wanted is --key, --policy, or --certificate-identity and --certificate-oidc-issuer"),
			"an identity counts together with who vouched for it: both are needed, exactly or as a -regexp")
	}
	return r, nil
}

// root is the file that was named, or that of the public services.
func (v *verifying) root(ctx context.Context) (*sign.Root, error) {
	if v.rootFile != "" {
		return readRoot(v.rootFile)
	}
	dir, err := cacheDir(v.cacheDir)
	if err != nil {
		return nil, err
	}
	root, err := sign.FetchRoot(ctx, filepath.Join(dir, "sigstore"))
	if err != nil {
		return nil, withCode(exitDependency, err, "without a network: --trusted-root names a trusted_root.json", "keys that were not logged need none: --insecure-ignore-tlog")
	}
	return root, nil
}

func (v *verifying) print(all []trust.Verified, format string) error {
	switch format {
	case "json":
		return printJSON(v.streams.Out, all)
	case "yaml":
		docs, err := withPredicates(all)
		if err != nil {
			return err
		}
		return printYAML(v.streams.Out, docs)
	}
	head := []string{"IMAGE", "SIGNER", "ISSUER", "TIME", "FORM"}
	if v.policy != "" {
		head = append(head, "RULE")
	}
	t := newTable(v.streams.Out, head...)
	for _, one := range all {
		cells := []string{one.Image, one.Signer, one.Issuer, seen(one), one.Form, one.Rule}
		if one.Skipped {
			cells[1] = "(not verified)"
		}
		for i, c := range cells {
			cells[i] = printable(c)
			if c == "" {
				cells[i] = "-"
			}
		}
		t.row(cells[:len(head)]...)
	}
	if v.attestation != "" {
		fmt.Fprintln(v.streams.Err, "  hint: -o json has what the attestations say, as predicate")
	}
	return t.flush()
}

// verifiedYAML is what was verified, with what an attestation says as YAML.
type verifiedYAML struct {
	trust.Verified `yaml:",inline"`
	Says           any `yaml:"predicate,omitempty"`
}

func withPredicates(all []trust.Verified) ([]verifiedYAML, error) {
	docs := []verifiedYAML{}
	for _, one := range all {
		doc := verifiedYAML{Verified: one}
		if len(one.Predicate) > 0 {
			d := json.NewDecoder(bytes.NewReader(one.Predicate))
			d.UseNumber()
			if err := d.Decode(&doc.Says); err != nil {
				return nil, fmt.Errorf("reading the predicate of %s: %w", one.Image, err)
			}
			doc.Says = plainNumbers(doc.Says)
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

// plainNumbers makes numbers of JSON, which may be too large or too exact for those of
// Go, scalars of YAML with the same digits.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k])
		}
	}
	return v
}

// seen is when a signature was there, and who says so.
func seen(v trust.Verified) string {
	if v.Time.IsZero() {
		return "-"
	}
	s := v.Time.UTC().Format(time.RFC3339)
	if v.LogIndex != nil {
		return s + " (log, no. " + strconv.FormatInt(*v.LogIndex, 10) + ")"
	}
	return s + " (" + v.TimeFrom + ")"
}
