package trust

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sign"
)

// Policy is an ordered list of rules, which Talos 1.13 knows as the document
// ImageVerificationConfig of its machine configuration:
//
//	apiVersion: v1alpha1
//	kind: ImageVerificationConfig
//	rules:
//	    - image: ghcr.io/siderolabs/*    # registry and repository; * is anything
//	      keyless:
//	        issuer: https://accounts.google.com
//	        subjectRegex: '@siderolabs\.com$'
//	    - image: registry.example/*
//	      publicKey:
//	        certificate: |               # a key or a certificate, in PEM
//	            -----BEGIN PUBLIC KEY-----
//	    - image: "*"
//	      deny: true                     # or skip: true
//
// The first rule that matches decides. An image that none matches is refused:
// a last rule with skip says otherwise. A rule with a key asks for no
// transparency log; one for an identity does. Methods may be used by several
// goroutines.
type Policy struct {
	rules []rule
	file  string
	opts  Options

	mu   sync.Mutex
	root *sign.Root
	done map[string][]Verified
}

// Options are what a policy works with.
type Options struct {
	// Root is for identities: what is trusted. It is asked for when a rule needs
	// it, until it answers without an error. Nil: nothing is trusted.
	Root func(context.Context) (*sign.Root, error)
	// Registry says how registries are spoken to. Its platform is of no use: see
	// Check.
	Registry oci.Options
	// IgnoreSCT takes certificates that no certificate transparency log knows.
	IgnoreSCT bool
}

// Limits of a policy's file.
const (
	maxPolicy = 1 << 20
	maxRules  = 1000
)

const (
	policyVersion = "v1alpha1"
	policyKind    = "ImageVerificationConfig"
)

// rule is one of the document. What it does not know is in Rest.
type rule struct {
	Image   string `yaml:"image"`
	Skip    bool   `yaml:"skip"`
	Deny    bool   `yaml:"deny"`
	Keyless *struct {
		Issuer       string  `yaml:"issuer"`
		Subject      string  `yaml:"subject"`
		SubjectRegex string  `yaml:"subjectRegex"`
		Rest         unknown `yaml:",inline"`
	} `yaml:"keyless"`
	PublicKey *struct {
		Certificate string  `yaml:"certificate"`
		Rest        unknown `yaml:",inline"`
	} `yaml:"publicKey"`
	Rest unknown `yaml:",inline"`

	name string // for people: which rule of what
	who  sign.Rule
}

type unknown map[string]yaml.Node

// Load reads a policy from a file. The file may hold other documents of a
// machine configuration: they are left alone.
func Load(file string, opts Options) (*Policy, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err != nil {
		return nil, fmt.Errorf("reading the policy %s: %w", file, err)
	}
	rules, err := parsePolicy(data)
	if err != nil {
		return nil, fmt.Errorf("reading the policy %s: %w", file, err)
	}
	return &Policy{rules: rules, file: file, opts: opts, done: map[string][]Verified{}}, nil
}

func parsePolicy(data []byte) ([]rule, error) {
	if len(data) > maxPolicy {
		return nil, fmt.Errorf("it has more than %d bytes", maxPolicy)
	}
	var all []rule
	found := false
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		rules, mine, err := parseDocument(&doc)
		switch {
		case err != nil:
			return nil, err
		case mine && found:
			return nil, fmt.Errorf("line %d: a second document %s: one has all rules", doc.Line, policyKind)
		case mine:
			all, found = rules, true
		}
	}
	if !found {
		return nil, fmt.Errorf("there is no document with kind: %s", policyKind)
	}
	return all, nil
}

