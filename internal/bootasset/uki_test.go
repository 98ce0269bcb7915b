package bootasset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/profile"
	"github.com/graftlinux/graft/internal/testkit"
)

// withStub replaces the stub of a base.
func (s *workshop) withStub(t testing.TB, stub []byte) *workshop {
	t.Helper()
	if err := os.WriteFile(s.base.Stub, stub, 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func readUKI(t testing.TB, m *sparse.Image) *uki.Image {
	t.Helper()
	program, err := uki.Read(m, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// TestUKI shows the sections of a UKI, with profiles and without.
func TestUKI(t *testing.T) {
	const (
		own    = ".text .rodata .sbat"
		signed = " .osrel .cmdline .uname .pcrpkey .linux .initrd"
	)
	secure := wish{profile: "secureboot-metal-uki"}
	installer := wish{profile: "secureboot-installer"}
	for _, c := range []struct {
		name    string
		stub    int
		w       wish
		want    string
		warning string
	}{
		{"one profile", 257, secure, own + signed + " .profile .pcrsig", ""},
		{"with a reset", 257, installer, own + signed + " .profile .pcrsig .profile .cmdline .pcrsig", ""},
		{"unsigned", 257, wish{over: ofKind(profile.UKI)}, own + " .osrel .cmdline .uname .linux .initrd .profile", ""},
		{"old stub", 254, secure, own + signed + " .pcrsig", ""},
		{"old stub, with a reset", 252, installer, own + signed + " .pcrsig", "the base's systemd-stub is older than 257 and knows no profiles"},
		{"old Talos", 257, wish{profile: "secureboot-metal-uki", talos: "v1.9.0"}, own + signed + " .pcrsig", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := newWorkshop(t, c.w).withStub(t, testkit.Stub(profile.AMD64, c.stub)).make(t, c.w)
			m := out.Image
			if m == nil {
				m = installerFile(t, out, "usr/install/amd64/vmlinuz.efi")
			}
			var got []string
			for _, s := range readUKI(t, m).Sections {
				got = append(got, s.Name)
			}
			if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
				t.Errorf("sections (-want +got):\n%s", d)
			}
			if warnings := strings.Join(out.Warnings, "\n"); !strings.HasPrefix(warnings, c.warning) || (warnings == "") != (c.warning == "") {
				t.Errorf("it warns %q, want %q", warnings, c.warning)
			}
		})
	}
}

func installerFile(t testing.TB, out *Output, name string) *sparse.Image {
	t.Helper()
	n := out.Installer.Get(name)
	if n == nil {
		t.Fatalf("the installer has no %s", name)
	}
	r, err := n.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return sparse.Bytes(data)
}

// measuredBy are the sections that systemd-stub of a version measures, in its
// order (systemd, src/fundamental: unified_sections).
var measuredBy = map[int]string{
	252: ".linux .osrel .cmdline .initrd .splash .dtb .pcrpkey",
	254: ".linux .osrel .cmdline .initrd .splash .dtb .uname .sbat .pcrpkey",
	257: ".linux .osrel .cmdline .initrd .ucode .splash .dtb .uname .sbat .pcrpkey .profile .dtbauto .hwids",
}

// TestPolicies: the policies in a UKI are for what the stub in it measures.
func TestPolicies(t *testing.T) {
	for version, names := range measuredBy {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			w := wish{profile: "secureboot-installer"}
			out := newWorkshop(t, w).withStub(t, testkit.Stub(profile.AMD64, version)).make(t, w)
			program := readUKI(t, installerFile(t, out, "usr/install/amd64/vmlinuz.efi"))
			profiles := uki.Profiles(program.Sections)
			if want := map[bool]int{true: 2, false: 1}[version == 257]; len(profiles) != want {
				t.Fatalf("it has %d profiles, want %d", len(profiles), want)
			}
			for i, sections := range profiles {
				if want, got := policy(pcr11(t, sections, names)), signedPolicy(t, sections); got != want {
					t.Errorf("profile %d: the policy is %s, want %s", i, got, want)
				}
			}
		})
	}
}

// pcr11 is the register after the boot phases, in the bank of SHA-256.
func pcr11(t testing.TB, sections []uki.Section, names string) []byte {
	t.Helper()
	var pcr [sha256.Size]byte
	extend := func(data []byte) {
		sum := sha256.Sum256(data)
		pcr = sha256.Sum256(slices.Concat(pcr[:], sum[:]))
	}
	for name := range strings.FieldsSeq(names) {
		if s, ok := uki.Find(sections, name); ok {
			data, err := io.ReadAll(s.Content.Reader())
			if err != nil {
				t.Fatal(err)
			}
			extend([]byte(name + "\x00"))
			extend(data)
		}
	}
	for _, phase := range []string{"enter-initrd", "leave-initrd", "enter-machined"} {
		extend([]byte(phase))
	}
	return pcr[:]
}

// policy is the digest of TPM2_PolicyPCR for register 11 in the bank of SHA-256.
func policy(pcr []byte) string {
	wanted := sha256.Sum256(pcr)
	b := make([]byte, sha256.Size)
	b = binary.BigEndian.AppendUint32(b, 0x17f)
	b = append(b, 0, 0, 0, 1, 0, 0x0b, 3, 0, 8, 0)
	sum := sha256.Sum256(append(b, wanted[:]...))
	return hex.EncodeToString(sum[:])
}

// signedPolicy is that in .pcrsig.
func signedPolicy(t testing.TB, sections []uki.Section) string {
	t.Helper()
	s, _ := uki.Find(sections, ".pcrsig")
	data, err := s.Text()
	if err != nil {
		t.Fatal(err)
	}
	var banks map[string][]struct {
		Policy string `json:"pol"`
	}
	if err := json.Unmarshal([]byte(data), &banks); err != nil {
		t.Fatal(err)
	}
	if len(banks) != len(uki.Banks) || len(banks["sha256"]) != 1 {
		t.Fatalf("the signatures are %s", data)
	}
	return banks["sha256"][0].Policy
}

// systemdMeasure predicts the register, as its systemd has it.
const systemdMeasure = "/usr/lib/systemd/systemd-measure"

// TestRealStub makes a UKI with this machine's systemd-stub, and has its
// systemd-measure predict the register.
func TestRealStub(t *testing.T) {
	stub, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		testkit.Absent(t, "there is no systemd-stub: Debian's package systemd-boot-efi has it")
	}
	w := wish{profile: "secureboot-metal-uki", talos: "v1.9.0"} // systemd-measure 252 knows no profiles
	s := newWorkshop(t, w).withStub(t, stub)
	sections := readUKI(t, s.make(t, w).Image).Sections
	args := []string{"calculate", "--json=short", "--bank=sha256", "--phase=enter-initrd:leave-initrd:enter-machined"}
	help := judged(t, systemdMeasure, "--help")
	for _, name := range []string{".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat", ".pcrpkey"} {
		section, _ := uki.Find(sections, name)
		if option := "--" + name[1:] + "="; strings.Contains(help, option) {
			args = append(args, option+file(t, section.Content, name[1:]))
		}
	}
	var answer map[string][]struct{ Hash string }
	if err := json.Unmarshal([]byte(judged(t, systemdMeasure, args...)), &answer); err != nil {
		t.Fatal(err)
	}
	pcr, err := hex.DecodeString(answer["sha256"][0].Hash)
	if err != nil {
		t.Fatal(err)
	}
	if want, got := policy(pcr), signedPolicy(t, sections); got != want {
		t.Errorf("the policy is %s, by systemd-measure it is %s", got, want)
	}
}
