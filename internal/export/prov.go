package export

import (
	"encoding/json"
	"io"
	"net/url"
	"strconv"
)

// provNamespace is that of the names which are ours in PROV documents.
const provNamespace = "urn:reefwarden:"

// PROV writes a graph as PROV-JSON (W3C member submission of 2013).
func PROV(w io.Writer, g Graph) error {
	g, err := g.ordered()
	if err != nil {
		return err
	}
	type record = map[string]any
	doc := map[string]map[string]any{"prefix": {"reef": provNamespace, "prov": "http://www.w3.org/ns/prov#"}}
	add := func(section, id string, r record) {
		if doc[section] == nil {
			doc[section] = make(map[string]any)
		}
		doc[section][id] = r
	}
	roles := make(map[string]Role, len(g.Nodes))
	for _, n := range g.Nodes {
		roles[n.ID] = n.Role
		r := record{"prov:label": n.Label, "reef:kind": n.Kind}
		for k, v := range n.More {
			r["reef:"+k] = v
		}
		switch n.Role {
		case Entity:
			if n.At != "" {
				r["reef:at"] = n.At
			}
			add("entity", name(n.ID), r)
		case Agent:
			r["prov:type"] = map[string]string{"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"}
			if n.Kind != "agent" {
				delete(r, "prov:type")
			}
			add("agent", name(n.ID), r)
		case Activity:
			if n.At != "" {
				r["prov:startTime"], r["prov:endTime"] = n.At, n.At
			}
			add("activity", name(n.ID), r)
		}
	}
	for i, e := range g.Edges {
		r := record{}
		for k, v := range e.More {
			r["reef:"+k] = v
		}
		if e.Level > 0 {
			r["reef:level"] = e.Level
		}
		section, from, to := e.Relation.prov(roles[e.From], roles[e.To])
		r[from], r[to] = name(e.From), name(e.To)
		add(section, "_:e"+strconv.Itoa(i+1), r)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

// name is a qualified name of PROV, in which owners' names can have spaces and signs.
func name(id string) string { return "reef:" + url.PathEscape(id) }

// prov is a relation's name in PROV, and those of its two ends. What the data model has
// no closer word for was influenced.
func (r Relation) prov(from, to Role) (section, a, b string) {
	switch {
	case r == Used && from == Activity && to == Entity:
		return "used", "prov:activity", "prov:entity"
	case r == Generated && from == Entity && to == Activity:
		return "wasGeneratedBy", "prov:entity", "prov:activity"
	case r == DoneBy && from == Activity && to == Agent:
		return "wasAssociatedWith", "prov:activity", "prov:agent"
	case r == DoneBy && from == Entity && to == Agent:
		return "wasAttributedTo", "prov:entity", "prov:agent"
	case r == ActedFor && from == Agent && to == Agent:
		return "actedOnBehalfOf", "prov:delegate", "prov:responsible"
	case r == Derived && from == Entity && to == Entity:
		return "wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity"
	}
	return "wasInfluencedBy", "prov:influencee", "prov:influencer"
}
