package resource

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"go.yaml.in/yaml/v4"

	"github.com/graftlinux/graft/internal/format/jsonpath"
)

// specYAML is the spec as the node has sent it; nothing for a resource that
// stands for one that is gone.
func specYAML(r *Resource) string {
	wire, err := r.Marshal()
	if err != nil {
		return ""
	}
	return wire.GetSpec().GetYamlSpec()
}

// YAML gives a resource the form in which talosctl prints it: the keys metadata and
// spec, indented by four.
func YAML(r *Resource) ([]byte, error) {
	var document any = map[string]any{"metadata": r.Metadata()}
	if specYAML(r) != "" {
		var err error
		if document, err = resource.MarshalYAML(r); err != nil {
			return nil, fmt.Errorf("showing %q: %w", r.Metadata().ID(), err)
		}
	}
	data, err := yaml.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("showing %q: %w", r.Metadata().ID(), err)
	}
	return data, nil
}

// Metadata is the part of a resource that all types have. Its fields are in the
// order in which talosctl prints them as JSON.
type Metadata struct {
	Annotations map[string]string `json:"annotations,omitempty"`
	Created     string            `json:"created"` // RFC 3339
	Finalizers  []string          `json:"finalizers,omitempty"`
	ID          string            `json:"id"`
	Labels      map[string]string `json:"labels,omitempty"`
	Namespace   string            `json:"namespace"`
	Owner       string            `json:"owner"`
	Phase       string            `json:"phase"`
	Type        string            `json:"type"`
	Updated     string            `json:"updated"`
	Version     any               `json:"version"` // a number, or "undefined"
}

// MetadataOf gives the metadata of a resource.
func MetadataOf(r *Resource) Metadata {
	md := r.Metadata()
	m := Metadata{
		Namespace:   md.Namespace(),
		Type:        md.Type(),
		ID:          md.ID(),
		Version:     md.Version().String(),
		Owner:       md.Owner(),
		Phase:       md.Phase().String(),
		Created:     md.Created().Format(time.RFC3339),
		Updated:     md.Updated().Format(time.RFC3339),
		Labels:      md.Labels().Raw(),
		Annotations: md.Annotations().Raw(),
		Finalizers:  *md.Finalizers(),
	}
	if !md.Version().Equal(resource.VersionUndefined) {
		m.Version = md.Version().Value()
	}
	return m
}

// Spec decodes the spec of a resource into maps, lists and scalars that
// encoding/json can encode. That of a resource that is gone is nil.
func Spec(r *Resource) (any, error) {
	var v any
	if err := yaml.Unmarshal([]byte(specYAML(r)), &v); err != nil {
		return nil, fmt.Errorf("reading the spec of %q: %w", r.Metadata().ID(), err)
	}
	return forJSON(v), nil
}

// forJSON replaces what YAML has and JSON has not: keys that are no strings, and
// numbers that are none.
func forJSON(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case map[string]any:
		for key, value := range v {
			v[key] = forJSON(value)
		}
	case map[any]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[fmt.Sprint(key)] = forJSON(value)
		}
		return out
	case []any:
		for i, value := range v {
			v[i] = forJSON(value)
		}
	}
	return v
}

// Columns are the columns of a type's table.
type Columns struct {
	display string
	heads   []string
	paths   []*jsonpath.Path
}

// ColumnsOf prepares the table of a type.
func ColumnsOf(d Definition) (*Columns, error) {
	c := &Columns{display: printable(d.DisplayType), heads: []string{"NAMESPACE", "TYPE", "ID", "VERSION"}}
	for _, column := range d.PrintColumns {
		path, err := jsonpath.Parse(column.JSONPath)
		if err != nil {
			return nil, fmt.Errorf("preparing column %q of %s: %w", column.Name, d.Type, err)
		}
		c.heads = append(c.heads, strings.ToUpper(printable(column.Name)))
		c.paths = append(c.paths, path)
	}
	return c, nil
}

// Heads are the titles of the columns.
func (c *Columns) Heads() []string { return c.heads }

// Cells are one row of the table, free of control characters.
func (c *Columns) Cells(r *Resource) ([]string, error) {
	md := r.Metadata()
	cells := []string{printable(md.Namespace()), c.display, printable(md.ID()), md.Version().String()}
	spec, err := Spec(r)
	if err != nil {
		return nil, err
	}
	for _, path := range c.paths {
		cells = append(cells, printable(path.Text(spec)))
	}
	return cells, nil
}
