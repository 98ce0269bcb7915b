package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	solvererrors "github.com/moby/buildkit/solver/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/graftlinux/graft/internal/build/plan"
)

// opError says which operation failed, if it is no command.
type opError struct {
	op  *plan.Op
	err error
}

// Error implements error.
func (e *opError) Error() string { return e.op.Name + ": " + e.err.Error() }

// Unwrap implements errors.
func (e *opError) Unwrap() error { return e.err }

// blame is the operation that an error is of, or nil.
func blame(err error) *plan.Op {
	var exec *plan.ExecError
	var other *opError
	switch {
	case errors.As(err, &exec):
		return exec.Op
	case errors.As(err, &other):
		return other.op
	}
	return nil
}

// explain turns what the client returned into what went wrong.
func (s *solver) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if missed := s.store.failure(); missed != nil {
		return missed // the daemon only has words of it
	}
	if blame(err) != nil {
		return err
	}
	if strings.Contains(err.Error(), networkHost+" is not allowed") {
		return fmt.Errorf("a recipe asks for the network of the host, but the BuildKit daemon at %s was started without --allow-insecure-entitlement %s: %w",
			s.e.opts.Address, networkHost, plan.ErrNotAllowed)
	}
	var vertex *solvererrors.VertexError
	if errors.As(err, &vertex) {
		if ops := s.progress.vertices[digest.Digest(vertex.Digest)]; len(ops) > 0 {
			return s.explainOp(ops[0], err, vertex)
		}
	}
	return fmt.Errorf("the BuildKit daemon at %s: %w", s.e.opts.Address, err)
}

// explainOp says what the daemon's error means for an operation. What is in it,
// under reason, says as much in fewer words.
func (s *solver) explainOp(op *plan.Op, err, reason error) error {
	switch k := op.Kind.(type) {
	case *plan.Exec:
		e := &plan.ExecError{Op: op, Output: s.progress.tailOf(op), Err: reason}
		var exit *gatewaypb.ExitError
		if errors.As(err, &exit) {
			e.ExitCode, e.Err = int(exit.ExitCode), notStarted(e.Output)
		}
		return e
	case *plan.Copy:
		if text := reason.Error(); strings.HasSuffix(text, "not found") || strings.HasSuffix(text, "no such file or directory") {
			reason = fmt.Errorf("%s is not there: %w", k.From, fs.ErrNotExist)
		}
	}
	return &opError{op, reason}
}

// notStarted finds runc's own words in the output: there is no other sign that
// a program never ran.
func notStarted(output []byte) error {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	if reason, ok := strings.CutPrefix(lines[len(lines)-1], "runc run failed: "); ok {
		return errors.New(reason)
	}
	return nil
}
