package secureboot

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// TestSign: what is signed verifies, with that key alone, and never once a
// byte was changed.
func TestSign(t *testing.T) {
	key, _ := testKey(t, 0)
	other, _ := testKey(t, 1)
	for _, size := range []uint32{1, 7, 8, 512, 5000} {
		b := signed(t, testProgram(size), key)
		s := signature(t, b)
		if err := s.Verify(key.Certificate()); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := s.Verify(other.Certificate()); err == nil || !strings.Contains(err.Error(), "not by") {
			t.Errorf("%d bytes: with another key: got %v", size, err)
		}
		if !s.Certificate.Equal(key.Certificate()) {
			t.Errorf("%d bytes: the signer is said to be %s", size, s.Certificate.Subject)
		}
	}
}

// TestSame: the same bytes, whatever the number of threads.
func TestSame(t *testing.T) {
	key, _ := testKey(t, 0)
	var first []byte
	for _, procs := range []int{1, 2} {
		old := runtime.GOMAXPROCS(procs)
		defer runtime.GOMAXPROCS(old)
		got := signed(t, testProgram(3<<20), key)
		updates, err := Enrolment{Time: notBefore}.Updates(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range updates {
			got = append(got, u.Data...)
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) {
			t.Errorf("other bytes with %d threads", procs)
		}
	}
}

// TestChanged flips a bit of each byte of a signed program, up to the signature.
// Only the checksum and the revision of the certificate's entry, which nobody
// looks at, may be other ones; and its length, if that stays within the padding: how
// long a certificate is differs by a byte from key to key.
func TestChanged(t *testing.T) {
	key, _ := testKey(t, 0)
	program := testProgram(500)
	b := signed(t, program, key)
	free := map[int]bool{}
	for i := range 4 {
		free[0x58+64+i] = true
	}
	content := len(program) + 8 - len(program)%8
	free[content], free[content+4], free[content+5] = true, true, true
	for i := range content + 8 {
		b[i] ^= 4
		if err := verifyBytes(b, key.Certificate()); err == nil && !free[i] {
			t.Errorf("the signature stands although byte %d was changed", i)
		}
		b[i] ^= 4
	}
	for n := 0; n < len(b); n += 3 {
		if verifyBytes(b[:n], key.Certificate()) == nil {
			t.Errorf("the first %d of %d bytes verify", n, len(b))
		}
	}
}

func verifyBytes(b []byte, c *x509.Certificate) error {
	all, err := Signatures(context.Background(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	for _, s := range all {
		if err = s.Verify(c); err == nil {
			return nil
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("no signature")
	}
	return err
}

// TestChain: firmware trusts an authority, which issued the signer's
// certificate.
func TestChain(t *testing.T) {
	authority, _ := testKey(t, 0)
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: notBefore, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Certificate(), &private.PublicKey, authority.private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := signature(t, signed(t, testProgram(100), &Key{private, leaf}))
	for _, c := range []*x509.Certificate{leaf, authority.Certificate()} {
		if err := s.Verify(c); err != nil {
			t.Errorf("%s: %v", c.Subject, err)
		}
	}
	stranger, _ := testKey(t, 1)
	if s.Verify(stranger.Certificate()) == nil {
		t.Error("another authority of the same name is trusted")
	}
}

func TestNotSignable(t *testing.T) {
	key, _ := testKey(t, 0)
	gap := testProgram(2000)
	gap[0x58+240+20+1]++ // the section begins later than the headers end
	gap = append(gap, make([]byte, 512)...)
	for name, c := range map[string]struct {
		program []byte
		want    string
	}{
		"script": {[]byte("#!/bin/sh" + strings.Repeat(" ", 100)), "no PE file"},
		"gap":    {gap, "right before it ends"},
	} {
		if _, err := Sign(context.Background(), sparse.Bytes(c.program), key); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Sign(ctx, sparse.Bytes(testProgram(10)), key); err == nil {
		t.Error("it signs although nobody waits")
	}
}

// TestUpdates: what enrols a key says what it should, to the variables that it
// should.
func TestUpdates(t *testing.T) {
	key, dir := testKey(t, 0)
	theirs, _ := testKey(t, 1)
	e := Enrolment{Time: time.Date(2026, 11, 5, 10, 20, 30, 999, time.UTC), DB: []Entry{{Owner: MicrosoftOwner, Certificate: theirs.Certificate()}}}
	files, err := e.Updates(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, v := range []Variable{PK, KEK, DB} {
		u, err := ParseUpdate(files[i].Data)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Verify(v, key.Certificate()); err != nil {
			t.Error(err)
		}
		if u.Verify(Variable{"dbx", v.Vendor}, key.Certificate()) == nil || u.Verify(v, theirs.Certificate()) == nil {
			t.Errorf("%s: it holds for another variable or key", v.Name)
		}
		entries, err := ParseDatabase(u.Content)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			who := map[bool]string{true: "ours", false: "theirs"}[entry.Certificate.Equal(u.Signer())]
			if entry.Owner != OwnerOf(key.Certificate()) && entry.Owner != MicrosoftOwner {
				t.Errorf("the owner is %s", entry.Owner)
			}
			got = append(got, fmt.Sprintf("%s at %s: %s", files[i].Name, u.Time.Format(time.DateTime), who))
		}
	}
	want := []string{
		"PK.auth at 2026-11-05 10:20:30: ours",
		"KEK.auth at 2026-11-05 10:20:30: ours",
		"db.auth at 2026-11-05 10:20:30: ours",
		"db.auth at 2026-11-05 10:20:30: theirs",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := (Enrolment{}).Updates(context.Background(), &Key{private: key.private}); err == nil {
		t.Error("a key without a certificate is enrolled")
	}
	if b, err := os.ReadFile(filepath.Join(dir, "PK.auth")); err != nil || hostileUpdate(b) == 0 {
		t.Errorf("PK.auth cannot be read: %v", err)
	}
}

// hostileUpdate reads all that begins like an update, and counts what can be
// read.
func hostileUpdate(b []byte) (read int) {
	for n := range len(b) + 1 {
		u, err := ParseUpdate(b[:n])
		if err != nil {
			continue
		}
		if _, err := ParseDatabase(u.Content); err == nil {
			read++
		}
	}
	return read
}

// TestLists reads lists of several entries and of other types.
func TestLists(t *testing.T) {
	owner := uuid.MustParse("11111111-2222-3333-4444-555555555555")
	list := func(kind uuid.UUID, size int, entries ...string) []byte {
		b := appendGUID(nil, kind)
		b = append(b, byte(listHeaderSize+len(entries)*size), 0, 0, 0, 0, 0, 0, 0, byte(size), 0, 0, 0)
		for _, e := range entries {
			b = append(appendGUID(b, owner), e...)
		}
		return b
	}
	digests := list(typeSHA256, 48, strings.Repeat("a", 32), strings.Repeat("b", 32))
	all, err := ParseDatabase(append(digests, list(uuid.Nil, 17, "x")...))
	if err != nil || len(all) != 3 || string(all[1].SHA256) != strings.Repeat("b", 32) || all[2].Owner != owner {
		t.Errorf("got %v, %v", all, err)
	}
	for name, b := range map[string][]byte{
		"cut off":       digests[:50],
		"no entries":    list(typeSHA256, 16),
		"short digest":  list(typeSHA256, 17, "x"),
		"certificate":   list(typeX509, 17, "x"),
		"too long":      append(list(typeSHA256, 48), 1),
		"much too long": make([]byte, maxDatabase+1),
	} {
		if _, err := ParseDatabase(b); err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
}

func FuzzSignatures(f *testing.F) {
	key, _ := testKey(f, 0)
	f.Add(testProgram(10))
	f.Add(signed(f, testProgram(10), key))
	f.Fuzz(func(t *testing.T, b []byte) { verifyBytes(b, key.Certificate()) })
}

// FuzzSignedData reaches what a program of random bytes seldom has.
func FuzzSignedData(f *testing.F) {
	key, _ := testKey(f, 0)
	der, err := signDigest(context.Background(), key, make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSignature(b); err == nil {
			s.Actual = s.Digest
			s.Verify(key.Certificate())
		}
	})
}

func FuzzUpdate(f *testing.F) {
	key, _ := testKey(f, 0)
	files, err := Enrolment{Time: notBefore}.Updates(context.Background(), key)
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(file.Data)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := ParseUpdate(b)
		if err != nil {
			return
		}
		u.Verify(DB, key.Certificate())
		ParseDatabase(u.Content)
	})
}

func FuzzDatabase(f *testing.F) {
	key, _ := testKey(f, 0)
	f.Add(EncodeDatabase([]Entry{{Certificate: key.Certificate()}}))
	f.Fuzz(func(t *testing.T, b []byte) { ParseDatabase(b) })
}

func BenchmarkSign(b *testing.B) {
	key, _ := testKey(b, 0)
	program := sparse.Bytes(testProgram(150 << 20))
	b.SetBytes(150 << 20)
	for b.Loop() {
		if _, err := Sign(context.Background(), program, key); err != nil {
			b.Fatal(err)
		}
	}
}
