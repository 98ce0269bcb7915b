package secureboot

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/testkit"
)

// TestSbverify: sbsigntool takes our signature, and none of a changed program
// or another key.
func TestSbverify(t *testing.T) {
	sbverify := testkit.Judge(t, "sbverify")
	key, dir := testKey(t, 0)
	program := signed(t, testProgram(10000), key)
	run(t, sbverify, "--cert", filepath.Join(dir, SigningCertificateFile), write(t, dir, "signed.efi", program))
	program[2000] ^= 1
	if out, err := exec.Command(sbverify, "--cert", filepath.Join(dir, SigningCertificateFile), write(t, dir, "changed.efi", program)).CombinedOutput(); err == nil {
		t.Errorf("a changed program passes:\n%s", out)
	}
	_, other := testKey(t, 1)
	if out, err := exec.Command(sbverify, "--cert", filepath.Join(other, SigningCertificateFile), filepath.Join(dir, "signed.efi")).CombinedOutput(); err == nil {
		t.Errorf("another key passes:\n%s", out)
	}
}

// TestOsslsigncode has a second judge, of which Windows' rules are known.
func TestOsslsigncode(t *testing.T) {
	osslsigncode := testkit.Judge(t, "osslsigncode")
	key, dir := testKey(t, 0)
	out := run(t, osslsigncode, "verify", "-CAfile", filepath.Join(dir, SigningCertificateFile), "-ignore-timestamp", "-time", "1800000000",
		"-in", write(t, dir, "signed.efi", signed(t, testProgram(4096), key)))
	for _, want := range []string{"Succeeded", "Signature verification: ok", "CN=graft test"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// TestSbsign: we read what sbsigntool signs, and add to it.
func TestSbsign(t *testing.T) {
	sbsign := testkit.Judge(t, "sbsign")
	key, dir := testKey(t, 0)
	path := write(t, dir, "plain.efi", testProgram(3000))
	run(t, sbsign, "--key", filepath.Join(dir, SigningKeyFile), "--cert", filepath.Join(dir, SigningCertificateFile), "--output", path+".signed", path)
	theirs, err := os.ReadFile(path + ".signed")
	if err != nil {
		t.Fatal(err)
	}
	if err := signature(t, theirs).Verify(key.Certificate()); err != nil {
		t.Error(err)
	}
	other, otherDir := testKey(t, 1)
	both := signed(t, theirs, other)
	all, err := Signatures(context.Background(), bytes.NewReader(both), int64(len(both)))
	if err != nil || len(all) != 2 || all[0].Verify(key.Certificate()) != nil || all[1].Verify(other.Certificate()) != nil {
		t.Errorf("got %d signatures, %v, want two, one by each key", len(all), err)
	}
	sbverify := testkit.Judge(t, "sbverify")
	for _, d := range []string{dir, otherDir} {
		run(t, sbverify, "--cert", filepath.Join(d, SigningCertificateFile), write(t, dir, "both.efi", both))
	}
}

// TestStub signs the real stub, of which a UKI is made and which is not laid
// out as ours are.
func TestStub(t *testing.T) {
	sbverify := testkit.Judge(t, "sbverify")
	stub, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		testkit.Absent(t, "no systemd-stub on this machine: the package systemd-boot-efi has it")
	}
	key, dir := testKey(t, 0)
	m, err := uki.Build(sparse.Bytes(stub), []uki.Section{
		{Name: ".linux", Content: sparse.Bytes(testProgram(100_000))}, {Name: ".initrd", Content: sparse.New(10_000_001)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range map[string][]byte{"stub": stub, "uki": allBytes(t, m)} {
		t.Run(name, func(t *testing.T) {
			b := signed(t, program, key)
			out := run(t, sbverify, "--cert", filepath.Join(dir, SigningCertificateFile), write(t, dir, name, b))
			if name == "uki" && strings.Contains(out, "gap") {
				t.Errorf("sbverify is not content:\n%s", out)
			}
			if err := signature(t, b).Verify(key.Certificate()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestEfitools: efitools make the same databases and the same signed updates,
// byte for byte.
func TestEfitools(t *testing.T) {
	list, sign := testkit.Judge(t, "cert-to-efi-sig-list"), testkit.Judge(t, "sign-efi-sig-list")
	key, dir := testKey(t, 0)
	owner := uuid.MustParse("11111111-2222-3333-4444-123456789abc")
	esl := filepath.Join(dir, "theirs.esl")
	run(t, list, "-g", owner.String(), filepath.Join(dir, SigningCertificateFile), esl)
	theirs, err := os.ReadFile(esl)
	if err != nil {
		t.Fatal(err)
	}
	if ours := EncodeDatabase([]Entry{{Owner: owner, Certificate: key.Certificate()}}); !bytes.Equal(ours, theirs) {
		t.Errorf("got the list\n%x\nwant\n%x", ours, theirs)
	}
	at := time.Date(2026, 11, 5, 10, 20, 30, 0, time.UTC)
	for _, v := range []Variable{PK, KEK, DB} {
		auth := filepath.Join(dir, v.Name+"-theirs.auth")
		cmd := exec.Command(sign, "-t", at.Format("2006-01-02 15:04:05"), "-k", filepath.Join(dir, SigningKeyFile), "-c", filepath.Join(dir, SigningCertificateFile), v.Name, esl, auth)
		cmd.Env = append(os.Environ(), "TZ=UTC")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		want, err := os.ReadFile(auth)
		if err != nil {
			t.Fatal(err)
		}
		got, err := SignUpdate(context.Background(), v, theirs, at, key)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got\n%x\nwant\n%x", v.Name, got, want)
		}
	}
}

// startTPM starts a TPM in software and returns its address for systemd.
func startTPM(t *testing.T) string {
	t.Helper()
	swtpm := testkit.Judge(t, "swtpm")
	dir, err := os.MkdirTemp("", "tpm") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(swtpm, "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+socket+".ctrl", "--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 500 {
		if _, err := os.Stat(socket + ".ctrl"); err == nil {
			return "swtpm:path=" + socket
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("swtpm does not start")
	return ""
}

// TestSystemdMeasure: systemd signs the same policies, to the last byte. The
// digests of these come from a TPM.
func TestSystemdMeasure(t *testing.T) {
	measure := testkit.Judge(t, "/usr/lib/systemd/systemd-measure")
	dir := testKeys(t, 0)
	key, err := LoadPCRKey(filepath.Join(dir, PCRKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	public, err := PublicKeyPEM(key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	kernel, publicFile := write(t, dir, "linux", []byte("a kernel")), write(t, dir, "public.pem", public)
	cmd := exec.Command(measure, "sign", "--tpm2-device="+startTPM(t), "--json=short", "--linux="+kernel, "--pcrpkey="+publicFile,
		"--private-key="+filepath.Join(dir, PCRKeyFile), "--public-key="+publicFile, "--phase="+strings.Join(phases, ":"),
		"--bank=sha256", "--bank=sha384", "--bank=sha512")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if strings.Contains(stderr.String(), "TCTI") {
			t.Skipf("systemd cannot reach swtpm: the package libtss2-tcti-swtpm0 has the way\n%s", &stderr)
		}
		t.Fatalf("systemd-measure: %v\n%s", err, &stderr)
	}
	got := indented(t, policies(t, key, []uki.Section{
		{Name: ".pcrpkey", Content: sparse.Bytes(public)}, {Name: ".linux", Content: sparse.Bytes([]byte("a kernel"))},
	}))
	if want := indented(t, out); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// phases are those at whose end Talos unlocks its disks.
var phases = []string{"enter-initrd", "leave-initrd", "enter-machined"}

// policies are those of all banks for an image of some sections.
func policies(t *testing.T, key Signer, sections []uki.Section) []byte {
	t.Helper()
	digests, err := uki.Digest(context.Background(), sections)
	if err != nil {
		t.Fatal(err)
	}
	values := map[crypto.Hash][][]byte{}
	for _, bank := range uki.Banks {
		pcr, err := digests.PCR11(sections, phases, bank)
		if err != nil {
			t.Fatal(err)
		}
		values[bank] = [][]byte{pcr}
	}
	got, err := PCRSignatures(context.Background(), key, values)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// indented makes JSON comparable.
func indented(t *testing.T, b []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
