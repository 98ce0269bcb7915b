package boot

import "errors"

// remake is what to do about a boot asset that contradicts itself.
const remake = `the boot asset is damaged or incomplete: make it again ("graft inspect" shows what is in it), or boot the one before`

// advised is an error that comes with what to do about it.
type advised struct {
	error
	advice string
}

func (a *advised) Unwrap() error { return a.error }

func advise(err error, advice string) error {
	if err == nil {
		return nil
	}
	return &advised{err, advice}
}

// adviceFor returns what to do about an error, or "".
func adviceFor(err error) string {
	if a := (*advised)(nil); errors.As(err, &a) {
		return a.advice
	}
	return ""
}
