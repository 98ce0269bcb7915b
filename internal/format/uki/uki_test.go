package uki

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// listing tells where everything is.
func listing(m *sparse.Image, im *Image) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d bytes, headers %d, image %d, code %d, data %d\n", im.Machine, m.Size(), im.h.sizeOfHeaders,
		im.h.field(sizeOfImageAt), im.h.field(sizeOfCodeAt), im.h.field(sizeOfDataAt))
	for i, s := range im.Sections {
		h := im.h.sections[i]
		fmt.Fprintf(&b, "%-8s address %#8x size %7d, in the file %#8x size %7d, %08x\n", s.Name, s.Address, s.Content.Size(), h.RawOffset, h.RawSize, h.Characteristics)
	}
	return b.String()
}

func TestLayout(t *testing.T) {
	m := mustBuild(t, sparse.Bytes(testStub(plainStub)), twoProfiles())
	want := `amd64, 3156992 bytes, headers 1024, image 3198976, code 5120, data 3149824
.text    address   0x1000 size     300, in the file    0x400 size     512, 00000000
.sbat    address   0x2000 size      20, in the file    0x600 size     512, 00000000
.osrel   address   0x3000 size      27, in the file    0x800 size     512, 40000040
.cmdline address   0x4000 size      12, in the file    0xa00 size     512, 40000040
.uname   address   0x5000 size      12, in the file    0xc00 size     512, 40000040
.linux   address   0x6000 size    5000, in the file    0xe00 size    5120, 60000020
.initrd  address   0x8000 size 3145728, in the file   0x2200 size 3145728, 40000040
.profile address 0x308000 size       7, in the file 0x302200 size     512, 40000040
.pcrsig  address 0x309000 size       2, in the file 0x302400 size     512, 40000040
.profile address 0x30a000 size      32, in the file 0x302600 size     512, 40000040
.cmdline address 0x30b000 size      43, in the file 0x302800 size     512, 40000040
.pcrsig  address 0x30c000 size       3, in the file 0x302a00 size     512, 40000040
`
	if got := listing(m, mustRead(t, m)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestContents: all contents come back, those of the stub too, from all kinds
// of stubs.
func TestContents(t *testing.T) {
	edit := func(fn func(*stubOptions)) stubOptions {
		o := plainStub
		fn(&o)
		return o
	}
	for name, o := range map[string]stubOptions{
		"plain":          plainStub,
		"arm64":          edit(func(o *stubOptions) { o.machine = machineARM64 }),
		"symbols":        edit(func(o *stubOptions) { o.symbols = true }),
		"short sections": edit(func(o *stubOptions) { o.short = true }),
		"headers grow":   edit(func(o *stubOptions) { o.headers = 512 }),
		"headers shrink": edit(func(o *stubOptions) { o.headers = 4096 }),
		"small pages":    edit(func(o *stubOptions) { o.sectionAlign = 512 }),
		"debug, roomy":   edit(func(o *stubOptions) { o.debug = true }),
	} {
		t.Run(name, func(t *testing.T) {
			m := mustBuild(t, sparse.Bytes(testStub(o)), twoProfiles())
			im := mustRead(t, m)
			if want := machineName(o.machine); im.Machine != want {
				t.Errorf("got the machine %s, want %s", im.Machine, want)
			}
			want := append([]Section{text(".text", strings.Repeat("t", 300)), text(".sbat", strings.Repeat("s", 20))}, twoProfiles()...)
			if len(im.Sections) != len(want) {
				t.Fatalf("got %d sections, want %d", len(im.Sections), len(want))
			}
			for i, s := range im.Sections {
				if s.Name != want[i].Name || !bytes.Equal(allBytes(t, s.Content), allBytes(t, want[i].Content)) {
					t.Errorf("section %d: got %s, want %s; or the contents differ", i, s.Name, want[i].Name)
				}
				if s.Address%4096 != 0 && i >= 2 { // systemd-stub maps what was added by the page
					t.Errorf("section %s is at 0x%x, which is not the start of a page", s.Name, s.Address)
				}
			}
			checkSigned(t, m, im)
		})
	}
}

// checkSigned wants all of the file in what a signature covers, but 12 bytes.
func checkSigned(t *testing.T, m *sparse.Image, im *Image) {
	t.Helper()
	parts, err := im.Signed()
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, p := range parts {
		sum += p.Size
	}
	if sum != m.Size()-12 {
		t.Errorf("%d of %d bytes would be signed", sum, m.Size())
	}
}

func TestRefused(t *testing.T) {
	grow := func(fn func(*stubOptions)) []byte {
		o := plainStub
		fn(&o)
		return testStub(o)
	}
	patch := func(at int, v uint32) []byte {
		b := testStub(plainStub)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	const optional, table = 0x58, 0x58 + 240
	one := []Section{text(".osrel", "ID=x")}
	for _, c := range []struct {
		name     string
		stub     []byte
		sections []Section
		want     string
	}{
		{"no program", []byte("#!/bin/sh" + strings.Repeat(" ", 100)), one, "no PE file"},
		{"nothing", nil, one, "the DOS header"},
		{"other machine", grow(func(o *stubOptions) { o.machine = 0x14c }), one, "only x86-64 and arm64"},
		{"debug must move", grow(func(o *stubOptions) { o.headers, o.debug = 512, true }), twoProfiles(), "cannot be moved"},
		{"no room", grow(func(o *stubOptions) { o.headers, o.firstAddress = 512, 512 }), twoProfiles(), "no room for 10 more sections"},
		{"PE32", patch(optional, 0x10b), one, "only PE32+"},
		{"alignment", patch(optional+fileAlignAt, 3), one, "its alignment is 3"},
		{"gap", patch(table+40+20, 1024), one, "gap or an overlap"},
		{"section within headers", patch(table+20, 8), one, "within the headers"},
		{"cut off", patch(table+16, 1<<20), one, "cut off"},
		{"above 4 GiB", patch(table+8, 1<<32-1), one, "above 4 GiB"},
		{"directories", patch(optional+directoryCountAt, 17), one, "data directories"},
		{"long name", testStub(plainStub), []Section{text(".initramfs", "x")}, "no name of a section"},
		{"no dot", testStub(plainStub), []Section{text("linux", "x")}, "no name of a section"},
		{"empty", testStub(plainStub), []Section{text(".cmdline", "")}, "is empty"},
		{"the stub's", testStub(plainStub), []Section{text(".sbat", "x")}, "of its own"},
		{"too large", testStub(plainStub), []Section{{Name: ".initrd", Content: sparse.New(1 << 32)}}, "4 GiB"},
		{"too large in sum", testStub(plainStub), []Section{{Name: ".linux", Content: sparse.New(3 << 30)}, {Name: ".initrd", Content: sparse.New(1 << 30)}}, "4 GiB"},
		{"too many", testStub(plainStub), make([]Section, 1100), "too many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Build(sparse.Bytes(c.stub), c.sections)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

// TestLarge: an image of almost 4 GiB is only described.
func TestLarge(t *testing.T) {
	m := mustBuild(t, sparse.Bytes(testStub(plainStub)), []Section{{Name: ".initrd", Content: sparse.New(1<<32 - 1<<20)}})
	s, ok := Find(mustRead(t, m).Sections, ".initrd")
	if !ok || s.Content.Size() != 1<<32-1<<20 {
		t.Errorf("got %v, %v", s, ok)
	}
}

func TestProfiles(t *testing.T) {
	for _, c := range []struct {
		name     string
		sections []Section
		want     []string
	}{
		{"none", twoProfiles()[:5], []string{".osrel=ID=talos VERSION_ID=1.14.0 .cmdline=console=tty0 .uname=6.18.2-talos"}},
		{"two", append(twoProfiles()[:3], twoProfiles()[5:]...), []string{
			".osrel=ID=talos VERSION_ID=1.14.0 .cmdline=console=tty0 .uname=6.18.2-talos .profile=ID=main .pcrsig={}",
			".osrel=ID=talos VERSION_ID=1.14.0 .uname=6.18.2-talos .profile=ID=reset TITLE=Reset system disk .cmdline=console=tty0 talos.experimental.wipe=system .pcrsig={ }",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, p := range Profiles(c.sections) {
				var words []string
				for _, s := range p {
					if s.Content.Size() < 1000 {
						content, err := s.Text()
						if err != nil {
							t.Fatal(err)
						}
						words = append(words, s.Name+"="+strings.ReplaceAll(content, "\n", " "))
					}
				}
				if got := strings.Join(words, " "); i >= len(c.want) || got != c.want[i] {
					t.Errorf("profile %d: got %s\nwant %s", i, got, c.want[min(i, len(c.want)-1)])
				}
			}
		})
	}
}

func TestText(t *testing.T) {
	if _, err := (Section{".linux", sparse.New(maxText + 1), 0}).Text(); err == nil {
		t.Error("a kernel was taken for a text")
	}
	if got, err := text(".uname", "6.18\n\x00\x00").Text(); got != "6.18" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestCertificates: entries are added behind those that are there, and Build
// drops them.
func TestCertificates(t *testing.T) {
	m := Padded(sparse.Concat(1, sparse.Bytes(testStub(plainStub)), sparse.New(3)))
	for i := range 3 {
		c := Certificate{CertificateRevision, CertificatePKCS, bytes.Repeat([]byte{byte(i + 1)}, i+5)}
		var err error
		if m, err = mustRead(t, m).WithCertificate(m, c); err != nil {
			t.Fatal(err)
		}
		im := mustRead(t, m)
		if len(im.Certificates) != i+1 || !bytes.Equal(im.Certificates[i].Data, c.Data) {
			t.Fatalf("got %v, want %d entries, the last one %v", im.Certificates, i+1, c)
		}
	}
	if n := len(mustRead(t, mustBuild(t, m, []Section{text(".osrel", "x")})).Certificates); n != 0 {
		t.Errorf("%d certificates are left", n)
	}
}

// TestSame: the same bytes, whatever the number of threads.
func TestSame(t *testing.T) {
	var first []byte
	for _, procs := range []int{1, 2} {
		old := runtime.GOMAXPROCS(procs)
		defer runtime.GOMAXPROCS(old)
		m := mustBuild(t, sparse.Bytes(testStub(plainStub)), twoProfiles())
		sections := mustRead(t, m).Sections
		d, err := Digest(context.Background(), sections)
		if err != nil {
			t.Fatal(err)
		}
		pcr, err := d.PCR11(Profiles(sections)[0], nil, crypto.SHA512)
		if err != nil {
			t.Fatal(err)
		}
		got := append(allBytes(t, m), pcr...)
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) {
			t.Errorf("other bytes with %d threads", procs)
		}
	}
}

// TestMeasureErrors: what cannot be read, what was not hashed, who waits no
// longer.
func TestMeasureErrors(t *testing.T) {
	broken := []Section{{Name: ".linux", Content: sparse.From(strings.NewReader("abc"), 0, 5)}}
	if _, err := Digest(context.Background(), broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
	}
	if _, err := (Digests{}).PCR11(broken, nil, crypto.SHA256); err == nil {
		t.Error("a register was predicted of nothing")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Digest(ctx, []Section{{Name: ".linux", Content: sparse.New(8 << 20)}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// TestHostile cuts the file everywhere and flips each bit of its headers.
func TestHostile(t *testing.T) {
	m := mustBuild(t, sparse.Bytes(testStub(plainStub)), twoProfiles()[:4])
	m, err := mustRead(t, m).WithCertificate(m, Certificate{CertificateRevision, CertificatePKCS, []byte("signature")})
	if err != nil {
		t.Fatal(err)
	}
	b := allBytes(t, m)
	for n := range b {
		if _, err := Read(bytes.NewReader(b[:n]), int64(n)); err == nil {
			t.Fatalf("the first %d of %d bytes were taken for the whole", n, len(b))
		}
	}
	for i := range 1024 * 8 {
		b[i/8] ^= 1 << (i % 8)
		readAll(b)
		b[i/8] ^= 1 << (i % 8)
	}
}

// readAll does all that can be done to a file.
func readAll(b []byte) {
	im, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	im.Signed()
	for _, s := range im.Sections {
		s.Text()
	}
	Profiles(im.Sections)
	if m, err := Build(sparse.Bytes(b), []Section{text(".fuzz", "x")}); err == nil {
		if _, err := Read(m, m.Size()); err != nil {
			panic(fmt.Sprintf("what was built cannot be read: %v", err))
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(testStub(plainStub))
	m := mustBuild(f, sparse.Bytes(testStub(plainStub)), twoProfiles()[:3])
	f.Add(allBytes(f, m))
	m, err := mustRead(f, m).WithCertificate(m, Certificate{CertificateRevision, CertificatePKCS, []byte("signature")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(allBytes(f, m))
	f.Fuzz(func(t *testing.T, b []byte) { readAll(b) })
}

func BenchmarkDigest(b *testing.B) {
	sections := []Section{{Name: ".initrd", Content: noise(150 << 20)}}
	b.SetBytes(150 << 20)
	for b.Loop() {
		if _, err := Digest(context.Background(), sections); err != nil {
			b.Fatal(err)
		}
	}
}
