package fetch

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/tools/txtar"

	"github.com/graftlinux/graft/internal/cache"
)

var hostile = module.Version{Path: "example.com/evil", Version: "v1.0.0"}

// withMode is a zip of one entry.
func withMode(t testing.TB, name string, mode fs.FileMode, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	h.SetMode(mode)
	part, err := w.CreateHeader(h)
	if err == nil {
		_, err = part.Write([]byte(content))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// patchSizes makes a zip claim other sizes of its first file.
func patchSizes(data []byte, size uint32) []byte {
	data = bytes.Clone(data)
	at := bytes.Index(data, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(data[at+24:], size)
	return data
}

func hostileZips(t testing.TB) map[string]struct {
	data  []byte
	words string
} {
	const prefix = "example.com/evil@v1.0.0/"
	one := func(name string) []byte { return zipOf(t, "", []txtar.File{{Name: name, Data: []byte("x")}}) }
	return map[string]struct {
		data  []byte
		words string
	}{
		"nothing":         {nil, "not a valid zip"},
		"no zip":          {[]byte("<html>" + strings.Repeat("x", 100)), "not a valid zip"},
		"cut":             {one(prefix + "a")[:60], "not a valid zip"},
		"no prefix":       {one("a"), "path does not have prefix"},
		"other module":    {one("example.com/good@v1.0.0/a"), "path does not have prefix"},
		"traversal":       {one(prefix + "../../a"), "malformed file path"},
		"absolute":        {one("/etc/passwd"), "path does not have prefix"},
		"backslash":       {one(prefix + `a\b`), "invalid char"},
		"nested go.mod":   {one(prefix + "sub/go.mod"), "not in module root"},
		"twice":           {zipOf(t, prefix, []txtar.File{{Name: "a"}, {Name: "a"}}), "multiple entries"},
		"case":            {zipOf(t, prefix, []txtar.File{{Name: "a"}, {Name: "A"}}), "case-insensitive"},
		"symlink":         {withMode(t, prefix+"a", fs.ModeSymlink|0o777, "/etc/passwd"), ""},
		"claims too much": {patchSizes(one(prefix+"a"), 600<<20), "too large"},
		"claims less":     {patchSizes(withMode(t, prefix+"a", 0o644, strings.Repeat("x", 1000)), 10), "zip:"},
		"large go.mod":    {patchSizes(one(prefix+"go.mod"), 17<<20), "too large"},
		"directory":       {append(one(prefix+"a"), zipEnd+strings.Repeat("\xff", 16)+"\x00\x00"...), "directory is damaged"},
	}
}

// TestHostileZip: a zip is refused before its sum is known, or it is harmless.
func TestHostileZip(t *testing.T) {
	t.Parallel()
	for name, tt := range hostileZips(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.files["/example.com/evil/@v/v1.0.0.zip"] = tt.data
			f := moduleFetcher(t, s)
			src, err := f.ResolveModule(context.Background(), ModuleSource{Path: hostile.Path, Version: hostile.Version})
			if tt.words != "" {
				wantError(t, err, tt.words)
				wantClean(t, f.Cache)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m, err := f.Module(context.Background(), src)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if got := listing(t, m.Source()); got != "-rw-r--r-- a\n" {
				t.Errorf("got %q, want a plain file", got)
			}
		})
	}
}

func FuzzZip(f *testing.F) {
	for _, z := range hostileZips(f) {
		f.Add(z.data)
	}
	f.Add(zipOf(f, "example.com/evil@v1.0.0/", []txtar.File{{Name: "go.mod", Data: []byte("module example.com/evil\n")}, {Name: "x/y.go"}}))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(dir, "zip")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := cache.File(name)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if checkZip(hostile, b.File) != nil {
			return
		}
		sum, err := zipSum(b.File)
		if err != nil {
			return
		}
		if want := sumOf(t, data); sum != want {
			t.Errorf("got the sum %s, want %s", sum, want)
		}
		z, err := openZip(hostile, sum, b)
		if err != nil {
			return
		}
		for name := range z.files {
			if _, err := z.read(name); err != nil {
				t.Errorf("what was hashed can be read: %v", err)
			}
		}
	})
}

func TestZipDirectoryLimit(t *testing.T) {
	t.Parallel()
	end := func(length, start uint32) []byte {
		b := make([]byte, maxZipDirectory+100)
		copy(b[len(b)-zipEndSize:], zipEnd)
		binary.LittleEndian.PutUint32(b[len(b)-zipEndSize+12:], length)
		binary.LittleEndian.PutUint32(b[len(b)-zipEndSize+16:], start)
		return b
	}
	for name, tt := range map[string]struct {
		length, start uint32
		ok            bool
	}{
		"small":        {46, maxZipDirectory, true},
		"long":         {maxZipDirectory + 1, maxZipDirectory, false},
		"far from end": {46, 10, false},
		"behind":       {46, maxZipDirectory + 99, false},
		"zip64":        {1<<32 - 1, 1<<32 - 1, false},
	} {
		data := end(tt.length, tt.start)
		if err := checkZipDirectory(bytes.NewReader(data), int64(len(data))); (err == nil) != tt.ok {
			t.Errorf("%s: got %v, want ok %v", name, err, tt.ok)
		}
	}
}
