package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"
)

// goSum holds the checksums of a go.sum file: of zips by their module, of
// go.mod files by the module with "/go.mod" after the version.
type goSum map[module.Version]string

// parseGoSum reads lines "path version hash" (https://go.dev/ref/mod#go-sum-files).
// The first h1 of a module counts; hashes of other kinds are from the future.
func parseGoSum(data []byte) (goSum, error) {
	sums := goSum{}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("reading go.sum: line %d has %d words, not 3", n, len(fields))
		}
		m := module.Version{Path: fields[0], Version: fields[1]}
		if _, known := sums[m]; !known && validH1(fields[2]) {
			sums[m] = fields[2]
		}
	}
	return sums, nil
}

func (s goSum) zip(m module.Version) string { return s[m] }

func (s goSum) mod(m module.Version) string {
	return s[module.Version{Path: m.Path, Version: m.Version + "/go.mod"}]
}

// modSum is the h1 of a go.mod file.
func modSum(data []byte) (string, error) {
	return dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(data))), nil
	})
}

// goMod gets the go.mod file of a module, which has the given h1.
func (c *call) goMod(ctx context.Context, m module.Version, sum string) ([]byte, error) {
	key := fmt.Sprintf("go.mod v1\n%s\n%s", m, sum)
	b, err := c.Cache.Make(ctx, key, "go.mod of "+m.String(), func(dst *os.File) error {
		if err := c.moduleFile(ctx, m, "mod", modzip.MaxGoMod, dst); err != nil {
			return err
		}
		return verifyMod(dst, sum)
	})
	if err != nil {
		return nil, failed("go.mod of "+m.String(), err)
	}
	defer b.Close()
	return readBlob(b, modzip.MaxGoMod)
}

func verifyMod(f *os.File, want string) error {
	if err := seekStart(f); err != nil {
		return err
	}
	data, err := readAll(f, modzip.MaxGoMod)
	if err != nil {
		return err
	}
	got, err := modSum(data)
	if err != nil {
		return err
	}
	return compare(Checksum{"h1", want, got})
}

// modOf gives the go.mod of a module whose zip is here. The proxy need not be
// asked if the zip has the very file.
func (c *call) modOf(ctx context.Context, z *moduleZip, want string) ([]byte, error) {
	data, err := z.read("go.mod")
	if err == nil {
		got, err := modSum(data)
		if err == nil && got == want {
			return data, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return c.goMod(ctx, z.Version, want)
}

func missingSum(m module.Version, what string) error {
	return fmt.Errorf("the module's go.sum has no checksum for the %s of %s, so it cannot be verified", what, m)
}

// parseMod reads the go.mod of a dependency, as leniently as the go command.
func parseMod(m module.Version, data []byte) (*modfile.File, error) {
	f, err := modfile.ParseLax(m.String()+"/go.mod", data, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the go.mod of %s: %w", m, err)
	}
	return f, nil
}
