package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/oci"
)

// storeID names the content store of this process in a session.
const storeID = "graft"

// graph turns a plan into LLB.
type graph struct {
	inputs  map[*plan.Op]digest.Digest
	noCache bool
	// constraints that all operations share. The platform is fixed, where the
	// plan gives none: digests must not depend on the machine.
	constraints *llb.Constraints
	states      map[*plan.Op]llb.State
	vertices    map[digest.Digest][]*plan.Op
}

func newGraph(inputs map[*plan.Op]digest.Digest, noCache bool) *graph {
	return &graph{
		inputs: inputs, noCache: noCache,
		constraints: llb.NewConstraints(llb.LinuxAmd64),
		states:      map[*plan.Op]llb.State{},
		vertices:    map[digest.Digest][]*plan.Op{},
	}
}

// operations lists all that roots need, inputs first.
func operations(roots []*plan.Op) []*plan.Op {
	var list []*plan.Op
	seen := map[*plan.Op]bool{}
	var visit func(*plan.Op)
	visit = func(op *plan.Op) {
		if seen[op] {
			return
		}
		seen[op] = true
		for _, in := range op.Kind.Inputs() {
			visit(in)
		}
		list = append(list, op)
	}
	for _, op := range roots {
		visit(op)
	}
	return list
}

// add makes the state of an operation whose inputs have theirs.
func (g *graph) add(ctx context.Context, op *plan.Op) error {
	st, err := g.state(op)
	if err != nil {
		return &opError{op, err}
	}
	g.states[op] = st
	if st.Output() == nil {
		return nil
	}
	d, _, _, _, err := st.Output().Vertex(ctx, g.constraints).Marshal(ctx, g.constraints)
	if err != nil {
		return &opError{op, err}
	}
	g.vertices[d] = append(g.vertices[d], op)
	return nil
}

func (g *graph) state(op *plan.Op) (llb.State, error) {
	name := llb.WithCustomName(op.Name)
	switch k := op.Kind.(type) {
	case *plan.Files:
		return g.input(op), nil
	case *plan.Image:
		if _, ok := g.inputs[op]; ok {
			return g.input(op), nil
		}
		p, err := platform(op)
		return llb.Image(strings.TrimPrefix(k.Ref, "docker://"), p, name), err
	case *plan.Copy:
		return change(op, "", llb.Scratch(), copyFrom(g.states[k.Input], k.From, k.To)), nil
	case *plan.Merge:
		return g.merge(op, k), nil
	case *plan.Exec:
		return g.exec(op, k, name)
	}
	return llb.State{}, fmt.Errorf("an operation of the kind %T is unknown", op.Kind)
}

func (g *graph) input(op *plan.Op) llb.State {
	return llb.OCILayout("graft/input@"+g.inputs[op].String(), llb.OCIStore("", storeID), llb.WithCustomName(op.Name))
}

func platform(op *plan.Op) (llb.ConstraintsOpt, error) {
	p, err := oci.ParsePlatform(op.Platform)
	return llb.Platform(ocispecs.Platform{OS: p.OS, Architecture: p.Arch, Variant: p.Variant}), err
}

// copyFrom has the rules of plan.Copy.
func copyFrom(st llb.State, from, to string) *llb.FileAction {
	return llb.Copy(st, from, to, &llb.CopyInfo{FollowSymlinks: true, CopyDirContentsOnly: true, CreateDestPath: true})
}

// change applies an action to a state. Those of two operations never have one
// key in BuildKit's cache, though they copy the same content: where the solver
// meets two vertices with one key, it follows every path from one to the other
// (solver/edge.go, isDep), and in a tree of recipes these are too many. What
// sets them apart is the time of a directory that is not made, for it is there.
func change(op *plan.Op, more string, st llb.State, action *llb.FileAction) llb.State {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", op.Package, op.Platform, op.Name, more))
	at := time.Unix(0, int64(binary.BigEndian.Uint64(sum[:])>>1))
	return st.File(action.Mkdir("/", 0o755, llb.WithParents(true), llb.WithCreatedTime(at)), llb.WithCustomName(op.Name+more))
}

