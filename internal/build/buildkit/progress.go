package buildkit

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/graftlinux/graft/internal/build/plan"
)

// progress turns what the daemon tells of its vertices into what became of the
// plan's operations.
type progress struct {
	report plan.Report

	mu       sync.Mutex
	over     bool // nothing is reported any more
	vertices map[digest.Digest][]*plan.Op
	seen     map[*plan.Op]*seen
}

// seen is what is known of an operation.
type seen struct {
	started, over bool
	// last is how it ended, for all that is known. BuildKit looks at what has no
	// inputs twice, first for its name in the cache and then to get it, and both
	// begin and end.
	last *plan.Status
	tail plan.Tail
	err  string // of the vertex
}

func newProgress(report plan.Report) *progress {
	if report == nil {
		report = func(plan.Status) {}
	}
	return &progress{report: report, seen: map[*plan.Op]*seen{}}
}

// know says which operations vertices stand for.
func (p *progress) know(vertices map[digest.Digest][]*plan.Op) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vertices = vertices
}

func (p *progress) of(op *plan.Op) *seen {
	if p.seen[op] == nil {
		p.seen[op] = &seen{}
	}
	return p.seen[op]
}

// log takes a line about an input that is being brought.
func (p *progress) log(op *plan.Op, line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	now := time.Now()
	p.start(op, now)
	p.report(plan.Status{Op: op, State: plan.Output, Time: now, Data: []byte(line + "\n")})
}

// update takes news of the daemon.
func (p *progress) update(st *client.SolveStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range st.Vertexes {
		for _, op := range p.vertices[v.Digest] {
			if v.Started != nil && !v.Cached {
				p.start(op, *v.Started)
			}
		}
	}
	for _, l := range st.Logs {
		for _, op := range p.vertices[l.Vertex] {
			p.output(op, l)
		}
	}
	for _, v := range st.Vertexes {
		for _, op := range p.vertices[v.Digest] {
			if v.Completed != nil {
				p.completed(op, v)
			}
		}
	}
}

func (p *progress) start(op *plan.Op, at time.Time) {
	s := p.of(op)
	if s.started || s.over {
		return
	}
	s.started = true
	p.settle(op)
	p.report(plan.Status{Op: op, State: plan.Started, Time: at})
}

func (p *progress) output(op *plan.Op, l *client.VertexLog) {
	s := p.of(op)
	if s.over {
		return
	}
	p.start(op, l.Timestamp)
	s.tail.Write(l.Data)
	p.report(plan.Status{Op: op, State: plan.Output, Time: l.Timestamp, Data: l.Data})
}

func (p *progress) completed(op *plan.Op, v *client.Vertex) {
	s := p.of(op)
	switch {
	case s.over:
	case v.Error != "":
		s.err = v.Error // its error comes with a type when all is over
	case v.Cached:
		s.last = &plan.Status{Op: op, State: plan.Cached, Time: *v.Completed}
	default:
		s.last = &plan.Status{Op: op, State: plan.Done, Time: *v.Completed}
	}
	p.settle(op)
	if len(v.Inputs) > 0 && s.last != nil {
		p.end(s)
	}
}

// settle ends what must be over when an operation begins or ends. A merge tells
// nothing: it needs no files before somebody needs its own.
func (p *progress) settle(op *plan.Op) {
	if _, ok := op.Kind.(*plan.Merge); ok {
		return
	}
	for _, in := range operations(op.Kind.Inputs()) {
		if s := p.of(in); s.last != nil {
			p.end(s)
		}
	}
}

func (p *progress) end(s *seen) {
	if !s.over {
		s.over = true
		p.report(*s.last)
	}
}

// finish ends all operations after a success.
func (p *progress) finish(ops []*plan.Op) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for _, op := range ops {
		s := p.of(op)
		switch {
		case s.last != nil:
		case s.started:
			s.last = &plan.Status{Op: op, State: plan.Done, Time: time.Now()}
		default: // BuildKit found that another one gives the same, or what needs it in the cache
			s.last = &plan.Status{Op: op, State: plan.Cached, Time: time.Now()}
		}
		p.end(s)
	}
}

// fail ends all operations that have begun after a failure.
func (p *progress) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	failed := blame(err)
	for op, s := range p.seen {
		switch {
		case op == failed:
			s.last = &plan.Status{Op: op, State: plan.Failed, Err: err}
		case !s.started, s.last != nil:
		case s.err != "" && !strings.Contains(s.err, "context canceled"):
			s.last = &plan.Status{Op: op, State: plan.Failed, Err: errors.New(s.err)}
		default:
			s.last = &plan.Status{Op: op, State: plan.Canceled}
		}
		if s.last != nil {
			s.last.Time = time.Now()
			p.end(s)
		}
	}
}

// tailOf is the end of what an operation printed.
func (p *progress) tailOf(op *plan.Op) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(op).tail.Bytes()
}
