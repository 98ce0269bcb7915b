// Package plan describes builds as a graph of operations on file systems, the
// form that every build engine understands.
//
// An operation gives one file system, from nothing (Files, Image), or from those
// of other operations (Copy, Merge, Exec). The graph says all that a result
// depends on: two engines that run it give the same files. Operations are
// shared: what two packages need is one node, so it is made once.
package plan

import (
	"context"
	"slices"
	"time"

	"github.com/graftlinux/graft/internal/tree"
)

// Op is one operation of a plan: its kind, one of Files, Image, Copy, Merge and
// Exec, decides what it does.
type Op struct {
	// Name is for people: "nebula:build-0", "nebula: context". Names of scripts
	// are "PACKAGE:PHASE-INDEX", as bldr's are.
	Name string
	// Package that the operation is for; "" for what several share.
	Package string
	// Platform that an Exec runs on, and of an Image; "linux/amd64".
	Platform string
	Kind     Kind
}

// Kind is what an operation does: *Files, *Image, *Copy, *Merge or *Exec.
type Kind interface {
	// Inputs are the operations whose results are needed first.
	Inputs() []*Op
}

// FileTime is the modification time of all Files: what is in a working copy of
// Git has another time on every machine. It is 1980, the first year that ZIP
// knows.
var FileTime = time.Date(1980, time.January, 2, 0, 0, 0, 0, time.UTC)

// Files are brought by graft itself: the context of a package, a source that was
// downloaded and verified, the files of a Debian package. Everything belongs to
// root and was modified at FileTime.
type Files struct {
	// Key identifies the content: equal keys stand for equal trees, on any
	// machine. It is known without reading the files.
	Key string
	// Tree gets the files. It may download them. It is called only if an engine
	// does not have what the key stands for.
	Tree func(ctx context.Context, log Log) (*tree.Tree, error)
}

// Log takes lines that tell people what goes on.
type Log func(line string)

// Image is the file system of a container image, all of its layers.
type Image struct {
	// Ref names the image as oci.Open takes it: in a registry, an OCI layout, a
	// tarball.
	Ref string
}

// Copy takes a path out of a file system into an otherwise empty one.
//
// A directory's content goes into To, which is made, with its parents and mode
// 0755, if it is not the root. A file becomes To, or is put into To under the last
// name of From if To ends in a slash or is the root. A symlink in the last place
// of From is followed, others within a directory stay. Modes are kept. There are no patterns. What is missing is an
// error (bldr, docs of dependencies and finalize).
type Copy struct {
	Input    *Op
	From, To string // absolute
}

// Merge stacks file systems, the last one on top. Directories are merged, with
// the mode of the upper one; anything else replaces what is below.
type Merge struct {
	Layers []*Op
	// After must have succeeded, too, though its results are not used: tests.
	After []*Op
}

// Exec runs a command in a file system and gives what that is afterwards.
type Exec struct {
	Root *Op
	// Args of the command: its program is looked up in the PATH of Env.
	Args []string
	// Env is all of the environment, sorted, as "NAME=VALUE".
	Env []string
	// ProxyEnv is given to the command, too, but has no part in what the result
	// depends on.
	ProxyEnv []string
	// Dir to run it in; made if it is not there.
	Dir     string
	Network Network
	// Caches are directories that persist. What is in them is no part of
	// the result.
	Caches []Cache
	// Script is what people are shown of the command.
	Script string
}

// Cache is a directory that persists between commands and builds.
type Cache struct {
	ID   string // equal IDs share one directory
	Path string // where it is mounted
}

// Network is what a command can reach.
type Network string

// The networks. Default is what the engine gives to containers, which for the
// embedded engine is Host.
const (
	NoNetwork      Network = "none" // loopback only
	DefaultNetwork Network = "default"
	HostNetwork    Network = "host"
)

// Inputs implements Kind.
func (*Files) Inputs() []*Op { return nil }

// Inputs implements Kind.
func (*Image) Inputs() []*Op { return nil }

// Inputs implements Kind.
func (c *Copy) Inputs() []*Op { return []*Op{c.Input} }

// Inputs implements Kind.
func (m *Merge) Inputs() []*Op { return slices.Concat(m.Layers, m.After) }

// Inputs implements Kind.
func (e *Exec) Inputs() []*Op { return []*Op{e.Root} }

// Status tells what became of an operation. Engines report it; several
// goroutines may do so at a time.
type Status struct {
	Op    *Op
	State State
	Time  time.Time
	// Data is output of a command, for the state Output: not always whole lines.
	Data []byte
	// Err is why it failed.
	Err error
}

// State of an operation.
type State int

// The states, in the order they come. Output may come many times after Started;
// Cached, Done, Failed and Canceled are last.
const (
	Started State = iota
	Output
	Cached   // the result was there
	Done     // the result was made
	Failed   // see Status.Err
	Canceled // another one failed, or the person stopped it
)

// Report takes what an engine has to tell.
type Report func(Status)

// Engine runs plans.
type Engine interface {
	// Solve makes the results of the operations, and everything that they need,
	// and returns their files in the same order. It runs as much as it can at a
	// time, and stops at the first failure, which is of the type *ExecError if
	// a command failed.
	Solve(ctx context.Context, roots []*Op, report Report) ([]*tree.Tree, error)
	// Close gives back what Solve's trees are read from.
	Close() error
}

// ExecError says that a command failed.
type ExecError struct {
	Op       *Op
	ExitCode int    // 128+n if signal n ended it
	Output   []byte // the last of it, some KiB
	Err      error  // why it could not be run, or nil
}
