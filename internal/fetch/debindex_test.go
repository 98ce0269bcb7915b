package fetch

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

const sha = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// paragraph is a package of an index.
func paragraph(e debEntry) string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nDepends: %s\nFilename: %s\nSize: %d\nSHA256: %s\nDescription: x\n Package: not this\n\n",
		e.name, e.version, e.arch, strings.Repeat("y, ", 40_000), e.file, e.size, e.sha256)
}

func TestIndex(t *testing.T) {
	t.Parallel()
	a := debEntry{name: "bash", version: "5.2-1", arch: "amd64", file: "pool/main/b/bash/bash_5.2-1_amd64.deb", size: 10, sha256: sha}
	b := debEntry{name: "bash", version: "1:5.3-1", arch: "all", file: "pool/main/b/bash/bash_5.3-1_all.deb", size: 20, sha256: sha}
	other := debEntry{name: "bash-doc", version: "5.2-1", arch: "all", file: "pool/main/b/bash/bash-doc_5.2-1_all.deb", size: 30, sha256: sha}
	bad := func(change func(*debEntry)) debEntry { e := a; e.version = "bad"; change(&e); return e }
	entries := []debEntry{
		other, a,
		bad(func(e *debEntry) { e.file = "../../etc/passwd" }),
		bad(func(e *debEntry) { e.file = "/etc/passwd" }),
		bad(func(e *debEntry) { e.file = "pool/x?y=z" }),
		bad(func(e *debEntry) { e.file = "pool/x\ty" }),
		bad(func(e *debEntry) { e.sha256 = "abc" }),
		bad(func(e *debEntry) { e.size = -1 }),
		bad(func(e *debEntry) { e.arch = "" }),
		b,
	}
	text := ""
	for _, e := range entries {
		text += paragraph(e)
	}
	for name, text := range map[string]string{"whole": text, "no newline at the end": strings.TrimRight(text, "\n"), "CRLF": strings.ReplaceAll(text, "\n", "\r\n")} {
		var x bytes.Buffer
		if err := writeIndex(&x, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]debEntry{a, b}, index(x.Bytes()).find("bash"), cmp.AllowUnexported(debEntry{})); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", name, diff)
		}
		if got := index(x.Bytes()).find("bas"); got != nil {
			t.Errorf("%s: got %v, want nothing", name, got)
		}
	}
}

func TestIndexLimits(t *testing.T) {
	t.Parallel()
	err := parsePackages(strings.NewReader("Package: "+strings.Repeat("x", maxIndexLine)), func(debEntry) error { return nil })
	wantError(t, err, "a line of more than")
	_, err = io.ReadAll(&limited{r: strings.NewReader("12345"), left: 4})
	wantError(t, err, "unpacks to more")
	if _, err := io.ReadAll(&limited{r: strings.NewReader("1234"), left: 4}); err != nil {
		t.Error(err)
	}
}

func compress(t testing.TB, ending, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ending {
	case "":
		return []byte(text)
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	case ".lz4":
		w = lz4.NewWriter(&b)
	}
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpackIndex(t *testing.T) {
	t.Parallel()
	for _, ending := range []string{"", ".gz", ".xz", ".zst", ".lz4"} {
		r, err := unpackIndex(bytes.NewReader(compress(t, ending, "hello, index")))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != "hello, index" {
			t.Errorf("%q: got %q, %v", ending, got, err)
		}
	}
}

func FuzzPackages(f *testing.F) {
	f.Add([]byte(paragraph(debEntry{name: "bash", version: "5.2-1", arch: "amd64", file: "pool/main/b/bash/bash_5.2-1_amd64.deb", size: 10, sha256: sha})))
	f.Add([]byte("Package: x\n\n\n\nVersion"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var entries []debEntry
		err := parsePackages(bytes.NewReader(data), func(e debEntry) error { entries = append(entries, e); return nil })
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := writeIndex(&b, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		found := map[string][]debEntry{}
		for _, e := range entries {
			found[e.name] = append(found[e.name], e)
		}
		for name, want := range found {
			if diff := cmp.Diff(want, index(b.Bytes()).find(name), cmp.AllowUnexported(debEntry{})); diff != "" {
				t.Errorf("%q (-want +got):\n%s", name, diff)
			}
		}
	})
}

func FuzzRelease(f *testing.F) {
	f.Add("Components: main updates/contrib\nAcquire-By-Hash: yes\nSHA256:\n " + sha + " 10 main/binary-amd64/Packages.gz\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRelease(text)
		if err != nil {
			return
		}
		for name, file := range r.files {
			if file.size <= 0 || !hex256.MatchString(file.sha256) {
				t.Errorf("%s: %+v", name, file)
			}
		}
	})
}

// TestSourceIndex takes the upstream's tarball out of a source package.
func TestSourceIndex(t *testing.T) {
	t.Parallel()
	other := strings.Repeat("f", 64)
	text := "Package: tool\nBinary: tool, tool-doc\nVersion: 1:2.8-3\nArchitecture: any all\nPackage-List:\n tool deb admin optional arch=any\n" +
		"Files:\n abc 3 tool_2.8.orig.tar.xz\nChecksums-Sha256:\n " +
		other + " 30 tool_2.8-3.dsc\n " + other + " 12 tool_2.8.orig-tests.tar.gz\n " + sha + " 10 tool_2.8.orig.tar.xz\n " +
		other + " 11 tool_2.8.orig.tar.xz.asc\n " + other + " 20 tool_2.8-3.debian.tar.xz\nDirectory: pool/main/t/tool\n\n" +
		"Package: native\nVersion: 7\nArchitecture: all\nChecksums-Sha256:\n " + other + " 30 native_7.dsc\n " + sha + " 40 native_7.tar.xz\nDirectory: pool/main/n/native\n"
	var x bytes.Buffer
	if err := writeIndex(&x, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []debEntry{
		{name: "tool", version: "1:2.8-3", arch: SourceArch, file: "pool/main/t/tool/tool_2.8.orig.tar.xz", size: 10, sha256: sha},
		{name: "native", version: "7", arch: SourceArch, file: "pool/main/n/native/native_7.tar.xz", size: 40, sha256: sha},
	} {
		if diff := cmp.Diff([]debEntry{want}, index(x.Bytes()).find(want.name), cmp.AllowUnexported(debEntry{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.name, diff)
		}
	}
	if got := fileNames("tool", "2.8-3", SourceArch)[0]; got != "tool_2.8.orig.tar.xz" {
		t.Errorf("guessed %s", got)
	}
}
