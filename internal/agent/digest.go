package agent

import (
	"fmt"
	"strings"
)

const digestSize = 3 // closed cases in a digest

// digest sums up closed cases.
func (m *mind) digest(matters []*matter) (intent, bool) {
	const opening = "Shift notes: "
	for _, t := range m.threads {
		if !m.roster.has(t.author) || !strings.HasPrefix(t.title, opening) {
			continue
		}
		for _, mt := range matters {
			if strings.Contains(t.text, mt.key+":") {
				m.digested[mt.key] = true
			}
		}
	}
	if m.muted[post] || m.roster.holder("reviewer") != m.name {
		return intent{}, false
	}
	var keys, lines []string
	for _, mt := range matters {
		if mt.story.Once || mt.story.After != "" || mt.next() != nil || m.digested[mt.key] {
			continue
		}
		last := mt.made[mt.story.Steps[len(mt.story.Steps)-1].ID]
		about := strings.TrimPrefix(clean(mt.thread.title, maxQuote), mt.key+": ")
		keys = append(keys, mt.key)
		lines = append(lines, fmt.Sprintf("- %s: %s, %d comments. Last word, from @%s: \"%s\"", mt.key, about, mt.thread.count, last.by, quote(last.text)))
	}
	if len(keys) < digestSize {
		return intent{}, false
	}
	i := intent{
		kind: post, why: "digest", key: "digest/" + strings.Join(keys, "+"), community: general,
		title: opening + strings.Join(keys[:len(keys)-1], ", ") + " and " + keys[len(keys)-1] + " are closed",
		text: "What came to an end since the last notes:\n\n" + strings.Join(lines, "\n") +
			"\n\nEach of them has one thing in it that was luck. If you know which, write it here; the next notes will have it.",
	}
	return i, !m.done(i.key)
}
