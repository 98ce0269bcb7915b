package kmod

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/graftlinux/graft/internal/testkit"
)

// testModule describes a module that a test builds: an ELF file with symbols
// and strings, but no code.
type testModule struct {
	modinfo  []string // key=value
	exports  []string // with a checksum derived from the name
	names    []string // of exported symbols without checksums
	needs    []string // undefined symbols; "weak:" before the name for weak ones
	versions []string // names in __versions; "name@build" for another checksum
	machine  elf.Machine
	signer   []byte // DER of a signature to append
}

// crcOf is the checksum of a symbol in tests.
func crcOf(name string) uint32 {
	name, build, _ := strings.Cut(name, "@")
	return superFastHash(name + build)
}

// elfBuilder collects sections.
type elfBuilder struct {
	body  bytes.Buffer
	names bytes.Buffer
	heads []elf.Section64
}

func (b *elfBuilder) add(name string, typ elf.SectionType, data []byte) {
	b.heads = append(b.heads, elf.Section64{
		Name: uint32(b.names.Len()), Type: uint32(typ),
		Off: uint64(elfHeaderSize + b.body.Len()), Size: uint64(len(data)), Addralign: 1,
	})
	b.names.WriteString(name + "\x00")
	b.body.Write(data)
}

func put(w io.Writer, v any) {
	if err := binary.Write(w, binary.LittleEndian, v); err != nil {
		panic(err)
	}
}

// build returns the bytes of the module.
func (m testModule) build() []byte {
	var b elfBuilder
	b.heads = append(b.heads, elf.Section64{})
	b.names.WriteByte(0)
	b.add(".modinfo", elf.SHT_PROGBITS, []byte(strings.Join(append(m.modinfo, ""), "\x00")))
	if m.versions != nil {
		b.add("__versions", elf.SHT_PROGBITS, m.versionTable())
	}
	b.add("__ksymtab_strings", elf.SHT_PROGBITS, []byte(strings.Join(append(m.names, ""), "\x00")))
	symbols, names, crcs := m.symbolTable(uint16(len(b.heads)))
	b.add("__kcrctab", elf.SHT_PROGBITS, crcs)
	b.add(".symtab", elf.SHT_SYMTAB, symbols)
	b.add(".strtab", elf.SHT_STRTAB, names)
	b.heads = append(b.heads, elf.Section64{Name: uint32(b.names.Len()), Type: uint32(elf.SHT_STRTAB)})
	b.names.WriteString(".shstrtab\x00")
	last := &b.heads[len(b.heads)-1]
	last.Off, last.Size = uint64(elfHeaderSize+b.body.Len()), uint64(b.names.Len())
	b.body.Write(b.names.Bytes())
	return m.sign(b.file(m.machine))
}

func (b *elfBuilder) file(machine elf.Machine) []byte {
	if machine == 0 {
		machine = elf.EM_X86_64
	}
	h := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(machine), Version: 1,
		Shoff: uint64(elfHeaderSize + b.body.Len()), Ehsize: elfHeaderSize,
		Shentsize: sectionHeaderSize, Shnum: uint16(len(b.heads)), Shstrndx: uint16(len(b.heads) - 1),
	}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var out bytes.Buffer
	put(&out, h)
	out.Write(b.body.Bytes())
	put(&out, b.heads)
	return out.Bytes()
}

func (m testModule) versionTable() []byte {
	var b bytes.Buffer
	for _, v := range m.versions {
		name, _, _ := strings.Cut(v, "@")
		put(&b, uint64(crcOf(v)))
		b.WriteString(name)
		b.Write(make([]byte, versionSize-versionName-len(name)))
	}
	return b.Bytes()
}

// symbolTable returns .symtab, .strtab and the section crcSection with checksums.
func (m testModule) symbolTable(crcSection uint16) (symbols, names, crcs []byte) {
	var table, strtab, sums bytes.Buffer
	strtab.WriteByte(0)
	put(&table, elf.Sym64{})
	add := func(name string, bind elf.SymBind, section uint16, value uint64) {
		put(&table, elf.Sym64{Name: uint32(strtab.Len()), Info: elf.ST_INFO(bind, elf.STT_NOTYPE), Shndx: section, Value: value})
		strtab.WriteString(name + "\x00")
	}
	for i, name := range m.exports {
		if i%2 == 0 {
			add(crcPrefix+name, elf.STB_LOCAL, crcSection, uint64(sums.Len()))
			put(&sums, crcOf(name))
		} else {
			add(crcPrefix+name, elf.STB_GLOBAL, uint16(elf.SHN_ABS), uint64(crcOf(name)))
		}
	}
	for _, name := range m.needs {
		if name, ok := strings.CutPrefix(name, "weak:"); ok {
			add(name, elf.STB_WEAK, 0, 0)
		} else {
			add(name, elf.STB_GLOBAL, 0, 0)
		}
	}
	return table.Bytes(), strtab.Bytes(), sums.Bytes()
}

