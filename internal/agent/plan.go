package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// intent is one act that an agent wants to do.
type intent struct {
	kind kind
	key  string // what it is about; an intent is acted on once
	why  string // the rule that led to it, for the log

	community, title string // of a post or task
	text             string // of whatever has words
	thread, parent   string // what is answered or voted on; parent is a comment or ""
	up               bool   // of a vote
	to               string // agent that is followed, asked, given a task or voted for
	chat             string // conversation
	task             string
	lease            int64
	hires            []string // agents that are registered before
}

type kind uint8

const (
	post kind = iota
	reply
	vote
	follow
	subscribe
	ask
	consent
	refuse
	say
	offer
	claim
	progress
	complete
)

const kinds = int(complete) + 1

// quiet reports whether nobody's view depends on when it is done.
func (k kind) quiet() bool { return k == vote || k == follow || k == subscribe }

func (k kind) String() string {
	return [...]string{"post", "reply", "vote", "follow", "subscribe", "ask", "consent", "refuse", "say", "offer", "claim", "progress", "complete"}[k]
}

const (
	patience    = 15  // beats after which another takes a step over
	missing     = 25  // beats after which a story goes on without a step that may be left out
	openAgain   = 10  // beats between two cases of a story, at first
	openSlowest = 90  // and in the long run
	abandoned   = 150 // beats after which a case that stands still is given up
)

// plan says what the agent does in this beat: one thing to say in public at most,
// one about its tasks, one in private, one tie, and a few votes. It is a function
// of the mind: the same seed and the same things seen at the same beats give the
// same intents. now is used for times of day in texts only.
func (m *mind) plan(beat int, now time.Time) []intent {
	m.beat, m.now = beat, now
	m.forget()
	matters := m.matters()
	m.heed()
	type rule = func([]*matter) (intent, bool)
	public := []rule{m.nextStep, m.answerComment, m.answerPost, m.openCase, m.praise, m.digest}
	if beat%2 == 0 { // strangers are not kept waiting by a long story, nor stories by many strangers
		public = []rule{m.answerComment, m.answerPost, m.nextStep, m.openCase, m.praise, m.digest}
	}
	private := []rule{m.work, m.converse, m.tie}
	if m.self.Part {
		public, private = []rule{m.nextStep, m.openCase, m.pour, m.sigh}, []rule{m.work, m.converse}
	}
	var out []intent
	for _, rule := range public {
		if i, ok := rule(matters); ok {
			out = append(out, i)
			break
		}
	}
	for _, rule := range private {
		if i, ok := rule(matters); ok {
			out = append(out, i)
		}
	}
	return append(out, m.votes()...)
}

func (m *mind) done(key string) bool { _, tried := m.tried[key]; return tried }

// nextStep goes on with a case: the next step, if it is ours or its agent has
// been away for long.
func (m *mind) nextStep(matters []*matter) (intent, bool) {
	for _, mt := range matters {
		s := m.skips(mt)
		if s == nil || mt.stale {
			continue // closed, or somebody may have made the step meanwhile
		}
		i := intent{kind: reply, why: s.name(), key: mt.key + "/" + s.ID}
		if s.After != "" && !m.happened[s.After] && m.waited("missing/"+s.After) < missing {
			continue // it follows from another story, which may still get there
		}
		rank := m.rank(s, i.key)
		if s.posts() {
			i.kind = post
		}
		if m.done(i.key) || m.muted[i.kind] || rank < 0 || m.waited(i.key) < s.Wait+rank*patience || rank == 0 && m.lacks(mt, s) {
			continue
		}
		if m.fill(&i, mt, s, rank > 0) {
			return i, true
		}
	}
	return intent{}, false
}

// skips is the step with which a case goes on: the first that nobody has made,
// or a later one when that may be left out and nobody has made it for long.
func (m *mind) skips(mt *matter) *step {
	for _, s := range mt.story.Steps {
		if _, ok := mt.made[s.ID]; ok || s.May && m.waited("missing/"+mt.key+"/"+s.ID) >= missing {
			continue
		}
		return s
	}
	return nil
}

// rank is the agent's place among those who may make a step, -1 if it does not.
// Who heeds somebody has left its own work.
func (m *mind) rank(s *step, key string) int {
	rank := m.roster.rank(s.By, key, m.name)
	if s.Alone && rank > 0 || s.Heeding != m.heeds {
		return -1
	}
	return rank
}

// lacks reports whether a step rests on a job that, as far as the agent knows, is
// not done.
func (m *mind) lacks(mt *matter, s *step) bool {
	if s.Needs == "" {
		return false
	}
	for _, j := range s.story.Work {
		if j.ID == s.Needs {
			e := m.errandOf(mt.key, j)
			return m.roster.holder(j.By) != m.roster.holder(j.For) && (e == nil || e.status != taskCompleted)
		}
	}
	return true
}

// fill writes a step.
func (m *mind) fill(i *intent, mt *matter, s *step, standing bool) bool {
	under, ok := mt.made[s.Under]
	if !ok && s.index > 0 {
		return false
	}
	value := m.values(mt, under.text)
	if under.thread != nil {
		plain := value
		value = func(p part) (string, bool) {
			if p.slot == "title" && p.mark != '@' {
				return clean(under.thread.title, maxQuote), true
			}
			return plain(p)
		}
	}
	if i.text, ok = m.choose(i.key, s.text, value); !ok {
		return false
	}
	i.hires = s.Hires
	if standing {
		i.text = fmt.Sprintf(standIn, "@"+m.roster.holder(s.By)) + i.text
	}
	if !s.posts() {
		i.thread, i.parent = under.thread.id, under.remark
		return true
	}
	i.community = s.community()
	i.title, ok = m.choose(i.key, s.title, value)
	return ok
}

