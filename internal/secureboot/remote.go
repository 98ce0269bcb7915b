package secureboot

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// answerTime is how long a service may think about a request. A person may
// have to touch a token.
const answerTime = time.Minute

// maxAnswer is how long an answer of a service can be, in bytes.
const maxAnswer = 1 << 20

// Fields and values of signer.proto.
const (
	fieldCertificate = 1 // of IdentityResponse
	fieldPublicKey   = 2
	fieldDigest      = 1 // of SignRequest
	fieldHash        = 2
	fieldSignature   = 1 // of SignResponse
)

// hashNumbers are the values of the enumeration Hash.
var hashNumbers = map[crypto.Hash]uint64{crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3}

// Remote is a Signer behind a Unix socket. The service and its messages are
// told by signer.proto in this package.
type Remote struct {
	address     string
	conn        *grpc.ClientConn
	certificate *x509.Certificate
	public      *rsa.PublicKey
}

// Dial connects to the service at an address like unix:///run/signer.sock and
// asks whose key it has.
func Dial(ctx context.Context, address string) (*Remote, error) {
	path, ok := strings.CutPrefix(address, "unix://")
	if !ok || !filepath.IsAbs(path) {
		return nil, fmt.Errorf("connecting to the signer %q: wanted is a form like unix:///run/signer.sock", address)
	}
	if err := try(ctx, path); err != nil {
		return nil, fmt.Errorf("connecting to the signer %s: %w", address, err)
	}
	conn, err := grpc.NewClient("passthrough:///signer",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dialUnix(ctx, path) }),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{}), grpc.MaxCallRecvMsgSize(maxAnswer)),
	)
	if err != nil {
		return nil, fmt.Errorf("connecting to the signer %s: %w", address, err)
	}
	r := &Remote{address: address, conn: conn}
	if err := r.identify(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("asking the signer %s for its key: %w", address, err)
	}
	return r, nil
}

// try finds out what is wrong with a socket in words of the system, which gRPC
// would wrap in its own.
func try(ctx context.Context, path string) error {
	conn, err := dialUnix(ctx, path)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return op.Err
		}
		return err
	}
	return conn.Close()
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

// Close ends the connection.
func (r *Remote) Close() error { return r.conn.Close() }

// Certificate implements Signer.
func (r *Remote) Certificate() *x509.Certificate { return r.certificate }

// PublicKey implements Signer.
func (r *Remote) PublicKey() *rsa.PublicKey { return r.public }

// Sign implements Signer. What comes back is checked, so that a service with a
// changed key is noticed here and not by firmware.
func (r *Remote) Sign(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error) {
	number, ok := hashNumbers[hash]
	if !ok {
		return nil, fmt.Errorf("signing with %s: the protocol has no %v", r.address, hash)
	}
	request := protowire.AppendTag(nil, fieldDigest, protowire.BytesType)
	request = protowire.AppendBytes(request, digest)
	request = protowire.AppendTag(request, fieldHash, protowire.VarintType)
	request = protowire.AppendVarint(request, number)
	fields, err := r.call(ctx, "Sign", request)
	if err == nil {
		err = rsa.VerifyPKCS1v15(r.public, hash, digest, fields[fieldSignature])
	}
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", r.address, err)
	}
	return fields[fieldSignature], nil
}

// identify asks for the certificate or the public key.
func (r *Remote) identify(ctx context.Context) error {
	fields, err := r.call(ctx, "Identity", nil)
	if err != nil {
		return err
	}
	var public crypto.PublicKey
	if der := fields[fieldCertificate]; len(der) > 0 {
		if r.certificate, err = x509.ParseCertificate(der); err != nil {
			return err
		}
		public = r.certificate.PublicKey
	} else if public, err = x509.ParsePKIXPublicKey(fields[fieldPublicKey]); err != nil {
		return fmt.Errorf("it has no certificate, and its public key is none: %w", err)
	}
	if err := checkPublic(public); err != nil {
		return err
	}
	r.public = public.(*rsa.PublicKey)
	return nil
}

// call sends a message and returns the fields of the answer that are bytes.
func (r *Remote) call(ctx context.Context, method string, request []byte) (map[protowire.Number][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var answer []byte
	err := r.conn.Invoke(ctx, "/graft.signer.v1.Signer/"+method, &request, &answer)
	if cause := ctx.Err(); cause != nil {
		return nil, cause
	}
	if err != nil {
		s := status.Convert(err)
		return nil, fmt.Errorf("it answers %q (%s)", s.Message(), s.Code())
	}
	return byteFields(answer)
}

// byteFields reads a message of the wire format of Protocol Buffers.
func byteFields(message []byte) (map[protowire.Number][]byte, error) {
	fields := map[protowire.Number][]byte{}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, fmt.Errorf("parsing its answer: %w", protowire.ParseError(n))
		}
		message = message[n:]
		if kind == protowire.BytesType {
			fields[number], n = protowire.ConsumeBytes(message)
		} else {
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return nil, fmt.Errorf("parsing its answer: %w", protowire.ParseError(n))
		}
		message = message[n:]
	}
	return fields, nil
}

// plain lets gRPC carry messages that are encoded already, under the name of
// the usual encoding, so that any gRPC server understands them.
type plain struct{}

func (plain) Name() string                  { return "proto" }
func (plain) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (plain) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
