package sign

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

// Annotations of a legacy signature's layer (github.com/sigstore/cosign,
// specs/SIGNATURE_SPEC.md, and pkg/oci/static).
const (
	annotationSignature   = "dev.cosignproject.cosign/signature" // base64; empty for an attestation
	annotationCertificate = "dev.sigstore.cosign/certificate"    // PEM
	annotationChain       = "dev.sigstore.cosign/chain"          // PEM
	annotationLog         = "dev.sigstore.cosign/bundle"         // JSON, a logEntry
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
	annotationPredicate   = "predicateType"
)

// The version of the bundle that holds no more than a legacy signature does: a
// promise of the log that it will include the entry, no proof.
const bundleTypeV01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"

// logEntry is what Rekor answered.
type logEntry struct {
	SignedEntryTimestamp []byte
	Payload              struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	}
}

type timestamp struct{ SignedRFC3161Timestamp []byte }

// fromLegacy makes a bundle of a payload or an envelope and its annotations, so
// that there is one way to verify.
func fromLegacy(s Signature) (*protobundle.Bundle, error) {
	for name, v := range s.Annotations {
		if err := tooLarge(len(v), maxAnnotation); err != nil {
			return nil, fmt.Errorf("its annotation %.40q: %w", name, err)
		}
	}
	b := &protobundle.Bundle{MediaType: bundleTypeV01, VerificationMaterial: &protobundle.VerificationMaterial{}}
	entry, err := legacyLogEntry(s.Annotations[annotationLog])
	if err != nil {
		return nil, fmt.Errorf("its annotation %s: %w", annotationLog, err)
	}
	if entry != nil {
		b.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if err := legacyTimestamp(b.VerificationMaterial, s.Annotations[annotationTimestamp]); err != nil {
		return nil, fmt.Errorf("its annotation %s: %w", annotationTimestamp, err)
	}
	if err := legacySigner(b.VerificationMaterial, s.Annotations[annotationCertificate]); err != nil {
		return nil, fmt.Errorf("its annotation %s: %w", annotationCertificate, err)
	}
	if s.MediaType == EnvelopeType {
		return b, legacyEnvelope(b, s.Data)
	}
	return b, legacyMessage(b, s, entry)
}

// legacySigner is the certificate, or an unnamed key.
func legacySigner(m *protobundle.VerificationMaterial, cert string) error {
	if cert == "" {
		m.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}
		return nil
	}
	block, _ := pem.Decode([]byte(cert))
	if block == nil || block.Type != "CERTIFICATE" {
		return errors.New("it is no certificate in PEM")
	}
	m.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
		Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}},
	}}
	return nil
}

func legacyTimestamp(m *protobundle.VerificationMaterial, value string) error {
	if value == "" {
		return nil
	}
	var t timestamp
	if err := unmarshal([]byte(value), &t); err != nil {
		return err
	}
	m.TimestampVerificationData = &protobundle.TimestampVerificationData{
		Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: t.SignedRFC3161Timestamp}},
	}
	return nil
}

func legacyLogEntry(value string) (*protorekor.TransparencyLogEntry, error) {
	if value == "" {
		return nil, nil
	}
	var e logEntry
	if err := unmarshal([]byte(value), &e); err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(e.Payload.LogID)
	if err != nil {
		return nil, fmt.Errorf("logID: %w", err)
	}
	var kind struct{ Kind, APIVersion string }
	if err := unmarshal(e.Payload.Body, &kind); err != nil {
		return nil, fmt.Errorf("the body of the entry: %w", err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          e.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		IntegratedTime:    e.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: e.SignedEntryTimestamp},
		CanonicalizedBody: e.Payload.Body,
	}, nil
}

func legacyMessage(b *protobundle.Bundle, s Signature, entry *protorekor.TransparencyLogEntry) error {
	value, ok := s.Annotations[annotationSignature]
	if !ok || value == "" {
		return fmt.Errorf("it lacks the annotation %s, which is the signature", annotationSignature)
	}
	sig, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return fmt.Errorf("its annotation %s: %w", annotationSignature, err)
	}
	b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: messageDigest(s.Data, entry), Signature: sig,
	}}
	return nil
}