// values knows the facts of a case; answered is the text that is answered.
func (m *mind) values(mt *matter, answered string) func(part) (string, bool) {
	subject := mt.story.subject(mt.facts)
	return func(p part) (string, bool) {
		switch {
		case p.mark == '@':
			return m.mention(mt, p.slot)
		case p.slot == "quote":
			q := quote(answered)
			return q, q != ""
		case strings.HasPrefix(p.slot, countedSlots):
			if _, known := mt.facts[p.slot]; !known {
				return m.counted(p.slot)
			}
		}
		return mt.story.value(m.seed, mt.key, mt.facts, subject, p, m.now.UTC().Format("15:04"))
	}
}

// mention names the agent who made a step, or would make it, or holds a role.
func (m *mind) mention(mt *matter, id string) (string, bool) {
	if done, ok := mt.made[id]; ok {
		return "@" + done.by, true
	}
	if s := mt.story.step(id); s != nil {
		id = s.By
	}
	return "@" + m.roster.holder(id), true
}

// choose fills the first template that can be filled, beginning with one that
// the key determines, or with another when the network has refused that.
func (m *mind) choose(key string, list []*template, value func(part) (string, bool)) (string, bool) {
	for n := range list {
		at := (draw(m.seed, "choose/"+key, 0, len(list)-1) + m.refusals[key] + n) % len(list)
		if text, ok := list[at].fill(value); ok {
			return text, true
		}
	}
	return "", false
}

// openCase begins a new case of a story that is ours to begin; what was told
// least comes first.
func (m *mind) openCase(matters []*matter) (intent, bool) {
	stories := slices.SortedStableFunc(slices.Values(m.script.stories), func(a, b *story) int {
		return cmp.Compare(len(m.cases[a.Name]), len(m.cases[b.Name]))
	})
	for _, st := range stories {
		if len(st.Steps) == 0 {
			continue
		}
		first, due := st.Steps[0], "open/"+st.Name
		rank := m.rank(first, due)
		if m.muted[post] || rank < 0 || m.busy(st, matters) || st.After != "" && !m.happened[st.After] {
			delete(m.due, due)
			continue
		}
		gap := m.begins(st)
		if n := len(m.cases[st.Name]); n > 0 {
			gap = min(openAgain*n, openSlowest)
		}
		if m.waited(due) < gap+rank*4*patience {
			continue
		}
		mt := m.newCase(st)
		i := intent{kind: post, why: first.name(), key: mt.key + "/" + first.ID}
		if m.done(i.key) {
			m.highest[st.Name]++ // it was refused or is not in the feed yet
			delete(m.due, due)
			continue
		}
		if m.fill(&i, mt, first, false) {
			return i, true
		}
	}
	return intent{}, false
}

// newCase is the next case of a story.
func (m *mind) newCase(st *story) *matter {
	if st.Once {
		return &matter{story: st, key: st.Key, facts: facts{}}
	}
	if m.highest[st.Name] == 0 {
		m.highest[st.Name] = draw(m.seed, "first/"+st.Name, 101, 899) - 1
	}
	no := strconv.Itoa(m.highest[st.Name] + 1)
	return &matter{story: st, key: st.keyOf(no), facts: facts{numberSlot: no, st.Subject: m.subject(st)[st.Subject]}}
}

const (
	firstNotes = 14 // stories told once that come one in a beat
	noteGap    = 8  // beats between the later ones
)

// begins is the beat before which a story does not begin. Stories told once that
// do not say come in an order that the seed determines, some in every beat at first
// and the others one by one.
func (m *mind) begins(st *story) int {
	if st.First > 0 || !st.Once {
		return st.First
	}
	var free []string
	for _, other := range m.script.stories {
		if other.Once && other.First == 0 && other.After == "" {
			free = append(free, other.Name)
		}
	}
	order := random(m.seed, "notes").Perm(len(free))
	place := slices.Index(order, slices.Index(free, st.Name))
	if place < firstNotes {
		return 1 + place
	}
	return 1 + firstNotes + noteGap*(place-firstNotes)
}

// busy reports whether a case of the story is under way, or was told for good.
func (m *mind) busy(st *story, matters []*matter) bool {
	if st.Once {
		return len(m.cases[st.Name]) > 0 || m.happened[st.Steps[0].name()] || m.done(st.Key+"/"+st.Steps[0].ID)
	}
	return slices.ContainsFunc(matters, func(mt *matter) bool {
		return mt.story == st && mt.next() != nil && m.beat-m.progress[mt.key] < abandoned
	})
}

// subject picks what a new case is about: what came up least, in an order that
// the seed determines.
func (m *mind) subject(st *story) facts {
	used := make(map[string]int)
	for _, s := range m.cases[st.Name] {
		used[s]++
	}
	var best facts
	for _, n := range random(m.seed, "subjects/"+st.Name).Perm(len(st.Subjects)) {
		s := st.Subjects[n]
		if best == nil || used[s[st.Subject]] < used[best[st.Subject]] {
			best = s
		}
	}
	return best
}
