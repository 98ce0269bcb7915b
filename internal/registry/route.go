package registry

import (
	"crypto"
	_ "crypto/sha256" // digests are of these two
	_ "crypto/sha512"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

// maxName is the length of a repository's name in bytes: clients limit it to 255
// with the registry's host before it, and so do file systems.
const maxName = 255

var (
	nameForm   = lazyregexp.New(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm    = lazyregexp.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	uploadForm = lazyregexp.New(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

func validName(name string) bool { return len(name) <= maxName && nameForm.MatchString(name) }

// kind is what a path asks for.
type kind int

const (
	nowhere   kind = iota
	root           // /v2/
	catalog        // /v2/_catalog
	tags           // /v2/<name>/tags/list
	manifests      // /v2/<name>/manifests/<tag or digest>
	blobs          // /v2/<name>/blobs/<digest>
	start          // /v2/<name>/blobs/uploads/
	upload         // /v2/<name>/blobs/uploads/<id>
	referrers      // /v2/<name>/referrers/<digest>
)

// place is a path, read.
type place struct {
	kind kind
	name string // of the repository
	ref  string // tag, digest or upload
}

// parsePath reads a path from its end, since the words that end it may be parts of
// the repository's name, too.
func parsePath(path string) place {
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case path == "/v2" || path == "/v2/":
		return place{kind: root}
	case !ok:
		return place{}
	case rest == "_catalog":
		return place{kind: catalog}
	}
	if name, ok := strings.CutSuffix(strings.TrimSuffix(rest, "/"), "/blobs/uploads"); ok {
		return place{kind: start, name: name}
	}
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return place{kind: tags, name: name}
	}
	head, ref := cutLast(rest)
	if name, ok := strings.CutSuffix(head, "/blobs/uploads"); ok {
		return place{upload, name, ref}
	}
	name, word := cutLast(head)
	switch word {
	case "manifests":
		return place{manifests, name, ref}
	case "blobs":
		return place{blobs, name, ref}
	case "referrers":
		return place{referrers, name, ref}
	}
	return place{}
}

// cutLast cuts off what follows the last slash; all is before where there is none.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// parseDigest takes the two algorithms that image-spec has registered.
func parseDigest(s string) (digest.Digest, error) {
	d := digest.Digest(s)
	if err := d.Validate(); err != nil || newHash(d.Algorithm()) == 0 {
		return "", refuse(http.StatusBadRequest, digestInvalid, "%.200q is not a digest: wanted are sha256: and 64, or sha512: and 128 hexadecimal digits", s)
	}
	return d, nil
}

// newHash is the algorithm of a digest; 0 if it is none of ours.
func newHash(a digest.Algorithm) crypto.Hash {
	switch a {
	case digest.SHA256:
		return crypto.SHA256
	case digest.SHA512:
		return crypto.SHA512
	}
	return 0
}

// route finds what a request asks for, and answers it.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff") // nothing here is for a browser to run
	p := parsePath(r.URL.Path)
	if err := s.dispatch(w, r, p); err != nil {
		answerError(w, r, err)
	}
}

type handler func(*Server, http.ResponseWriter, *http.Request, place) error

// handlers are the methods of each kind of path; HEAD is GET.
var handlers = map[kind]map[string]handler{
	root:      {"GET": (*Server).getRoot},
	catalog:   {"GET": (*Server).getCatalog},
	tags:      {"GET": (*Server).getTags},
	referrers: {"GET": (*Server).getReferrers},
	manifests: {"GET": (*Server).getManifest, "PUT": (*Server).putManifest, "DELETE": (*Server).deleteManifest},
	blobs:     {"GET": (*Server).getBlob, "DELETE": (*Server).deleteBlob},
	start:     {"POST": (*Server).startUpload},
	upload:    {"GET": (*Server).getUpload, "PATCH": (*Server).patchUpload, "PUT": (*Server).putUpload, "DELETE": (*Server).deleteUpload},
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, p place) error {
	methods, ok := handlers[p.kind]
	if !ok {
		return refuse(http.StatusNotFound, unsupported, "the path is none of a registry's")
	}
	if p.kind > catalog && !validName(p.name) {
		return refuse(http.StatusBadRequest, nameInvalid, "%.300q is not a repository's name: wanted are lower case letters and digits, with . _ - and / between them", p.name)
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h, ok := methods[method]
	if !ok {
		return refuse(http.StatusMethodNotAllowed, unsupported, "%s is not possible here", r.Method)
	}
	if s.opts.ReadOnly && method != http.MethodGet {
		return refuse(http.StatusMethodNotAllowed, unsupported, "this registry is read-only")
	}
	return h(s, w, r, p)
}
