package secureboot

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

var (
	notBefore = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	notAfter  = notBefore.AddDate(10, 0, 0)
)

// keySets are what GenerateKeys has made, kept as it takes its time.
var keySets [2]map[string][]byte

// testKeys writes the n-th set of generated keys to a new directory.
func testKeys(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	if keySets[n] == nil {
		keySets[n] = map[string][]byte{}
		names, err := GenerateKeys(context.Background(), dir, "graft test", notBefore, notAfter)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if keySets[n][name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, data := range keySets[n] {
		write(t, dir, name, data)
	}
	return dir
}

// testKey is the n-th signing key.
func testKey(t testing.TB, n int) (*Key, string) {
	t.Helper()
	dir := testKeys(t, n)
	key, err := LoadKey(filepath.Join(dir, SigningKeyFile), filepath.Join(dir, SigningCertificateFile))
	if err != nil {
		t.Fatal(err)
	}
	return key, dir
}

// testProgram is the smallest program that can be signed: headers, and one
// section of so many bytes.
func testProgram(size uint32) []byte {
	const coff, optional, table, headers = 0x40, 0x58, 0x58 + 240, 512
	b := make([]byte, headers+size)
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	copy(b, "MZ")
	put(60, coff)
	copy(b[coff:], "PE\x00\x00\x64\x86\x01")
	binary.LittleEndian.PutUint16(b[coff+20:], 240)
	binary.LittleEndian.PutUint16(b[coff+22:], 0x206) // an executable
	binary.LittleEndian.PutUint16(b[optional:], 0x20b)
	put(optional+16, 4096) // entry
	put(optional+32, 4096)
	put(optional+36, 512)
	put(optional+56, 4096+(size+4095)/4096*4096)
	put(optional+60, headers)
	b[optional+68] = 10 // EFI application
	put(optional+108, 16)
	copy(b[table:], ".text")
	put(table+8, size)
	put(table+12, 4096)
	put(table+16, size)
	put(table+20, headers)
	put(table+36, 0x60000020)
	for i := range b[headers:] {
		b[headers+i] = byte(i * 7)
	}
	return b
}

func allBytes(t testing.TB, m *sparse.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// signed is the program after [Sign].
func signed(t testing.TB, program []byte, key Signer) []byte {
	t.Helper()
	m, err := Sign(context.Background(), sparse.Bytes(program), key)
	if err != nil {
		t.Fatal(err)
	}
	return allBytes(t, m)
}

// signatures reads the one signature of a program, or fails.
func signature(t testing.TB, program []byte) *Signature {
	t.Helper()
	all, err := Signatures(context.Background(), bytes.NewReader(program), int64(len(program)))
	if err != nil || len(all) != 1 {
		t.Fatalf("got %d signatures, %v, want one", len(all), err)
	}
	return all[0]
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

func write(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
