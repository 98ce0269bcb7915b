package survey

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// OSRelease is what a root filesystem says of itself in os-release(5).
type OSRelease struct {
	Name    string // PRETTY_NAME, or NAME
	Version string // VERSION_ID
}

// maxOSRelease bounds the file: real ones have less than 1 KiB.
const maxOSRelease = 64 << 10

// ReadOSRelease reads usr/lib/os-release of a root, or etc/os-release if the
// first is not there or has no version. A root with neither has the zero OSRelease.
func ReadOSRelease(root fs.FS) (r OSRelease) {
	for _, p := range []string{"usr/lib/os-release", "etc/os-release"} {
		data, err := ReadSmall(root, p, maxOSRelease)
		if err != nil {
			continue
		}
		if r = parseOSRelease(string(data)); r.Version != "" {
			return r
		}
	}
	return r
}

func parseOSRelease(text string) OSRelease {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.Trim(value, `"'`)
	}
	r := OSRelease{Name: values["PRETTY_NAME"], Version: values["VERSION_ID"]}
	if r.Name == "" {
		r.Name = values["NAME"]
	}
	return r
}

// ReadSmall reads a file that has at most limit bytes.
func ReadSmall(root fs.FS, p string, limit int64) ([]byte, error) {
	f, err := root.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("reading %s: more than the %d bytes that are allowed", p, limit)
	}
	return data, err
}
