package cli

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/format/compress"
	"github.com/graftlinux/graft/internal/format/fat"
	"github.com/graftlinux/graft/internal/format/gpt"
	"github.com/graftlinux/graft/internal/format/iso"
	"github.com/graftlinux/graft/internal/format/ova"
	"github.com/graftlinux/graft/internal/format/qcow2"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/vhd"
	"github.com/graftlinux/graft/internal/format/vmdk"
	"github.com/graftlinux/graft/internal/qemu"
	"github.com/graftlinux/graft/internal/testkit"
)

// testESP is a file system with a program for the UEFI of an architecture.
func testESP(t *testing.T, arch string) *sparse.Image {
	t.Helper()
	esp, err := fat.Build(fat.Options{Size: 4 << 20}, []fat.File{{Path: removablePath(arch), Content: sparse.Bytes([]byte("MZ"))}})
	if err != nil {
		t.Fatal(err)
	}
	return esp
}

// testDisk is a disk with an EFI system partition.
func testDisk(t *testing.T, arch string, sector int) *sparse.Image {
	t.Helper()
	d := gpt.Disk{Size: 8 << 20, SectorSize: sector, GUID: gpt.DeterministicGUID("disk"), Partitions: []gpt.Partition{
		{Name: "EFI", Type: gpt.EFISystem, GUID: gpt.DeterministicGUID("EFI"), Size: 4 << 20, Content: testESP(t, arch)},
	}}
	m, err := d.Image()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testISO(t *testing.T, bios, uefi bool) *sparse.Image {
	t.Helper()
	o := iso.Options{VolumeID: "TEST", Time: time.Unix(0, 0)}
	if bios {
		o.BIOS = &iso.BIOSBoot{Image: sparse.Bytes(make([]byte, 2048))}
	}
	if uefi {
		o.EFI = testESP(t, "amd64")
	}
	m, err := iso.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// testUKI is a UKI as far as its headers go: its kernel is four letters.
func testUKI(t *testing.T, machine uint16) *sparse.Image {
	t.Helper()
	const headers = 512
	var b bytes.Buffer
	b.WriteString("MZ")
	b.Write(make([]byte, 58))
	err := errors.Join(
		binary.Write(&b, binary.LittleEndian, uint32(64)),
		binary.Write(&b, binary.LittleEndian, []byte("PE\x00\x00")),
		binary.Write(&b, binary.LittleEndian, pe.FileHeader{Machine: machine, NumberOfSections: 1, SizeOfOptionalHeader: 240, Characteristics: 0x206}),
		binary.Write(&b, binary.LittleEndian, pe.OptionalHeader64{
			Magic: 0x20b, SectionAlignment: 4096, FileAlignment: 512, SizeOfImage: 8192, SizeOfHeaders: headers, NumberOfRvaAndSizes: 16,
		}),
		binary.Write(&b, binary.LittleEndian, pe.SectionHeader32{
			Name: [8]byte([]byte(".linux\x00\x00")), VirtualSize: 4, VirtualAddress: 4096, SizeOfRawData: 512, PointerToRawData: headers,
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(make([]byte, headers-b.Len()))
	b.WriteString("boot")
	b.Write(make([]byte, 512-4))
	return sparse.Bytes(b.Bytes())
}

// save writes an image to a file of this name.
func save(t *testing.T, name string, m *sparse.Image) string {
	t.Helper()
	return saveBy(t, name, func(f *os.File) error { return m.WriteFile(t.Context(), f, nil) })
}

func saveBy(t *testing.T, name string, write func(*os.File) error) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// driveQEMU is a QEMU that says how it was called and copies its disk.
func driveQEMU(t *testing.T) (seen string) {
	t.Helper()
	seen = filepath.Join(t.TempDir(), "seen")
	fakeQEMU(t, `echo " $* "
for a; do case $a in if=none,id=boot,file=*) f=${a#*file=}; cp "${f%%,*}" `+seen+`;; esac; done`)
	return seen
}

// TestBootDisks has a disk in all its forms: QEMU must get a raw one, or the
// qcow2 itself.
func TestBootDisks(t *testing.T) {
	raw := testDisk(t, "amd64", 512)
	encoded := func(m *sparse.Image, err error) func(*os.File) error {
		return func(f *os.File) error { return errors.Join(err, m.WriteFile(context.Background(), f, nil)) }
	}
	packed := func(format compress.Format) func(*os.File) error {
		return func(f *os.File) error {
			return compress.Write(context.Background(), f, raw, format, compress.Options{})
		}
	}
	tests := []struct {
		name, format string
		write        func(*os.File) error
	}{
		{"raw", "raw", encoded(raw, nil)},
		{"qcow2", "qcow2", encoded(qcow2.Encode(raw, qcow2.Options{}))},
		{"vhd", "raw", encoded(vhd.Encode(raw, vhd.Options{ForceSize: true, Fixed: true}))},
		{"vmdk", "raw", func(f *os.File) error { return vmdk.Write(context.Background(), f, raw, vmdk.Options{}) }},
		{"ova", "raw", func(f *os.File) error {
			spool, err := os.CreateTemp(filepath.Dir(f.Name()), "")
			if err != nil {
				return err
			}
			defer spool.Close()
			return encoded(ova.Encode(context.Background(), raw, spool, ova.Options{}))(f)
		}},
		{"raw.zst", "raw", packed(compress.Zstd)},
		{"raw.xz", "raw", packed(compress.XZ)},
		{"raw.gz", "raw", packed(compress.Gzip)},
		{"raw.tar.gz", "raw", func(f *os.File) error {
			return compress.WriteTarGz(context.Background(), f, "disk.raw", raw, time.Unix(0, 0), compress.Options{})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			seen, file := driveQEMU(t), saveBy(t, tt.name, tt.write)
			code, stdout, stderr := boot(t, file, "--firmware", "bios")
			if code != exitOK {
				t.Fatalf("got exit code %d: %s", code, stderr)
			}
			for _, want := range []string{",format=" + tt.format + ",snapshot=on", "-device virtio-blk-pci,drive=boot", " -m 2048 "} {
				if !strings.Contains(stdout, want) {
					t.Errorf("the command line lacks %q: %s", want, stdout)
				}
			}
			if strings.Contains(stdout, "-kernel") || strings.Contains(stdout, "pflash") || strings.Contains(stdout, "-no-reboot") {
				t.Errorf("got command line %s", stdout)
			}
			want, err := io.ReadAll(raw.Reader())
			if tt.format != "raw" {
				want, err = os.ReadFile(file)
			}
			got, seenErr := os.ReadFile(seen)
			if err := errors.Join(err, seenErr); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("QEMU got another disk: %d bytes, want %d", len(got), len(want))
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 || err != nil {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestBootOptions(t *testing.T) {
	disk, large := save(t, "a.raw", testDisk(t, "amd64", 512)), save(t, "4k.raw", testDisk(t, "amd64", 4096))
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{"persist", []string{disk, "--persist", "--firmware", "bios"}, []string{"file=" + disk + ",format=raw -device"}},
		{"large sectors", []string{large, "--firmware", "bios"}, []string{"logical_block_size=4096,physical_block_size=4096"}},
		{"only BIOS", []string{save(t, "bios.iso", testISO(t, true, false))}, []string{"ide-cd,drive=boot"}},
		{"memory", []string{disk, "--firmware", "bios", "--memory", "4096"}, []string{"-m 4096"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			driveQEMU(t)
			code, stdout, stderr := boot(t, tt.args...)
			if code != exitOK {
				t.Fatalf("got exit code %d: %s", code, stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(stdout, want) {
					t.Errorf("the command line lacks %q: %s", want, stdout)
				}
			}
			if strings.Contains(stdout, "pflash") {
				t.Errorf("got command line %s, want no UEFI", stdout)
			}
		})
	}
}

// needUEFI skips a test where there is no firmware.
func needUEFI(t *testing.T, secure bool) {
	t.Helper()
	_, err := qemu.FindUEFI("amd64", secure)
	if missing := (*qemu.MissingError)(nil); errors.As(err, &missing) {
		testkit.Absent(t, missing.Error())
	}
}

// TestBootUEFI starts a UKI from a file system that has it, an ISO from a CD.
func TestBootUEFI(t *testing.T) {
	needUEFI(t, false)
	program := testUKI(t, pe.IMAGE_FILE_MACHINE_AMD64)
	seen := driveQEMU(t)
	code, stdout, stderr := boot(t, save(t, "a.efi", program))
	if code != exitOK || !strings.Contains(stdout, "virtio-blk-pci,drive=boot") || !strings.Contains(stdout, "if=pflash") {
		t.Fatalf("got exit code %d: %s%s", code, stdout, stderr)
	}
	f, err := os.Open(seen)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	esp, err := fat.NewReader(f, must(f.Stat()).Size())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(must(esp.Open("EFI/BOOT/BOOTX64.EFI")))
	if want := must(io.ReadAll(program.Reader())); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the program is another, or %v", err)
	}

	vars := filepath.Join(t.TempDir(), "vars.fd")
	code, stdout, stderr = boot(t, save(t, "a.iso", testISO(t, true, true)), "--vars", vars)
	if code != exitOK || !strings.Contains(stdout, "ide-cd,drive=boot") || !strings.Contains(stdout, "file="+vars+" ") {
		t.Errorf("got exit code %d: %s%s", code, stdout, stderr)
	}
	if _, err := os.Stat(vars); err != nil {
		t.Errorf("the variables are not kept: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestBootWithoutFirmware is for machines that have none for arm64, as CI has.
func TestBootWithoutFirmware(t *testing.T) {
	if _, err := qemu.FindUEFI("arm64", false); err == nil {
		t.Skip("there is firmware for arm64")
	}
	code, _, stderr := boot(t, save(t, "a.efi", testUKI(t, pe.IMAGE_FILE_MACHINE_ARM64)))
	if code != exitEnvironment || !strings.Contains(stderr, "AAVMF") || !strings.Contains(stderr, "apt-get install qemu-efi-aarch64 ") {
		t.Errorf("got exit code %d and %q, want %d and the package", code, stderr, exitEnvironment)
	}
}

func TestBootSecureBoot(t *testing.T) {
	needUEFI(t, true)
	driveQEMU(t)
	code, stdout, stderr := boot(t, save(t, "a.raw", testDisk(t, "amd64", 512)), "--firmware", "secureboot")
	if code != exitOK || !strings.Contains(stdout, "smm=on") || strings.Contains(stdout, "-no-reboot") {
		t.Errorf("got exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestBootMediaRefused has what no machine could make sense of.
func TestBootMediaRefused(t *testing.T) {
	kernel, initramfs := fakeQEMU(t, "echo started")
	disk := testDisk(t, "amd64", 512)
	raw, program := save(t, "a.raw", disk), save(t, "a.efi", testUKI(t, pe.IMAGE_FILE_MACHINE_AMD64))
	packed := func(m *sparse.Image) string {
		return saveBy(t, "a.zst", func(f *os.File) error { return compress.Write(t.Context(), f, m, compress.Zstd, compress.Options{}) })
	}
	bzImage := make([]byte, 1024)
	copy(bzImage[0x1fe:], "\x55\xaa\xeb\x66HdrS")
	foreign, err := qcow2.Encode(disk, qcow2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	backed := must(io.ReadAll(foreign.Reader()))
	binary.BigEndian.PutUint64(backed[8:], 512) // the name of a backing file
	binary.BigEndian.PutUint32(backed[16:], 11)

	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"kernel for a disk", []string{raw, "--kernel", kernel}, exitInvalid, "hint: graft image --extra-kernel-arg"},
		{"base for a disk", []string{raw, "--base", "x"}, exitInvalid, "brings its kernel"},
		{"words for a packed disk", []string{packed(disk), "--append", "quiet"}, exitInvalid, "command line was fixed"},
		{"firmware for an initramfs", []string{initramfs, "--kernel", kernel, "--firmware", "uefi"}, exitInvalid, "QEMU itself start"},
		{"firmware that is none", []string{raw, "--firmware", "coreboot"}, exitInvalid, `"coreboot" is none of bios, uefi, secureboot`},
		{"variables of a BIOS", []string{raw, "--firmware", "bios", "--vars", "x"}, exitInvalid, "a BIOS has no variables"},
		{"UKI by BIOS", []string{program, "--firmware", "bios"}, exitInvalid, "a BIOS cannot start it"},
		{"packed UKI by BIOS", []string{packed(testUKI(t, pe.IMAGE_FILE_MACHINE_AMD64)), "--firmware", "bios"}, exitInvalid, "a BIOS cannot start it"},
		{"persistent CD", []string{save(t, "a.iso", testISO(t, true, true)), "--persist"}, exitInvalid, "for raw and qcow2 disks"},
		{"persistent packed disk", []string{packed(disk), "--persist"}, exitInvalid, "for raw and qcow2 disks"},
		{"another architecture", []string{program, "--arch", "arm64"}, exitInvalid, "a.efi is for amd64"},
		{"disk of another architecture", []string{save(t, "b.raw", testDisk(t, "arm64", 512)), "--arch", "amd64"}, exitInvalid, "b.raw is for arm64"},
		{"BIOS of arm64", []string{save(t, "b.raw", testDisk(t, "arm64", 512)), "--firmware", "bios"}, exitInvalid, "no BIOS"},
		{"kernel", []string{save(t, "vmlinuz", sparse.Bytes(bzImage))}, exitInvalid, "hint: graft boot INITRAMFS --kernel"},
		{"text", []string{save(t, "text", sparse.Bytes([]byte("text")))}, exitInvalid, "neither an initramfs, a UKI, an ISO nor a disk image"},
		{"packed text", []string{packed(sparse.Bytes([]byte("text")))}, exitInvalid, "neither an initramfs"},
		{"packed initramfs in it", []string{packed(must(readSparse(packed(sparse.Bytes([]byte(emptyArchive(t)))))))}, exitInvalid, "packed more than once"},
		{"cut off", []string{packed(must(readSparse(packed(disk))).Section(0, 100))}, exitInvalid, "unpacking"},
		{"backing file", []string{save(t, "a.qcow2", sparse.Bytes(backed))}, exitInvalid, "backing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := boot(t, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("got exit code %d, want %d, and %q, want %q in it", code, tt.code, stderr, tt.want)
			}
			if stdout != "" {
				t.Errorf("a machine was started: %s", stdout)
			}
		})
	}
}

func readSparse(file string) (*sparse.Image, error) {
	data, err := os.ReadFile(file)
	return sparse.Bytes(data), err
}
