package gpt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/sparse"
)

const mib = 1 << 20

// talosDisk has the partitions of a disk that boots by BIOS and by UEFI.
func talosDisk(sector int) *Disk {
	part := func(name string, typ GUID, size int64) Partition {
		return Partition{Name: name, Type: typ, GUID: DeterministicGUID(name), Size: size}
	}
	d := &Disk{
		GUID: DeterministicGUID("disk"), Size: 16 * mib, SectorSize: sector,
		BootCode: bytes.Repeat([]byte{0x90}, MaxBootCode),
		Partitions: []Partition{
			part("EFI", EFISystem, 2*mib),
			part("BIOS", BIOSBoot, mib),
			part("BOOT", LinuxData, 3*mib+4096),
			part("META", LinuxData, mib),
		},
	}
	d.Partitions[0].Content = sparse.Bytes([]byte("an ESP"))
	d.Partitions[1].Attributes = LegacyBIOSBootable
	d.Partitions[3].Content = sparse.Bytes(bytes.Repeat([]byte("M"), mib))
	return d
}

func image(t testing.TB, d *Disk) []byte {
	t.Helper()
	m, err := d.Image()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(m.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// file writes the image of a disk where a judge can read it.
func file(t *testing.T, d *Disk) string {
	t.Helper()
	m, err := d.Image()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.WriteFile(context.Background(), f, nil), f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// listing says what is on a disk, a line for each partition.
func listing(d *Disk) string {
	var b strings.Builder
	fmt.Fprintf(&b, "disk %s size=%d sector=%d boot=%d\n", d.GUID, d.Size, d.SectorSize, len(d.BootCode))
	for _, p := range d.Partitions {
		head := make([]byte, 6)
		if p.Content != nil {
			p.Content.ReadAt(head, 0)
		}
		fmt.Fprintf(&b, "%d+%d type=%s guid=%s attr=%d %s %q\n", p.Offset, p.Size, p.Type, p.GUID, p.Attributes, p.Name, head)
	}
	return b.String()
}

func TestRoundTrip(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			b := image(t, talosDisk(sector))
			d, err := Read(bytes.NewReader(b), int64(len(b)))
			if err != nil || d.Damage != nil {
				t.Fatal(err, d.Damage)
			}
			want := fmt.Sprintf(`disk 7D02953D-C978-59A7-9198-872FF271573D size=16777216 sector=%d boot=440
1048576+2097152 type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B guid=00A0B75A-F946-5F09-86B3-D734C74975A6 attr=0 EFI "an ESP"
3145728+1048576 type=21686148-6449-6E6F-744E-656564454649 guid=C7356262-E2DC-567A-A25E-FA0F1345EEC0 attr=4 BIOS "\x00\x00\x00\x00\x00\x00"
4194304+3149824 type=0FC63DAF-8483-4772-8E79-3D69D8477DE4 guid=CC095CE6-B5BD-5098-8942-0F2675382581 attr=0 BOOT "\x00\x00\x00\x00\x00\x00"
8388608+1048576 type=0FC63DAF-8483-4772-8E79-3D69D8477DE4 guid=3DC59A5D-497A-550D-96AF-F73FA439E275 attr=0 META "MMMMMM"
`, sector)
			if diff := cmp.Diff(want, listing(d)); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if again := image(t, d); !bytes.Equal(again, b) {
				t.Error("what was read makes another image than what was written")
			}
		})
	}
}

func TestSameBytes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := image(t, talosDisk(512))
	runtime.GOMAXPROCS(2)
	if !bytes.Equal(one, image(t, talosDisk(512))) {
		t.Error("the image depends on the number of CPUs")
	}
}

// TestMBR: the boot program and the signature are there, and one entry covers
// as much of the disk as it can.
func TestMBR(t *testing.T) {
	for _, c := range []struct {
		size int64
		want string
	}{
		{16 * mib, "00000200 eeffffff 01000000 ff7f0000"},
		{2 << 40, "00000200 eeffffff 01000000 ffffffff"},
		{3 << 40, "00000200 eeffffff 01000000 ffffffff"},
	} {
		d := talosDisk(512)
		d.Size = c.size
		m, err := d.Image()
		if err != nil {
			t.Fatal(err)
		}
		mbr := make([]byte, 512)
		if _, err := m.ReadAt(mbr, 0); err != nil {
			t.Fatal(err)
		}
		e := mbr[446:]
		if got := fmt.Sprintf("%x %x %x %x", e[:4], e[4:8], e[8:12], e[12:16]); got != c.want {
			t.Errorf("%d: got %s, want %s", c.size, got, c.want)
		}
		if !bytes.Equal(mbr[:440], d.BootCode) || !allZero(mbr[462:510]) || mbr[510] != 0x55 || mbr[511] != 0xaa {
			t.Errorf("%d: the boot code, the other entries or the signature are not as they should be", c.size)
		}
	}
}

