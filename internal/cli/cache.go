package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/spf13/cobra"
)

func newCache(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "See and prune the cache of layers",
		Long: `graft keeps what is costly to make (layers, firmware archives, facts about
images) in a cache, keyed by content. It may be removed at any time.`,
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
		c, err := existingCache(*dir)
		if err != nil {
			return err
		}
		entries, err := c.List()
		if err != nil {
			return err
		}
		return printEntries(s, entries, *format)
	}
	return cmd
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
		fmt.Fprintf(s.Err, "%d entries removed, %s freed\n", p.Entries, size(p.Bytes))
		return err
	}
	return cmd
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
