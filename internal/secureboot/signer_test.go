package secureboot

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

func pemOf(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestLoadKey(t *testing.T) {
	key, dir := testKey(t, 0)
	_, otherDir := testKey(t, 1)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der8, err8 := x509.MarshalPKCS8PrivateKey(key.private)
	ecder, ecerr := x509.MarshalECPrivateKey(ec)
	ecder8, ecerr8 := x509.MarshalPKCS8PrivateKey(ec)
	certificate := filepath.Join(dir, SigningCertificateFile)
	for _, c := range []struct {
		name, certificate string
		key               []byte
		want              string // in the error; none if empty
	}{
		{"PKCS 8, PEM", certificate, pemOf(t, "PRIVATE KEY", der8, err8), ""},
		{"DER certificate", filepath.Join(dir, SigningDERFile), keyPEM(key.private), ""},
		{"behind something else", certificate, append([]byte("-----BEGIN X-----\n-----END X-----\n"), keyPEM(key.private)...), ""},
		{"other certificate", filepath.Join(otherDir, SigningCertificateFile), keyPEM(key.private), "is of another key"},
		{"elliptic curve", certificate, pemOf(t, "EC PRIVATE KEY", ecder, ecerr), "no RSA key"},
		{"elliptic curve, PKCS 8", certificate, pemOf(t, "PRIVATE KEY", ecder8, ecerr8), "no RSA key"},
		{"small", certificate, keyPEM(small), "1024 bits; 2048 are wanted"},
		{"encrypted", certificate, pemOf(t, "ENCRYPTED PRIVATE KEY", der8, nil), "encrypted"},
		{"old encryption", certificate, []byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"), "encrypted"},
		{"no key", certificate, []byte("hello"), "no private key in PEM"},
		{"broken", certificate, pemOf(t, "RSA PRIVATE KEY", []byte{1, 2}, nil), "loading the signing key"},
		{"no certificate", filepath.Join(dir, "nothing"), keyPEM(key.private), "loading the certificate"},
		{"key for certificate", filepath.Join(dir, SigningKeyFile), keyPEM(key.private), "loading the certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := LoadKey(write(t, t.TempDir(), "key.pem", c.key), c.certificate)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestWarning(t *testing.T) {
	key, _ := testKey(t, 0)
	for _, c := range []struct {
		now  time.Time
		want string
	}{
		{notBefore.Add(-time.Hour), "not valid before 2026-01-02"},
		{notBefore.Add(time.Hour), ""},
		{notAfter.Add(time.Hour), "has expired on 2036-01-02"},
	} {
		if got := Warning(key.Certificate(), c.now); !strings.HasSuffix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%v: got %q, want %q", c.now, got, c.want)
		}
	}
}

func TestGenerateKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	names, err := GenerateKeys(context.Background(), dir, "graft", notBefore, notAfter)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Mode().String()+" "+name)
	}
	want := []string{
		"-rw------- uki-signing-key.pem",
		"-rw-r--r-- uki-signing-cert.pem",
		"-rw-r--r-- uki-signing-cert.der",
		"-rw------- pcr-signing-key.pem",
		"-rw-r--r-- PK.auth",
		"-rw-r--r-- KEK.auth",
		"-rw-r--r-- db.auth",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	before := tree(t, dir)
	if _, err := GenerateKeys(context.Background(), dir, "graft", notBefore, notAfter); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: got %v, want %v", err, fs.ErrExist)
	}
	if tree(t, dir) != before {
		t.Error("the keys were changed")
	}
}

// TestGenerateBeside: with one of the files there, none is written.
func TestGenerateBeside(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "db.auth", []byte("mine"))
	if _, err := GenerateKeys(context.Background(), dir, "graft", notBefore, notAfter); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want %v", err, fs.ErrExist)
	}
	if got := tree(t, dir); got != "db.auth=mine\n" {
		t.Errorf("got the files %q", got)
	}
}

