package resource

import (
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// requestError is a request that the node, or the way to it, has failed. Its
// gRPC status can be had with status.Code.
type requestError struct{ err error }

// rpcError says what was asked when err came back.
func rpcError(doing string, err error, args ...any) error {
	return fmt.Errorf(doing+": %w", append(args, requestError{err})...)
}

func (e requestError) Error() string {
	s := status.Convert(e.err)
	return fmt.Sprintf("%s (%s)", printable(s.Message()), s.Code())
}

func (e requestError) Unwrap() error { return e.err }

// IsNotFound says whether a node has answered that it has no such resource.
func IsNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// printable replaces what could drive a terminal: the text comes from a node.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
