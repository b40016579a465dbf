package export

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// DOT writes a graph in the language of Graphviz.
func DOT(w io.Writer, g Graph) error {
	g, err := g.ordered()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprint(out, "digraph influence {\n  rankdir=RL;\n  node [fontname=\"sans-serif\", fontsize=10];\n  edge [fontname=\"sans-serif\", fontsize=9];\n")
	for _, n := range g.Nodes {
		label := n.Kind
		if n.Label != "" {
			label += "\n" + n.Label
		}
		fmt.Fprintf(out, "  %s [shape=%s, label=%s];\n", quoted(n.ID), [...]string{"note", "ellipse", "box"}[n.Role], quoted(label))
	}
	for _, e := range g.Edges {
		label, style := e.Relation.String(), "solid"
		if e.Level > 0 {
			label = fmt.Sprintf("%s L%d", label, e.Level)
		}
		if e.Level == 1 {
			style = "dashed" // possible, no more
		}
		fmt.Fprintf(out, "  %s -> %s [label=%s, style=%s];\n", quoted(e.From), quoted(e.To), quoted(label), style)
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}

// quoted is a text as Graphviz reads it: only the quote and the backslash mean something
// inside quotes, and control characters are left out.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r < 0x20 || r == 0x7f:
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
