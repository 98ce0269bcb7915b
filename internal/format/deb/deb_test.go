package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const control = "Package: hello\nVersion: 1:2.0-1\nArchitecture: amd64\nDescription: says hello\n Package: not this\n"

type member struct {
	name string
	data []byte
}

// ar writes the members as an archive.
func ar(members ...member) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d%s", m.name, 0, 0, 0, "100644", len(m.data), arHeaderEnd)
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func tarball(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := h.PAXRecords["content"]
		h.PAXRecords = nil
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, content string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, PAXRecords: map[string]string{"content": content}}
}

func compress(t testing.TB, ending string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ending {
	case "":
		return data
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hello is a whole package, compressed as the ending says.
func hello(t testing.TB, ending string) []byte {
	return ar(
		member{"debian-binary", []byte("2.0\n")},
		member{"_unknown", []byte("ignored")},
		member{"control.tar" + ending, compress(t, ending, tarball(t, file("./md5sums", ""), file("./control", control)))},
		member{"data.tar" + ending, compress(t, ending, tarball(t,
			&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
			&tar.Header{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755},
			file("./usr/hello", "hello, world\n"),
			&tar.Header{Name: "./usr/hard", Typeflag: tar.TypeLink, Linkname: "./usr/hello"},
			&tar.Header{Name: "./usr/soft", Typeflag: tar.TypeSymlink, Linkname: "../hello"},
		))},
	)
}

// listing reads a whole package: one line for each entry.
func listing(data []byte) (Control, string, error) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return Control{}, "", err
	}
	defer r.Close()
	var b strings.Builder
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Control(), b.String(), nil
		}
		if err != nil {
			return r.Control(), b.String(), err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return r.Control(), b.String(), err
		}
		fmt.Fprintf(&b, "%c %04o %s %q -> %q\n", h.Typeflag, h.Mode, h.Name, content, h.Linkname)
	}
}

