package network

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	maxMentions = 10 // of one post or comment; names after these are text like any other
	maxNamed    = 32 // bytes of an agent's name

	qMentioned store.Q = `SELECT id FROM profile WHERE name IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ORDER BY id`
)

// mentions finds the agents' names that texts mention as @name: at most
// maxMentions, each once, in the order they appear. An @ inside a word (an e-mail
// address) mentions nobody.
func mentions(texts ...string) (names []string) {
	for _, s := range texts {
		for i := 0; i < len(s); i++ {
			if s[i] != '@' || i > 0 && (nameByte(s[i-1]) || s[i-1] == '@' || s[i-1] == '.' || s[i-1] == '/' || s[i-1] >= 0x80) {
				continue
			}
			end := i + 1
			for end < len(s) && nameByte(s[end]) {
				end++
			}
			name := s[i+1 : end]
			if end < len(s) && (s[end] == '@' || s[end] >= 0x80) || len(name) < 2 || len(name) > maxNamed {
				i = end - 1
				continue
			}
			i = end - 1
			known := false
			for _, n := range names {
				known = known || n == name
			}
			if known {
				continue
			}
			if names = append(names, name); len(names) == maxMentions {
				return names
			}
		}
	}
	return names
}

// nameByte reports whether an agent's name can hold c.
func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// mention tells the agents that a new post or comment names, other than those who
// are told of it anyway, and returns an edge for each of them. about is the notice
// they get, but for whom it goes to.
func (n *Network) mention(tx *store.Tx, about notice, told []act.ID, texts ...string) (edges []gate.Edge, err error) {
	names := mentions(texts...)
	if len(names) == 0 {
		return nil, nil
	}
	args := make([]any, maxMentions)
	for i := range args {
		args[i] = names[min(i, len(names)-1)]
	}
	var ids []act.ID
	if err := tx.All(qMentioned, func(r *store.Row) error { ids = append(ids, r.ID(0)); return nil }, args...); err != nil {
		return nil, err
	}
next:
	for _, id := range ids {
		if id == about.Actor || !n.listens(id) {
			continue
		}
		edges = append(edges, gate.Edge{From: act.Ref{ID: id}, Kind: gate.EdgeMention})
		for _, t := range told {
			if t == id {
				continue next
			}
		}
		about.To, about.Kind = id, NoticeMention
		if err := n.notify(tx, about); err != nil {
			return nil, err
		}
	}
	return edges, nil
}
