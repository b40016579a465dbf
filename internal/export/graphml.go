package export

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// GraphML writes a graph as GraphML (graphml.graphdrawing.org, schema 1.0).
func GraphML(w io.Writer, g Graph) error {
	g, err := g.ordered()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprint(out, xml.Header+`<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">`+"\n")
	for _, key := range [][3]string{
		{"role", "node", "string"}, {"kind", "node", "string"}, {"label", "node", "string"}, {"at", "node", "string"},
		{"relation", "edge", "string"}, {"level", "edge", "int"},
	} {
		fmt.Fprintf(out, "  <key id=%q for=%q attr.name=%q attr.type=%q/>\n", key[0], key[1], key[0], key[2])
	}
	fmt.Fprintln(out, `  <graph id="influence" edgedefault="directed">`)
	data := func(key, value string) {
		if value != "" {
			fmt.Fprintf(out, "      <data key=%q>%s</data>\n", key, markup(value))
		}
	}
	for _, n := range g.Nodes {
		fmt.Fprintf(out, "    <node id=\"%s\">\n", markup(n.ID))
		data("role", [...]string{"entity", "agent", "activity"}[n.Role])
		data("kind", n.Kind)
		data("label", n.Label)
		data("at", n.At)
		fmt.Fprintln(out, "    </node>")
	}
	for i, e := range g.Edges {
		fmt.Fprintf(out, "    <edge id=\"e%d\" source=\"%s\" target=\"%s\">\n", i+1, markup(e.From), markup(e.To))
		data("relation", e.Relation.String())
		data("level", strconv.Itoa(e.Level))
		fmt.Fprintln(out, "    </edge>")
	}
	fmt.Fprint(out, "  </graph>\n</graphml>\n")
	return out.Flush()
}

// markup escapes a text for XML; what XML cannot have at all becomes U+FFFD.
func markup(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a builder does not fail
	return b.String()
}
