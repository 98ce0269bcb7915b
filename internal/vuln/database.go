package vuln

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/cache"
)

// indexVersion changes when the index of the same database does.
const indexVersion = "2"

// Limits of a database. The export of all ecosystems has some 700000 entries in 3
// GiB; the largest entry, of the kernel, has 4 MiB.
const (
	maxEntry   = 64 << 20
	maxEntries = 8 << 20
	maxBytes   = 64 << 30
	maxTable   = 256 << 20
)

// DB is a database that is open for scans.
type DB struct {
	blob  *cache.Blob
	table table
}

// table says where in the index the records of a package are.
type table struct {
	Info    DatabaseInfo       `json:"info"`
	Records map[string]section `json:"records"`
}

type section struct {
	Offset int64 `json:"o"`
	Size   int64 `json:"n"`
}

// ErrNoDatabase says that a directory has nothing of an OSV database.
var ErrNoDatabase = errors.New("there is no all.zip and no .json in it, nor in the directories in it")

// Open reads a database: a directory with all.zip, with a directory of that kind per
// ecosystem (Go/all.zip, Debian:12/all.zip), or with the .json files of one, as they
// are exported. The index is in the cache, by the names, sizes and times of files.
func Open(ctx context.Context, dir string, c *cache.Cache) (*DB, error) {
	db, err := open(ctx, dir, c)
	if err != nil {
		return nil, fmt.Errorf("reading the database %s: %w", dir, err)
	}
	return db, nil
}

func open(ctx context.Context, dir string, c *cache.Cache) (*DB, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	files, err := databaseFiles(dir)
	if err != nil {
		return nil, err
	}
	key := strings.Builder{}
	fmt.Fprintf(&key, "vulnerability index\nversion %s\n%s\n", indexVersion, dir)
	for _, f := range files {
		fmt.Fprintf(&key, "%s %d %d\n", f.name, f.info.Size(), f.info.ModTime().UnixNano())
	}
	blob, err := c.Make(ctx, shortened(key.String()), "vulnerabilities of "+dir, func(to *os.File) error {
		return writeIndex(ctx, to, files)
	})
	if err != nil {
		return nil, err
	}
	db := &DB{blob: blob}
	if err := db.readTable(); err != nil {
		return nil, errors.Join(fmt.Errorf("reading its index in the cache: %w", err), blob.Close())
	}
	return db, nil
}

// Close ends the use of a database.
func (db *DB) Close() error { return db.blob.Close() }

// Info says what the database has.
func (db *DB) Info() DatabaseInfo { return db.table.Info }

// databaseFile is a zip or an entry.
type databaseFile struct {
	path string
	name string // below the directory
	info fs.FileInfo
}

// databaseFiles are those of a database, in order.
func databaseFiles(dir string) ([]databaseFile, error) {
	var files []databaseFile
	look := func(sub string) ([]fs.DirEntry, error) {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		for _, e := range entries {
			ext := strings.ToLower(filepath.Ext(e.Name()))
			if ext != ".json" && ext != ".zip" {
				continue
			}
			p := filepath.Join(dir, sub, e.Name())
			info, err := os.Stat(p) // a link may lead to the file
			if err != nil {
				return nil, err
			}
			if info.Mode().IsRegular() {
				files = append(files, databaseFile{p, filepath.Join(sub, e.Name()), info})
			}
		}
		return entries, err
	}
	entries, err := look("")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil || !info.IsDir() {
			continue
		}
		if _, err := look(e.Name()); err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, ErrNoDatabase
	}
	return files, nil
}

// readTable reads the end of the index: the table, and where it begins.
func (db *DB) readTable() error {
	var end [8]byte
	if _, err := db.blob.ReadAt(end[:], db.blob.Size-int64(len(end))); err != nil {
		return err
	}
	at := int64(binary.BigEndian.Uint64(end[:]))
	size := db.blob.Size - int64(len(end)) - at
	if at < 0 || size < 0 || size > maxTable {
		return cache.ErrDamaged
	}
	return json.NewDecoder(io.NewSectionReader(db.blob, at, size)).Decode(&db.table)
}

// find reads what the database has of a package. Names of Go modules are looked up
// without regard to case, as package URLs may have lost it.
func (db *DB) find(eco *ecosystem, name string) ([]record, error) {
	at, ok := db.table.Records[recordKey(eco, name)]
	if !ok {
		return nil, nil
	}
	var list []record
	data := make([]byte, at.Size)
	if _, err := db.blob.ReadAt(data, at.Offset); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(r record) bool {
		return r.Name != name && !(eco == goModules && name == strings.ToLower(name))
	}), nil
}

func recordKey(eco *ecosystem, name string) string { return eco.name + "\n" + strings.ToLower(name) }

// eachEntry gives the entries of a file one by one, and how to open each; done is
// called before the file is closed.
func (f databaseFile) eachEntry(each func(job) error, done func()) error {
	if strings.ToLower(filepath.Ext(f.name)) != ".zip" {
		return each(job{name: f.name, size: f.info.Size(), open: func() (io.ReadCloser, error) { return os.Open(f.path) }})
	}
	z, err := zip.OpenReader(f.path)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	defer z.Close()
	defer done()
	for _, e := range z.File {
		if !strings.HasSuffix(e.Name, ".json") {
			continue
		}
		j := job{name: f.name + ": " + e.Name, size: int64(min(e.UncompressedSize64, maxEntry+1)), open: e.Open}
		if err := each(j); err != nil {
			return err
		}
	}
	return nil
}
