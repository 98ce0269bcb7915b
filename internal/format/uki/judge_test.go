package uki

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

func writeFile(t *testing.T, name string, m *sparse.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, allBytes(t, m), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestObjdump: binutils see the sections where we say that they are, on the
// real stub, whose headers must grow and whose symbols must go.
func TestObjdump(t *testing.T) {
	objdump := testkit.Judge(t, "objdump")
	m := mustBuild(t, openStub(t), twoProfiles())
	out := run(t, objdump, "-h", writeFile(t, "uki.efi", m))
	row := regexp.MustCompile(`(?m)^ *\d+ (\.\w+) +([0-9a-f]+) +([0-9a-f]+) +[0-9a-f]+ +([0-9a-f]+) `)
	var got, want []string
	for _, f := range row.FindAllStringSubmatch(out, -1) {
		got = append(got, strings.Join(f[1:], " "))
	}
	im := mustRead(t, m)
	for i, s := range im.Sections {
		want = append(want, fmt.Sprintf("%s %08x %016x %08x", s.Name, s.Content.Size(), s.Address, im.h.sections[i].RawOffset))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s\nof\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), out)
	}
	checkSigned(t, m, im)
}

// TestReadobj: LLVM, which checks more than binutils, reads the headers.
func TestReadobj(t *testing.T) {
	readobj := testkit.Judge(t, "llvm-readobj")
	stub := openStub(t)
	m := mustBuild(t, stub, twoProfiles())
	count := fmt.Sprint("SectionCount: ", len(mustRead(t, stub).Sections)+len(twoProfiles()))
	out := run(t, readobj, "--file-headers", "--sections", writeFile(t, "uki.efi", m))
	for _, want := range []string{"SymbolCount: 0", "PointerToSymbolTable: 0x0", count} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// TestSystemdMeasure: systemd predicts the same values, in all banks, after
// each phase. Sections that came after version 252 are not known to it.
func TestSystemdMeasure(t *testing.T) {
	measure := testkit.Judge(t, "/usr/lib/systemd/systemd-measure")
	sections := []Section{
		text(".osrel", "ID=talos\n"), text(".cmdline", "console=tty0"), text(".splash", "BM"), text(".dtb", "tree"), text(".pcrpkey", "key"),
		{Name: ".initrd", Content: noise(feedChunk)}, {Name: ".linux", Content: noise(2*feedChunk + 7)},
	}
	args := []string{"calculate"}
	for _, s := range sections {
		args = append(args, "--"+s.Name[1:]+"="+writeFile(t, "section", s.Content))
	}
	for _, phases := range []string{"", "enter-initrd", "enter-initrd:leave-initrd:enter-machined"} {
		args = append(args, "--phase="+phases)
	}
	digests, err := Digest(context.Background(), sections)
	if err != nil {
		t.Fatal(err)
	}
	for _, bank := range Banks {
		name := strings.ToLower(strings.ReplaceAll(bank.String(), "-", ""))
		out := run(t, measure, append(args, "--bank="+name)...)
		for _, phases := range [][]string{nil, {"enter-initrd"}, {"enter-initrd", "leave-initrd", "enter-machined"}} {
			pcr, err := digests.PCR11(sections, phases, bank)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("11:%s=%x", name, pcr); !strings.Contains(out, want) {
				t.Errorf("after %v: got %s, systemd-measure says\n%s", phases, want, out)
			}
		}
	}
}

// TestMeasureOrder compares with an order that is written out, for sections
// that are newer than the judge.
func TestMeasureOrder(t *testing.T) {
	order := strings.Fields(".linux .osrel .cmdline .initrd .ucode .splash .dtb .uname .sbat .pcrpkey .profile .dtbauto .hwids")
	var sections []Section
	for _, name := range order {
		sections = append([]Section{text(name, "content of "+name)}, sections...)
	}
	sections = append(sections, text(".pcrsig", "not measured"), text(".text", "neither"))
	pcr := make([]byte, 32)
	extend := func(s string) {
		h := crypto.SHA256.New()
		h.Write(pcr)
		h.Write(sum(crypto.SHA256, s))
		pcr = h.Sum(nil)
	}
	for _, name := range order {
		extend(name + "\x00")
		extend("content of " + name)
	}
	digests, err := Digest(context.Background(), sections)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := digests.PCR11(sections, nil, crypto.SHA256); err != nil || !bytes.Equal(got, pcr) {
		t.Errorf("got %x, %v, want %x", got, err, pcr)
	}
}
