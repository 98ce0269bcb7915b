package trust

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/oci"
)

// Name is an image's name as rules match it: registry and repository, without
// tag and digest, in the form that a registry's name has in full. A source on
// this machine has the form and the path that it was called by, but where links
// and ".." lead: a rule for a directory is for what is in it.
func Name(ref string) string {
	ref = strings.TrimPrefix(ref, "docker://")
	if local(ref) {
		return place(ref)
	}
	ref, _ = oci.CutRef(ref)
	host, path, ok := strings.Cut(ref, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, path = "docker.io", ref
	}
	host = strings.ToLower(host)
	host = strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ".")
	if host == "index.docker.io" {
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return host + "/" + path
}

// localForms are what sources on this machine begin with.
var localForms = []string{"oci:", "oci-archive:", "docker-archive:", "dir:", "tar:", "/", "./", "../"}

// local says whether a source is in a file or directory.
func local(ref string) bool {
	return slices.ContainsFunc(localForms, func(form string) bool { return strings.HasPrefix(ref, form) })
}

// place is the name of a source on this machine: FORM:PATH[:NAME], or PATH.
func place(ref string) string {
	if i := strings.LastIndex(ref, "@sha256:"); i >= 0 {
		ref = ref[:i]
	}
	form := ""
	if i := strings.IndexByte(ref, ':'); i >= 0 && slices.Contains(localForms, ref[:i+1]) {
		form, ref = ref[:i+1], ref[i+1:]
	}
	path, name := ref, ""
	for end := len(ref); form != "" && end > 0; end = strings.LastIndexByte(ref[:end], ':') {
		if real, err := filepath.EvalSymlinks(ref[:end]); err == nil {
			path, name = real, ref[end:]
			break
		}
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	path = filepath.Clean(path)
	if form == "" && !filepath.IsAbs(path) && !strings.HasPrefix(path, "..") {
		path = "./" + path
	}
	return form + path + name
}

// match compares as Talos does: * is any number of any characters, the slash too,
// and nothing else is special.
func match(pattern, s string) bool {
	first, rest, ok := strings.Cut(pattern, "*")
	if !ok {
		return pattern == s
	}
	s, ok = strings.CutPrefix(s, first)
	for ok {
		part, more, another := strings.Cut(rest, "*")
		if !another {
			return strings.HasSuffix(s, part)
		}
		var i int
		if i = strings.Index(s, part); i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
	return false
}
