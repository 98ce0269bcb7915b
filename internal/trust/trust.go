// Package trust says whether an image may be used: it finds the signatures and
// attestations of an image in a registry or an OCI layout, verifies them, and
// enforces a policy, a file of rules. It also stores what was signed.
//
// What is trusted is a digest. A signature of an index vouches for all images
// that it names; where an index has none, each of its images must be signed.
// Names are for finding things, and for choosing a rule: a registry cannot lie
// about the content of a digest, only hide signatures, and what has none is
// refused. Names in what was signed are not looked at, as a mirror has others.
package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sign"
)

// Verified is what was verified of an image, in the form in which it is
// recorded.
type Verified struct {
	Image       string            `json:"image" yaml:"image"`                                     // as a source, with the digest
	Digest      string            `json:"digest" yaml:"digest"`                                   // that is signed: of the image, or of the index that names it
	Rule        string            `json:"rule" yaml:"rule"`                                       // by which it may be used
	Skipped     bool              `json:"skipped,omitempty" yaml:"skipped,omitempty"`             // the rule asks for no signature: nothing was verified
	Signer      string            `json:"signer,omitempty" yaml:"signer,omitempty"`               // an identity, or the fingerprint of a key
	Issuer      string            `json:"issuer,omitempty" yaml:"issuer,omitempty"`               // who vouched for the identity
	Time        time.Time         `json:"time,omitzero" yaml:"time,omitempty"`                    // when it was signed at the latest, if somebody saw it
	TimeFrom    string            `json:"timeFrom,omitempty" yaml:"timeFrom,omitempty"`           // "log" or "timestamp authority"
	LogIndex    *int64            `json:"logIndex,omitempty" yaml:"logIndex,omitempty"`           // in the transparency log
	Form        string            `json:"form,omitempty" yaml:"form,omitempty"`                   // "bundle" or "legacy"
	Annotations map[string]string `json:"annotations,omitempty" yaml:"annotations,omitempty"`     // that were signed
	Type        string            `json:"predicateType,omitempty" yaml:"predicateType,omitempty"` // of an attestation
	Predicate   json.RawMessage   `json:"predicate,omitempty" yaml:"-"`                           // of an attestation
	Manifest    string            `json:"manifest,omitempty" yaml:"manifest,omitempty"`           // the digest of the one that has the signature or attestation
	Layer       string            `json:"layer,omitempty" yaml:"layer,omitempty"`                 // the digest of the signature or attestation itself
}

// Refused says that an image may not be used, and which rule said so.
type Refused struct {
	Image string
	Rule  string   // of a policy; "" without one
	Wants string   // what the rule wants
	Why   []string // one reason for each signature, or the one that there is

	rules []string // that signatures break, see sign.Refusal
}

// Lacks says whether a signature would count, but for one of the rules that a
// sign.Refusal names.
func (r *Refused) Lacks(rule string) bool { return slices.Contains(r.rules, rule) }

func (r *Refused) Error() string {
	s := r.Image + " is refused"
	if r.Rule != "" {
		s += " by " + r.Rule
	}
	if r.Wants != "" {
		s += "; wanted is " + r.Wants
	}
	if len(r.Why) == 1 {
		return s + ": " + r.Why[0]
	}
	return s + ":\n  " + strings.Join(r.Why, "\n  ")
}

// maxSignatures of one image are verified; an image with more is refused.
const maxSignatures = 128

// found is a signature or attestation, and where it was.
type found struct {
	sign.Signature
	where    string
	manifest string // digests
	layer    string
}

// suffixOf is that of cosign's tag.
func suffixOf(predicateType string) string {
	if predicateType == sign.PredicateSignature {
		return "sig"
	}
	return "att"
}

func whatIs(predicateType string) string {
	if predicateType == sign.PredicateSignature {
		return "signature"
	}
	return "attestation of the type " + predicateType
}

