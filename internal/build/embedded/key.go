package embedded

import (
	"encoding/json"
	"regexp"
	"time"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/build/store"
)

// version is part of every key. It changes when operations come to give other
// files than before.
const version = "1"

// copyVersion is the same for copies alone: what is costly stays.
const copyVersion = "2"

// key names the result of an operation whose inputs are there.
func (s *solver) key(op *plan.Op) (store.Key, error) {
	switch k := op.Kind.(type) {
	case *plan.Files:
		return store.KeyOf(version, "files", k.Key), nil
	case *plan.Image:
		return s.imageKey(op, k)
	case *plan.Copy:
		stack, err := s.wait(k.Input)
		if err != nil {
			return "", err
		}
		return store.KeyOf(append([]string{copyVersion, "copy", k.From, k.To}, stack.Names()...)...), nil
	case *plan.Exec:
		return s.execKey(op, k)
	}
	return "", nil
}

// pinned is the end of a reference that names content: a path may have an @, too.
var pinned = regexp.MustCompile(`@(sha256:[0-9a-f]{64})$`)

// imageKey needs no registry for an image that its reference pins.
func (s *solver) imageKey(op *plan.Op, k *plan.Image) (store.Key, error) {
	if m := pinned.FindStringSubmatch(k.Ref); m != nil {
		return store.KeyOf(version, "image", m[1], op.Platform), nil
	}
	img, err := s.openImage(op, k)
	if err != nil {
		return "", err
	}
	defer img.Close()
	return store.KeyOf(version, "image", img.Digest(), op.Platform), nil
}

// visible is what a command can see besides its file system.
type visible struct {
	Args     []string
	Env      []string
	Dir      string
	Network  plan.Network
	Caches   []plan.Cache
	Platform string
	Scope    string
}

func (s *solver) execKey(op *plan.Op, k *plan.Exec) (store.Key, error) {
	stack, err := s.wait(k.Root)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(visible{k.Args, k.Env, k.Dir, k.Network, k.Caches, op.Platform, s.e.opts.Scope})
	if err != nil {
		return "", err
	}
	return store.KeyOf(append([]string{version, "exec", string(data)}, stack.Names()...)...), nil
}

// tell reports a status, with the time.
func (s *solver) tell(st plan.Status) {
	if s.report == nil {
		return
	}
	st.Time = time.Now()
	s.report(st)
}
