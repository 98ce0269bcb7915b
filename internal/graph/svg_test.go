package graph

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rivo/uniseg"

	"github.com/graftlinux/graft/internal/testkit"
)

// picture is what a reader of the SVG finds.
type picture struct {
	Width  int `xml:"width,attr"`
	Height int `xml:"height,attr"`
	Paths  []struct {
		Class string `xml:"class,attr"`
		D     string `xml:"d,attr"`
		Title string `xml:"title"`
	} `xml:"path"`
	Groups []struct {
		Class string `xml:"class,attr"`
		Title string `xml:"title"`
		Rect  struct {
			X      int `xml:"x,attr"`
			Y      int `xml:"y,attr"`
			Width  int `xml:"width,attr"`
			Height int `xml:"height,attr"`
		} `xml:"rect"`
		Text struct {
			X      int    `xml:"x,attr"`
			Y      int    `xml:"y,attr"`
			Length int    `xml:"textLength,attr"`
			Text   string `xml:",chardata"`
		} `xml:"text"`
	} `xml:"g"`
}

// look reads a drawing, which is well-formed and has no element but ours.
func look(t testing.TB, data []byte) picture {
	t.Helper()
	const ours = " svg title style defs marker rect path g text "
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, data)
		}
		if e, ok := token.(xml.StartElement); ok && !strings.Contains(ours, " "+e.Name.Local+" ") {
			t.Fatalf("the element <%s> came from a label", e.Name.Local)
		}
	}
	var p picture
	if err := xml.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// graphs are shapes that a layout may stumble over.
func graphs() map[string]*Graph {
	complete := &Graph{}
	for i := range 20 {
		for j := range 20 {
			complete.Edges = append(complete.Edges, Edge{From: fmt.Sprint("a", i), To: fmt.Sprint("b", j)}, Edge{From: fmt.Sprint("b", j), To: fmt.Sprint("c", i)})
		}
	}
	return map[string]*Graph{
		"empty":      {},
		"one":        {Nodes: []Node{{ID: "a"}}},
		"apart":      {Nodes: []Node{{ID: "a"}, {ID: "b"}, {ID: "c"}}},
		"example":    example(),
		"chain":      edges("a b", "b c", "c d", "d e", "a e", "a d", "b e"),
		"loop":       edges("a a", "a b", "b b!"),
		"cycle":      edges("x a", "a b", "b c!", "c a", "c y"),
		"both ways":  edges("a b", "b a"),
		"only cycle": edges("a b", "b c", "c d", "d a", "b d", "d b"),
		"complete":   complete,
		"116":        synthetic(116),
		"500":        synthetic(500),
		"long":       {Nodes: []Node{{ID: strings.Repeat("long-", 1000)}, {ID: "汉字漢字汉字漢字"}, {ID: ""}}},
	}
}

func TestSVG(t *testing.T) {
	t.Parallel()
	for name, g := range graphs() {
		t.Run(name, func(t *testing.T) {
			p := look(t, svg(t, g))
			boxes := p.boxes(t)
			checkBoxes(t, p, boxes)
			c, err := g.canonical()
			if err != nil {
				t.Fatal(err)
			}
			if len(boxes) != len(c.Nodes) || len(p.Paths) != len(c.Edges) {
				t.Fatalf("got %d boxes and %d lines of %d nodes and %d edges", len(boxes), len(p.Paths), len(c.Nodes), len(c.Edges))
			}
			for _, path := range p.Paths {
				checkLine(t, boxes, path.Title, path.D)
			}
		})
	}
}

// boxes finds the boxes by their tooltips.
func (p picture) boxes(t *testing.T) map[string]box {
	t.Helper()
	boxes := map[string]box{}
	for _, g := range p.Groups {
		boxes[g.Title] = box{x: g.Rect.X, y: g.Rect.Y + boxHeight/2, width: g.Rect.Width}
		if end := g.Text.X + g.Text.Length; g.Rect.Height != boxHeight || g.Text.X <= g.Rect.X || end >= g.Rect.X+g.Rect.Width {
			t.Errorf("%s: the label is not in its box: %+v", g.Title, g)
		}
		if n := uniseg.StringWidth(g.Text.Text); n > 2*maxLabel {
			t.Errorf("%s: a label of %d characters", g.Title, n)
		}
	}
	return boxes
}

// touches says whether two boxes are nearer than lines need.
func (b box) touches(c box) bool {
	return b.x < c.right() && c.x < b.right() && max(b.y-c.y, c.y-b.y) < boxHeight+nodeGap-1
}

func checkBoxes(t *testing.T, p picture, boxes map[string]box) {
	t.Helper()
	for a, x := range boxes {
		if x.x < 0 || x.right() > p.Width || x.y < boxHeight/2 || x.y+boxHeight/2 > p.Height {
			t.Errorf("%s is out of the drawing: %+v in %dx%d", a, x, p.Width, p.Height)
		}
		for b, y := range boxes {
			if a < b && x.touches(y) {
				t.Errorf("%s and %s overlap: %+v %+v", a, b, x, y)
			}
		}
	}
}

