package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/resource"
)

// maxAsked is how many nodes are asked at a time.
const maxAsked = 16

// target is a node and how to reach it.
type target struct {
	name     string              // in the output
	endpoint resource.Endpoint   // as the person named it
	by       []resource.Endpoint // where to connect to: the first one that answers
	passOn   string              // the node that the endpoint shall ask; empty is itself
	tls      *tls.Config
	insecure bool
}

// question is what a node is asked.
type question struct {
	typ, id, namespace string
	timeout            time.Duration
}

// answer is what it says.
type answer struct {
	definition resource.Definition
	items      []*resource.Resource
	err        error
}

// listNodes asks all nodes at a time and prints their answers in the order of
// the nodes.
func listNodes(ctx context.Context, s Streams, q question, nodes []*target, p resourcePrinter) error {
	answers := make([]answer, len(nodes))
	var group errgroup.Group
	group.SetLimit(maxAsked)
	for i, t := range nodes {
		group.Go(func() error {
			answers[i] = t.ask(ctx, q)
			return nil
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var failed failures
	begun := false
	for i, a := range answers {
		if a.err != nil {
			failed = append(failed, nodes[i].failed(q, a.err))
			continue
		}
		if !begun {
			begun = true
			if err := p.begin(a.definition); err != nil {
				return err
			}
		}
		for _, r := range a.items {
			if err := p.print(nodes[i].name, r, resource.Created); err != nil {
				return err
			}
		}
	}
	if err := p.flush(); err != nil {
		return err
	}
	return failed.report(s)
}

// ask gets everything that answers the question.
func (t *target) ask(ctx context.Context, q question) (a answer) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	c, err := t.dial(ctx, q.timeout)
	if err != nil {
		return answer{err: err}
	}
	defer c.Close()
	a.definition, a.err = define(ctx, c, &q)
	switch {
	case a.err != nil:
	case q.id == "":
		a.items, a.err = c.List(ctx, q.namespace, a.definition.Type)
	default:
		var r *resource.Resource
		r, a.err = c.Get(ctx, q.namespace, a.definition.Type, q.id)
		a.items = append(a.items, r)
	}
	return a
}

// dial connects to the first endpoint that answers; each gets its share of
// the time.
func (t *target) dial(ctx context.Context, timeout time.Duration) (*resource.Client, error) {
	var failed []error
	for _, e := range t.by {
		one, cancel := context.WithTimeout(ctx, timeout/time.Duration(len(t.by)))
		c, err := resource.Dial(one, e, t.tls, t.passOn)
		cancel()
		if err == nil {
			return c, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// define finds out which type the question means, and its namespace.
func define(ctx context.Context, c *resource.Client, q *question) (resource.Definition, error) {
	defs, err := c.Definitions(ctx)
	if err != nil {
		return resource.Definition{}, err
	}
	d, err := resource.Resolve(defs, q.typ)
	if err == nil && q.namespace == "" {
		q.namespace = d.DefaultNamespace
	}
	return d, err
}

// failures are the errors of the nodes that gave no answer.
type failures []error

// failed says which node an error is of, and what to do about it.
func (t *target) failed(q question, err error) error {
	code, hints := adviceFor(t, q, err)
	return withCode(code, fmt.Errorf("node %s: %w", t.name, err), hints...)
}

// report prints all but the last one, which it returns.
func (f failures) report(s Streams) error {
	if len(f) == 0 {
		return nil
	}
	for _, err := range f[:len(f)-1] {
		report(s.Err, nil, err)
	}
	return f[len(f)-1]
}

// adviceFor says which exit code an error of a node stands for, and what a
// person may do about it.
func adviceFor(t *target, q question, err error) (code int, hints []string) {
	var dial *resource.DialError
	var unknown *resource.UnknownTypeError
	var ambiguous *resource.AmbiguousTypeError
	switch {
	case errors.As(err, &unknown):
		return exitInvalid, adviceForUnknown(t, unknown)
	case errors.As(err, &ambiguous):
		return exitInvalid, []string{"name it in full: " + ambiguous.Types[0]}
	case resource.IsNotFound(err) && q.id != "":
		return exitInvalid, []string{fmt.Sprintf("graft get %s%s lists what is there", q.typ, t.flags())}
	case errors.As(err, &dial) && dial.Untrusted():
		return exitDependency, []string{"--insecure asks a node in maintenance mode, whose certificate nobody has signed"}
	case errors.As(err, &dial) && dial.Refused() && t.insecure:
		return exitDependency, []string{"the node is not in maintenance mode: ask it with a talosconfig, without --insecure"}
	case errors.As(err, &dial) && dial.Refused():
		return exitDependency, []string{"the certificate of the talosconfig is for another cluster, or too old"}
	case errors.As(err, &dial) && errors.Is(err, context.DeadlineExceeded):
		return exitDependency, []string{"is the node up, and its port " + dial.Endpoint.Port + " reachable? --timeout gives it more time"}
	}
	return exitDependency, nil
}

func adviceForUnknown(t *target, e *resource.UnknownTypeError) []string {
	return guess(e.Nearest, fmt.Sprintf("graft get rd%s lists the types", t.flags()))
}

// flags repeats the flags that lead to the node.
func (t *target) flags() string {
	if t.insecure {
		return " --insecure -n " + t.endpoint.Given()
	}
	return " -n " + t.endpoint.Given()
}
