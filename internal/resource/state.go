package resource

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/cosi-project/runtime/pkg/state/registry"

	"github.com/graftlinux/graft/internal/extension"
)

// State holds the resources of one node in memory. It may be used by several
// goroutines.
type State struct {
	core  state.State
	types *registry.ResourceRegistry

	mu    sync.RWMutex
	kinds map[kind]bool
}

// kind is a type of resources in one namespace.
type kind struct {
	namespace resource.Namespace
	typ       resource.Type
}

// NewState makes a state that knows the types of COSI itself and
// ExtensionStatus, and holds no resource but their definitions.
func NewState(ctx context.Context) (*State, error) {
	core := state.WrapCore(namespaced.NewState(inmem.Build))
	s := &State{core: core, types: registry.NewResourceRegistry(core), kinds: map[kind]bool{}}
	namespaces := registry.NewNamespaceRegistry(core)
	if err := namespaces.RegisterDefault(ctx); err != nil {
		return nil, fmt.Errorf("registering the default namespace: %w", err)
	}
	if err := namespaces.Register(ctx, RuntimeNamespace, "What the node has found out while it runs."); err != nil {
		return nil, fmt.Errorf("registering namespace %s: %w", RuntimeNamespace, err)
	}
	for _, r := range []meta.ResourceWithRD{&meta.ResourceDefinition{}, &meta.Namespace{}, &ExtensionStatus{}} {
		if err := s.Register(ctx, r); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Register makes the type of an example resource known: to clients, by its
// definition, and to the server, which serves no other types.
func (s *State) Register(ctx context.Context, example meta.ResourceWithRD) error {
	d := example.ResourceDefinition()
	if err := s.types.Register(ctx, example); err != nil {
		return fmt.Errorf("registering resource type %s: %w", d.Type, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[kind{d.DefaultNamespace, d.Type}] = true
	return nil
}

// Create adds a resource that belongs to the controller owner.
func (s *State) Create(ctx context.Context, r resource.Resource, owner string) error {
	if r.Metadata().ID() == "" {
		return errors.New("creating resource: it has no id")
	}
	if err := s.core.Create(ctx, r, state.WithCreateOwner(owner)); err != nil {
		return fmt.Errorf("creating resource: %w", err)
	}
	return nil
}

// AddExtensions adds an ExtensionStatus per layer. Layers that cannot be added,
// for they have no name or a name that another one has, do not stop the
// others; the error tells them all.
func (s *State) AddExtensions(ctx context.Context, layers []extension.Layer) error {
	var failed []error
	for i, l := range layers {
		if err := s.Create(ctx, NewExtensionStatus(l), extensionOwner); err != nil {
			failed = append(failed, fmt.Errorf("adding layer %d (%q): %w", i, l.Image, err))
		}
	}
	return errors.Join(failed...)
}

// serves says whether there can be resources of a type in a namespace. To look
// for others would make room for them in memory: the state keeps a history
// per type that was ever asked for.
func (s *State) serves(namespace resource.Namespace, typ resource.Type) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.kinds[kind{namespace, typ}]
}
