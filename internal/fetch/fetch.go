// Package fetch gets the sources of recipes into graft's cache, verified: files
// by URL, Go modules with what they need to be built offline, Debian packages.
//
// A source names its checksum, and the checksum is the key under which the cache
// keeps it. So what was fetched once is never asked for again, wherever it came
// from, and a dead URL does no harm as long as the cache has its content.
// Nothing is handed out that does not have the checksum that was wanted.
//
// No host is known here. Modules come from the user's GOPROXY, Debian packages
// from the mirror that the machine's apt is set up with, unless the Fetcher says
// otherwise. Version control systems are not spoken ("direct" in GOPROXY),
// checksums are not looked up in a checksum database (they are in the recipe),
// and no program is run.
package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/cache"
)

// Fetcher gets sources. Only Cache must be set. Its methods may be called by
// several goroutines at a time.
type Fetcher struct {
	// Cache to keep sources in.
	Cache *cache.Cache
	// Client for all requests; nil is one with timeouts that takes HTTP_PROXY,
	// HTTPS_PROXY and NO_PROXY from the environment.
	Client *http.Client
	// GoProxy is a list as in GOPROXY; "" is the user's: the environment, the
	// file that `go env -w` writes, the default of the Go installation.
	GoProxy string
	// Debian says where Debian packages are.
	Debian DebOptions
	// Offline forbids the network: what the cache lacks is an error.
	Offline bool
	// UserAgent of requests, as "graft/v1.0.0".
	UserAgent string
	// Progress is told how many bytes of one call were received, and how many
	// are known to come (-1 if a server does not say), one call after the other.
	Progress func(done, total int64)

	// stall and pauses are for tests: how long a connection may be silent, and
	// the pauses between attempts. Zero is the default.
	stall  time.Duration
	pauses []time.Duration
}

// ErrOffline says that something would have to be fetched, and must not.
var ErrOffline = errors.New("it is not in the cache, and fetching is switched off")

// Error is a source that could not be had.
type Error struct {
	Source string // the URL, the module, the package; no passwords
	Err    error
	Hint   string // what a person may do, "" if nothing comes to mind
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("fetching %s: %v", e.Source, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// failed names the source of an error. An error that names its own stays.
func failed(source string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &Error{source, err, hint(err)}
}

// hint tells what to do about an error.
func hint(err error) string {
	var sum *ChecksumError
	var status *StatusError
	switch {
	case errors.As(err, &sum):
		return "if the new content is what you want, `graft update` writes its checksums into the recipe; if it is not, somebody changed the source"
	case errors.Is(err, ErrOffline):
		return "fetch it once with the network, or copy the cache from a machine that has it"
	case errors.Is(err, ErrOtherPackage):
		return "`graft update` writes the checksum of the package that the recipe names"
	case errors.As(err, &status) && status.gone():
		return "check the name and the version in the recipe"
	case errors.As(err, &status) && status.Code >= 500, errors.Is(err, errStalled), errors.Is(err, errTruncated):
		return "try again later"
	}
	return ""
}

// ChecksumError says that something is not what was wanted.
type ChecksumError struct {
	Sums []Checksum
}

// Checksum is one checksum, as it should be and as it is.
type Checksum struct {
	Kind      string // "sha256", "sha512", "h1"
	Want, Got string
}

// Error implements error.
func (e *ChecksumError) Error() string {
	var b strings.Builder
	b.WriteString("its checksum is not the one wanted:")
	for _, s := range e.Sums {
		verdict := "  (right)"
		if s.Want != s.Got {
			verdict = ""
		}
		fmt.Fprintf(&b, "\n  %-6s wanted %s\n         got    %s%s", s.Kind, s.Want, s.Got, verdict)
	}
	return b.String()
}

// compare returns a *ChecksumError if any of the checksums differs.
func compare(sums ...Checksum) error {
	for _, s := range sums {
		if s.Want != s.Got {
			return &ChecksumError{sums}
		}
	}
	return nil
}