// merge stacks file systems. BuildKit merges the layers that states consist of,
// and a layer that removes a file would remove it from other states, too: such
// a state is made one layer first (BuildKit, docs/dev/merge-diff.md, "Deletions").
func (g *graph) merge(op *plan.Op, k *plan.Merge) llb.State {
	layers := make([]llb.State, len(k.Layers))
	for i, in := range k.Layers {
		layers[i] = g.states[in]
		if i > 0 && removes(in) && layers[i].Output() != nil {
			layers[i] = change(in, " as one layer", llb.Scratch(), copyFrom(layers[i], "/", "/"))
		}
	}
	return g.after(op, llb.Merge(layers, llb.WithCustomName(op.Name)), k.After)
}

// removes says whether the layers of an operation's state may remove files.
func removes(op *plan.Op) bool {
	switch k := op.Kind.(type) {
	case *plan.Image, *plan.Exec:
		return true
	case *plan.Merge:
		for _, in := range k.Layers {
			if removes(in) {
				return true
			}
		}
	}
	return false
}

// after makes a state depend on others, of which it gets no file. What that
// state is worth in the cache stays the same whatever the others hold.
func (g *graph) after(op *plan.Op, st llb.State, tests []*plan.Op) llb.State {
	var action *llb.FileAction
	for _, test := range tests {
		other := g.states[test]
		if other.Output() == nil {
			continue
		}
		nothing := &llb.CopyInfo{CopyDirContentsOnly: true, ExcludePatterns: []string{"*"}}
		if action == nil {
			action = llb.Copy(other, "/", "/", nothing)
		} else {
			action = action.Copy(other, "/", "/", nothing)
		}
	}
	if action == nil {
		return st
	}
	return change(op, "", st, action)
}

// collect makes one state of what a plan is for: one result as it is, several
// each in a directory that is named by its number. BuildKit would export
// several states, too, but it changes absolute symlinks then.
func (g *graph) collect(roots []*plan.Op) llb.State {
	if len(roots) == 1 {
		return g.states[roots[0]]
	}
	var all []llb.State
	for i, op := range roots {
		if st := g.states[op]; st.Output() != nil {
			all = append(all, change(op, ": collect", llb.Scratch(), copyFrom(st, "/", "/"+strconv.Itoa(i))))
		}
	}
	return llb.Merge(all, llb.WithCustomName("collect"))
}

func (g *graph) exec(op *plan.Op, k *plan.Exec, name llb.ConstraintsOpt) (llb.State, error) {
	p, err := platform(op)
	if err != nil {
		return llb.State{}, err
	}
	opts := []llb.RunOption{name, p, llb.Args(k.Args), llb.Network(networks[k.Network])}
	if g.noCache {
		opts = append(opts, llb.IgnoreCache)
	}
	for _, v := range k.Env {
		key, value, _ := strings.Cut(v, "=")
		opts = append(opts, llb.AddEnv(key, value))
	}
	if k.Dir != "" {
		opts = append(opts, llb.Dir(k.Dir))
	}
	for _, c := range k.Caches {
		opts = append(opts, llb.AddMount(c.Path, llb.Scratch(), llb.AsPersistentCacheDir(c.ID, llb.CacheMountShared)))
	}
	opts = append(opts, llb.WithProxy(proxy(k.ProxyEnv)))
	// A new state, because Run's keeps the environment for what comes next.
	return llb.NewState(g.states[k.Root].Run(opts...).Root().Output()), nil
}

var networks = map[plan.Network]pb.NetMode{
	plan.NoNetwork: llb.NetModeNone, plan.DefaultNetwork: llb.NetModeSandbox, plan.HostNetwork: llb.NetModeHost,
}

// proxy is the form that BuildKit has for variables which are no part of what
// a result depends on. It knows these five, and gives them in both cases.
func proxy(env []string) llb.ProxyEnv {
	var p llb.ProxyEnv
	for _, v := range env {
		key, value, _ := strings.Cut(v, "=")
		switch strings.ToLower(key) {
		case "http_proxy":
			p.HTTPProxy = value
		case "https_proxy":
			p.HTTPSProxy = value
		case "ftp_proxy":
			p.FTPProxy = value
		case "no_proxy":
			p.NoProxy = value
		case "all_proxy":
			p.AllProxy = value
		}
	}
	return p
}
