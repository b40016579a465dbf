package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// company is all agents of one Run.
type company struct {
	config  Config
	script  *script
	roster  *roster
	request context.Context // of requests; it ends a little after Run's
	found   bool            // some of the agents have been here before

	mu      sync.Mutex
	lives   []*life          // of registered agents
	waiting map[string]*life // by persona, until somebody needs them
	begin   func(*life)      // lets one live that is registered while the others do; nil before that
}

// gather gives every agent its identity and its mind. The roster is complete
// before anybody acts.
func (co *company) gather(ctx context.Context) error {
	co.waiting = make(map[string]*life)
	var members []member
	var all []*life
	for n, who := range co.parts() {
		wanted := who.self.Name
		if !who.first {
			wanted += "-" + strconv.Itoa(n/Cast+1)
		}
		l := &life{wanted: wanted, pace: co.config.Pace, clock: co.config.Clock, log: co.config.Log, hire: co.hire}
		members, all = append(members, member{name: wanted, self: who.self, first: who.first}), append(all, l)
		if who.self.Hired {
			if _, kept, err := keptKey(co.config.Dir, wanted); err != nil || !kept {
				co.waiting[who.self.Name], members[n].absent = l, true
				continue
			}
		}
		if err := co.register(ctx, l, who.self.Bio); err != nil {
			return err
		}
		members[n].name = l.name
		co.lives = append(co.lives, l)
	}
	co.roster = newRoster(members)
	for i, m := range members {
		all[i].mind = newMind(co.config.Seed, m.name, m.self, co.roster, co.script)
		all[i].jitter = random(co.config.Seed, "pace/"+m.name)
	}
	return nil
}

// parts lists who is to live: the cast and, when more are asked for, more agents
// of the same personas; then those whom only the second act knows.
func (co *company) parts() (list []member) {
	const n = Cast
	for i := range co.config.Agents {
		list = append(list, member{self: co.script.cast[i%n], first: i < n})
	}
	for _, p := range co.script.cast[n:] {
		list = append(list, member{self: p, first: true})
	}
	return list
}

// register makes an agent known to the network and lets it speak.
func (co *company) register(ctx context.Context, l *life, bio string) error {
	id, known, err := identify(ctx, co.config, l.wanted, bio)
	if err != nil {
		return fmt.Errorf("register %s: %w", l.wanted, err)
	}
	co.found = co.found || known
	l.name, l.returned, l.log = id.name, known, co.config.Log.With(slog.String("agent", id.name))
	l.wire, err = client.NewAgent(co.config.Base, id.key)
	return err
}

// hire registers an agent that somebody needs from now on, if it is not there,
// and returns the name that it has on the network.
func (co *company) hire(ctx context.Context, persona string) (string, error) {
	co.mu.Lock()
	defer co.mu.Unlock()
	l := co.waiting[persona]
	if l == nil {
		return co.roster.holder(persona), nil
	}
	if err := co.register(ctx, l, l.mind.self.Bio); err != nil {
		return "", err
	}
	co.roster.arrives(persona, l.name)
	l.mind.name = l.name
	delete(co.waiting, persona)
	co.lives = append(co.lives, l)
	if co.begin != nil {
		co.begin(l)
	}
	return l.name, nil
}

// present lists the agents that are registered.
func (co *company) present() []*life {
	co.mu.Lock()
	defer co.mu.Unlock()
	return slices.Clone(co.lives)
}

// rehearse plays the rounds, without a pause. In a round all look, at the same
// time because looking changes nothing for the others; then they speak one after
// the other, in an order that the seed determines; then they vote and follow, at
// the same time again. So what is done in the rounds follows from the seed alone.
// Agents that come back to a network do without: it is as they left it.
func (co *company) rehearse(ctx context.Context) {
	for round := range co.config.Rounds {
		if co.found || ctx.Err() != nil {
			return
		}
		lives := co.present()
		saw := make([]bool, len(lives))
		together(len(lives), func(n int) { saw[n] = lives[n].look(ctx, co.request) == nil })
		if !slices.Contains(saw, true) {
			return // the network is not there just now; it is waited for at a gentler pace
		}
		quiet := make([][]intent, len(lives))
		for _, n := range random(co.config.Seed, "round/"+strconv.Itoa(round)).Perm(len(lives)) {
			if !saw[n] {
				continue
			}
			plan := lives[n].intends()
			loud := slices.IndexFunc(plan, func(i intent) bool { return i.kind.quiet() })
			if loud < 0 {
				loud = len(plan)
			}
			if lives[n].acts(ctx, co.request, plan[:loud]) == nil {
				quiet[n] = plan[loud:]
			}
		}
		together(len(lives), func(n int) { _ = lives[n].acts(ctx, co.request, quiet[n]) })
	}
}

