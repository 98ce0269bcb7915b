package qcow2

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Options say how an image is laid out.
type Options struct {
	// ClusterSize is the unit of allocation in bytes: a power of two from 512
	// to 2 MiB. 0 is QEMU's default, 64 KiB.
	ClusterSize int64
}

// settled are the options of qemu-img with the only values that Encode can do,
// which are its defaults.
var settled = []struct {
	name   string
	values []string
}{
	{"compat", []string{"1.1", "v3"}},
	{"compression_type", []string{"zlib"}},
	{"extended_l2", []string{"off"}},
	{"lazy_refcounts", []string{"off"}},
	{"preallocation", []string{"off"}},
	{"refcount_bits", []string{"16"}},
}

// ParseOptions reads options as "qemu-img -o" takes them, such as
// "cluster_size=8k". Options that Encode cannot do are errors.ErrUnsupported,
// even if qemu-img knows them; those that ask for what it does anyway are not.
func ParseOptions(s string) (Options, error) {
	var o Options
	if s == "" {
		return o, nil
	}
	for option := range strings.SplitSeq(s, ",") {
		if err := o.set(option); err != nil {
			return Options{}, fmt.Errorf("parsing qcow2 options %q: %w", s, err)
		}
	}
	return o, nil
}

// set takes one "name=value".
func (o *Options) set(option string) error {
	name, value, _ := strings.Cut(option, "=")
	if name == "cluster_size" {
		size, err := parseSize(value)
		if err != nil {
			return err
		}
		o.ClusterSize = size
		_, err = clusterBits(size)
		return err
	}
	for _, known := range settled {
		if name != known.name {
			continue
		}
		if !slices.Contains(known.values, value) {
			return fmt.Errorf("option %q: %w, want %s=%s", option, errors.ErrUnsupported, name, strings.Join(known.values, " or "))
		}
		return nil
	}
	return fmt.Errorf("option %q: %w, want one of %s", name, errors.ErrUnsupported, knownOptions())
}

func knownOptions() string {
	names := []string{"cluster_size"}
	for _, known := range settled {
		names = append(names, known.name)
	}
	return strings.Join(names, ", ")
}

// parseSize reads a whole number of bytes with one of qemu-img's suffixes.
func parseSize(s string) (int64, error) {
	digits, shift := s, 0
	if i := len(s) - 1; i > 0 {
		if unit := strings.IndexByte("bkmgt", s[i]|0x20); unit >= 0 {
			digits, shift = s[:i], 10*unit
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > 1<<62>>shift {
		return 0, fmt.Errorf("size %q: want a whole number of bytes, or one with a suffix such as 64k or 2M", s)
	}
	return int64(n) << shift, nil
}

// clusterBits is the logarithm of a valid size of clusters in bytes.
func clusterBits(size int64) (int, error) {
	n := bits.TrailingZeros64(uint64(size))
	if size != 1<<n || n < minClusterBits || n > maxClusterBits {
		return 0, fmt.Errorf("cluster size %d: want a power of two from 512 to 2M", size)
	}
	return n, nil
}
