package check

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

const allTypes = fs.ModeDir | fs.ModeSymlink | fs.ModeDevice | fs.ModeNamedPipe | fs.ModeSocket | fs.ModeCharDevice | fs.ModeIrregular

func specialFile(s *subject, r reporter) {
	s.node(func(p string, e survey.Entry) {
		if t := e.Mode & allTypes; t&^(fs.ModeDir|fs.ModeSymlink) != 0 {
			r.report(e.Path, "special files are not allowed: %q is %s", p, specialKind(t))
		}
	})
}

func specialKind(t fs.FileMode) string {
	switch {
	case t&fs.ModeCharDevice != 0:
		return "a character device"
	case t&fs.ModeDevice != 0:
		return "a block device"
	case t&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case t&fs.ModeSocket != 0:
		return "a socket"
	}
	return "of an unknown type"
}

func worldWritable(s *subject, r reporter) {
	s.node(func(p string, e survey.Entry) {
		if e.Mode&fs.ModeSymlink == 0 && e.Mode.Perm()&0o002 != 0 && e.Hardlink == "" {
			r.report(e.Path, "world-writeable files are not allowed: %q has mode %04o", p, e.Mode.Perm())
		}
	})
}

func setID(s *subject, r reporter) {
	s.node(func(p string, e survey.Entry) {
		if e.Mode.IsRegular() && e.Mode&fs.ModeSetuid != 0 {
			r.report(e.Path, "%q is set-uid", p)
		}
		if e.Mode.IsRegular() && e.Mode&fs.ModeSetgid != 0 {
			r.report(e.Path, "%q is set-gid", p)
		}
	})
}

// allowedPaths are the hierarchies and files that an extension may bring, but
// for modules and firmware, which depend on the version (Talos,
// internal/pkg/extensions: the list of Talos 1.14).
var allowedPaths = []string{
	"/etc/cri/conf.d",
	"/etc/ld.so.cache",
	"/etc/ld.so.conf",
	"/etc/vulkan",
	"/usr/bin/ldconfig",
	"/usr/bin/nvidia-cdi-hook",
	"/usr/bin/nvidia-ctk",
	"/usr/bin/nvidia-modprobe",
	"/usr/bin/nvidia-pcc",
	"/usr/bin/nvidia-smi",
	"/usr/bin/nvme",
	"/usr/lib/ld-linux-aarch64.so.1",
	"/usr/lib/ld-linux-x86-64.so.2",
	"/usr/lib/udev/rules.d",
	"/usr/local",
	"/usr/share/egl",
	"/usr/share/glvnd",
}

// AllowedPaths lists what an extension for a Talos version may bring: each
// entry stands for itself and all below it.
func AllowedPaths(v extension.Version) []string {
	lib := "/" + v.LibDir()
	list := append([]string{lib + "/firmware", lib + "/modules"}, allowedPaths...)
	slices.Sort(list)
	return list
}

// below compares by path element: /usr/local-evil is not below /usr/local.
func below(p, dir string) bool {
	rest, ok := strings.CutPrefix(p, dir)
	return ok && (rest == "" || rest[0] == '/')
}

func isAllowed(p string, v extension.Version) bool {
	return slices.ContainsFunc(AllowedPaths(v), func(dir string) bool { return below(p, dir) })
}

func pathNotAllowed(s *subject, r reporter) {
	s.node(func(p string, e survey.Entry) {
		if e.Mode.IsDir() || isAllowed(p, r.opts.Talos) {
			return
		}
		r.report(e.Path, "path %q is not allowed in extensions%s", p, usrmergeAdvice(p, r.opts.Talos))
	})
}

// usrmergeAdvice explains the most common reason for a path that is not allowed.
func usrmergeAdvice(p string, v extension.Version) string {
	switch {
	case v.UsrMerge() && (below(p, "/lib/modules") || below(p, "/lib/firmware")):
		return ": since Talos 1.10 it belongs below /usr/lib"
	case !v.UsrMerge() && (below(p, "/usr/lib/modules") || below(p, "/usr/lib/firmware")):
		return ": before Talos 1.10 it belongs below /lib"
	}
	return ""
}

func directoryMode(s *subject, r reporter) {
	s.node(func(p string, e survey.Entry) {
		shared := !isAllowed(p, r.opts.Talos) || p == "/usr/local"
		if e.Mode.IsDir() && shared && e.Mode.Perm()&0o755 != 0o755 {
			r.report(e.Path, "directory %q has mode %04o", p, e.Mode.Perm())
		}
	})
}

func symlinkEscape(s *subject, r reporter) {
	s.node(func(p string, e survey.Entry) {
		if e.Mode&fs.ModeSymlink == 0 {
			return
		}
		_, _, err := s.root.Resolve(p)
		if errors.Is(err, tree.ErrEscapes) || errors.Is(err, tree.ErrLoop) {
			r.report(e.Path, "symlink %q -> %q: %v", p, e.Target, err)
		}
	})
}

// symlinkDangling looks for targets in the extension itself, in the others and
// in the base. Without a base it speaks only of directories that are the
// extension's own, since the rest may be Talos'.
func symlinkDangling(all []*subject, r *run) {
	for _, s := range all {
		s.node(func(p string, e survey.Entry) {
			if e.Mode&fs.ModeSymlink == 0 {
				return
			}
			root, at := s.containerRoot(p)
			target, _, err := root.Resolve(at)
			if errors.Is(err, fs.ErrNotExist) && r.nobodyHas(s, root, target) {
				r.add(s, e.Path, "symlink %q -> %q: there is no %q", p, e.Target, "/"+target)
			}
		})
	}
}

func (r *run) nobodyHas(s *subject, root *tree.Tree, target string) bool {
	if root != s.root {
		return true // in a container: its root is all that it has
	}
	if r.anyHas(target) {
		return false
	}
	return r.opts.Base != nil || root.Get(path.Dir(target)) != nil && below("/"+target, "/usr/local")
}

// anyHas says whether an extension or the base has something at a path.
func (r *run) anyHas(p string) bool {
	for _, s := range r.subjects {
		if _, _, err := s.root.Resolve(p); err == nil {
			return true
		}
	}
	if r.opts.Base == nil {
		return false
	}
	_, _, err := r.opts.Base.Files.Resolve(p)
	return err == nil
}

// containerRoot is the root that the file at p sees when it is used, and the
// path of the file in it: for a service's files that of its container.
func (s *subject) containerRoot(p string) (root *tree.Tree, at string) {
	rest, ok := strings.CutPrefix(p, "/"+extension.ContainerDir+"/")
	if !ok {
		return s.root, p
	}
	name, inner, ok := strings.Cut(rest, "/")
	if sub := s.root.Sub(extension.ContainerDir + "/" + name); ok && sub != nil {
		return sub, inner
	}
	return s.root, p
}