// tree is a directory's files and what is in them.
func tree(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.Name() + "=" + string(content) + "\n")
	}
	return b.String()
}

// service is a signer behind a socket, as signer.proto tells it.
type service struct {
	certificate []byte
	public      []byte
	key         *Key
	refuse      string
}

func (s *service) identity([]byte) ([]byte, error) {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 7) // a field of the future
	if s.certificate != nil {
		b = protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), s.certificate)
	}
	return protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), s.public), nil
}

func (s *service) sign(request []byte) ([]byte, error) {
	if s.refuse != "" {
		return nil, status.Error(codes.PermissionDenied, s.refuse)
	}
	fields, err := byteFields(request)
	if err != nil {
		return nil, err
	}
	hash := map[int]crypto.Hash{32: crypto.SHA256, 48: crypto.SHA384, 64: crypto.SHA512}[len(fields[1])]
	signature, err := s.key.Sign(context.Background(), fields[1], hash)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), signature), err
}

// serve starts the service and returns its address.
func serve(t *testing.T, s *service) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sig") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(plain{}))
	method := func(name string, answer func([]byte) ([]byte, error)) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var request []byte
			if err := decode(&request); err != nil {
				return nil, err
			}
			b, err := answer(request)
			return &b, err
		}}
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "graft.signer.v1.Signer",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{method("Identity", s.identity), method("Sign", s.sign)},
	}, s)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return "unix://" + path
}

// TestRemote: a service signs the same bytes as its key does.
func TestRemote(t *testing.T) {
	key, _ := testKey(t, 0)
	r, err := Dial(context.Background(), serve(t, &service{certificate: key.Certificate().Raw, key: key}))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	program := testProgram(2000)
	if !bytes.Equal(signed(t, program, r), signed(t, program, key)) {
		t.Error("it signs other bytes than its key")
	}
}

// TestRemotePolicies: no certificate is needed for PCR policies, but for
// programs.
func TestRemotePolicies(t *testing.T) {
	key, _ := testKey(t, 0)
	public, err := x509.MarshalPKIXPublicKey(key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	r, err := Dial(context.Background(), serve(t, &service{public: public, key: key}))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	values := map[crypto.Hash][][]byte{crypto.SHA256: {make([]byte, 32)}, crypto.SHA512: {make([]byte, 64)}}
	ours, err := PCRSignatures(context.Background(), r, values)
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err := PCRSignatures(context.Background(), key, values); err != nil || !bytes.Equal(ours, theirs) {
		t.Errorf("got %s, %v, want %s", ours, err, theirs)
	}
	if _, err := signDigest(context.Background(), r, make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("got %v", err)
	}
}

func TestRemoteErrors(t *testing.T) {
	key, dir := testKey(t, 0)
	other, _ := testKey(t, 1)
	dead := write(t, dir, "dead.sock", nil)
	for _, c := range []struct{ name, address, want string }{
		{"not there", "unix://" + dir + "/nothing.sock", "no such file"},
		{"no socket", "unix://" + dead, "connection refused"},
		{"relative", "unix://signer.sock", "wanted is a form like"},
		{"TCP", "127.0.0.1:1", "wanted is a form like"},
		{"nobody's key", serve(t, &service{}), "no certificate, and its public key is none"},
		{"other key", serve(t, &service{certificate: key.Certificate().Raw, key: other}), "verification error"},
		{"refusal", serve(t, &service{certificate: key.Certificate().Raw, key: key, refuse: "not on Saturdays"}), `"not on Saturdays" (PermissionDenied)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Dial(context.Background(), c.address)
			if err == nil {
				defer r.Close()
				_, err = signDigest(context.Background(), r, make([]byte, 32))
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

// TestRemoteSilent: who does not answer is not waited for longer than the
// context allows.
func TestRemoteSilent(t *testing.T) {
	dir, err := os.MkdirTemp("", "sig")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, "unix://"+l.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}
