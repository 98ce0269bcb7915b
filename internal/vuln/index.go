package vuln

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// shortened is a key that fits into the cache's, whatever it is made of.
func shortened(key string) string {
	const enough = 1000
	if len(key) <= enough {
		return key
	}
	return fmt.Sprintf("%s\n%x", key[:enough], sha256.Sum256([]byte(key)))
}

// builder makes an index. An entry may be in several files (Debian/all.zip and
// Debian:12/all.zip): the one that was modified last counts.
type builder struct {
	mu         sync.Mutex
	newest     map[string]time.Time // of entries, by ID
	records    map[string][]stored  // by key
	unreadable int
	entries    int
	left       int64 // bytes that may still be read
}

// stored is a record as it will be written.
type stored struct {
	id        string
	ecosystem string // with the release
	modified  time.Time
	data      []byte
}

// job is an entry to read.
type job struct {
	name string
	size int64 // bytes
	open func() (io.ReadCloser, error)
	done func()
}

// writeIndex reads the files with all processors, an entry at a time.
func writeIndex(ctx context.Context, to io.Writer, files []databaseFile) error {
	b := &builder{newest: map[string]time.Time{}, records: map[string][]stored{}, left: maxBytes}
	g, ctx := errgroup.WithContext(ctx)
	jobs := make(chan job)
	g.Go(func() error {
		defer close(jobs)
		return feed(ctx, files, jobs)
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error { return b.work(jobs) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return b.write(to)
}

// feed gives the workers their jobs. A file stays open until its last one is done.
func feed(ctx context.Context, files []databaseFile, jobs chan<- job) error {
	for _, f := range files {
		var pending sync.WaitGroup
		err := f.eachEntry(func(j job) error {
			j.done = pending.Done
			pending.Add(1)
			select {
			case jobs <- j:
				return nil
			case <-ctx.Done():
				pending.Done()
				return ctx.Err()
			}
		}, pending.Wait)
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) work(jobs <-chan job) error {
	var buf bytes.Buffer
	for j := range jobs {
		err := b.read(j, &buf)
		j.done()
		if err != nil {
			return fmt.Errorf("%s: %w", j.name, err)
		}
	}
	return nil
}

func (b *builder) read(j job, buf *bytes.Buffer) error {
	if j.size > maxEntry {
		return fmt.Errorf("it has more than %d MiB", maxEntry>>20)
	}
	if err := b.spend(j.size); err != nil {
		return err
	}
	r, err := j.open()
	if err != nil {
		return err
	}
	defer r.Close()
	buf.Reset()
	if _, err := buf.ReadFrom(io.LimitReader(r, j.size+1)); err != nil {
		return err
	}
	if int64(buf.Len()) != j.size {
		return fmt.Errorf("it has not the %d bytes that it should have", j.size)
	}
	if !mayMatter(buf.Bytes()) {
		return nil
	}
	e, err := parseEntry(buf.Bytes())
	if err != nil {
		return err
	}
	return b.add(e)
}

// spend takes an entry off what may be read.
func (b *builder) spend(size int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries++
	if b.left -= size; b.left < 0 || b.entries > maxEntries {
		return fmt.Errorf("there are more than %d entries, or %d GiB of them", maxEntries, maxBytes>>30)
	}
	return nil
}

// mayMatter says whether an entry can be of an ecosystem that is known; most are of
// others. What names none at all is looked at, and found to be no entry.
func mayMatter(data []byte) bool {
	for _, word := range []string{`"Go"`, `"Debian`, `"Linux"`} {
		if bytes.Contains(data, []byte(word)) {
			return true
		}
	}
	return !bytes.Contains(data, []byte(`"ecosystem"`))
}

// add takes up an entry. One that was withdrawn has no records, and outdates those
// of an older copy.
func (b *builder) add(e *osvEntry) error {
	var records []record
	unreadable := 0
	if e.Withdrawn == nil {
		records, unreadable = e.records()
	}
	list := make([]stored, len(records))
	for i, r := range records {
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		list[i] = stored{r.ID, r.ecosystem(), r.Modified, data}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unreadable += unreadable
	if at, ok := b.newest[e.ID]; !ok || e.Modified.After(at) {
		b.newest[e.ID] = e.Modified
	}
	for i, r := range records {
		key := recordKey(r.eco, r.Name)
		b.records[key] = append(b.records[key], list[i])
	}
	return nil
}

// write writes the records of each package, the table, and where that begins.
func (b *builder) write(to io.Writer) error {
	w := bufio.NewWriterSize(to, 1<<20)
	t := table{Records: map[string]section{}, Info: DatabaseInfo{Entries: len(b.newest), Unreadable: b.unreadable}}
	for _, at := range b.newest {
		if at.After(t.Info.Newest) {
			t.Info.Newest = at
		}
	}
	ids := map[string]map[string]bool{} // of entries, by ecosystem
	var at int64
	for _, key := range slices.Sorted(maps.Keys(b.records)) {
		list := b.current(key)
		if len(list) == 0 {
			continue
		}
		data := joined(list)
		t.Records[key] = section{at, int64(len(data))}
		at += int64(len(data))
		if _, err := w.Write(data); err != nil {
			return err
		}
		for _, s := range list {
			if ids[s.ecosystem] == nil {
				ids[s.ecosystem] = map[string]bool{}
			}
			ids[s.ecosystem][s.id] = true
		}
	}
	t.Info.Ecosystems = map[string]int{}
	for ecosystem, of := range ids {
		t.Info.Ecosystems[ecosystem] = len(of)
	}
	return errors.Join(t.write(w, at), w.Flush())
}

func (t table) write(w io.Writer, at int64) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = w.Write(binary.BigEndian.AppendUint64(data, uint64(at)))
	return err
}

// current are the records for a package that are not outdated, each once.
func (b *builder) current(key string) []stored {
	list := slices.DeleteFunc(b.records[key], func(s stored) bool { return s.modified.Before(b.newest[s.id]) })
	slices.SortFunc(list, func(x, y stored) int { return cmp.Or(cmp.Compare(x.id, y.id), bytes.Compare(x.data, y.data)) })
	return slices.CompactFunc(list, func(x, y stored) bool { return bytes.Equal(x.data, y.data) })
}

// joined is the JSON of several records.
func joined(list []stored) []byte {
	parts := make([][]byte, len(list))
	for i, s := range list {
		parts[i] = s.data
	}
	return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]"))
}