func TestReader(t *testing.T) {
	wantControl := Control{Package: "hello", Version: "1:2.0-1", Architecture: "amd64", Source: "hello", SourceVersion: "1:2.0-1"}
	want := `5 0755 . "" -> ""
5 0755 usr "" -> ""
0 0644 usr/hello "hello, world\n" -> ""
1 0000 usr/hard "" -> "usr/hello"
2 0000 usr/soft "" -> "../hello"
`
	for _, ending := range []string{"", ".gz", ".xz", ".zst"} {
		t.Run("data.tar"+ending, func(t *testing.T) {
			gotControl, got, err := listing(hello(t, ending))
			if err != nil {
				t.Fatal(err)
			}
			if gotControl != wantControl {
				t.Errorf("control: got %v, want %v", gotControl, wantControl)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDpkg reads what dpkg-deb writes, with the xz and zstd that it uses.
func TestDpkg(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg-deb")
	if err != nil {
		t.Skip("dpkg-deb is not installed (package dpkg)")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "DEBIAN/control"), "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: m <m@example.org>\nDescription: d\n")
	big := strings.Repeat("0123456789abcdef", 1<<16)
	write(t, filepath.Join(dir, "usr/big"), big)
	for _, kind := range []string{"none", "gzip", "xz", "zstd"} {
		out := filepath.Join(t.TempDir(), "x.deb")
		if msg, err := exec.Command(dpkg, "-Z"+kind, "--root-owner-group", "-b", dir, out).CombinedOutput(); err != nil {
			t.Logf("dpkg-deb cannot write %s: %s", kind, msg)
			continue
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		c, got, err := listing(data)
		if err != nil || c.Package != "x" || !strings.Contains(got, fmt.Sprintf("usr/big %q", big)) {
			t.Errorf("%s: got %v, error %v, and a listing of %d bytes", kind, c, err, len(got))
		}
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBadPackages(t *testing.T) {
	version := member{"debian-binary", []byte("2.0\n")}
	controlTar := member{"control.tar", tarball(t, file("control", control))}
	whole := hello(t, ".xz")
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-60] ^= 1
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "ar signature: unexpected EOF"},
		{"not ar", []byte("PK\x03\x04 zip file"), "no Debian package"},
		{"other ar", ar(member{"lib.o", nil}), `first member of the archive is "lib.o"`},
		{"old format", ar(member{"debian-binary", []byte("0.939000\n")}), "only 2.x is known"},
		{"no control", ar(version), "control.tar is missing"},
		{"data first", ar(version, member{"data.tar", nil}), `member "data.tar" where control.tar belongs`},
		{"no control file", ar(version, member{"control.tar", tarball(t, file("md5sums", ""))}), "has no control file"},
		{"no fields", ar(version, member{"control.tar", tarball(t, file("control", "Package: x\n"))}), "lacks Package"},
		{"odd source", ar(version, member{"control.tar", tarball(t, file("control", control+"Source: a (1\n"))}), `the field Source of the control file is "a (1": wanted is a name`},
		{"no data", ar(version, controlTar), "data.tar is missing"},
		{"lzma", ar(version, controlTar, member{"data.tar.lzma", nil}), `compression ".lzma" is not known`},
		{"cut", whole[:len(whole)-100], "unexpected EOF"},
		{"cut member", ar(version)[:70], "unexpected EOF"},
		{"flipped bit", damaged, "reading the files of hello"},
		{"climbing path", ar(version, controlTar, member{"data.tar", tarball(t, file("./../../etc/passwd", "x"))}), "not below the root"},
		{"climbing link", ar(version, controlTar, member{"data.tar", tarball(t, &tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "../b"})}), "not below the root"},
		{"size", []byte(arMagic + fmt.Sprintf("%-48s%-10s%s", "debian-binary", "-1", arHeaderEnd)), "size of ar member"},
		{"header end", []byte(arMagic + strings.Repeat(" ", 60)), "the archive is damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := listing(tt.data)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// TestXZDictionary hands the guard every dictionary size that there can be, in
// reads that tear each header apart.
func TestXZDictionary(t *testing.T) {
	data := compress(t, ".xz", []byte("hello"))
	const dictByte = 12 + 4 // stream header, then size, flags, filter, properties' size
	if _, err := io.Copy(io.Discard, newXZGuard(bytes.NewReader(data))); err != nil {
		t.Fatalf("a good file: %v", err)
	}
	for bits := byte(0); bits < 64; bits++ {
		bad := bytes.Clone(data)
		bad[dictByte] = bits
		_, err := io.Copy(io.Discard, newXZGuard(iotest.OneByteReader(bytes.NewReader(bad))))
		wantOK := bits <= 30 // 128 MiB
		if (err == nil) != wantOK {
			t.Errorf("dictionary byte %d: error %v, want ok = %v", bits, err, wantOK)
		}
	}
}

// TestXZSecondBlock finds a header that only comes later.
func TestXZSecondBlock(t *testing.T) {
	xzTool, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("xz is not installed (package xz-utils)")
	}
	cmd := exec.Command(xzTool, "-c", "-1", "--block-size=64KiB")
	cmd.Stdin = strings.NewReader(strings.Repeat("many blocks ", 1<<15))
	data, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	r, err := xz.ReaderConfig{SingleStream: true}.NewReader(newXZGuard(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != 12<<15 || err != nil {
		t.Errorf("got %d bytes and error %v, want %d", n, err, 12<<15)
	}
	blocks := 0
	for i := 1; i < len(data)-3; i++ {
		// filter, size of its properties, a dictionary of 1 MiB
		if bytes.Equal(data[i:i+3], []byte{xzFilterLZMA2, 1, 16}) {
			if blocks++; blocks == 2 {
				data[i+2] = 40
			}
		}
	}
	if blocks < 3 {
		t.Fatalf("found %d block headers, want at least 3", blocks)
	}
	_, err = io.Copy(io.Discard, newXZGuard(bytes.NewReader(data)))
	if err == nil || !strings.Contains(err.Error(), "dictionary of 4096 MiB") {
		t.Errorf("second block with a huge dictionary: got error %v", err)
	}
}

// TestLimit reads a member that is larger than it may be, and one that is not.
func TestLimit(t *testing.T) {
	for _, limit := range []int64{4, 5} {
		a := &arReader{r: bytes.NewReader(ar(member{"data.tar", []byte("hello")}))}
		if err := a.readMagic(); err != nil {
			t.Fatal(err)
		}
		r, err := openMember(a, "data.tar", limit)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if wantOK := limit == 5; (err == nil) != wantOK || string(got) != "hello"[:limit] {
			t.Errorf("limit of %d bytes: got %q and error %v", limit, got, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, ending := range []string{"", ".gz", ".xz", ".zst"} {
		f.Add(hello(f, ending))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		defer r.Close()
		for {
			if _, err := r.Next(); err != nil {
				return
			}
			// A tar of a few bytes may declare a sparse file of many GiB.
			if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil && !errors.Is(err, io.EOF) {
				return
			}
		}
	})
}
