package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sign"
)

// VerifyImage verifies what a Descriptor is of: the index, or, where only these
// are signed, its image for the platform of the options, or else for every
// platform.
func VerifyImage(ctx context.Context, d oci.Descriptor, v *sign.Verifier, opts oci.Options) ([]Verified, error) {
	return perPlatform(ctx, d, opts, func(d oci.Descriptor) ([]Verified, error) { return Verify(ctx, d, v, opts) })
}

// perPlatform does something with an index, and if that is refused, with its
// images.
func perPlatform(ctx context.Context, d oci.Descriptor, opts oci.Options, do func(oci.Descriptor) ([]Verified, error)) ([]Verified, error) {
	verified, err := do(d)
	var refused *Refused
	if !errors.As(err, &refused) || len(d.Platforms) == 0 {
		return verified, err
	}
	platforms := d.Platforms
	if opts.Platform != "" {
		p, err := oci.ParsePlatform(opts.Platform)
		if err != nil {
			return nil, err
		}
		platforms = []oci.Platform{p}
	}
	var all []Verified
	for _, p := range platforms {
		image, err := ofPlatform(ctx, d, p, opts)
		if err != nil {
			return nil, err
		}
		verified, err := do(image)
		var lacking *Refused
		if errors.As(err, &lacking) {
			for _, why := range lacking.Why {
				refused.Why = append(refused.Why, p.String()+": "+why)
			}
			return nil, refused
		}
		if err != nil {
			return nil, err
		}
		all = append(all, verified...)
	}
	return all, nil
}

// ofPlatform is the image that an index has for a platform.
func ofPlatform(ctx context.Context, d oci.Descriptor, p oci.Platform, opts oci.Options) (oci.Descriptor, error) {
	opts.Platform = p.String()
	img, err := oci.Open(ctx, d.Ref, opts)
	if err != nil {
		return oci.Descriptor{}, err
	}
	defer img.Close()
	return oci.Descriptor{Ref: strings.TrimSuffix(d.Ref, d.Digest) + img.Digest(), Digest: img.Digest()}, nil
}

// Form is how something is signed.
type Form string

// The forms, see package sign.
const (
	Both   Form = "both"
	Bundle Form = "bundle"
	Legacy Form = "legacy"
)

// ParseForm reads the name of a Form.
func ParseForm(s string) (Form, error) {
	switch f := Form(s); f {
	case Both, Bundle, Legacy:
		return f, nil
	}
	return "", fmt.Errorf("the form %q is none of both, bundle, legacy", s)
}

// Signing is what Sign and Attest do.
type Signing struct {
	Signer      *sign.Signer
	Form        Form              // "" is Both
	Annotations map[string]string // signed with it (Sign only)
	// Name is what the image is called in what is signed; "" is its repository in
	// a registry, and nothing in a layout. Nobody checks it.
	Name string
	// Root lets Sign see what an identity signed before; without it such an
	// image is signed once more.
	Root *sign.Root
	// Created says when, in the annotations of a bundle's manifest, as cosign
	// does; RFC 3339, "" for not.
	Created string
}

// Sign signs what a Descriptor is of, and stores it there. What the signer has
// signed before, with these annotations, is not signed again. It returns the
// forms that it added.
func Sign(ctx context.Context, d oci.Descriptor, s Signing, opts oci.Options) ([]Form, error) {
	img := s.image(d)
	same := func(v Verified) bool { return len(v.Annotations) == len(s.Annotations) }
	return s.add(ctx, d, sign.PredicateSignature, same, opts, map[Form]func() (sign.Signature, error){
		Bundle: func() (sign.Signature, error) { return s.Signer.Sign(ctx, img, s.Annotations) },
		Legacy: func() (sign.Signature, error) { return s.Signer.SignLegacy(ctx, img, s.Annotations) },
	})
}

// HasSignature says whether an image has any signature, good or not.
func HasSignature(ctx context.Context, d oci.Descriptor, opts oci.Options) (bool, error) {
	all, err := find(ctx, d.Ref, suffixOf(sign.PredicateSignature), opts)
	return len(all) > 0, err
}

