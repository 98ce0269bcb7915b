package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// TestDamagedChains changes entries of the table and of directories. The
// clusters are those of directories first: EFI is 2, EFI/Linux 3, EFI/boot 4,
// loader 5, loader/keys 6 and loader/keys/auto 7. EFI/Linux/Talos-v1.14.0.efi
// has the eight from 8 on.
func TestDamagedChains(t *testing.T) {
	whole := bytesOf(t, mustBuild(t, Options{Size: 5 * mib, ClusterSize: 512}, espFiles()))
	r, err := NewReader(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	const last = 0xffff
	entry := func(c int64, v uint16) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint16(b[r.fat+2*c:], v) }
	}
	rootSlot := func(i int64, s slot) func([]byte) {
		return func(b []byte) { copy(b[r.g.rootAt()+i*slotSize:], encode(s)) }
	}
	name := shortName([]byte("NEW        "))
	for _, c := range []struct {
		want  string
		spoil func([]byte)
	}{
		{"loader: its chain meets cluster 5, which is taken already", entry(5, 5)},
		{"loader: keys: auto: its chain meets cluster 2, which is taken already", entry(7, 2)},
		{"EFI: Linux: Talos-v1.14.0.efi: its chain goes to cluster 0, which does not exist", entry(9, 0)},
		{"Talos-v1.14.0.efi: its chain goes to cluster 65527, which does not exist", entry(9, 0xfff7)},
		{"Talos-v1.14.0.efi: its chain meets cluster 8, which is taken already", entry(9, 8)},
		{"Talos-v1.14.0.efi: its chain ends after 3 clusters of 8", entry(10, last)},
		{"Talos-v1.14.0~1.efi: its chain meets cluster 15, which is taken already", entry(20, 15)},
		{"NEW: its 4294967295 bytes are more than the file system has", rootSlot(5, slot{Name: name, Size: 1<<32 - 1})},
		{"NEW: its chain goes to cluster 1, which does not exist", rootSlot(5, slot{Name: name, Attributes: attrDir, ClusterLow: 1})},
		{"NEW: its chain meets cluster 2", rootSlot(5, slot{Name: name, Attributes: attrDir, ClusterLow: 2})},
		{`the file "EFI" is there twice`, rootSlot(6, slot{Name: joinShort("EFI", "")})},
		{`impossible name "A/B"`, rootSlot(6, slot{Name: joinShort("A/B", "")})},
		{`impossible name ""`, rootSlot(6, slot{Name: joinShort("", "")})},
		{"of which only 5242880 are there", func(b []byte) { binary.LittleEndian.PutUint16(b[19:], 10241) }},
		{"it is not a FAT file system", func(b []byte) { b[510] = 0 }},
		{"it is not a FAT file system", func(b []byte) { b[11] = 1 }},
		{"it is not a FAT file system", func(b []byte) { b[13] = 3 }},
		{"do not make a file system", func(b []byte) { binary.LittleEndian.PutUint16(b[22:], 0xffff) }},
	} {
		b := bytes.Clone(whole)
		c.spoil(b)
		if _, err := NewReader(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestForeignSlots: labels, deleted files and long names that lost their file
// are no files.
func TestForeignSlots(t *testing.T) {
	b := bytesOf(t, mustBuild(t, Options{Size: mib}, nil))
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var dir []byte
	mine, other := joinShort("MINE", "TXT"), joinShort("OTHER", "TXT")
	dir = append(dir, encode(slot{Name: joinShort("A LABEL", ""), Attributes: attrLabel})...)
	dir = append(dir, encode(slot{Name: shortName([]byte("\xe5DELETEDTXT"))})...)
	dir = append(dir, longSlots("a name of nobody's", other)...)
	dir = append(dir, encode(slot{Name: mine, Case: lowerExt})...)
	dir = append(dir, longSlots("a name that is cut off", other)[:slotSize]...)
	dir = append(dir, encode(slot{Name: other, Case: lowerBase | lowerExt})...)
	dir = append(dir, encode(slot{Name: shortName([]byte("\x05\x9a      \x81  "))})...)
	copy(b[r.g.rootAt():], dir)
	if r, err = NewReader(bytes.NewReader(b), int64(len(b))); err != nil {
		t.Fatal(err)
	}
	want := "MINE.txt other.txt σÜ.ü"
	var got []string
	for _, f := range r.root.children {
		got = append(got, f.name)
	}
	if strings.Join(got, " ") != want || r.Label != "A LABEL" {
		t.Errorf("got %q with label %q, want %q", got, r.Label, want)
	}
}

// tiny is a file system of few bytes. FAT32 has far too few clusters in it.
func tiny(t testing.TB, kind Kind, size int64) []byte {
	t.Helper()
	root, err := newTree(espFiles()[3:], true)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Size: size, Label: "TINY"}
	g := layOut(choice{kind, 512}, 512, size, 16)
	return bytesOf(t, g.image(o, joinShort("TINY", ""), root))
}

// exercise reads everything in a file system that is likely damaged.
func exercise(b []byte) error {
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	_, err = r.Free()
	errs := []error{err}
	budget := int64(1 << 20)
	errs = append(errs, fs.WalkDir(r, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || budget <= 0 {
			return err
		}
		f, err := r.Open(path)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, io.LimitReader(f, budget))
		budget -= n
		return err
	}))
	return errors.Join(errs...)
}