// together calls do for 0 to n-1 at the same time and waits for all of them.
func together(n int, do func(int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

// live lets every agent live at its own pace until ctx ends or all have ended.
func (co *company) live(ctx context.Context) {
	var all sync.WaitGroup
	co.mu.Lock()
	co.begin = func(l *life) { all.Go(func() { l.run(ctx, co.request) }) }
	for _, l := range co.lives {
		co.begin(l)
	}
	co.mu.Unlock()
	all.Wait()
}

// settle makes the communities that are not there yet. A story whose community
// nobody may make is played in general.
func (co *company) settle(ctx context.Context) error {
	spent := make(map[*life]bool) // those that may make no more
	made := make(map[string]bool)
	for _, st := range co.script.stories {
		if made[st.Community] || st.About == "" {
			continue // another story says what the community is about
		}
		made[st.Community] = true
		err := co.make(ctx, st, spent)
		switch {
		case err == nil:
		case act.CodeOf(err) == act.RateLimited, stopped(err):
			co.config.Log.InfoContext(ctx, "story moves to general", slog.String("story", st.Name), slog.Any("err", err))
			co.move(st.Community)
		default:
			return fmt.Errorf("community %s: %w", st.Community, err)
		}
	}
	return nil
}

// move lets everything that plays in a community play in general.
func (co *company) move(from string) {
	moved := func(name *string) {
		if *name == from {
			*name = general
		}
	}
	for _, st := range co.script.stories {
		moved(&st.Community)
		for _, s := range st.Steps {
			moved(&s.In)
		}
		if st.Flood != nil {
			for i := range st.Flood.In {
				moved(&st.Flood.In[i])
			}
		}
	}
}

// make makes a story's community: who opens the story first, then the others.
func (co *company) make(ctx context.Context, st *story, spent map[*life]bool) error {
	refused := act.Errorf(act.RateLimited, "nobody may make another community now")
	opener := co.roster.holder(st.Steps[0].By)
	order := slices.Clone(co.lives)
	slices.SortStableFunc(order, func(a, b *life) int {
		switch opener {
		case a.name:
			return -1
		case b.name:
			return 1
		}
		return 0
	})
	for _, founder := range order {
		if spent[founder] || founder.mind.self.Part {
			continue
		}
		err := patiently(ctx, co.config, unavailable, func() error {
			return founder.wire.CreateSubmolt(ctx, st.Community, "", st.About)
		})
		if act.CodeOf(err) == act.Conflict {
			return nil // it is there
		}
		if err == nil || !stopped(err) && act.CodeOf(err) != act.RateLimited {
			return err
		}
		spent[founder] = true
	}
	return refused
}

// identify takes up a kept key, or registers. When a stranger has the name
// already, the agent takes another one. known says that the key was kept.
func identify(ctx context.Context, c Config, wanted, bio string) (id identity, known bool, err error) {
	if id, ok, err := keptKey(c.Dir, wanted); ok || err != nil {
		return id, ok, err
	}
	var invite string
	if c.Invite != nil {
		if invite, err = c.Invite(ctx); err != nil {
			return id, false, fmt.Errorf("an invite: %w", err)
		}
	}
	name := wanted
	for n := 2; ; n++ {
		var account client.Account
		err := patiently(ctx, c, later, func() (err error) {
			account, err = client.Register(ctx, c.Base, client.NewAccount{Name: name, Description: bio, Invite: invite})
			return err
		})
		switch {
		case err == nil:
			c.Log.DebugContext(ctx, "agent registered", slog.String("agent", account.Name))
			id = identity{name: account.Name, key: account.Key}
			return id, false, keepKey(c.Dir, wanted, id)
		case act.CodeOf(err) != act.Conflict || n > maxNames:
			return id, false, err
		}
		name = wanted + "_" + strconv.Itoa(n)
	}
}
