package trust

import "strings"

// Name is an image's name as rules match it: registry and repository, without
// tag and digest, in the form that a registry's name has in full. The source of
// a layout stays as it is, but for the digest.
func Name(ref string) string {
	ref = strings.TrimPrefix(ref, "docker://")
	ref, _, _ = strings.Cut(ref, "@")
	if local(ref) {
		return ref
	}
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
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