func TestTruncated(t *testing.T) {
	for _, kind := range []Kind{FAT12, FAT32} {
		b := tiny(t, kind, 64<<10)
		if err := exercise(b); err != nil {
			t.Fatal(err)
		}
		end := len(bytes.TrimRight(b, "\x00")) // that of loader/loader.conf, the seed behind it is zeros
		for n := 0; n < len(b); n += 37 {
			if err := exercise(b[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes went through", kind, n, len(b))
			}
			// The reader is told the full size, and gets less.
			r, err := NewReader(bytes.NewReader(b[:n]), int64(len(b)))
			if err == nil {
				_, err = fs.ReadFile(r, "loader/loader.conf")
			}
			if (err == nil) != (n >= end) {
				t.Errorf("%s: %d bytes, of which %d matter: got %v", kind, n, end, err)
			}
		}
	}
}

func TestBitFlips(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, kind := range []Kind{FAT12, FAT32} {
		b := tiny(t, kind, 64<<10)
		for range 6_000 {
			i := rng.IntN(24 << 10) // boot sector, tables and directories
			if rng.IntN(2) == 0 {
				i = rng.IntN(90)
			}
			was := b[i]
			b[i] ^= 1 << rng.IntN(8)
			exercise(b)
			b[i] = was
		}
	}
}

// TestLargeAndEmpty: a table of 1 GiB that is a hole costs no memory.
func TestLargeAndEmpty(t *testing.T) {
	if testing.Short() {
		t.Skip("it counts 2^25 clusters")
	}
	m := mustBuild(t, Options{Size: 128 << 30}, nil)
	if n := m.DataSize(); n > 4096 {
		t.Errorf("an empty file system has %d bytes that are not zero", n)
	}
	r := read(t, m)
	if got, want := summary(t, r), "FAT32 sector=512 cluster=32768 free=137405333504"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(tiny(f, FAT12, 32<<10))
	f.Add(tiny(f, FAT32, 64<<10))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := exercise(b); err != nil {
			return
		}
		// What was read can be written again.
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		want, err := listing(r)
		if err != nil {
			t.Fatal(err)
		}
		files, ok := filesOf(t, r)
		if !ok {
			return
		}
		got, err := listing(read(t, mustBuild(t, Options{Size: 512 * mib}, files)))
		if err != nil || withoutTimes(got) != withoutTimes(want) {
			t.Errorf("%v, got:\n%s\nwant:\n%s", err, got, want)
		}
	})
}

// withoutTimes: stamps can be of days that do not exist, and come back as others.
func withoutTimes(list string) string {
	var b strings.Builder
	for line := range strings.Lines(list) {
		f := strings.SplitN(strings.TrimSpace(line), "T", 2)
		b.WriteString(f[0][:min(17, len(f[0]))] + f[1][8:] + "\n")
	}
	return b.String()
}

// filesOf are the files of a file system, if the names are such as can be written.
func filesOf(t *testing.T, r *Reader) (files []File, ok bool) {
	ok = true
	err := fs.WalkDir(r, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		ok = ok && checkName(d.Name()) == nil
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := File{Path: path, ModTime: info.ModTime(), ReadOnly: info.Mode()&0o200 == 0}
		if !d.IsDir() {
			f.Content = sparse.New(info.Size())
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, ok
}
