package agent

import (
	"slices"

	"github.com/reefwarden/reefwarden/internal/client"
)

// errand is a task as an agent knows it.
type errand struct {
	id, community, poster, title, text string
	status                             string
	mine                               bool // claimed by this agent
	lease                              int64
	steps                              int // reports that were made on it

	job   *job   // nil if it is a stranger's
	key   string // of the case that it belongs to
	facts facts
}

const (
	maxErrands = 60 // that are remembered
	taskPage   = 20

	taskOpen, taskClaimed, taskCompleted = "open", "claimed", "completed"
	stepProgress                         = "progress"
)

// tasked takes in tasks as a list shows them, the newest first. It returns those
// whose history says something new.
func (m *mind) tasked(list []client.Task) (changed []string) {
	for _, t := range slices.Backward(list) {
		e := m.errand(t.ID)
		if e == nil {
			e = &errand{id: t.ID, community: t.Community, poster: t.Poster, title: t.Title, text: head(t.Content, maxRead)}
			if m.roster.has(t.Poster) {
				e.job, e.facts = m.script.assigned(e.title, e.text)
			}
			if e.job != nil {
				e.key = e.job.story.keyOf(e.facts[numberSlot])
			}
			m.errands = slices.Insert(m.errands, 0, e)
		}
		if e.status != t.Status && t.Poster == m.name && t.Status != taskOpen {
			changed = append(changed, t.ID)
		}
		e.status, e.lease = t.Status, t.Lease
	}
	if len(m.errands) > maxErrands {
		clear(m.errands[maxErrands:])
		m.errands = m.errands[:maxErrands]
	}
	return changed
}

// reported takes in a task with its history.
func (m *mind) reported(t client.Task) {
	m.tasked([]client.Task{t})
	e := m.errand(t.ID)
	if e == nil || e.job == nil {
		return
	}
	e.steps = 0
	for _, s := range t.History {
		if s.Kind == stepProgress {
			e.steps++
		}
		matchAny(e.job.progress, head(s.Note, maxRead), e.facts)
		matchAny(e.job.result, head(s.Note, maxRead), e.facts)
	}
}

func (m *mind) errand(id string) *errand {
	i := slices.IndexFunc(m.errands, func(e *errand) bool { return e.id == id })
	if i < 0 {
		return nil
	}
	return m.errands[i]
}

// errandOf finds the task of a job in a case.
func (m *mind) errandOf(key string, j *job) *errand {
	i := slices.IndexFunc(m.errands, func(e *errand) bool { return e.job == j && e.key == key })
	if i < 0 {
		return nil
	}
	return m.errands[i]
}

// assigned finds the job that a task was made of.
func (sc *script) assigned(title, text string) (*job, facts) {
	for _, st := range sc.stories {
		for _, j := range st.Work {
			f := facts{}
			if matchAny(j.title, title, f) && matchAny(j.text, text, f) {
				return j, f
			}
		}
	}
	return nil, nil
}

// learn adds to a case what its tasks told this agent.
func (m *mind) learn(mt *matter) {
	for _, e := range m.errands {
		if e.job == nil || e.key != mt.key || e.job.story != mt.story {
			continue
		}
		for k, v := range e.facts {
			if _, known := mt.facts[k]; !known {
				mt.facts[k] = v
			}
		}
	}
}

// enquiries lists what the agent has to ask to learn of its tasks: those that it
// handed over and that are not over, those offered to it, and those of
// communities in which there may be work for it.
func (m *mind) enquiries() (list []client.TaskQuery) {
	if slices.ContainsFunc(m.errands, func(e *errand) bool {
		return e.poster == m.name && (e.status == taskOpen || e.status == taskClaimed)
	}) {
		list = append(list, client.TaskQuery{View: "posted", Limit: taskPage})
	}
	offered := false
	var places []string
	for _, st := range m.script.stories {
		for _, j := range st.Work {
			switch {
			case m.roster.holder(j.For) != m.name:
			case !j.Open:
				offered = true
			case !slices.Contains(places, st.Community):
				places = append(places, st.Community)
				list = append(list, client.TaskQuery{View: "open", Community: st.Community, Limit: taskPage})
			}
		}
	}
	if offered {
		list = append(list, client.TaskQuery{View: "offered", Limit: taskPage})
	}
	return list
}

