package graph

import (
	"bufio"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// head is what every drawing begins with. The colours have a light and a dark form,
// of which the viewer's preference decides.
const head = `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d">
<title>Dependencies</title>
<style>
.ground { fill: white; stroke: none }
text { fill: black; font: %[3]dpx ui-monospace, "DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace }
rect { fill: white; stroke: black }
.image rect { fill: lemonchiffon }
.alpine rect { fill: aquamarine }
.edge { fill: none; stroke: dimgray; marker-end: url(#arrow) }
.runtime { stroke: forestgreen; stroke-width: 2.5; marker-end: url(#runtime-arrow) }
.edge:hover { stroke-width: 4 }
#arrow { fill: dimgray }
#runtime-arrow { fill: forestgreen }
@media (prefers-color-scheme: dark) {
.ground { fill: #14171a }
text { fill: #eee }
rect { fill: #14171a; stroke: #bbb }
.image rect { fill: #57501a }
.alpine rect { fill: #14534a }
.edge { stroke: #999 }
.runtime { stroke: limegreen }
#arrow { fill: #999 }
#runtime-arrow { fill: limegreen }
}
</style>
<defs>
<marker id="arrow" viewBox="0 0 8 6" refX="8" refY="3" markerWidth="8" markerHeight="6" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 3L0 6z"/></marker>
<marker id="runtime-arrow" viewBox="0 0 8 6" refX="8" refY="3" markerWidth="12" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 3L0 6z"/></marker>
</defs>
<rect class="ground" width="100%%" height="100%%"/>
`

// SVG draws the graph. The file needs nothing beside itself; tooltips have the IDs.
func (g *Graph) SVG(ctx context.Context, w io.Writer) error {
	c, err := g.canonical()
	if err != nil {
		return err
	}
	d, err := draw(ctx, c)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, head, max(d.width, 2*margin), max(d.height, 2*margin), fontSize)
	for _, runtime := range []bool{false, true} { // the bold ones lie on top
		for i, e := range c.Edges {
			if e.Runtime == runtime {
				writeEdge(b, e, pathOf(d.lines[i]))
			}
		}
	}
	for i, n := range c.Nodes {
		writeNode(b, n, d.boxes[i])
	}
	b.WriteString("</svg>\n")
	return b.Flush()
}

func writeEdge(b *bufio.Writer, e Edge, path string) {
	class, kind := "edge", ""
	if e.Runtime {
		class, kind = "edge runtime", " (runtime)"
	}
	fmt.Fprintf(b, "<path class=\"%s\" d=\"%s\"><title>%s → %s%s</title></path>\n", class, path, text(e.From), text(e.To), kind)
}

// writeNode draws a box. The label is as long as its box, whatever font there is.
func writeNode(b *bufio.Writer, n Node, at box) {
	class := Package
	if n.Kind == Image || n.Kind == Alpine {
		class = n.Kind
	}
	fmt.Fprintf(b, "<g class=\"%s\"><title>%s</title><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>",
		class, text(n.ID), at.x, at.y-boxHeight/2, at.width, boxHeight)
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" textLength=\"%d\">%s</text></g>\n",
		at.x+padding, at.y+fontSize/3, at.width-2*padding, text(at.label))
}

// pathOf is a line in the language of SVG's paths.
func pathOf(line []point) string {
	var p strings.Builder
	fmt.Fprintf(&p, "M%d %d", line[0].x, line[0].y)
	for i, to := range line[1:] {
		from := line[i]
		switch {
		case to == from:
		case to.y == from.y:
			fmt.Fprintf(&p, "H%d", to.x)
		default:
			middle := (from.x + to.x) / 2
			fmt.Fprintf(&p, "C%d %d %d %d %d %d", middle, from.y, middle, to.y, to.x, to.y)
		}
	}
	return p.String()
}

// shown is a label of at most maxLabel characters.
func shown(label string) string {
	runes := []rune(label)
	if len(runes) > maxLabel {
		runes = append(runes[:maxLabel-1], '…')
	}
	return printable(string(runes))
}

// printable replaces what is no character to look at: control characters, which XML
// cannot hold, and those that turn the direction of writing.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// text is a string as the content of an element.
func text(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(printable(s))) // a Builder takes everything
	return b.String()
}