// minSize is the size in bytes that a disk needs, whatever it has.
func minSize(t testing.TB, d *Disk) int64 {
	t.Helper()
	empty := *d
	empty.Size = 0
	_, err := empty.Image()
	var small *TooSmallError
	if !errors.As(err, &small) {
		t.Fatalf("got %v, want a *TooSmallError", err)
	}
	return small.Needed
}

// TestFitted: the smallest disk is one that works, and a sector less is too little.
func TestFitted(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		d := talosDisk(sector)
		d.Size = minSize(t, d)
		b := image(t, d)
		if got, err := Read(bytes.NewReader(b), d.Size); err != nil || got.Damage != nil {
			t.Error(err, got.Damage)
		}
		want := &TooSmallError{Size: d.Size - int64(sector), Needed: d.Size}
		d.Size -= int64(sector)
		_, err := d.Image()
		var got *TooSmallError
		if !errors.As(err, &got) || *got != *want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	d := talosDisk(512)
	d.Partitions[0].Offset = 32 << 10 // as some boards want it
	d.Partitions[0].Size = 2*mib - 512
	d.Partitions[2].Offset = 10 * mib
	parts, err := d.place()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{32 << 10, 3 * mib, 10 * mib, 14 * mib} {
		if parts[i].Offset != want {
			t.Errorf("partition %d: got offset %d, want %d", i, parts[i].Offset, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		want  string
		spoil func(*Disk)
	}{
		{"sectors of 1024 bytes are not supported", func(d *Disk) { d.SectorSize = 1024 }},
		{"the disk has no GUID", func(d *Disk) { d.GUID = GUID{} }},
		{"the boot code has 441 bytes, at most 440 are possible", func(d *Disk) { d.BootCode = make([]byte, 441) }},
		{"the size of 16777217 bytes is not a multiple of the sector size 512", func(d *Disk) { d.Size++ }},
		{"there are 129 partitions, at most 128 are possible", func(d *Disk) { d.Partitions = make([]Partition, 129) }},
		{"partition 1 (EFI): it has no type", func(d *Disk) { d.Partitions[0].Type = GUID{} }},
		{"partition 2 (BIOS): it has no GUID", func(d *Disk) { d.Partitions[1].GUID = GUID{} }},
		{"the name is longer than 36 characters", func(d *Disk) { d.Partitions[0].Name = strings.Repeat("n", 37) }},
		{"the name is not valid UTF-8", func(d *Disk) { d.Partitions[0].Name = "\xff" }},
		{"the size of 513 bytes is not a multiple of the sector size 512", func(d *Disk) { d.Partitions[2].Size = 513 }},
		{"the size of 0 bytes is not", func(d *Disk) { d.Partitions[2].Size = 0 }},
		{"offset 16896 is impossible: it has to be a multiple of 512, and at least 17408", func(d *Disk) { d.Partitions[0].Offset = 33 * 512 }},
		{"offset 20481 is impossible", func(d *Disk) { d.Partitions[0].Offset = 20481 }},
		{"the content has 1048576 bytes, the partition 4096", func(d *Disk) { d.Partitions[3].Size = 4096 }},
		{`partitions "EFI" and "META" overlap`, func(d *Disk) { d.Partitions[3].Offset = mib + 512 }},
		{`have the same GUID`, func(d *Disk) { d.Partitions[3].GUID = d.Partitions[0].GUID }},
	} {
		d := talosDisk(512)
		c.spoil(d)
		if _, err := d.Image(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestDamage: a damaged table is no loss, but it is told.
func TestDamage(t *testing.T) {
	whole := image(t, talosDisk(4096))
	want, err := Read(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	end := len(whole)
	for _, c := range []struct {
		at   int
		want string
	}{
		{510, "there is no protective MBR"},
		{450, "there is no protective MBR"},
		{4096, "no table"},
		{4096 + 40, "primary table, sectors of 4096 bytes: the checksum of the header does not match; the backup is used"},
		{2 * 4096, "primary table, sectors of 4096 bytes: the checksum of the entries does not match; the backup is used"},
		{end - 4096, "backup table: there is no GUID partition table"},
		{end - 4096 + 20, "backup table: the checksum of the header does not match"},
		{end - 5*4096, "backup table: the checksum of the entries does not match"},
	} {
		b := bytes.Clone(whole)
		b[c.at] ^= 0x11
		d, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Errorf("byte %d: %v", c.at, err)
			continue
		}
		if d.Damage == nil || c.want != "no table" && d.Damage.Error() != c.want {
			t.Errorf("byte %d: got %v, want %q", c.at, d.Damage, c.want)
		}
		if diff := cmp.Diff(listing(want), listing(d)); diff != "" {
			t.Errorf("byte %d: other partitions than before:\n%s", c.at, diff)
		}
	}
}

// TestGrown: a disk that became larger has its backup in the wrong place.
func TestGrown(t *testing.T) {
	b := append(image(t, talosDisk(512)), make([]byte, mib)...)
	d, err := Read(bytes.NewReader(b), int64(len(b)))
	want := "backup table: it is said to be in sector 32767 and belongs in the last one, 34815"
	if err != nil || d.Damage == nil || d.Damage.Error() != want {
		t.Errorf("got %v, %v, want %q", d, err, want)
	}
}

func TestNoTable(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 1000, 5000, 100_000} {
		if _, err := Read(bytes.NewReader(make([]byte, size)), int64(size)); !errors.Is(err, ErrNoTable) {
			t.Errorf("%d zeros: got %v, want %v", size, err, ErrNoTable)
		}
	}
	b := image(t, talosDisk(512))
	for _, at := range []int{512, len(b) - 512} {
		b[at+60] ^= 1
	}
	if _, err := Read(bytes.NewReader(b), int64(len(b))); err == nil || errors.Is(err, ErrNoTable) {
		t.Errorf("both tables damaged: got %v, want an error that says so", err)
	}
}

func TestTruncated(t *testing.T) {
	b := image(t, talosDisk(512))
	for n := 0; n < len(b); n += 511 + n/3 {
		if _, err := Read(bytes.NewReader(b[:n]), int64(n)); err == nil && n < 9*mib {
			t.Errorf("%d of %d bytes were read without an error", n, len(b))
		}
		if _, err := Read(bytes.NewReader(b[:n]), int64(len(b))); n < 34*512 && err == nil {
			t.Errorf("%d of %d bytes went through", n, len(b))
		}
	}
}

func TestGUID(t *testing.T) {
	const text = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	g, err := ParseGUID(strings.ToLower(text))
	if err != nil || g != EFISystem || g.String() != text {
		t.Errorf("got %s, %v, want %s", g, err, text)
	}
	if want := "28732ac11ff8d211ba4b00a0c93ec93b"; fmt.Sprintf("%x", g[:]) != want {
		t.Errorf("got %x on disk, want %s", g[:], want)
	}
	for _, s := range []string{"", text[1:], text + "0", strings.ReplaceAll(text, "-", ""), "G" + text[1:], "C12A-7328F81F-11D2-BA4B-00A0C93EC93B", "{" + text + "}"} {
		if g, err := ParseGUID(s); err == nil {
			t.Errorf("%q: got %s, want an error", s, g)
		}
	}
}

// TestVersion5 has the example of RFC 9562, appendix A.4.
func TestVersion5(t *testing.T) {
	dns := mustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	if got, want := version5(dns, "www.example.com").String(), "2ED6657D-E927-568B-95E1-2665A8AEA6A2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// smallImage is a disk of few bytes for fuzzing.
func smallImage(t testing.TB, sector int) []byte {
	d := &Disk{GUID: DeterministicGUID("disk"), SectorSize: sector, Partitions: []Partition{
		{Name: "one", Type: LinuxData, GUID: DeterministicGUID("one"), Offset: 32 << 10, Size: 4096},
		{Name: "two", Type: LinuxData, GUID: DeterministicGUID("two"), Offset: 40 << 10, Size: 4096},
	}}
	d.Size = minSize(t, d)
	return image(t, d)
}

// FuzzRead: whatever is read can be listed, and what can be written again reads
// the same.
func FuzzRead(f *testing.F) {
	f.Add(smallImage(f, 512))
	f.Add(smallImage(f, 4096))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		want := listing(d)
		m, err := d.Image()
		if err != nil {
			return
		}
		again, err := Read(m, m.Size())
		if err != nil || again.Damage != nil {
			t.Fatal(err, again.Damage)
		}
		if diff := cmp.Diff(want, listing(again)); diff != "" {
			t.Errorf("written again it reads differently:\n%s", diff)
		}
	})
}