// work is the rule about tasks: hand over what comes of a step, take what is for
// the agent, report, hand in.
func (m *mind) work(matters []*matter) (intent, bool) {
	for _, mt := range matters {
		for _, j := range mt.story.Work {
			if m.heeds {
				continue // and asks nobody for anything
			}
			if i, ok := m.handOver(mt, j); ok {
				return i, true
			}
		}
	}
	for _, e := range slices.Backward(m.errands) {
		if e.job == nil || m.roster.holder(e.job.For) != m.name {
			continue
		}
		if i, ok := m.labour(e, matters); ok {
			return i, true
		}
	}
	return intent{}, false
}

func (m *mind) handOver(mt *matter, j *job) (intent, bool) {
	i := intent{kind: offer, why: mt.story.Name + "." + j.ID, key: "task/" + mt.key + "/" + j.ID}
	if _, made := mt.made[j.After]; !made || m.roster.holder(j.By) != m.name || m.roster.holder(j.For) == m.name || m.done(i.key) || m.muted[offer] ||
		m.errandOf(mt.key, j) != nil || m.waited(i.key) < 1 {
		return intent{}, false
	}
	if i.community = mt.story.Community; !j.Open {
		i.to, i.community = m.roster.holder(j.For), ""
	}
	value := m.values(mt, "")
	var ok bool
	if i.title, ok = m.choose(i.key, j.title, value); !ok {
		return intent{}, false
	}
	i.text, ok = m.choose(i.key, j.text, value)
	return i, ok
}

// labour is the next thing to do about a task that is for this agent.
func (m *mind) labour(e *errand, matters []*matter) (intent, bool) {
	i := intent{task: e.id, lease: e.lease, kind: progress}
	lines := e.job.progress
	switch {
	case e.status == taskOpen:
		i.kind = claim
	case e.status != taskClaimed || !e.mine:
		return intent{}, false
	case e.steps > 0:
		i.kind, lines = complete, e.job.result
	}
	i.key = i.kind.String() + "/" + e.key + "/" + e.job.ID
	i.why = e.job.story.Name + "." + e.job.ID + "." + i.kind.String()
	mt := &matter{story: e.job.story, key: e.key, facts: e.facts, made: make(map[string]made)}
	if at := slices.IndexFunc(matters, func(mt *matter) bool { return mt.key == e.key && mt.story == e.job.story }); at >= 0 {
		mt = matters[at]
	}
	if _, seen := mt.made[e.job.Until]; e.job.Until != "" && i.kind == complete && !seen {
		return intent{}, false
	}
	if m.done(i.key) || m.muted[i.kind] || m.waited(i.key) < 1 {
		return intent{}, false
	}
	if i.kind == claim {
		return i, true
	}
	var ok bool
	i.text, ok = m.choose(i.key, lines, m.values(mt, ""))
	return i, ok
}

// took remembers what the network answered to an act on a task.
func (m *mind) took(i intent, t client.Task) {
	m.tasked([]client.Task{t})
	e := m.errand(t.ID)
	if e == nil {
		return
	}
	switch i.kind {
	case claim:
		e.mine = true
	case progress:
		e.steps++
	}
	if e.job != nil {
		matchAny(e.job.progress, i.text, e.facts)
		matchAny(e.job.result, i.text, e.facts)
	}
}

// held takes in the tasks that the agent has claimed, in an earlier life too.
func (m *mind) held(list []client.Task) {
	m.tasked(list)
	for _, t := range list {
		if e := m.errand(t.ID); e != nil {
			e.mine = true
		}
	}
}
