package recipe

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"text/template/parse"
	"unicode"

	"github.com/Masterminds/sprig/v3"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

// MaxRendered bounds what a template may become.
const MaxRendered = 32 << 20

// noValue is what text/template prints for a variable that there is not.
const noValue = "<no value>"

// library has the functions that templates can call, beside the built-in ones.
var library = sync.OnceValue(sprig.HermeticTxtFuncMap)

// newTemplate parses a template. It gets only those functions whose names are
// somewhere in its text: to give all to each takes longer than all the rest.
func newTemplate(name, text string, more template.FuncMap) (*template.Template, error) {
	funcs := template.FuncMap{}
	if _, actions, ok := strings.Cut(text, "{{"); ok {
		for word := range strings.FieldsFuncSeq(actions, endsWord) {
			if f, ok := library()[word]; ok {
				funcs[word] = f
			}
		}
	}
	return template.New(name).Funcs(funcs).Funcs(more).Parse(text)
}

func endsWord(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// Eval renders a template with the variables of a package.
func Eval(text string, p *Package) (string, error) {
	t, err := newTemplate("template", text, nil)
	if err != nil {
		return "", fmt.Errorf("parsing the template for package %s: %w", p.Name, err)
	}
	out, err := execute(t, p.Context)
	if err != nil {
		return "", fmt.Errorf("rendering the template for package %s: %w", p.Name, err)
	}
	return string(out), nil
}

func execute(t *template.Template, data any) ([]byte, error) {
	var out limited
	if err := t.Execute(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// limited is a buffer that takes MaxRendered bytes.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > MaxRendered {
		return 0, fmt.Errorf("the text becomes longer than %d bytes", MaxRendered)
	}
	return l.Buffer.Write(p)
}

// render makes a file's text of its template. What is wrong is noted.
func (l *loader) render(name string, text []byte, vars Variables) ([]byte, bool) {
	if !bytes.Contains(text, []byte("{{")) {
		return text, true
	}
	t, err := newTemplate(name, string(text), nil)
	var out []byte
	if err == nil {
		out, err = execute(t, vars)
	}
	if err != nil {
		l.report.add(templateProblem(name, text, err))
		return nil, false
	}
	if bytes.Contains(out, []byte(noValue)) || bytes.Contains(out, []byte("<nil>")) {
		l.undefined(t, text, vars)
	}
	return out, true
}

var templateErrorForm = lazyregexp.New(`(?s)^template: .*?:(\d+)(?::\d+)?: (?:executing ".*?" )?(.*)$`)

// templateProblem says what text/template says, with the line where it belongs.
func templateProblem(name string, text []byte, err error) Problem {
	p := Problem{File: name, Message: "rendering: " + err.Error()}
	rest, ok := strings.CutPrefix(err.Error(), "template: "+name+":")
	if !ok {
		return p
	}
	if m := templateErrorForm.FindStringSubmatch("template: x:" + rest); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Message = "rendering: " + m[2]
		p.Excerpt = excerpt(text, p.Line)
	}
	return p
}

// witness is the function that is put behind what prints, to see its value. It
// is there only after a template was parsed, so none can call it.
const witness = "_graft_witness"

// undefined renders a template once more to warn of the variables that are
// printed and do not exist. Those that a template only asks for, with if or
// default, are no business of ours.
func (l *loader) undefined(t *template.Template, text []byte, vars Variables) {
	w := watcher{vars: vars, seen: map[sighting]bool{}}
	t.Funcs(template.FuncMap{witness: w.see})
	for _, part := range t.Templates() {
		if part.Tree != nil && part.Root != nil {
			w.list(part.Tree, part.Root)
		}
	}
	if err := t.Execute(&limited{}, vars); err != nil {
		return // it worked before, so this is about time or size
	}
	for _, s := range w.found {
		l.report.warn(Problem{File: t.Name(), Line: s.line, Excerpt: excerpt(text, s.line), Message: fmt.Sprintf("the variable %s is not defined: %s is printed", s.variable, s.prints)})
	}
}

// sighting is a variable that does not exist and is printed.
type sighting struct {
	line     int
	variable string
	prints   string
}

// watcher looks at what a template prints.
type watcher struct {
	vars    Variables
	actions []*parse.ActionNode
	found   []sighting
	seen    map[sighting]bool
}

// list puts the witness into every action below a list of nodes.
func (w *watcher) list(tree *parse.Tree, list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			w.action(tree, n)
		case *parse.IfNode:
			w.branch(tree, &n.BranchNode)
		case *parse.RangeNode:
			w.branch(tree, &n.BranchNode)
		case *parse.WithNode:
			w.branch(tree, &n.BranchNode)
		}
	}
}

func (w *watcher) branch(tree *parse.Tree, n *parse.BranchNode) {
	w.list(tree, n.List)
	w.list(tree, n.ElseList)
}

func (w *watcher) action(tree *parse.Tree, n *parse.ActionNode) {
	if len(n.Pipe.Decl) > 0 {
		return
	}
	original := n.Copy().(*parse.ActionNode)
	number := &parse.NumberNode{NodeType: parse.NodeNumber, Pos: n.Pos, IsInt: true, Int64: int64(len(w.actions)), Text: strconv.Itoa(len(w.actions))}
	call := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos, Args: []parse.Node{parse.NewIdentifier(witness).SetTree(tree).SetPos(n.Pos), number}}
	n.Pipe.Cmds = append(n.Pipe.Cmds, call)
	w.actions = append(w.actions, original)
}

// see is called with every value that is printed.
func (w *watcher) see(action int, value any) any {
	prints := fmt.Sprint(value)
	if value == nil {
		prints = noValue
	}
	if !strings.Contains(prints, noValue) && !strings.Contains(prints, "<nil>") {
		return value
	}
	a := w.actions[action]
	names := w.missing(a.Pipe)
	if len(names) == 0 && value == nil {
		names = []string{a.Pipe.String()}
	}
	for _, name := range names {
		s := sighting{line: a.Line, variable: name, prints: shorten(strings.TrimSpace(prints))}
		if !w.seen[s] {
			w.seen[s] = true
			w.found = append(w.found, s)
		}
	}
	return value
}

// missing are the variables of a pipeline that do not exist.
func (w *watcher) missing(pipe *parse.PipeNode) []string {
	var names []string
	add := func(path []string) {
		if _, ok := w.vars[path[0]]; !ok && !slices.Contains(names, path[0]) {
			names = append(names, path[0])
		}
	}
	for _, cmd := range pipe.Cmds {
		for _, arg := range cmd.Args {
			switch arg := arg.(type) {
			case *parse.FieldNode:
				add(arg.Ident)
			case *parse.VariableNode:
				if arg.Ident[0] == "$" && len(arg.Ident) > 1 {
					add(arg.Ident[1:])
				}
			case *parse.PipeNode:
				names = append(names, w.missing(arg)...)
			}
		}
	}
	return names
}
