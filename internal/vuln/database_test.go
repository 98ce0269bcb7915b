package vuln

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/cache"
)

// entry is an OSV entry in the making.
type entry map[string]any

func newEntry(id string, more entry) entry {
	e := entry{"schema_version": "1.7.3", "id": id, "modified": "2026-01-02T03:04:05Z", "published": "2026-01-01T00:00:00Z", "summary": "About " + id}
	maps.Copy(e, more)
	return e
}

// affects is the part of an entry about a package: pairs of an event and a version.
func affects(ecosystem, name string, events ...string) map[string]any {
	kind := "ECOSYSTEM"
	if ecosystem == "Go" {
		kind = "SEMVER"
	}
	var list []map[string]string
	for i := 0; i+1 < len(events); i += 2 {
		list = append(list, map[string]string{events[i]: events[i+1]})
	}
	a := map[string]any{"package": map[string]any{"ecosystem": ecosystem, "name": name}}
	if list != nil {
		a["ranges"] = []any{map[string]any{"type": kind, "events": list}}
	}
	return a
}

func (e entry) json(t testing.TB) []byte {
	t.Helper()
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func zipOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		w, err := z.Create(fmt.Sprint(e["id"]) + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.json(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// write writes files into a new directory.
func write(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o777), os.WriteFile(p, data, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openDB(t testing.TB, dir string) *DB {
	t.Helper()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), dir, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func ids(t testing.TB, db *DB, eco *ecosystem, name string) []string {
	t.Helper()
	list, err := db.find(eco, name)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, r := range list {
		found = append(found, r.ID)
	}
	return found
}

func TestForms(t *testing.T) {
	a := newEntry("GO-2026-0001", entry{"affected": []any{affects("Go", "example.org/a", "introduced", "0")}})
	b := newEntry("DSA-1-1", entry{"affected": []any{affects("Debian:12", "b", "introduced", "0")}})
	for name, files := range map[string]map[string][]byte{
		"one":         {"all.zip": zipOf(t, a, b)},
		"many":        {"Go/all.zip": zipOf(t, a), "Debian:12/all.zip": zipOf(t, b), "Debian/all.zip": zipOf(t, b), "ecosystems.txt": []byte("Go\n")},
		"names":       {"Go.zip": zipOf(t, a), "Debian.ZIP": zipOf(t, b)},
		"files":       {"GO-2026-0001.json": a.json(t), "Debian/DSA-1-1.json": b.json(t), "Go/modified_id.csv": []byte("x")},
		"other kinds": {"all.zip": zipOf(t, a, b, newEntry("MAL-1", entry{"affected": []any{affects("npm", "left-pad", "introduced", "0")}}))},
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, write(t, files))
			if got, want := ids(t, db, goModules, "example.org/a"), []string{"GO-2026-0001"}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if got, want := ids(t, db, debian, "b"), []string{"DSA-1-1"}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			want := DatabaseInfo{Entries: 2, Ecosystems: map[string]int{"Go": 1, "Debian:12": 1}, Newest: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
			if d := cmp.Diff(want, db.Info()); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestNewest: of several copies of an entry the newest counts, even if it takes a
// package out or was withdrawn.
func TestNewest(t *testing.T) {
	old := func(id string) entry {
		return newEntry(id, entry{"affected": []any{affects("Go", "example.org/a", "introduced", "0")}})
	}
	later := entry{"modified": "2026-02-01T00:00:00.5Z"}
	withdrawn, moved := old("GO-1"), old("GO-2")
	maps.Copy(withdrawn, later)
	withdrawn["withdrawn"] = "2026-02-01T00:00:00Z"
	maps.Copy(moved, later)
	moved["affected"] = []any{affects("Go", "example.org/b", "introduced", "0")}
	for name, files := range map[string]map[string][]byte{
		"old first": {"a.zip": zipOf(t, old("GO-1"), old("GO-2"), old("GO-3")), "b.zip": zipOf(t, withdrawn, moved, old("GO-3"))},
		"new first": {"a.zip": zipOf(t, withdrawn, moved), "b.zip": zipOf(t, old("GO-1"), old("GO-2"), old("GO-3"))},
	} {
		db := openDB(t, write(t, files))
		if got, want := ids(t, db, goModules, "example.org/a"), []string{"GO-3"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
		if got, want := ids(t, db, goModules, "example.org/b"), []string{"GO-2"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// TestIndexAgain: the index of the same files is made once, and that of others anew.
func TestIndexAgain(t *testing.T) {
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, map[string][]byte{"a.json": newEntry("GO-1", entry{"affected": []any{affects("Go", "a", "introduced", "0")}}).json(t)})
	open := func() string {
		t.Helper()
		db, err := Open(t.Context(), dir, c)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		return strings.Join(ids(t, db, goModules, "a"), " ")
	}
	if got := open(); got != "GO-1" {
		t.Errorf("got %s", got)
	}
	p := filepath.Join(dir, "a.json")
	info, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	other := newEntry("GO-2", entry{"affected": []any{affects("Go", "a", "introduced", "0")}}).json(t)
	put := func(at time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(p, other, 0o666), os.Chtimes(p, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	put(info.ModTime())
	if got := open(); got != "GO-1" {
		t.Errorf("an index of files with the same sizes and times was made again: got %s", got)
	}
	put(info.ModTime().Add(time.Second))
	if got := open(); got != "GO-2" {
		t.Errorf("got %s, want that of the changed file", got)
	}
}

func TestBadDatabases(t *testing.T) {
	good := zipOf(t, newEntry("GO-1", entry{"affected": []any{affects("Go", "a", "introduced", "0")}}))
	for _, c := range []struct {
		name  string
		files map[string][]byte
		want  string
	}{
		{"nothing", map[string][]byte{"readme.txt": nil}, ErrNoDatabase.Error()},
		{"no zip", map[string][]byte{"all.zip": []byte("PK")}, "all.zip: zip: not a valid zip file"},
		{"cut off", map[string][]byte{"Go/all.zip": good[:len(good)-30]}, "Go/all.zip"},
		{"damaged", map[string][]byte{"Go/all.zip": bytes.Replace(good, []byte{0x1f}, []byte{0x2f}, 1)}, ""},
		{"no JSON", map[string][]byte{"Go/x.json": []byte(`{"Go`)}, "Go/x.json: reading it as an entry"},
		{"no entry", map[string][]byte{"x.json": []byte(`{"a": "Go"}`)}, "x.json: it has no id"},
		{"another kind of file", map[string][]byte{"x.json": []byte(`[]`)}, "x.json: reading it as an entry"},
		{"bad time", map[string][]byte{"x.json": []byte(`{"id":"GO-1","modified":"yesterday","affected":[]}`)}, "x.json: reading it as an entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, err := cache.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			db, err := Open(t.Context(), write(t, c.files), store)
			if err == nil {
				db.Close()
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	store, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "gone"), store); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

// TestLyingSize: an entry that has more than it says is not read to its end.
func TestLyingSize(t *testing.T) {
	b := &builder{newest: map[string]time.Time{}, records: map[string][]stored{}, left: maxBytes}
	endless := func() (io.ReadCloser, error) { return io.NopCloser(zeros{}), nil }
	for _, size := range []int64{10, maxEntry + 1} {
		if err := b.read(job{name: "x", size: size, open: endless}, new(bytes.Buffer)); err == nil {
			t.Errorf("of size %d: got no error", size)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzEntry: no entry is too bad to be refused, and what is taken can be evaluated.
func FuzzEntry(f *testing.F) {
	f.Add(newEntry("GO-1", entry{"aliases": []string{"CVE-1"}, "affected": []any{affects("Go", "a", "introduced", "0", "fixed", "1.2.3")}}).json(f), "1.2.2")
	f.Add(newEntry("DSA-1", entry{"severity": []any{entry{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}}, "affected": []any{affects("Debian:12", "a", "introduced", "0", "last_affected", "1:1.2-3~x", "limit", "2")}}).json(f), "1-1")
	f.Fuzz(func(t *testing.T, data []byte, version string) {
		e, err := parseEntry(data)
		if err != nil {
			return
		}
		records, _ := e.records()
		for _, r := range records {
			if r.eco.valid(version) {
				r.affects(r.eco, version)
			}
			new(Finding).rate([]record{r})
		}
		b := &builder{newest: map[string]time.Time{}, records: map[string][]stored{}, left: maxBytes}
		if err := b.add(e); err != nil {
			t.Fatal(err)
		}
		if err := b.write(io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}

// bigDatabase has as many entries as the exports of Go and Debian.
func bigDatabase(b *testing.B) string {
	var debs []entry
	for i := range 40_000 {
		var versions []string
		for v := range 60 {
			versions = append(versions, fmt.Sprintf("1.%d-%d", i%7, v))
		}
		var affected []any
		for _, release := range []string{"Debian:11", "Debian:12", "Debian:13"} {
			a := affects(release, fmt.Sprintf("source%d", i%3000), "introduced", "0", "fixed", fmt.Sprintf("1.%d-40", i%7))
			a["versions"] = versions[:40]
			affected = append(affected, a)
		}
		debs = append(debs, newEntry(fmt.Sprintf("DEBIAN-CVE-2026-%d", i), entry{"upstream": []string{fmt.Sprintf("CVE-2026-%d", i)}, "affected": affected}))
	}
	var modules []entry
	for i := range 6_000 {
		modules = append(modules, newEntry(fmt.Sprintf("GO-2026-%04d", i), entry{"affected": []any{affects("Go", fmt.Sprintf("example.org/m%d", i%1500), "introduced", "0", "fixed", "1.2.3")}}))
	}
	return write(b, map[string][]byte{"Debian/all.zip": zipOf(b, debs...), "Go/all.zip": zipOf(b, modules...)})
}

func BenchmarkOpen(b *testing.B) {
	dir := bigDatabase(b)
	c, err := cache.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			fresh, err := cache.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			openOnce(b, dir, fresh)
		}
	})
	openOnce(b, dir, c)
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			openOnce(b, dir, c)
		}
	})
}

func openOnce(b *testing.B, dir string, c *cache.Cache) {
	db, err := Open(b.Context(), dir, c)
	if err != nil {
		b.Fatal(err)
	}
	db.Close()
}
