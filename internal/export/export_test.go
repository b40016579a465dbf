package export

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// hostile is what an agent may write where a form has its own signs.
const hostile = "a \"b\" <c> & \\ ]]> \x00\x1b[31m\n-- é"

func story() Graph {
	return Graph{
		Nodes: []Node{
			{ID: "p1", Role: Entity, Kind: "post", Label: hostile, At: "2026-11-30T09:00:00Z"},
			{ID: "c1", Role: Entity, Kind: "comment", Label: "yes"},
			{ID: "act-8", Role: Activity, Kind: "comment.create", At: "2026-11-30T09:01:00Z", More: map[string]string{"policy": "write"}},
			{ID: "a1", Role: Agent, Kind: "agent", Label: "bob", More: map[string]string{"purpose": hostile}},
			{ID: "owner-the crew", Role: Agent, Kind: "owner", Label: "the crew"},
			{ID: "p1", Role: Entity, Kind: "thing"}, // known already
		},
		Edges: []Edge{
			{From: "c1", To: "act-8", Relation: Generated},
			{From: "act-8", To: "a1", Relation: DoneBy},
			{From: "a1", To: "owner-the crew", Relation: ActedFor},
			{From: "act-8", To: "p1", Relation: Used, Level: 3},
			{From: "c1", To: "p1", Relation: Derived, Level: 3},
			{From: "a1", To: "p1", Relation: Reached, Level: 1},
		},
	}
}

func written(t *testing.T, write func(io.Writer, Graph) error) string {
	t.Helper()
	var a, b bytes.Buffer
	if err := write(&a, story()); err != nil {
		t.Fatal(err)
	}
	if err := write(&b, story()); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Errorf("the same graph is written in two ways (%v)", err)
	}
	bad := Graph{Nodes: story().Nodes, Edges: []Edge{{From: "p1", To: "nobody"}}}
	if err := write(io.Discard, bad); err == nil {
		t.Error("an edge to nothing is written")
	}
	return a.String()
}

func TestPROV(t *testing.T) {
	var doc map[string]map[string]map[string]any
	text := written(t, PROV)
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	delete(raw, "prefix")
	rest, err := json.Marshal(raw)
	if err == nil {
		err = json.Unmarshal(rest, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	for section, n := range map[string]int{
		"entity": 2, "activity": 1, "agent": 2, "used": 1, "wasGeneratedBy": 1, "wasAssociatedWith": 1, "actedOnBehalfOf": 1, "wasDerivedFrom": 1, "wasInfluencedBy": 1,
	} {
		if len(doc[section]) != n {
			t.Errorf("%s has %d records, want %d", section, len(doc[section]), n)
		}
	}
	if got := doc["entity"]["reef:p1"]["reef:kind"]; got != "post" {
		t.Errorf("the post is a %v", got)
	}
	if got := doc["agent"]["reef:owner-the%20crew"]["prov:label"]; got != "the crew" {
		t.Errorf("the owner is %v", got)
	}
}

func TestGraphML(t *testing.T) {
	var doc struct {
		Graph struct {
			Nodes []struct {
				ID   string `xml:"id,attr"`
				Data []struct {
					Key  string `xml:"key,attr"`
					Text string `xml:",chardata"`
				} `xml:"data"`
			} `xml:"node"`
			Edges []struct {
				Source string `xml:"source,attr"`
				Target string `xml:"target,attr"`
			} `xml:"edge"`
		} `xml:"graph"`
	}
	if err := xml.Unmarshal([]byte(written(t, GraphML)), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Graph.Nodes) != 5 || len(doc.Graph.Edges) != 6 {
		t.Errorf("%d nodes and %d edges", len(doc.Graph.Nodes), len(doc.Graph.Edges))
	}
	for _, n := range doc.Graph.Nodes {
		for _, d := range n.Data {
			if n.ID == "p1" && d.Key == "label" && !strings.HasPrefix(d.Text, `a "b" <c> & \ ]]>`) {
				t.Errorf("the label came out as %q", d.Text)
			}
		}
	}
}

func TestDOT(t *testing.T) {
	text := written(t, DOT)
	for _, want := range []string{
		`"p1" [shape=note, label="post\na \"b\" <c> & \\ ]]> [31m\n-- é"];`,
		`"a1" -> "p1" [label="reached by L1", style=dashed];`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
