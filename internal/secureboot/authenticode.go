package secureboot

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/uki"
)

var (
	oidIndirectData = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidPEImageData  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
)

// indirectData is SpcIndirectDataContent: the digest of a program.
type indirectData struct {
	Data struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	Message struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
}

// peImageData is SpcPeImageData without flags, of a file without a name: what
// must be there and says nothing.
var peImageData = []byte{0x30, 0x09, 0x03, 0x01, 0x00, 0xa0, 0x04, 0xa2, 0x02, 0x80, 0x00}

// Sign returns the program with an Authenticode signature (SHA-256) added to
// those that it has. Its bytes are read once; the result has them as extents.
func Sign(ctx context.Context, program *sparse.Image, key Signer) (*sparse.Image, error) {
	program = uki.Padded(program)
	m, err := uki.Read(program, program.Size())
	if err != nil {
		return nil, fmt.Errorf("signing the EFI program: %w", err)
	}
	h := sha256.New()
	if err := hashProgram(ctx, m, program, h); err != nil {
		return nil, fmt.Errorf("signing the EFI program: %w", err)
	}
	signature, err := signDigest(ctx, key, h.Sum(nil))
	if err != nil {
		return nil, fmt.Errorf("signing the EFI program: %w", err)
	}
	signed, err := m.WithCertificate(program, uki.Certificate{Revision: uki.CertificateRevision, Type: uki.CertificatePKCS, Data: signature})
	if err != nil {
		return nil, fmt.Errorf("signing the EFI program: %w", err)
	}
	return signed, nil
}

// signDigest makes the SignedData around the digest of a program.
func signDigest(ctx context.Context, key Signer, digest []byte) ([]byte, error) {
	var spc indirectData
	spc.Data.Type = oidPEImageData
	spc.Data.Value = asn1.RawValue{FullBytes: peImageData}
	spc.Message.Algorithm = algorithm(oidSHA256)
	spc.Message.Digest = digest
	content, err := asn1.Marshal(spc)
	if err != nil {
		return nil, err
	}
	return signContent(ctx, key, oidIndirectData, content)
}

// hashProgram gives what a signature covers to some hashes.
func hashProgram(ctx context.Context, m *uki.Image, r io.ReaderAt, hashes ...hash.Hash) error {
	parts, err := m.Signed()
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for _, part := range parts {
		for at := part.Offset; at < part.End(); {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := buf[:min(int64(len(buf)), part.End()-at)]
			n, err := r.ReadAt(p, at)
			if n < len(p) {
				return fmt.Errorf("hashing %d bytes at %d: %w", len(p), at, errors.Join(err, io.ErrUnexpectedEOF))
			}
			for _, h := range hashes {
				h.Write(p)
			}
			at += int64(n)
		}
	}
	return nil
}

// Signature is a signature in an EFI program.
type Signature struct {
	// Certificate of the signer. Nil if the signature does not contain it.
	Certificate *x509.Certificate
	// Hash and Digest are what was signed.
	Hash   crypto.Hash
	Digest []byte
	// Actual is the digest of the file.
	Actual []byte

	data *signedData
}

// Matches says whether the file is the one that was signed.
func (s *Signature) Matches() bool { return bytes.Equal(s.Digest, s.Actual) }

// Signatures reads the signatures of an EFI program of size bytes. That a
// signature was read does not mean that it is right: see [Signature.Verify].
func Signatures(ctx context.Context, r io.ReaderAt, size int64) ([]*Signature, error) {
	m, err := uki.Read(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading signatures: %w", err)
	}
	var all []*Signature
	for i, c := range m.Certificates {
		if c.Type != uki.CertificatePKCS {
			continue
		}
		s, err := parseSignature(c.Data)
		if err != nil {
			return nil, fmt.Errorf("reading signature %d of the EFI program: %w", i, err)
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, nil
	}
	if err := fillActual(ctx, m, r, all); err != nil {
		return nil, fmt.Errorf("reading signatures: %w", err)
	}
	return all, nil
}

// parseSignature reads a SignedData of a SpcIndirectDataContent.
func parseSignature(der []byte) (*Signature, error) {
	sd, err := parseSignedData(der)
	if err != nil {
		return nil, err
	}
	if !sd.Content.Type.Equal(oidIndirectData) {
		return nil, fmt.Errorf("it signs a %v, which is no digest of a program", sd.Content.Type)
	}
	var spc indirectData
	if _, err := asn1.Unmarshal(sd.Content.Content.Bytes, &spc); err != nil {
		return nil, fmt.Errorf("parsing the digest: %w", err)
	}
	hash, err := hashOf(spc.Message.Algorithm.Algorithm)
	if err != nil {
		return nil, err
	}
	return &Signature{Certificate: sd.signer(), Hash: hash, Digest: spc.Message.Digest, data: sd}, nil
}

// fillActual hashes the program once, in as many ways as there are in its
// signatures.
func fillActual(ctx context.Context, m *uki.Image, r io.ReaderAt, all []*Signature) error {
	used := map[crypto.Hash]hash.Hash{}
	for _, s := range all {
		used[s.Hash] = s.Hash.New()
	}
	var hashes []hash.Hash
	for _, h := range used {
		hashes = append(hashes, h)
	}
	if err := hashProgram(ctx, m, r, hashes...); err != nil {
		return err
	}
	for _, s := range all {
		s.Actual = used[s.Hash].Sum(nil)
	}
	return nil
}

// Verify checks whether the program is what was signed, by a key for which the
// trusted certificate stands: the signer's own, or one that issued it, over
// certificates in the signature. As in firmware, times do not count.
func (s *Signature) Verify(trusted *x509.Certificate) error {
	if !s.Matches() {
		return fmt.Errorf("verifying the signature: the program was changed: its digest is %x, that which was signed %x", s.Actual, s.Digest)
	}
	value, err := valueOf(s.data.Content.Content.Bytes)
	if err != nil {
		return fmt.Errorf("verifying the signature: %w", err)
	}
	if err := s.data.verifyBy(trusted, value); err != nil {
		return fmt.Errorf("verifying the signature: %w", err)
	}
	return nil
}

// signer finds the certificate of who signed, nil if it is not there.
func (sd *signedData) signer() *x509.Certificate {
	for _, c := range sd.certificates() {
		if sd.Signers[0].is(c) {
			return c
		}
	}
	return nil
}

// verifyBy checks that a value is signed, and by whom in the end.
func (sd *signedData) verifyBy(trusted *x509.Certificate, value []byte) error {
	signer := sd.signer()
	if signer == nil && sd.Signers[0].is(trusted) {
		signer = trusted
	}
	if signer == nil {
		return errors.New("there is no certificate of who signed")
	}
	if err := sd.verify(signer, value); err != nil {
		return err
	}
	if !issued(trusted, signer, sd.certificates()) {
		return fmt.Errorf("it is by %s and not by %s", signer.Subject, trusted.Subject)
	}
	return nil
}

// maxChain is how many certificates may stand between the trusted one and the
// signer's.
const maxChain = 8

// issued says whether there is a chain from c up to the trusted certificate.
func issued(trusted, c *x509.Certificate, between []*x509.Certificate) bool {
	for range maxChain {
		if c.Equal(trusted) || c.CheckSignatureFrom(trusted) == nil {
			return true
		}
		next := c
		for _, b := range between {
			if !b.Equal(c) && c.CheckSignatureFrom(b) == nil {
				next = b
			}
		}
		if next == c {
			return false
		}
		c = next
	}
	return false
}