// find gets all bundles of an image, and what is at one of cosign's tags.
func find(ctx context.Context, ref, suffix string, opts oci.Options) ([]found, error) {
	referring, err := oci.Referrers(ctx, ref, opts)
	if err != nil {
		return nil, err
	}
	var all []found
	for i := range referring {
		a := &referring[i]
		if !holdsBundle(a) {
			continue
		}
		if all, err = appendBlobs(ctx, all, a, "bundle "+a.Digest, func(b oci.Blob) bool { return sign.IsBundle(b.MediaType) }); err != nil {
			return nil, err
		}
	}
	tagged, err := oci.Tagged(ctx, ref, suffix, opts)
	if err != nil || tagged == nil {
		return all, err
	}
	return appendBlobs(ctx, all, tagged, "legacy ."+suffix, func(b oci.Blob) bool {
		return b.MediaType == sign.PayloadType || b.MediaType == sign.EnvelopeType
	})
}

func holdsBundle(a *oci.Artifact) bool {
	for _, b := range a.Blobs {
		if sign.IsBundle(b.MediaType) {
			return true
		}
	}
	return false
}

func appendBlobs(ctx context.Context, all []found, a *oci.Artifact, where string, wanted func(oci.Blob) bool) ([]found, error) {
	if len(all)+len(a.Blobs) > maxSignatures {
		return nil, fmt.Errorf("more than %d signatures: graft does not verify that many", maxSignatures)
	}
	if err := a.Read(ctx); err != nil {
		return nil, err
	}
	for i, b := range a.Blobs {
		if !wanted(b) {
			continue
		}
		f := found{Signature: sign.Signature{MediaType: b.MediaType, Data: b.Data, Annotations: b.Annotations}, where: where, manifest: a.Digest, layer: b.Digest}
		if len(a.Blobs) > 1 {
			f.where = fmt.Sprintf("%s, no. %d", where, i+1)
		}
		all = append(all, f)
	}
	return all, nil
}

// Verify verifies the signatures of exactly the manifest or index that a
// Descriptor is of. It returns all that count; if none does, the error is a
// *Refused.
func Verify(ctx context.Context, d oci.Descriptor, v *sign.Verifier, opts oci.Options) ([]Verified, error) {
	return verify(ctx, d, v, sign.PredicateSignature, opts)
}

// VerifyAttestations does the same for attestations of one type, a URI.
func VerifyAttestations(ctx context.Context, d oci.Descriptor, v *sign.Verifier, predicateType string, opts oci.Options) ([]Verified, error) {
	return verify(ctx, d, v, predicateType, opts)
}

func verify(ctx context.Context, d oci.Descriptor, v *sign.Verifier, predicateType string, opts oci.Options) ([]Verified, error) {
	all, err := find(ctx, d.Ref, suffixOf(predicateType), opts)
	if err != nil {
		return nil, fmt.Errorf("verifying %s: %w", d.Ref, err)
	}
	refused := &Refused{Image: d.Ref, Wants: v.Rule.String()}
	var verified []Verified
	for _, f := range all {
		if kind, err := sign.TypeOf(f.Signature); err == nil && kind != predicateType {
			continue
		}
		got, err := v.Verify(f.Signature, d.Digest, predicateType)
		if err != nil {
			refused.add(f.where, err)
			continue
		}
		one := record(d, v, got)
		one.Manifest, one.Layer = f.manifest, f.layer
		verified = append(verified, one)
	}
	if len(verified) > 0 {
		return verified, nil
	}
	if len(refused.Why) == 0 {
		refused.Why = []string{"it has no " + whatIs(predicateType)}
	}
	return nil, refused
}

func (r *Refused) add(where string, err error) {
	r.Why = append(r.Why, where+": "+err.Error())
	var refusal *sign.Refusal
	if errors.As(err, &refusal) {
		r.rules = append(r.rules, refusal.Rule)
	}
}

func record(d oci.Descriptor, v *sign.Verifier, got sign.Verified) Verified {
	r := Verified{
		Image: d.Ref, Digest: d.Digest, Rule: v.Rule.String(), Signer: got.Signer, Issuer: got.Issuer,
		Time: got.Time, TimeFrom: got.TimeFrom, Form: "bundle", Annotations: got.Annotations,
	}
	if got.Legacy {
		r.Form = "legacy"
	}
	if got.LogIndex >= 0 {
		r.LogIndex = &got.LogIndex
	}
	if got.Type != sign.PredicateSignature {
		r.Type, r.Predicate = got.Type, got.Predicate
	}
	return r
}
