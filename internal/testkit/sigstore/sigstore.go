// Package sigstore runs the services of Sigstore in tests: an authority that
// certifies identities (Fulcio), a log (Rekor) and a timestamp authority, over
// HTTP on a loopback address, with keys that are made for each test. Real
// clients may use them: cosign does.
package sigstore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	ttimestamp "github.com/digitorus/timestamp"
	"github.com/go-openapi/runtime"
	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	cx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"         // kinds of entries of the log
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1" // (the same)
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.2"       // (the same)
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
)

// Services are Fulcio, Rekor and a timestamp authority, with all their keys.
type Services struct {
	Fulcio, Rekor, Timestamp string // URLs

	// CertificateFor is how long certificates are valid, from ten minutes before
	// CertificateAt (the zero time is now).
	CertificateFor time.Duration
	CertificateAt  time.Time
	// WithoutSCT leaves out what a certificate transparency log says.
	WithoutSCT bool

	virtual      *ca.VirtualSigstore
	root, middle *x509.Certificate
	middleKey    *ecdsa.PrivateKey
	ctKey        *ecdsa.PrivateKey
	tsa          *root.SigstoreTimestampingAuthority
	tsaKey       *ecdsa.PrivateKey
	mu           sync.Mutex
	serial       int64
	index        int64
}

// Start runs the services until the test ends.
func Start(t testing.TB) *Services {
	t.Helper()
	s := &Services{CertificateFor: 20 * time.Minute}
	var rootKey *ecdsa.PrivateKey
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.virtual, err = ca.NewVirtualSigstore()
	check()
	s.root, rootKey, err = ca.GenerateRootCa()
	check()
	s.middle, s.middleKey, err = intermediate(s.root, rootKey)
	check()
	s.ctKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check()
	s.tsaKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check()
	tsaMiddle, tsaMiddleKey, err := ca.GenerateTSAIntermediate(s.root, rootKey)
	check()
	tsaLeaf, err := ca.GenerateTSALeafCert(time.Now().Add(-time.Minute), s.tsaKey, tsaMiddle, tsaMiddleKey)
	check()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/signingCert", s.certify)
	mux.HandleFunc("POST /api/v1/log/entries", s.log)
	mux.HandleFunc("POST /api/v1/timestamp", s.timestamp)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	s.tsa = &root.SigstoreTimestampingAuthority{
		URI: srv.URL, Root: s.root, Intermediates: []*x509.Certificate{tsaMiddle}, Leaf: tsaLeaf,
		ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour),
	}
	s.Fulcio, s.Rekor, s.Timestamp = srv.URL, srv.URL, srv.URL+"/api/v1/timestamp"
	return s
}

// intermediate is valid as long as the root, five hours to both sides, so that
// tests can have certificates of the past.
func intermediate(parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "intermediate", Organization: []string{"test"}},
		NotBefore: parent.NotBefore, NotAfter: parent.NotAfter, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// TrustedRoot is the trusted_root.json for these services.
func (s *Services) TrustedRoot(t testing.TB) []byte {
	t.Helper()
	fulcio := &root.FulcioCertificateAuthority{
		URI: s.Fulcio, Root: s.root, Intermediates: []*x509.Certificate{s.middle},
		ValidityPeriodStart: time.Now().AddDate(-1, 0, 0), ValidityPeriodEnd: time.Now().Add(time.Hour),
	}
	der, err := x509.MarshalPKIXPublicKey(s.ctKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(der)
	logs := map[string]*root.TransparencyLog{hex.EncodeToString(id[:]): {
		BaseURL: s.Fulcio, ID: id[:], HashFunc: crypto.SHA256, PublicKey: s.ctKey.Public(), SignatureHashFunc: crypto.SHA256,
		ValidityPeriodStart: time.Now().AddDate(-1, 0, 0), ValidityPeriodEnd: time.Now().Add(time.Hour),
	}}
	rekor := s.virtual.RekorLogs()
	for name, l := range rekor {
		l.ID, _ = hex.DecodeString(name)
		l.ValidityPeriodStart = time.Now().AddDate(-1, 0, 0)
	}
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{fulcio}, logs, []root.TimestampingAuthority{s.tsa}, rekor)
	if err != nil {
		t.Fatal(err)
	}
	data, err := tr.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Token is an identity token, as somebody's login would give.
func Token(issuer, email string) string {
	enc := base64.RawURLEncoding.EncodeToString
	claims, _ := json.Marshal(map[string]any{
		"iss": issuer, "sub": "12345", "email": email, "email_verified": true, "aud": "sigstore",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	return enc([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + enc(claims) + "." + enc([]byte("signature"))
}

// certify believes every token.
func (s *Services) certify(w http.ResponseWriter, r *http.Request) {
	var req struct {
		PublicKeyRequest struct{ PublicKey struct{ Content string } }
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	chain, err := s.chain(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), req.PublicKeyRequest.PublicKey.Content)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": chain}}}
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *Services) chain(token, key string) ([]string, error) {
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token+"..", ".")[1])
	if err != nil {
		return nil, err
	}
	var c struct{ Iss, Email string }
	if err := json.Unmarshal(claims, &c); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(key))
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	leaf, err := s.leaf(c.Iss, c.Email, pub)
	if err != nil {
		return nil, err
	}
	var chain []string
	for _, der := range [][]byte{leaf, s.middle.Raw, s.root.Raw} {
		chain = append(chain, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	return chain, nil
}

// leaf is a certificate that the transparency log knows: what the log signs is
// the same certificate without what the log signs.
func (s *Services) leaf(issuer, email string, pub crypto.PublicKey) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	at := s.CertificateAt
	if at.IsZero() {
		at = time.Now()
	}
	start := at.Add(-10 * time.Minute)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(s.serial), NotBefore: start, NotAfter: start.Add(s.CertificateFor), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(issuer),
		}},
	}
	if u, err := url.Parse(email); err == nil && u.Scheme != "" {
		template.URIs = []*url.URL{u}
	} else {
		template.EmailAddresses = []string{email}
	}
	without, err := x509.CreateCertificate(rand.Reader, template, s.middle, pub, s.middleKey)
	if err != nil || s.WithoutSCT {
		return without, err
	}
	sct, err := s.sct(without)
	if err != nil {
		return nil, err
	}
	template.ExtraExtensions = append(template.ExtraExtensions, sct)
	return x509.CreateCertificate(rand.Reader, template, s.middle, pub, s.middleKey)
}

