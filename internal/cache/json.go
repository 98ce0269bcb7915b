package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// JSON reads v from the cache, or lets find set it and stores it.
func JSON[T any](ctx context.Context, c *Cache, key, label string, v *T, find func() error) error {
	found := false
	b, err := c.Make(ctx, key, label, func(f *os.File) error {
		if err := find(); err != nil {
			return err
		}
		found = true
		return json.NewEncoder(f).Encode(v)
	})
	if err != nil {
		return err
	}
	defer b.Close()
	if found {
		return nil
	}
	if err := json.NewDecoder(b).Decode(v); err != nil {
		return fmt.Errorf("reading %s from the cache: %w", label, err)
	}
	return nil
}