func (m testModule) sign(file []byte) []byte {
	if m.signer == nil {
		return file
	}
	file = append(file, m.signer...)
	file = append(file, 0, 0, signaturePKCS7, 0, 0, 0, 0, 0)
	file = binary.BigEndian.AppendUint32(file, uint32(len(m.signer)))
	return append(file, signatureMagic...)
}

var sampleModule = testModule{
	modinfo: []string{
		"name=sample", "vermagic=6.1.0-56-amd64 SMP preempt mod_unload modversions ", "license=GPL",
		"depends=alpha,beta-core", "alias=pci:v00001234d*sv*sd*bc*sc*i*", "alias=devname:sample",
		"softdep=pre: gamma", "weakdep=delta", "firmware=sample/fw.bin", "description=A=B", "novalue", "parm=x:y",
	},
	exports:  []string{"sample_open", "sample_close", "sample_third"},
	needs:    []string{"printk", "alpha_get", "weak:maybe", "printk"},
	versions: []string{"module_layout", "printk", "alpha_get"},
}

var sampleInfo = &Info{
	Machine:     "amd64",
	Name:        "sample",
	Vermagic:    "6.1.0-56-amd64 SMP preempt mod_unload modversions ",
	License:     "GPL",
	Description: "A=B",
	Depends:     []string{"alpha", "beta-core"},
	Aliases:     []string{"pci:v00001234d*sv*sd*bc*sc*i*", "devname:sample"},
	Softdeps:    []string{"pre: gamma"},
	Weakdeps:    []string{"delta"},
	Firmware:    []string{"sample/fw.bin"},
	Exports: []Symbol{
		{Name: "sample_open", CRC: crcOf("sample_open")},
		{Name: "sample_close", CRC: crcOf("sample_close")},
		{Name: "sample_third", CRC: crcOf("sample_third")},
	},
	Needs: []Symbol{
		{Name: "printk", CRC: crcOf("printk")},
		{Name: "alpha_get", CRC: crcOf("alpha_get")},
		{Name: "maybe", Weak: true},
		{Name: "module_layout", CRC: crcOf("module_layout")},
	},
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zst(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

// xzip makes an xz stream with blocks of 1000 bytes and the given check.
func xzip(b []byte, check byte) []byte {
	var out bytes.Buffer
	w, err := xz.WriterConfig{CheckSum: check, NoCheckSum: check == 0, BlockSize: 1000, DictCap: 1 << 16}.NewWriter(&out)
	if err != nil {
		panic(err)
	}
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func TestParseInfo(t *testing.T) {
	plain := sampleModule.build()
	for name, b := range map[string][]byte{
		"plain":     plain,
		"gzip":      gz(plain),
		"zstd":      zst(plain),
		"xz none":   xzip(plain, 0),
		"xz crc32":  xzip(plain, xz.CRC32),
		"xz crc64":  xzip(plain, xz.CRC64),
		"xz sha256": xzip(plain, xz.SHA256),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseInfo(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sampleInfo, got); diff != "" {
				t.Errorf("ParseInfo differs (-want +got):\n%s", diff)
			}
			if got, err = ReadInfo(bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sampleInfo, got); diff != "" {
				t.Errorf("ReadInfo differs (-want +got):\n%s", diff)
			}
		})
	}
	if got := sampleInfo.KernelRelease(); got != "6.1.0-56-amd64" {
		t.Errorf("KernelRelease: got %q", got)
	}
}

// TestInfoJSON: facts survive a cache.
func TestInfoJSON(t *testing.T) {
	b, err := json.Marshal(sampleInfo)
	if err != nil {
		t.Fatal(err)
	}
	got := new(Info)
	if err := json.Unmarshal(b, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleInfo, got); diff != "" {
		t.Errorf("Info differs behind JSON (-want +got):\n%s", diff)
	}
}

// TestExportsWithoutChecksums: a kernel without CONFIG_MODVERSIONS.
func TestExportsWithoutChecksums(t *testing.T) {
	b := testModule{names: []string{"", "one", "two"}, needs: []string{"three"}, machine: elf.EM_AARCH64}.build()
	got, err := ParseInfo(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	want := &Info{Machine: "arm64", Exports: []Symbol{{Name: "one"}, {Name: "two"}}, Needs: []Symbol{{Name: "three"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Info differs (-want +got):\n%s", diff)
	}
}

func TestParseInfoRefuses(t *testing.T) {
	plain := sampleModule.build()
	edit := func(offset int, bytes ...byte) []byte {
		b := append([]byte(nil), plain...)
		copy(b[offset:], bytes)
		return b
	}
	le := binary.LittleEndian
	table := int(le.Uint64(plain[40:]))
	symtab := table + 5*sectionHeaderSize
	damaged := xzip(plain, xz.CRC32)
	damaged[len(damaged)/2] ^= 1
	tests := []struct {
		name  string
		input []byte
		want  string
	}{
		{"empty", nil, "unexpected EOF"},
		{"text", bytes.Repeat([]byte("text"), 100), "begins with 74 65 78 74, want an ELF file"},
		{"32 bit", edit(elf.EI_CLASS, 1), "not a 64-bit little-endian"},
		{"big-endian", edit(elf.EI_DATA, 2), "not a 64-bit little-endian"},
		{"program", edit(16, 2), "ELF type ET_EXEC, want ET_REL"},
		{"another machine", edit(18, 243), "EM_RISCV, want x86-64 or arm64"},
		{"section table outside", edit(40, 0xff, 0xff, 0xff, 0x7f), "reading the section table"},
		{"no sections", edit(60, 0, 0), "an ELF file with 0 sections"},
		{"names outside", edit(62, 0xff, 0xff), "names in number 65535"},
		{"section of 2^40 bytes", edit(symtab+32, 0, 0, 0, 0, 0, 1), "1099511627776 bytes, the limit is 67108864"},
		{"section outside", edit(symtab+24, 0xff, 0xff, 0xff, 0xff), "unexpected EOF"},
		{"half a symbol", edit(symtab+32, 25), "want a multiple of 24"},
		{"truncated", plain[:len(plain)-1], "reading the section table"},
		{"truncated gzip", gz(plain)[:200], "decompressing: unexpected EOF"},
		{"truncated zstd", zst(plain)[:200], "decompressing: "},
		{"truncated xz", xzip(plain, xz.CRC32)[:200], "decompressing: unexpected EOF"},
		{"damaged xz", damaged, "decompressing: "},
		{"xz with a large dictionary", packed(t, plain, "xz", "--lzma2=dict=256MiB"), "dictionary of 268435456 bytes"},
		{"xz with a filter", packed(t, plain, "xz", "--x86", "--lzma2"), "filters other than LZMA2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseInfo(bytes.NewReader(tt.input), int64(len(tt.input)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// packed compresses with an outside program.
func packed(t testing.TB, b []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(testkit.Judge(t, name), append(args, "-c")...)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

// TestDecompressionLimit: a bomb ends at the limit.
func TestDecompressionLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("needs 256 MiB of memory")
	}
	var out bytes.Buffer
	w, _ := zstd.NewWriter(&out)
	for range maxModule>>20 + 1 {
		w.Write(make([]byte, 1<<20))
	}
	w.Close()
	_, err := ReadInfo(&out)
	if err == nil || !strings.Contains(err.Error(), "more than 268435456 bytes") {
		t.Errorf("%d bytes of zstd: got %v, want an error about the limit", out.Len(), err)
	}
}

// TestModinfo compares real modules with what modinfo says.
func TestModinfo(t *testing.T) {
	for _, tree := range moduleTrees(t) {
		modules := readTree(t, tree)
		var paths []string
		for i, m := range modules {
			if i%10 == 0 {
				paths = append(paths, filepath.Join(tree, m.Path))
			}
		}
		for field, of := range map[string]func(*Info) []string{
			"vermagic": func(i *Info) []string { return []string{i.Vermagic} },
			"depends":  func(i *Info) []string { return []string{strings.Join(i.Depends, ",")} },
			"signer":   func(i *Info) []string { return []string{i.Signer} },
			"alias":    func(i *Info) []string { return i.Aliases },
			"softdep":  func(i *Info) []string { return i.Softdeps },
			"firmware": func(i *Info) []string { return i.Firmware },
		} {
			var want strings.Builder
			for i := range modules {
				if i%10 == 0 {
					for _, value := range of(&modules[i].Info) {
						want.WriteString(value + "\n")
					}
				}
			}
			got := testkit.Run(t, "modinfo", append([]string{"-F", field}, paths...)...)
			if diff := cmp.Diff(got, want.String()); diff != "" {
				t.Errorf("%s: %s differs (-modinfo +ours):\n%.2000s", tree, field, diff)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for path, want := range map[string]string{
		"kernel/fs/nfsd/nfsd.ko":        "nfsd",
		"kernel/a/snd-hda-intel.ko.xz":  "snd_hda_intel",
		"updates/x.y.ko.zst":            "x",
		"gasket.ko.gz":                  "gasket",
		"kernel/drivers/net/modules.ko": "modules",
	} {
		if got := ModuleName(path); got != want || !IsModule(path) {
			t.Errorf("ModuleName(%q) = %q, IsModule %v, want %q", path, got, IsModule(path), want)
		}
	}
	for _, path := range []string{"modules.dep", ".ko", "a/.ko.xz", "a.ko.bz2", "a.kox", "a.ko/b"} {
		if IsModule(path) {
			t.Errorf("IsModule(%q) = true", path)
		}
	}
}

func FuzzParseInfo(f *testing.F) {
	plain := sampleModule.build()
	f.Add(plain)
	f.Add(testModule{names: []string{"one"}, machine: elf.EM_AARCH64}.build())
	f.Add(testModule{signer: []byte{0x30, 0}}.build())
	f.Add(gz(plain))
	f.Add(zst(plain))
	f.Add(xzip(plain, xz.CRC64))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := ParseInfo(bytes.NewReader(b), int64(len(b)))
		if (info == nil) != (err != nil) {
			t.Errorf("got %v and %v", info, err)
		}
		if err == nil && info.Machine == "" {
			t.Error("no machine")
		}
	})
}