// Attest says something about what a Descriptor is of, and stores it there: a
// predicate, a JSON object, of the type that a URI names. What the signer has
// said before is not said again. It returns the forms that it added.
func Attest(ctx context.Context, d oci.Descriptor, s Signing, predicateType string, predicate []byte, opts oci.Options) ([]Form, error) {
	img := s.image(d)
	s.Annotations = nil
	same := func(v Verified) bool { return equalJSON(v.Predicate, predicate) }
	return s.add(ctx, d, predicateType, same, opts, map[Form]func() (sign.Signature, error){
		Bundle: func() (sign.Signature, error) { return s.Signer.Attest(ctx, img, predicateType, predicate) },
		Legacy: func() (sign.Signature, error) { return s.Signer.AttestLegacy(ctx, img, predicateType, predicate) },
	})
}

func equalJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// add makes and stores what is not there yet.
func (s Signing) add(ctx context.Context, d oci.Descriptor, predicateType string, same func(Verified) bool, opts oci.Options,
	make map[Form]func() (sign.Signature, error),
) ([]Form, error) {
	have, err := s.have(ctx, d, predicateType, same, opts)
	if err != nil {
		return nil, err
	}
	var added []Form
	for _, f := range []Form{Bundle, Legacy} {
		if have[f] || s.Form != f && s.Form != Both && s.Form != "" {
			continue
		}
		sig, err := make[f]()
		if err != nil {
			return added, err
		}
		if err := s.attach(ctx, d, f, sig, predicateType, opts); err != nil {
			return added, err
		}
		added = append(added, f)
	}
	return added, nil
}

// image is what is signed, named without tag and digest, as cosign does it. The
// path of a layout is for this machine only.
func (s Signing) image(d oci.Descriptor) sign.Image {
	img := sign.Image{Repository: s.Name, Digest: d.Digest}
	if s.Name == "" && !local(d.Ref) {
		img.Repository = strings.TrimSuffix(d.Ref, "@"+d.Digest)
	}
	return img
}

// have says in which forms the signer has signed or said the same before.
func (s Signing) have(ctx context.Context, d oci.Descriptor, predicateType string, same func(Verified) bool, opts oci.Options) (map[Form]bool, error) {
	v := &sign.Verifier{Rule: s.Signer.Rule(), Root: s.Root, Annotations: s.Annotations, IgnoreLog: s.Signer.Rule().Key != nil}
	have := map[Form]bool{}
	if v.Rule.Key == nil && (s.Root == nil || v.Rule.Subject.Empty()) {
		return have, nil
	}
	verified, err := verify(ctx, d, v, predicateType, opts)
	if errors.As(err, new(*Refused)) {
		return have, nil
	}
	for _, one := range verified {
		if same(one) {
			have[Form(one.Form)] = true
		}
	}
	return have, err
}

// Annotations of the manifest of a bundle (github.com/sigstore/cosign,
// specs/BUNDLE_SPEC.md).
const (
	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
	annotationCreated   = "org.opencontainers.image.created"
)

func (s Signing) attach(ctx context.Context, d oci.Descriptor, f Form, sig sign.Signature, predicateType string, opts oci.Options) error {
	blob := oci.Blob{MediaType: sig.MediaType, Annotations: sig.Annotations, Data: sig.Data}
	if f == Legacy {
		_, err := oci.AttachTagged(ctx, d.Ref, suffixOf(predicateType), oci.Artifact{Blobs: []oci.Blob{blob}}, toPack(opts))
		return err
	}
	annotations := map[string]string{annotationContent: "dsse-envelope", annotationPredicate: predicateType}
	if s.Created != "" {
		annotations[annotationCreated] = s.Created
	}
	_, err := oci.Attach(ctx, d.Ref, oci.Artifact{Type: sig.MediaType, Annotations: annotations, Blobs: []oci.Blob{blob}}, toPack(opts))
	return err
}

func toPack(o oci.Options) oci.PackOptions {
	return oci.PackOptions{Insecure: o.Insecure, SpoolDir: o.SpoolDir, Client: o.Client}
}