// checkLine wants a line from its first node to its second, across no box.
func checkLine(t *testing.T, boxes map[string]box, title, d string) {
	t.Helper()
	from, to, _ := strings.Cut(strings.TrimSuffix(title, " (runtime)"), " → ")
	points := pointsOf(t, d)
	first, last := points[0], points[len(points)-1]
	if !boxes[from].borders(first) || !boxes[to].borders(last) {
		t.Errorf("%s: the line goes from %v to %v, the nodes are at %+v and %+v", title, first, last, boxes[from], boxes[to])
	}
	for i, b := range points[1:] {
		a := points[i]
		for name, box := range boxes {
			inside := min(a.x, b.x) < box.right()-1 && max(a.x, b.x) > box.x+1 &&
				min(a.y, b.y) < box.y+boxHeight/2 && max(a.y, b.y) > box.y-boxHeight/2
			if inside {
				t.Errorf("%s: the line crosses %s between %v and %v", title, name, a, b)
			}
		}
	}
}

// borders says whether a point is on the left or the right side.
func (b box) borders(p point) bool {
	return (p.x == b.x || p.x == b.right()) && p.y > b.y-boxHeight/2 && p.y < b.y+boxHeight/2
}

// pointsOf reads a path. A curve stays within the rectangle of its ends, as the
// two points that bend it do.
func pointsOf(t *testing.T, d string) []point {
	t.Helper()
	var points []point
	for _, c := range strings.Split(strings.NewReplacer("H", "|H", "C", "|C").Replace(d), "|") {
		var n []int
		for _, f := range strings.Fields(c[1:]) {
			v, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			n = append(n, v)
		}
		switch c[0] {
		case 'M':
			points = append(points, point{n[0], n[1]})
		case 'H':
			points = append(points, point{n[0], points[len(points)-1].y})
		case 'C':
			last := points[len(points)-1]
			if n[0] != n[2] || n[1] != last.y || n[3] != n[5] {
				t.Fatalf("the curve %s bends out of its way", c)
			}
			points = append(points, point{n[4], n[5]})
		}
	}
	return points
}

// hostile are names from recipes that nobody has read.
var hostile = []string{
	`</title><script>alert(1)</script>`, `"><image href="x"/>`, `&amp;`, `&lt;b&gt;`, "]]>", "<!--", "a\x00b", "a\nb", "a\x1b[31m",
	"\xff\xfe", "\ufffe", "a\u202eb", `a\`, `a\\`, `a"`, `a\"`, `\N \G \l`, "a:port", "<b>bold</b>", "digraph", "", "é", "x'onload='y", "]>&e;",
}

func hostileGraph() *Graph {
	g := &Graph{}
	for i, name := range hostile {
		g.Nodes = append(g.Nodes, Node{ID: name, Kind: Kind(name)})
		g.Edges = append(g.Edges, Edge{From: name, To: hostile[(i+1)%len(hostile)], Runtime: i%2 == 0})
	}
	return g
}

func TestHostileLabels(t *testing.T) {
	p := look(t, svg(t, hostileGraph()))
	if len(p.Groups) != len(hostile) || len(p.Paths) != len(hostile) {
		t.Errorf("got %d boxes and %d lines, want %d", len(p.Groups), len(p.Paths), len(hostile))
	}
	labels := map[string]bool{}
	for _, g := range p.Groups {
		labels[g.Text.Text] = true
		if g.Class != string(Package) {
			t.Errorf("%q has the class %q", g.Title, g.Class)
		}
	}
	for _, want := range []string{hostile[0], hostile[2], `a\"`, "é", "a\ufffdb"} {
		if !labels[want] {
			t.Errorf("there is no label %q", want)
		}
	}
}

// TestJudgeDot lets Graphviz read what we write: every node and edge is there, and
// labels are shown as they are.
func TestJudgeDot(t *testing.T) {
	t.Parallel()
	program := testkit.Judge(t, "dot")
	for name, g := range map[string]*Graph{"empty": {}, "example": example(), "hostile": hostileGraph(), "116": synthetic(116)} {
		cmd := exec.Command(program, "-Tsvg")
		cmd.Stdin = strings.NewReader(dot(t, g))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v: %s", name, err, stderr.String())
			continue
		}
		c, err := g.canonical()
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(out, []byte(`class="node"`)); n != len(c.Nodes) {
			t.Errorf("%s: Graphviz has %d nodes, want %d", name, n, len(c.Nodes))
		}
		if n := bytes.Count(out, []byte(`class="edge"`)); n != len(c.Edges) {
			t.Errorf("%s: Graphviz has %d edges, want %d", name, n, len(c.Edges))
		}
		for _, want := range []string{"&amp;amp;", "&lt;b&gt;bold", `\N \G \l`} {
			if name == "hostile" && !bytes.Contains(out, []byte(want)) {
				t.Errorf("Graphviz does not show %s", want)
			}
		}
	}
}

// FuzzSVG draws graphs of any shape and any names: an edge per line, as "a>b".
func FuzzSVG(f *testing.F) {
	f.Add("a>b\nb>c\nc>a\na>a\na>c")
	f.Add(strings.Join(hostile, ">"))
	f.Fuzz(func(t *testing.T, text string) {
		g := &Graph{}
		for line := range strings.SplitSeq(text, "\n") {
			names := strings.Split(line, ">")
			for i, to := range names[1:] {
				g.Edges = append(g.Edges, Edge{From: names[i], To: to})
			}
		}
		p := look(t, svg(t, g))
		if c, _ := g.canonical(); len(p.Groups) != len(c.Nodes) || len(p.Paths) != len(c.Edges) {
			t.Errorf("got %d boxes and %d lines of %d nodes and %d edges", len(p.Groups), len(p.Paths), len(c.Nodes), len(c.Edges))
		}
		dot(t, g)
	})
}