func (s *Services) sct(der []byte) (pkix.Extension, error) {
	none := pkix.Extension{}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return none, err
	}
	ctDER, err := x509.MarshalPKIXPublicKey(s.ctKey.Public())
	if err != nil {
		return none, err
	}
	now := uint64(time.Now().UnixMilli())
	entry := ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType,
		TimestampedEntry: &ct.TimestampedEntry{Timestamp: now, EntryType: ct.PrecertLogEntryType, PrecertEntry: &ct.PreCert{
			IssuerKeyHash: sha256.Sum256(s.middle.RawSubjectPublicKeyInfo), TBSCertificate: cert.RawTBSCertificate,
		}},
	}}
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: sha256.Sum256(ctDER)}, Timestamp: now}
	input, err := ct.SerializeSCTSignatureInput(sct, entry)
	if err != nil {
		return none, err
	}
	sig, err := tls.CreateSignature(*s.ctKey, tls.SHA256, input)
	if err != nil {
		return none, err
	}
	sct.Signature = ct.DigitallySigned(sig)
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	if err != nil {
		return none, err
	}
	raw, err := tls.Marshal(*list)
	if err != nil {
		return none, err
	}
	value, err := asn1.Marshal(raw)
	return pkix.Extension{Id: asn1.ObjectIdentifier(cx509.OIDExtensionCTSCT), Value: value}, err
}

// log takes every entry that its real code parses, and proves that it is the
// only one.
func (s *Services) log(w http.ResponseWriter, r *http.Request) {
	entry, id, err := s.entry(r.Context(), r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", id)
	w.Header().Set("Location", "/api/v1/log/entries/"+id)
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{id: entry})
}

func (s *Services) entry(ctx context.Context, body io.Reader) (any, string, error) {
	proposed, err := models.UnmarshalProposedEntry(body, runtime.JSONConsumer())
	if err != nil {
		return nil, "", err
	}
	impl, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return nil, "", err
	}
	canonical, err := types.CanonicalizeEntry(ctx, impl)
	if err != nil {
		return nil, "", err
	}
	proof, err := s.virtual.GetInclusionProof(canonical)
	if err != nil {
		return nil, "", err
	}
	logID, err := s.virtual.RekorLogID()
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	index := s.index // of the log; the proof is of a tree with one entry
	s.index++
	s.mu.Unlock()
	encoded, now := base64.StdEncoding.EncodeToString(canonical), time.Now().Unix()
	if !s.CertificateAt.IsZero() {
		now = s.CertificateAt.Unix()
	}
	set, err := s.virtual.RekorSignPayload(tlog.RekorPayload{Body: encoded, IntegratedTime: now, LogIndex: index, LogID: logID})
	if err != nil {
		return nil, "", err
	}
	leaf := sha256.Sum256(append([]byte{0}, canonical...))
	return map[string]any{
		"body": encoded, "integratedTime": now, "logIndex": index, "logID": logID,
		"verification": map[string]any{"signedEntryTimestamp": set, "inclusionProof": proof},
	}, hex.EncodeToString(leaf[:]), nil
}

// timestamp vouches that it has seen a digest now.
func (s *Services) timestamp(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		raw, err = s.stamp(raw)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.Copy(w, bytes.NewReader(raw))
}

func (s *Services) stamp(query []byte) ([]byte, error) {
	req, err := ttimestamp.ParseRequest(query)
	if err != nil {
		return nil, err
	}
	t := ttimestamp.Timestamp{
		HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Time: time.Now(), Nonce: req.Nonce,
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, Qualified: false, AddTSACertificate: req.Certificates,
	}
	return t.CreateResponseWithOpts(s.tsa.Leaf, s.tsaKey, crypto.SHA256)
}