func parseDocument(doc *yaml.Node) (rules []rule, mine bool, err error) {
	if kindOf(doc) != policyKind {
		return nil, false, nil // another document of a machine configuration
	}
	var d struct {
		APIVersion string  `yaml:"apiVersion"`
		Kind       string  `yaml:"kind"`
		Rules      []rule  `yaml:"rules"`
		Rest       unknown `yaml:",inline"`
	}
	if err := doc.Decode(&d); err != nil {
		return nil, true, err
	}
	if err := d.Rest.refuse(); err != nil {
		return nil, true, err
	}
	if d.APIVersion != policyVersion {
		return nil, true, fmt.Errorf("apiVersion %q is not %s", d.APIVersion, policyVersion)
	}
	if len(d.Rules) > maxRules {
		return nil, true, fmt.Errorf("%d rules, %d are allowed", len(d.Rules), maxRules)
	}
	for i := range d.Rules {
		r := &d.Rules[i]
		r.name = fmt.Sprintf("rule %d (%s)", i+1, r.Image)
		if err := r.complete(); err != nil {
			return nil, true, fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return d.Rules, true, nil
}

// kindOf is what a document says it is, "" if it does not. It is not decoded for
// that: what is wrong with a policy is to be said, and not to make it something
// else.
func kindOf(doc *yaml.Node) string {
	for _, m := range doc.Content {
		for i := 0; i+1 < len(m.Content) && m.Kind == yaml.MappingNode; i += 2 {
			if m.Content[i].Value == "kind" {
				return m.Content[i+1].Value
			}
		}
	}
	return ""
}

func (u unknown) refuse() error {
	for _, key := range slices.Sorted(maps.Keys(u)) {
		return fmt.Errorf("line %d: %q is not known here", u[key].Line, key)
	}
	return nil
}

// complete checks a rule as Talos does, and reads who it wants.
func (r *rule) complete() error {
	if err := r.Rest.refuse(); err != nil {
		return err
	}
	wants := 0
	for _, is := range []bool{r.Skip, r.Deny, r.Keyless != nil, r.PublicKey != nil} {
		if is {
			wants++
		}
	}
	switch {
	case r.Image == "":
		return errors.New("image is missing: a pattern for the registry and repository")
	case strings.Contains(r.Image, "@") || strings.Contains(afterHost(r.Image), ":"):
		return errors.New("image is a pattern for the registry and repository, without tag and digest")
	case wants != 1:
		return errors.New("wanted is exactly one of keyless, publicKey, skip, deny")
	case r.Keyless != nil:
		return r.keyless()
	case r.PublicKey != nil:
		return r.publicKey()
	}
	return nil
}

func afterHost(s string) string {
	if local(s) {
		return ""
	}
	_, rest, _ := strings.Cut(s, "/")
	return rest
}

func (r *rule) keyless() error {
	k := r.Keyless
	if err := k.Rest.refuse(); err != nil {
		return err
	}
	if k.Issuer == "" || k.Subject == "" && k.SubjectRegex == "" {
		return errors.New("keyless: issuer, and subject or subjectRegex, are missing")
	}
	subject, err := sign.NewMatch(k.Subject, k.SubjectRegex)
	if err != nil {
		return fmt.Errorf("keyless: %w", err)
	}
	r.who = sign.Rule{Subject: subject, Issuer: sign.Match{Exact: k.Issuer}}
	return nil
}

func (r *rule) publicKey() error {
	if err := r.PublicKey.Rest.refuse(); err != nil {
		return err
	}
	key, err := sign.ParsePublicKey([]byte(r.PublicKey.Certificate))
	if err != nil {
		return fmt.Errorf("publicKey: certificate: %w", err)
	}
	r.who = sign.Rule{Key: key}
	return nil
}

// Check says what was verified of an image before it may be used, or returns a
// *Refused. name is what rules match: the Ref of a Descriptor, or a name that
// stands for it. Of an index that is not signed all images must be.
func (p *Policy) Check(ctx context.Context, name string, d oci.Descriptor) ([]Verified, error) {
	key := Name(name) + " " + d.Ref
	p.mu.Lock()
	known, ok := p.done[key]
	p.mu.Unlock()
	if ok {
		return slices.Clone(known), nil
	}
	verified, err := p.check(ctx, Name(name), d)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.done[key] = verified
	p.mu.Unlock()
	return slices.Clone(verified), nil
}

func (p *Policy) check(ctx context.Context, name string, d oci.Descriptor) ([]Verified, error) {
	r := p.ruleFor(name)
	switch {
	case r == nil:
		return nil, &Refused{Image: d.Ref, Rule: "the policy " + p.file, Why: []string{
			fmt.Sprintf("no rule matches %s; a last rule for \"*\" says what becomes of such images", name),
		}}
	case r.Deny:
		return nil, &Refused{Image: d.Ref, Rule: r.name + " of " + p.file, Why: []string{"it denies " + name}}
	case r.Skip:
		return []Verified{{Image: d.Ref, Digest: d.Digest, Rule: r.name, Skipped: true}}, nil
	}
	v, err := p.verifier(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("checking %s: %w", d.Ref, err)
	}
	opts := p.opts.Registry
	opts.Platform = ""
	verified, err := VerifyImage(ctx, d, v, opts)
	var refused *Refused
	if errors.As(err, &refused) {
		refused.Rule = r.name + " of " + p.file
	}
	for i := range verified {
		verified[i].Rule = r.name
	}
	return verified, err
}

func (p *Policy) ruleFor(name string) *rule {
	for i := range p.rules {
		if match(p.rules[i].Image, name) {
			return &p.rules[i]
		}
	}
	return nil
}

func (p *Policy) verifier(ctx context.Context, r *rule) (*sign.Verifier, error) {
	v := &sign.Verifier{Rule: r.who, IgnoreLog: r.who.Key != nil, IgnoreSCT: p.opts.IgnoreSCT}
	if r.who.Key != nil || p.opts.Root == nil {
		return v, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.root == nil {
		var err error
		if p.root, err = p.opts.Root(ctx); err != nil {
			return nil, err
		}
	}
	v.Root = p.root
	return v, nil
}
