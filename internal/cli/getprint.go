package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/graftlinux/graft/internal/resource"
)

// resourcePrinter prints resources in one of the formats of talosctl.
type resourcePrinter interface {
	// begin is called once, before the first resource.
	begin(resource.Definition) error
	print(node string, r *resource.Resource, change resource.Change) error
	// flush prints what waits for others, to be aligned with them.
	flush() error
}

// newResourcePrinter makes a printer; changes says whether it shall print them.
func newResourcePrinter(format string, w io.Writer, changes bool) resourcePrinter {
	switch format {
	case "yaml":
		return &yamlPrinter{w: w, changes: changes}
	case "json":
		return &jsonPrinter{w: w, changes: changes}
	}
	return &tablePrinter{w: w, changes: changes}
}

// tablePrinter keeps columns aligned across flushes: they get wider, but never
// narrower.
type tablePrinter struct {
	w       io.Writer
	changes bool
	columns *resource.Columns
	waiting [][]string
	widths  []int
}

func (p *tablePrinter) begin(d resource.Definition) error {
	var err error
	if p.columns, err = resource.ColumnsOf(d); err != nil {
		return withCode(exitUnsupported, err, "-o yaml needs no columns")
	}
	p.add("NODE", "*", p.columns.Heads())
	return nil
}

var changeMarks = map[resource.Change]string{resource.Created: "+", resource.Updated: " ", resource.Destroyed: "-"}

func (p *tablePrinter) print(node string, r *resource.Resource, change resource.Change) error {
	cells, err := p.columns.Cells(r)
	if err != nil {
		return withCode(exitDependency, fmt.Errorf("node %s: %w", node, err))
	}
	p.add(node, changeMarks[change], cells)
	return nil
}

func (p *tablePrinter) add(node, mark string, cells []string) {
	row := append([]string{node}, cells...)
	if p.changes {
		row = slices.Insert(row, 1, mark)
	}
	p.waiting = append(p.waiting, row)
}

// columnGap is the space between columns, as in talosctl's tables.
const columnGap = 3

func (p *tablePrinter) flush() error {
	for _, row := range p.waiting {
		p.widths = append(p.widths, make([]int, max(0, len(row)-len(p.widths)))...)
		for i, cell := range row {
			p.widths[i] = max(p.widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range p.waiting {
		for i, cell := range row[:len(row)-1] {
			b.WriteString(cell)
			b.WriteString(strings.Repeat(" ", p.widths[i]-utf8.RuneCountInString(cell)+columnGap))
		}
		b.WriteString(row[len(row)-1])
		b.WriteByte('\n')
	}
	p.waiting = p.waiting[:0]
	_, err := io.WriteString(p.w, b.String())
	return err
}

// yamlPrinter prints a document per resource.
type yamlPrinter struct {
	w       io.Writer
	changes bool
	begun   bool
}

func (p *yamlPrinter) begin(resource.Definition) error { return nil }

func (p *yamlPrinter) print(node string, r *resource.Resource, change resource.Change) error {
	document, err := resource.YAML(r)
	if err != nil {
		return withCode(exitDependency, fmt.Errorf("node %s: %w", node, err))
	}
	var b strings.Builder
	if p.begun {
		b.WriteString("---\n")
	}
	p.begun = true
	fmt.Fprintf(&b, "node: %s\n", node)
	if p.changes {
		fmt.Fprintf(&b, "event: %s\n", change)
	}
	b.Write(document)
	_, err = io.WriteString(p.w, b.String())
	return err
}

func (p *yamlPrinter) flush() error { return nil }

// jsonPrinter prints an object per resource, one after the other.
type jsonPrinter struct {
	w       io.Writer
	changes bool
}

func (p *jsonPrinter) begin(resource.Definition) error { return nil }

func (p *jsonPrinter) print(node string, r *resource.Resource, change resource.Change) error {
	spec, err := resource.Spec(r)
	if err != nil {
		return withCode(exitDependency, fmt.Errorf("node %s: %w", node, err))
	}
	object := struct {
		Event    string            `json:"event,omitempty"`
		Metadata resource.Metadata `json:"metadata"`
		Node     string            `json:"node"`
		Spec     any               `json:"spec"`
	}{Metadata: resource.MetadataOf(r), Node: node, Spec: spec}
	if p.changes {
		object.Event = change.String()
	}
	return printJSON(p.w, object)
}

func (p *jsonPrinter) flush() error { return nil }
