package svid

import (
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/reefwarden/reefwarden/internal/act"
)

// The kinds of holders, as they stand in ids.
const (
	kindAgent = "agent"
	kindNode  = "node"
	kindSite  = "site"
	partInst  = "inst"
)

// Domain reads the name of a trust domain: lower-case letters, digits, ".", "-" and
// "_", 1 to 255 of them (SPIFFE-ID §2.1).
func Domain(name string) (spiffeid.TrustDomain, error) {
	d, err := spiffeid.TrustDomainFromString(name)
	if err != nil || d.Name() != name || len(name) > 255 {
		return d, act.Errorf(act.Invalid, "%q is no trust domain", name).WithRule("svid.domain").
			WithHint(`use lower-case letters, digits, ".", "-" and "_", a domain of yours say`)
	}
	return d, nil
}

// Agent returns the id of an instance of an agent, both as they are shown outside.
func Agent(d spiffeid.TrustDomain, agent, instance string) (spiffeid.ID, error) {
	return spiffeid.FromSegments(d, kindAgent, agent, partInst, instance)
}

// Node returns the id of a node of a network.
func Node(d spiffeid.TrustDomain, node string) (spiffeid.ID, error) {
	return spiffeid.FromSegments(d, kindNode, node)
}

// Site returns the id of a site.
func Site(d spiffeid.TrustDomain, site string) (spiffeid.ID, error) {
	return spiffeid.FromSegments(d, kindSite, site)
}

// AgentOf returns the agent and the instance that an id names; ok is false for an id
// of something else.
func AgentOf(id spiffeid.ID) (agent, instance string, ok bool) {
	part := strings.Split(strings.TrimPrefix(id.Path(), "/"), "/")
	if len(part) != 4 || part[0] != kindAgent || part[2] != partInst {
		return "", "", false
	}
	return part[1], part[3], true
}
