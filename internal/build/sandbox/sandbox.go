// Package sandbox runs one command of a build in Linux namespaces of its own,
// with an overlay of directories as its root: what a container engine does, but
// without a daemon, without another program, and without being root.
//
// Run starts this same program once more; its main must call Child first. That
// second process is the first one (pid 1) of new namespaces: user, mounts, pids,
// IPC, host name, cgroups, and network unless the host's is wanted. It mounts the
// root, moves into it, gives up what a build needs not, and starts the command.
// When the command ends everything that it left running is killed: nothing
// outlives Run. Nothing outlives this program either, however it ends: the kernel
// kills pid 1, all others go with it, and so do the mounts, which only they see.
//
// # Users
//
// The command is uid 0 and gid 0 of a user namespace. Started by root, that has
// all uids of the host, each as itself. Started by an ordinary user it has one:
// what belongs to "root" inside belongs to that user outside. For want of others,
// a change of the owner to anybody but root is then answered with success and
// does nothing. Root's supplementary groups are dropped; an ordinary user's can
// not be, and show as 65534.
//
// Enter puts the whole program into such a user namespace. Only there can it read
// and remove all that commands made: a file of mode 000 stays out of reach for an
// ordinary user otherwise.
//
// # What a command leaves
//
// Config.Upper is in the kernel's form of an upper layer, with the option
// userxattr, so that root and users read each other's:
//
//   - a file that is new or was changed is there, whole; a directory is there if
//     something in it or of it was changed
//   - a character device with the number 0:0 is a whiteout: the file of that name
//     in the layers below is gone. Several can be hard links of one.
//   - a directory with the extended attribute user.overlay.opaque=y replaces the
//     directory below, an unmarked one is merged with it. The value x, which newer
//     kernels set on directories with whiteouts of another kind, does not occur.
//   - user.overlay.origin and user.overlay.impure are of no interest to others
//
// Mount points (/proc, /dev, /sys, /etc/hosts, /etc/resolv.conf and those of
// Mounts) that were missing are not there: they are made before the command and
// removed after it, and the times of the directories that they were in restored,
// unless the command put something into them or moved them. A directory of the
// layers below that had one shows up in Upper, as it is below. A lowest layer that
// has the usual ones saves that.
//
// All of this is what a later Run takes as Lower. Mode, owner and times of
// the root directory itself are those of Upper. The kernel is told not to wait
// for the disk (option volatile): whoever keeps Upper beyond a power failure must
// sync it.
//
// # Limits
//
// The kernel must be Linux 5.11 or newer, for amd64 or arm64, and allow user
// namespaces: Probe finds out, and says what to do. Where the file system cannot
// carry an overlay, Config.Root runs a command in a copy. The kernel's release and
// the number of processors show through, as in any container. A sandbox is no
// virtual machine: it keeps a build in its place, as containers do, with their
// usual set of capabilities and system calls.
package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// DefaultHostname is BuildKit's: a script sees the same name there.
const DefaultHostname = "buildkitsandbox"

// MaxLower is how many lower directories the kernel can stack.
const MaxLower = 500

// Network is what a command can reach.
type Network int

// The networks.
const (
	None Network = iota // a loopback interface, which is up
	Host                // all that this machine has
)

// Mount is a directory of this machine that a command sees, and may write to. It
// is no part of the root: neither its files nor its mount point show in Upper.
type Mount struct {
	Source string // directory
	Target string // absolute; made for the time of the command if it is missing
}

