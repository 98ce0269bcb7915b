package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/build/store"
	"github.com/graftlinux/graft/internal/cache"
)

func newCache(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "See and prune the cache",
		Long: `graft keeps what is costly to make or to get (layers, firmware archives, facts
about images, sources, steps of builds) in a cache, keyed by content. It may be
removed at any time.`,
		Args: cobra.NoArgs,
		RunE: help,
	}
	var dir string
	cmd.AddCommand(newCacheList(s, &dir), newCachePrune(s, &dir))
	return cmd
}

func newCacheList(s Streams, dir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the entries, the one used last first",
		Args:    cobra.NoArgs,
	}
	cacheDirFlag(cmd, dir)
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(*cobra.Command, []string) error {
		entries, err := cacheEntries(*dir)
		if err != nil {
			return err
		}
		return printEntries(s, entries, *format)
	}
	return cmd
}

// cacheEntries are those of the cache and of the builds' store.
func cacheEntries(dir string) ([]cache.Entry, error) {
	c, err := existingCache(dir)
	if err != nil {
		return nil, err
	}
	entries, err := c.List()
	if err != nil {
		return nil, err
	}
	if dir, err = storeDir(dir); err != nil {
		return nil, err
	}
	uses, err := store.List(dir)
	for _, u := range uses {
		entries = append(entries, cache.Entry{Label: "build " + u.Label, Digest: u.Digest, Size: u.Size, Made: u.LastUsed, LastUsed: u.LastUsed})
	}
	slices.SortStableFunc(entries, func(a, b cache.Entry) int { return b.LastUsed.Compare(a.LastUsed) })
	return entries, err
}

func printEntries(s Streams, entries []cache.Entry, format string) error {
	if entries == nil {
		entries = []cache.Entry{}
	}
	switch format {
	case "json":
		return printJSON(s.Out, entries)
	case "yaml":
		return printYAML(s.Out, entries)
	}
	var total int64
	t := newTable(s.Out, "ENTRY", "SIZE", "DIGEST", "LAST USED")
	for _, e := range entries {
		total += e.Size
		t.row(printable(e.Label), size(e.Size), e.Digest, e.LastUsed.Format(time.DateTime))
	}
	fmt.Fprintf(s.Err, "%d entries, %s\n", len(entries), size(total))
	return t.flush()
}

func newCachePrune(s Streams, dir *string) *cobra.Command {
	var (
		limits  cache.Limits
		maxSize string
	)
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove entries that were not used for long, and what killed processes left",
		Example: `  graft cache prune
  graft cache prune --older-than 24h --max-size 2G
  graft cache prune --all`,
		Args: cobra.NoArgs,
	}
	cacheDirFlag(cmd, dir)
	cmd.Flags().DurationVar(&limits.MaxAge, "older-than", 30*24*time.Hour, "remove what was not used for so long (0: nothing for its age)")
	cmd.Flags().StringVar(&maxSize, "max-size", "", "keep at most so much, the last used first: bytes, or with K, M, G")
	cmd.Flags().BoolVar(&limits.All, "all", false, "remove everything")
	cmd.RunE = func(*cobra.Command, []string) error {
		var err error
		if limits.MaxSize, err = parseSize(maxSize); err != nil {
			return usageError(fmt.Errorf("--max-size: %w", err))
		}
		c, err := existingCache(*dir)
		if err != nil {
			return err
		}
		p, err := c.Prune(limits)
		built, bytes, berr := pruneBuilds(s, *dir, limits)
		fmt.Fprintf(s.Err, "%d entries removed, %s freed\n", p.Entries+built, size(p.Bytes+bytes))
		return errors.Join(err, berr)
	}
	return cmd
}

// pruneBuilds prunes the builds' store, which has the same limits of its own.
func pruneBuilds(s Streams, dir string, l cache.Limits) (results int, bytes int64, err error) {
	if dir, err = storeDir(dir); err != nil {
		return 0, 0, err
	}
	results, bytes, err = store.Prune(dir, store.Limits{MaxAge: l.MaxAge, MaxSize: l.MaxSize, All: l.All})
	if errors.Is(err, store.ErrInUse) {
		fmt.Fprintln(s.Err, "a build is running: what builds keep was left as it is")
		return 0, 0, nil
	}
	return results, bytes, err
}

// existingCache opens the cache to look at or prune, and makes none.
func existingCache(dir string) (*cache.Cache, error) {
	dir, err := cacheDir(dir)
	if err != nil {
		return nil, err
	}
	c, err := cache.Existing(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withCode(exitInvalid, fmt.Errorf("there is no cache in %s", dir))
	}
	return c, withCode(exitIO, err)
}
