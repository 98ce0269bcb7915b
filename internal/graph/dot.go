package graph

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// dotStyles are the looks of the kinds in Graphviz' words.
var dotStyles = map[Kind]string{
	Image:  ` style="filled" fillcolor="lemonchiffon"`,
	Alpine: ` style="filled" fillcolor="aquamarine"`,
}

// DOT writes the graph in Graphviz' language. A node is called by its ID.
func (g *Graph) DOT(w io.Writer) error {
	c, err := g.canonical()
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	b.WriteString("digraph {\n\trankdir=\"LR\"\n\tnode [shape=\"box\"]\n")
	for _, n := range c.Nodes {
		fmt.Fprintf(b, "\t%s [label=%s%s]\n", dotString(n.ID), dotLabel(n.Label), dotStyles[n.Kind])
	}
	for _, e := range c.Edges {
		style := ""
		if e.Runtime {
			style = ` [color="forestgreen" style="bold"]`
		}
		fmt.Fprintf(b, "\t%s -> %s%s\n", dotString(e.From), dotString(e.To), style)
	}
	b.WriteString("}\n")
	return b.Flush()
}

// dotString quotes a string: no two become one. Graphviz would take a backslash
// before a quote or a line's end, and in labels before some letters, for an escape, and
// ends at a NUL.
func dotString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\\x%02x`, s[i])
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// dotLabel quotes text to be shown: Graphviz knows HTML's entities there.
func dotLabel(s string) string {
	return dotString(strings.ReplaceAll(s, "&", "&amp;"))
}