// Config describes a command and where it runs. Args, and Lower, Upper and Work
// or Root, are needed.
type Config struct {
	// Lower are the layers of the root, the lowest first; they stay as they are.
	Lower []string
	// Upper gets the changes, Work is the kernel's and empty again after Run.
	// Both are empty directories of one file system.
	Upper, Work string
	// Root is a directory to run in directly, instead of Lower, Upper and Work.
	Root string

	Args []string // the program is looked up in the PATH of Env
	Env  []string // all of the environment, NAME=VALUE
	Dir  string   // to start in, made if it is missing; "" is the root
	// Network is what the command can reach.
	Network  Network
	Mounts   []Mount
	Hostname string // "" is DefaultHostname

	// Output gets what the command writes to stdout and stderr; nil for nobody.
	Output io.Writer `json:"-"`
	// Stdin is what the command reads; nil for nothing.
	Stdin *os.File `json:"-"`
	// Terminal makes Stdin, which must be one, the terminal of the command: for
	// reading, writing and job control. Output is not used.
	Terminal bool
}

// Result is how a command ended.
type Result struct {
	ExitCode int // 128+n if signal n ended it
}

// HostError says that this machine does not allow a sandbox, or part of it.
type HostError struct {
	Err   error    // what was tried, and the answer
	Hints []string // how to allow it; each may have several lines
}

// Error implements error.
func (e *HostError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *HostError) Unwrap() error { return e.Err }

// Hint is all Hints as one text.
func (e *HostError) Hint() string { return strings.Join(e.Hints, "\n") }

// check finds what is wrong with a Config, all of it.
func (c *Config) check() error {
	return errors.Join(c.checkRoot(), c.checkCommand(), c.checkMounts())
}

func (c *Config) checkRoot() error {
	overlay := len(c.Lower) > 0 || c.Upper != "" || c.Work != ""
	switch {
	case c.Root != "" && overlay:
		return errors.New("checking the sandbox: it has a root and layers, one of them is needed")
	case c.Root != "":
		return absolute("root", c.Root)
	case len(c.Lower) == 0 || c.Upper == "" || c.Work == "":
		return errors.New("checking the sandbox: layers need a lower directory at least, an upper and a work directory")
	case len(c.Lower) > MaxLower:
		return fmt.Errorf("checking the sandbox: it has %d lower directories, the kernel stacks %d at most", len(c.Lower), MaxLower)
	}
	err := errors.Join(absolute("upper directory", c.Upper), absolute("work directory", c.Work))
	for _, dir := range c.Lower {
		err = errors.Join(err, absolute("lower directory", dir))
	}
	return err
}

func absolute(what, dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("checking the sandbox: the path of the %s %q must be absolute", what, dir)
	}
	return checkText(dir)
}

func (c *Config) checkCommand() error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return errors.New("checking the sandbox: there is no command to run")
	}
	for _, s := range append(append([]string{c.Dir, c.Hostname}, c.Args...), c.Env...) {
		if err := checkText(s); err != nil {
			return err
		}
	}
	if c.Dir != "" && !path.IsAbs(c.Dir) {
		return fmt.Errorf("checking the sandbox: the working directory %q must be absolute", c.Dir)
	}
	if c.Terminal && c.Stdin == nil {
		return errors.New("checking the sandbox: a terminal is wanted, but none is given")
	}
	return nil
}

// checkText refuses what does not reach a command as it is.
func checkText(s string) error {
	if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
		return fmt.Errorf("checking the sandbox: %q is no text: bytes of 0, and what is not UTF-8, cannot be passed on", s)
	}
	return nil
}

func (c *Config) checkMounts() error {
	var err error
	seen := map[string]bool{}
	for _, m := range c.Mounts {
		target := path.Clean(m.Target)
		switch {
		case !path.IsAbs(target) || !filepath.IsAbs(m.Source):
			err = errors.Join(err, fmt.Errorf("checking the sandbox: mounting %q on %q: both paths must be absolute", m.Source, m.Target))
		case target == "/":
			err = errors.Join(err, fmt.Errorf("checking the sandbox: mounting %s on /: that is where the root is", m.Source))
		case seen[target]:
			err = errors.Join(err, fmt.Errorf("checking the sandbox: two directories are to be mounted on %s", target))
		}
		seen[target] = true
		err = errors.Join(err, checkText(m.Source), checkText(m.Target))
	}
	return err
}
