package vhd

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Options say what kind of image is made. The zero value is qemu-img's
// default: dynamic, with the size rounded up to a geometry.
type Options struct {
	// Fixed images hold all bytes of the disk.
	Fixed bool

	// ForceSize keeps the size of the disk, which has to be a multiple of 1 MiB
	// then, as Azure wants it.
	ForceSize bool

	// Label and the size of the disk determine the unique ID of the image.
	Label string

	// Time is when the image was made, from 2000 on. The zero Time is its start.
	Time time.Time
}

// ParseOptions reads options as "qemu-img -o" takes them, such as
// "subformat=fixed,force_size". Other options are errors.ErrUnsupported.
func ParseOptions(s string) (Options, error) {
	var o Options
	if s == "" {
		return o, nil
	}
	for option := range strings.SplitSeq(s, ",") {
		if err := o.set(option); err != nil {
			return Options{}, fmt.Errorf("parsing VHD options %q: %w", s, err)
		}
	}
	return o, nil
}

func (o *Options) set(option string) error {
	switch option {
	case "subformat=fixed":
		o.Fixed = true
	case "subformat=dynamic":
		o.Fixed = false
	case "force_size", "force_size=on":
		o.ForceSize = true
	case "force_size=off":
		o.ForceSize = false
	default:
		return fmt.Errorf("option %q: %w, want subformat=fixed or dynamic, force_size=on or off", option, errors.ErrUnsupported)
	}
	return nil
}

// timestamp is the time in seconds since epoch.
func (o Options) timestamp() (uint32, error) {
	if o.Time.IsZero() {
		return 0, nil
	}
	s := o.Time.Unix() - epoch.Unix()
	if s < 0 || s > 1<<32-1 {
		return 0, fmt.Errorf("the time %s is not within 2000 to 2136", o.Time.UTC().Format(time.RFC3339))
	}
	return uint32(s), nil
}
