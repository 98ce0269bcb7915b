package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz/lzma"

	"github.com/graftlinux/graft/internal/testkit"
)

// mkimage runs grub-mkimage.
func mkimage(t *testing.T, files, format string, o Options) []byte {
	t.Helper()
	dir := t.TempDir()
	config, image := filepath.Join(dir, "config"), filepath.Join(dir, "image")
	if err := os.WriteFile(config, o.Config, 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-d", files, "-O", format, "-p", o.Prefix, "-o", image}
	if len(o.Config) > 0 {
		args = append(args, "-c", config)
	}
	testkit.Run(t, "grub-mkimage", append(args, o.Modules...)...)
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unpack splits a core without its boot sectors into the decompressor, whose
// field for the compressed size is cleared, and the kernel with its modules.
func unpack(t *testing.T, core []byte, decompressor int) (head, payload []byte) {
	t.Helper()
	packed, size := binary.LittleEndian.Uint32(core[compressedSize:]), binary.LittleEndian.Uint32(core[decompressedSize:])
	if int(packed) != len(core)-decompressor {
		t.Errorf("%d bytes are said to be compressed, %d are there", packed, len(core)-decompressor)
	}
	header := make([]byte, lzma.HeaderLen)
	header[0] = 3 + 9*5*2 // lc=3 lp=0 pb=2
	binary.LittleEndian.PutUint32(header[1:], 1<<16)
	binary.LittleEndian.PutUint64(header[5:], uint64(size))
	r, err := lzma.NewReader(bytes.NewReader(append(header, core[decompressor:]...)))
	if err != nil {
		t.Fatal(err)
	}
	if payload, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(core[compressedSize:], 0)
	return core[:decompressor], payload
}

// TestMkimage compares with grub-mkimage: all is equal but how well it is packed.
func TestMkimage(t *testing.T) {
	for _, files := range grubDirs(t, "i386-pc") {
		decompressor, err := os.Stat(filepath.Join(files, "lzma_decompress.img"))
		if err != nil {
			t.Fatal(err)
		}
		for name, o := range map[string]Options{
			"bare":   {Prefix: "/boot/grub"},
			"disk":   {Modules: DiskModules(), Prefix: "(,gpt3)/grub"},
			"cd":     {Modules: CDModules(), Prefix: "/boot/grub", Config: []byte("set a=b\n")},
			"double": {Modules: []string{"linux", "normal", "linux", "btrfs"}, Prefix: "abc", Config: []byte("123")},
		} {
			t.Run(files+" "+name, func(t *testing.T) {
				format, boot, core := "i386-pc", sectorSize, DiskCore
				if name == "cd" {
					format, boot, core = "i386-pc-eltorito", cdSectorSize+sectorSize, CDCore
				}
				got, err := core(os.DirFS(files), o)
				if err != nil {
					t.Fatal(err)
				}
				want := mkimage(t, files, format, o)
				t.Logf("%s: %d bytes, grub-mkimage %d", format, len(got), len(want))
				for _, b := range [][]byte{got, want} {
					if count := binary.LittleEndian.Uint16(b[boot-4:]); int(count) != sectors(len(b)-boot) {
						t.Errorf("diskboot.img loads %d sectors", count)
					}
					binary.LittleEndian.PutUint16(b[boot-4:], 0)
				}
				if !bytes.Equal(got[:boot], want[:boot]) {
					t.Error("the boot sectors differ")
				}
				gotHead, gotPayload := unpack(t, got[boot:], int(decompressor.Size()))
				wantHead, wantPayload := unpack(t, want[boot:], int(decompressor.Size()))
				if !bytes.Equal(gotHead, wantHead) {
					t.Error("the decompressors differ")
				}
				if !bytes.Equal(gotPayload, wantPayload) {
					t.Errorf("the kernels or modules differ: -want +got:\n%s", cmp.Diff(listing(t, files, wantPayload), listing(t, files, gotPayload)))
				}
			})
		}
	}
}

// listing names the objects behind the kernel.
func listing(t *testing.T, files string, payload []byte) (names []string) {
	t.Helper()
	modules := map[string]string{}
	paths, _ := filepath.Glob(filepath.Join(files, "*.mod"))
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		modules[string(bytes.TrimRight(b, "\x00"))] = filepath.Base(path)
	}
	at := bytes.Index(payload, []byte(moduleMagic+"\x0c\x00\x00\x00"))
	if at < 0 {
		t.Fatal("no modules behind the kernel")
	}
	for o := payload[at+12:]; len(o) > 0; {
		kind, size := binary.LittleEndian.Uint32(o), binary.LittleEndian.Uint32(o[4:])
		content := string(bytes.TrimRight(o[objectHeader:size], "\x00"))
		if kind == objectModule {
			content = modules[content]
		}
		names, o = append(names, fmt.Sprintf("%d %s", kind, content)), o[size:]
	}
	return names
}

// TestInstallDisk shows every byte that differs from GRUB's files afterwards.
// grub-bios-setup --no-rs-codes changes the same ones.
func TestInstallDisk(t *testing.T) {
	files := fakeFiles()
	o := Options{Modules: []string{"a"}, Prefix: "/p"}
	core, err := DiskCore(files, o)
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(core)
	code, patched, err := InstallDisk(files, core, 0x123456789, sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(core, before) {
		t.Error("the core that was given changed")
	}
	if len(code) != 440 || len(patched)%sectorSize != 0 {
		t.Errorf("%d bytes of boot code, %d of core", len(code), len(patched))
	}
	got := changes("boot.img", files["boot.img"].Data[:440], code) + changes("core", append(core, make([]byte, len(patched)-len(core))...), patched)
	const want = `boot.img +05c: 8967452301000000, not 0100000000000000
boot.img +066: 9090, not eb05
core +1f4: 8a67452301000000, not 0200000000000000
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// changes lists runs that differ, each as the 8 or fewer bytes that are one field.
func changes(name string, before, after []byte) string {
	var b strings.Builder
	for i := 0; i < len(before); i++ {
		if before[i] == after[i] {
			continue
		}
		size := 8
		if name == "boot.img" && i == driveCheck {
			size = 2
		}
		fmt.Fprintf(&b, "%s +%03x: %x, not %x\n", name, i, after[i:i+size], before[i:i+size])
		i += size - 1
	}
	return b.String()
}

func TestBadInstall(t *testing.T) {
	files := fakeFiles()
	core, err := DiskCore(files, Options{Prefix: "/p"})
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		core []byte
		lba  uint64
		size int
	}{
		"sectors of 4096 bytes":        {core, 1, 4096},
		"cannot be at sector 0":        {core, 0, 512},
		"has 100 bytes":                {core[:100], 1, 512},
		"has 1048576 bytes":            {make([]byte, 1<<20), 1, 512},
		"not begin with diskboot.img":  {make([]byte, 2000), 1, 512},
		"cannot be at sector 92233720": {core, 1 << 63, 512},
	} {
		if _, _, err := InstallDisk(files, c.core, c.lba, c.size); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestHybridMBR(t *testing.T) {
	got, err := HybridMBR(fakeFiles())
	if err != nil || len(got) != 440 || got[0] != 0xeb {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestMissingFiles(t *testing.T) {
	for _, name := range []string{"boot.img", "diskboot.img", "cdboot.img", "boot_hybrid.img", "lzma_decompress.img", "kernel.img", "moddep.lst", "b.mod"} {
		files := fakeFiles()
		core, err := DiskCore(files, Options{Prefix: "/p"})
		if err != nil {
			t.Fatal(err)
		}
		delete(files, name)
		o := Options{Modules: []string{"a"}, Prefix: "/p"}
		_, err1 := CDCore(files, o)
		_, _, err2 := InstallDisk(files, core, 1, 512)
		_, err3 := HybridMBR(files)
		got := fmt.Sprint(err1, err2, err3)
		if want := "reading GRUB's file " + name + " for i386-pc (Debian's package grub-pc-bin has it in /usr/lib/grub/i386-pc)"; !strings.Contains(got, want) {
			t.Errorf("got %v, want %q", got, want)
		}
	}
}

func TestBadFiles(t *testing.T) {
	for want, change := range map[string]func(fstest.MapFS, *Options){
		`a needs moddep.lst has no module "x"`: func(f fstest.MapFS, _ *Options) { f["moddep.lst"].Data = []byte("a: x\n") },
		`has no module "z"`:                    func(_ fstest.MapFS, o *Options) { o.Modules = []string{"z"} },
		"diskboot.img for i386-pc: it has 1 b": func(f fstest.MapFS, _ *Options) { f["diskboot.img"].Data = []byte{0} },
		"not that of GRUB 2.06 or 2.12":        func(f fstest.MapFS, _ *Options) { f["lzma_decompress.img"].Data = []byte("abc") },
		"bad magic number":                     func(f fstest.MapFS, _ *Options) { f["kernel.img"].Data = make([]byte, 100) },
		"want an executable for i386":          func(f fstest.MapFS, _ *Options) { f["kernel.img"].Data[elfEntry] = 1 },
		"is out of place":                      func(f fstest.MapFS, _ *Options) { f["kernel.img"].Data[elfHeader+elfSection+13] = 0 },
		"has a NUL in it":                      func(_ fstest.MapFS, o *Options) { o.Config = []byte{0} },
		`the prefix of GRUB is ""`:             func(_ fstest.MapFS, o *Options) { o.Prefix = "" },
		"larger than 4194304 bytes":            func(f fstest.MapFS, _ *Options) { f["a.mod"].Data = make([]byte, maxFile+1) },
		"wants fewer modules":                  func(f fstest.MapFS, _ *Options) { f["a.mod"].Data = noise(1 << 19) },
	} {
		files, o := fakeFiles(), Options{Modules: []string{"a"}, Prefix: "/p"}
		change(files, &o)
		if _, err := DiskCore(files, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// noise does not compress.
func noise(size int) []byte {
	b, x := make([]byte, size), uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// TestSameBytes: the same input is the same image, however many threads there are.
func TestSameBytes(t *testing.T) {
	var want []byte
	for _, threads := range []int{1, 2, 2} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
		got, err := CDCore(fakeFiles(), Options{Modules: []string{"a"}, Prefix: "/p"})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d threads make another image", threads)
		}
	}
}

const (
	elfHeader  = 52
	elfSection = 40
	elfEntry   = 24
)

// fakeFiles have the form of GRUB's, and the modules a, which needs b, and b,
// which needs a.
func fakeFiles() fstest.MapFS {
	boot, diskboot := make([]byte, sectorSize), make([]byte, sectorSize)
	copy(boot, []byte{0xeb, 0x63})
	boot[kernelSector] = 1
	copy(boot[driveCheck:], []byte{0xeb, 0x05})
	copy(boot[bootMagic:], []byte{0x55, 0xaa})
	diskboot[blockStart] = 2
	binary.LittleEndian.PutUint16(diskboot[blockTarget:], coreSegment)
	files := fstest.MapFS{}
	for name, data := range map[string][]byte{
		"boot.img": boot, "boot_hybrid.img": bytes.Clone(boot), "diskboot.img": diskboot,
		"cdboot.img":          make([]byte, cdSectorSize),
		"lzma_decompress.img": make([]byte, 100),
		"kernel.img":          fakeKernel(),
		"moddep.lst":          []byte("a: b\nb: a\n"),
		"a.mod":               []byte("module a"),
		"b.mod":               []byte("module b"),
	} {
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

// fakeKernel is an ELF file with one section of four bytes.
func fakeKernel() []byte {
	b := make([]byte, elfHeader)
	copy(b, elf.ELFMAG+"\x01\x01\x01")
	put16 := func(at int, v uint16) { binary.LittleEndian.PutUint16(b[at:], v) }
	put32 := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	put16(16, uint16(elf.ET_EXEC))
	put16(18, uint16(elf.EM_386))
	put32(20, 1)
	put32(elfEntry, kernelAddress)
	put32(32, elfHeader) // the section headers
	put16(40, elfHeader)
	put16(46, elfSection)
	put16(48, 3)
	put16(50, 2) // that of names
	data := uint32(elfHeader + 3*elfSection)
	for _, s := range [][10]uint32{
		{},
		{1, uint32(elf.SHT_PROGBITS), uint32(elf.SHF_ALLOC), kernelAddress, data, 4, 0, 0, 1, 0},
		{7, uint32(elf.SHT_STRTAB), 0, 0, data + 4, 14, 0, 0, 1, 0},
	} {
		for _, v := range s {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
	}
	return append(b, "code\x00.text\x00.names\x00"...)
}

// FuzzCore makes an image of anything as GRUB's kernel and list of modules.
func FuzzCore(f *testing.F) {
	f.Add(fakeKernel(), []byte("a: b\nb: a\n"))
	f.Add(fakeKernel(), []byte("a:a a\n\n:b"))
	f.Fuzz(func(t *testing.T, kernel, deps []byte) {
		files := fakeFiles()
		files["kernel.img"].Data, files["moddep.lst"].Data = kernel, deps
		core, err := DiskCore(files, Options{Modules: []string{"a"}, Prefix: "/p"})
		if err != nil {
			return
		}
		if _, _, err := InstallDisk(files, core, 1, sectorSize); err != nil {
			t.Error(err)
		}
	})
}

// TestBrokenKernel: every truncation and every flipped byte is an error or a
// kernel, never a panic.
func TestBrokenKernel(t *testing.T) {
	kernel := fakeKernel()
	for i := range kernel {
		if _, err := flatten(kernel[:i]); err == nil && i < len(kernel)-14 {
			t.Errorf("%d bytes of %d are a kernel", i, len(kernel))
		}
		for _, bits := range []byte{1, 0x80, 0xff} {
			broken := bytes.Clone(kernel)
			broken[i] ^= bits
			flatten(broken)
		}
	}
}

func BenchmarkDiskCore(b *testing.B) {
	files := os.DirFS(grubDirs(b, "i386-pc")[0])
	for b.Loop() {
		if _, err := DiskCore(files, Options{Modules: DiskModules(), Prefix: "/p"}); err != nil {
			b.Fatal(err)
		}
	}
}
