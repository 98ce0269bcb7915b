package sign

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

func decodeHint(hint string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(hint)
	if err == nil && len(raw) != 32 {
		err = errors.New("it is no digest")
	}
	return raw, err
}

// logIndex is where the log has the entry, if a log was verified.
func logIndex(r *verify.VerificationResult, b *protobundle.Bundle) int64 {
	entries := b.VerificationMaterial.TlogEntries
	if len(entries) == 0 || !slices.ContainsFunc(r.VerifiedTimestamps, func(t verify.TimestampVerificationResult) bool { return t.Type == "Tlog" }) {
		return -1
	}
	return entries[0].LogIndex
}

// claims looks at what was signed: that it is about the digest, and of the
// type, with the annotations.
func (v *Verifier) claims(out *Verified, b *protobundle.Bundle, s Signature, want []byte, digest, predicateType string) error {
	var annotations map[string]any
	if b.GetMessageSignature() != nil {
		p, err := parsePayload(s.Data)
		if err != nil {
			return &Refusal{Rule: "form", Found: "what is signed is no image", Err: err}
		}
		if got := p.Critical.Image.Digest; got != digest {
			return &Refusal{Rule: "digest", Wants: digest, Found: fmt.Sprintf("it signs %.100q", got)}
		}
		out.Type, annotations = PredicateSignature, p.Optional
	} else {
		st, err := parseStatement(b.GetDsseEnvelope().GetPayload())
		if err != nil {
			return &Refusal{Rule: "form", Found: "what is signed is no statement", Err: err}
		}
		sub, ok := st.about(digest)
		if raw, err := hex.DecodeString(sub.Digest["sha256"]); !ok || err != nil || !bytes.Equal(raw, want) {
			return &Refusal{Rule: "digest", Wants: digest, Found: "it signs " + st.subjects()}
		}
		out.Type, out.Predicate, annotations = st.PredicateType, st.Predicate, sub.Annotations
	}
	if out.Type != predicateType {
		return &Refusal{Rule: "predicate", Wants: fmt.Sprintf("%q", predicateType), Found: fmt.Sprintf("it says something of the type %q", out.Type)}
	}
	out.Annotations = stringValues(annotations)
	return v.annotated(out.Annotations)
}

// subjects are the digests of a statement, for people.
func (s statement) subjects() string {
	if len(s.Subject) == 0 {
		return "nothing"
	}
	more := ""
	if n := len(s.Subject) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	for _, algorithm := range slices.Sorted(maps.Keys(s.Subject[0].Digest)) {
		return fmt.Sprintf("%.150q", algorithm+":"+s.Subject[0].Digest[algorithm]) + more
	}
	return "something without a digest" + more
}

func stringValues(m map[string]any) map[string]string {
	if len(m) == 0 {
		return nil
	}
	values := map[string]string{}
	for k, v := range m {
		if s, ok := v.(string); ok {
			values[k] = s
		}
	}
	return values
}

func (v *Verifier) annotated(have map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(v.Annotations)) {
		got, ok := have[key]
		if ok && got == v.Annotations[key] {
			continue
		}
		found := fmt.Sprintf("no annotation %q was signed", key)
		if ok {
			found = fmt.Sprintf("the annotation %q says %.100q", key, got)
		}
		return &Refusal{Rule: "annotations", Wants: fmt.Sprintf("%q", v.Annotations[key]), Found: found}
	}
	return nil
}