// messageDigest is the digest of the payload, of the kind that the log has.
func messageDigest(data []byte, entry *protorekor.TransparencyLogEntry) *protocommon.HashOutput {
	var body struct {
		Spec struct {
			Data struct{ Hash struct{ Algorithm string } }
		}
	}
	if entry != nil {
		_ = json.Unmarshal(entry.CanonicalizedBody, &body) // an unknown entry is found out when it is verified
	}
	algorithm, hash := hashOf(body.Spec.Data.Hash.Algorithm)
	h := hash.New()
	h.Write(data)
	return &protocommon.HashOutput{Algorithm: algorithm, Digest: h.Sum(nil)}
}

func legacyEnvelope(b *protobundle.Bundle, data []byte) error {
	var e struct {
		PayloadType string
		Payload     []byte
		Signatures  []struct {
			KeyID string
			Sig   []byte
		}
	}
	if err := unmarshal(data, &e); err != nil {
		return fmt.Errorf("parsing the DSSE envelope: %w", err)
	}
	if len(e.Signatures) != 1 {
		return fmt.Errorf("the DSSE envelope has %d signatures, not one", len(e.Signatures))
	}
	b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
		Payload: e.Payload, PayloadType: e.PayloadType,
		Signatures: []*protodsse.Signature{{Sig: e.Signatures[0].Sig, Keyid: e.Signatures[0].KeyID}},
	}}
	return nil
}

// toLegacy is the reverse: the layer of a .sig or .att tag.
func toLegacy(b *protobundle.Bundle, data []byte, predicateType string) (Signature, error) {
	s := Signature{MediaType: PayloadType, Data: data, Annotations: map[string]string{}}
	if m := b.GetMessageSignature(); m != nil {
		s.Annotations[annotationSignature] = base64.StdEncoding.EncodeToString(m.Signature)
	} else {
		s.Annotations[annotationSignature], s.Annotations[annotationPredicate] = "", predicateType
		s.MediaType = EnvelopeType
		var err error
		if s.Data, err = marshalEnvelope(b.GetDsseEnvelope()); err != nil {
			return s, err
		}
	}
	return s, legacyAnnotations(s.Annotations, b.VerificationMaterial)
}

func marshalEnvelope(e *protodsse.Envelope) ([]byte, error) {
	type sig struct {
		KeyID string `json:"keyid"`
		Sig   []byte `json:"sig"`
	}
	return json.Marshal(struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []sig  `json:"signatures"`
	}{e.PayloadType, e.Payload, []sig{{Sig: e.Signatures[0].Sig}}})
}

func legacyAnnotations(to map[string]string, m *protobundle.VerificationMaterial) error {
	if cert := m.GetCertificate(); cert != nil {
		if _, err := x509.ParseCertificate(cert.RawBytes); err != nil {
			return fmt.Errorf("reading the certificate: %w", err)
		}
		to[annotationCertificate] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.RawBytes}))
		to[annotationChain] = ""
	}
	if entries := m.TlogEntries; len(entries) > 0 {
		e := entries[0]
		var l logEntry
		l.SignedEntryTimestamp = e.GetInclusionPromise().GetSignedEntryTimestamp()
		l.Payload.Body, l.Payload.IntegratedTime = e.CanonicalizedBody, e.IntegratedTime
		l.Payload.LogIndex, l.Payload.LogID = e.LogIndex, hex.EncodeToString(e.GetLogId().GetKeyId())
		data, err := json.Marshal(l)
		if err != nil {
			return err
		}
		to[annotationLog] = string(data)
	}
	if stamps := m.GetTimestampVerificationData().GetRfc3161Timestamps(); len(stamps) > 0 {
		data, err := json.Marshal(timestamp{stamps[0].SignedTimestamp})
		if err != nil {
			return err
		}
		to[annotationTimestamp] = string(data)
	}
	return nil
}
