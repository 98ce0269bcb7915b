package fetch

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/graftlinux/graft/internal/cache"
)

// readFile reads a file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, limit)
}

// readAll reads at most limit bytes; more is an error.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is larger than the %d KiB that are allowed", limit>>10)
	}
	return data, err
}

// readBlob reads an entry of the cache from its start, at most limit bytes.
func readBlob(b *cache.Blob, limit int64) ([]byte, error) {
	if b.Size > limit {
		return nil, tooLarge(limit)
	}
	data := make([]byte, b.Size)
	_, err := b.ReadAt(data, 0)
	if err != nil && !(errors.Is(err, io.EOF) && b.Size == 0) {
		return nil, err
	}
	return data, nil
}
