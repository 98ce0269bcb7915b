package sign

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
)

// Predicate types of in-toto statements: what an attestation says.
const (
	PredicateSignature  = "https://sigstore.dev/cosign/sign/v1" // nothing but that it is signed
	PredicateCustom     = "https://cosign.sigstore.dev/attestation/v1"
	PredicateSLSA1      = "https://slsa.dev/provenance/v1"
	PredicateSLSA02     = "https://slsa.dev/provenance/v0.2"
	PredicateSPDX       = "https://spdx.dev/Document"
	PredicateCycloneDX  = "https://cyclonedx.org/bom"
	PredicateVuln       = "https://cosign.sigstore.dev/attestation/vuln/v1"
	PredicateLink       = "https://in-toto.io/Link/v1"
	PredicateOpenVEX    = "https://openvex.dev/ns"
	payloadInToto       = "application/vnd.in-toto+json"
	statementV1         = "https://in-toto.io/Statement/v1"
	statementV01        = "https://in-toto.io/Statement/v0.1"
	criticalCosign      = "cosign container image signature"
	criticalAtomic      = "atomic container signature" // of containers' own simple signing
	maxStatementSubject = 1024
)

// PredicateNames are the short names of predicate types, as cosign has them.
var PredicateNames = map[string]string{
	"slsaprovenance": PredicateSLSA02, "slsaprovenance02": PredicateSLSA02, "slsaprovenance1": PredicateSLSA1,
	"spdx": PredicateSPDX, "spdxjson": PredicateSPDX, "cyclonedx": PredicateCycloneDX, "link": PredicateLink,
	"vuln": PredicateVuln, "openvex": PredicateOpenVEX, "custom": PredicateCustom,
}

// ParsePredicateType reads a short name or a URI.
func ParsePredicateType(s string) (string, error) {
	if uri, ok := PredicateNames[s]; ok {
		return uri, nil
	}
	if u, err := url.Parse(s); err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" {
		return "", fmt.Errorf("the predicate type %q is neither a URI nor one of the short names", s)
	}
	return s, nil
}

// statement is an in-toto statement (github.com/in-toto/attestation, spec/v1).
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

// newStatement says something about an image. The predicate is a JSON object.
func newStatement(img Image, predicateType string, predicate []byte, annotations map[string]string) ([]byte, error) {
	if _, err := parseDigest(img.Digest); err != nil {
		return nil, err
	}
	if err := tooLarge(len(predicate), maxData/2); err != nil {
		return nil, fmt.Errorf("the predicate: %w", err)
	}
	var object map[string]any
	if err := unmarshal(predicate, &object); err != nil {
		return nil, fmt.Errorf("the predicate is no JSON object: %w", err)
	}
	if object == nil {
		return nil, errors.New("the predicate is null, not a JSON object")
	}
	sub := subject{Digest: map[string]string{"sha256": img.Digest[len("sha256:"):]}, Annotations: anyValues(annotations)}
	s := statement{Type: statementV1, Subject: []subject{sub}, PredicateType: predicateType, Predicate: predicate}
	if predicateType != PredicateSignature {
		// As cosign does it: attestations name the image, and are of the version
		// that its readers of old know.
		s.Type, s.Subject[0].Name = statementV01, img.Repository
	}
	return json.Marshal(s)
}

func anyValues(m map[string]string) map[string]any {
	if len(m) == 0 {
		return nil
	}
	values := map[string]any{}
	for k, v := range m {
		values[k] = v
	}
	return values
}

// parseStatement reads what was in an envelope.
func parseStatement(data []byte) (statement, error) {
	var s statement
	if err := unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("parsing the in-toto statement: %w", err)
	}
	if s.Type != statementV1 && s.Type != statementV01 {
		return s, fmt.Errorf("the statement is of the type %q, not in-toto's", s.Type)
	}
	if len(s.Subject) == 0 || len(s.Subject) > maxStatementSubject {
		return s, fmt.Errorf("the statement has %d subjects; 1 to %d are allowed", len(s.Subject), maxStatementSubject)
	}
	return s, nil
}

// about is the subject with the digest.
func (s statement) about(digest string) (subject, bool) {
	for _, sub := range s.Subject {
		if "sha256:"+sub.Digest["sha256"] == digest {
			return sub, true
		}
	}
	return subject{}, false
}

// payload is what a legacy signature signs (containers' simple signing).
type payload struct {
	Critical critical       `json:"critical"`
	Optional map[string]any `json:"optional"`
}

type critical struct {
	Identity struct {
		Reference string `json:"docker-reference"`
	} `json:"identity"`
	Image struct {
		Digest string `json:"docker-manifest-digest"`
	} `json:"image"`
	Type string `json:"type"`
}

func newPayload(img Image, annotations map[string]string) ([]byte, error) {
	if _, err := parseDigest(img.Digest); err != nil {
		return nil, err
	}
	p := payload{Optional: anyValues(annotations)}
	p.Critical.Identity.Reference, p.Critical.Image.Digest, p.Critical.Type = img.Repository, img.Digest, criticalCosign
	return json.Marshal(p)
}

func parsePayload(data []byte) (payload, error) {
	var p payload
	if err := unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("parsing the payload: %w", err)
	}
	if t := p.Critical.Type; t != criticalCosign && t != criticalAtomic {
		return p, fmt.Errorf("the payload is of the type %q, not %q", t, criticalCosign)
	}
	return p, nil
}
