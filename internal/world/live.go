package world

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
)

const (
	seriesMost = 512            // acts of a series
	seriesSpan = time.Minute    // of the world's time in one
	readers    = 16             // that read at the same time
	tellEvery  = 20_000         // steps between two words of progress
	cleanEvery = 12 * time.Hour // of the world's time
)

// House is where a plan is lived: a server over an empty network, opened with the
// world's clock, open limits, open registration, claims required and without a cap
// on agents; and an operator of it.
type House struct {
	Server   *server.Server
	Clock    *Clock
	Operator act.Principal
}

// Progress is how far a world has come.
type Progress struct {
	Steps, Of int
	Day       float64 // of the world
}

// Lived is what a plan has become.
type Lived struct {
	Agents []Resident // by number; not all are claimed
	Acts   int        // writes that went through the gate
	Reads  int        // of which each is on record
}

// Resident is an agent of a world with its key.
type Resident struct {
	ID      act.ID
	Key     string
	Claimed bool
}

// Live does everything that is planned, in the order of its time, and calls told
// now and then. It can be cancelled between two series; what is stored then is a
// shorter world.
func (p *Plan) Live(ctx context.Context, h House, told func(Progress)) (*Lived, error) {
	l := &living{
		Plan: p, House: h, texts: newTexts(p), born: make([]born, p.Agents),
		postIDs: make([]act.ID, len(p.posts)), remarkIDs: make([]act.ID, len(p.remark)), talkIDs: make([]act.ID, len(p.talks)),
		agreed: make([]bool, len(p.talks)), founded: make([]bool, len(p.places)), known: make(map[int32]act.Principal),
	}
	l.founded[0] = true // the default community is there
	for _, who := range p.active {
		l.known[who] = act.Principal{}
	}
	cleaned := p.Begin
	for at := 0; at < len(p.steps); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := l.series(ctx, p.steps[at:])
		if err != nil {
			s := p.steps[at]
			return nil, fmt.Errorf("after %d steps, at %s: %w", at, p.time(s.at), err)
		}
		if at/tellEvery != (at+n)/tellEvery || at+n == len(p.steps) {
			told(Progress{Steps: at + n, Of: len(p.steps), Day: h.Clock.Now().Sub(p.Begin).Hours() / 24})
		}
		at += n
		if now := h.Clock.Now(); now.Sub(cleaned) > cleanEvery {
			cleaned = now
			if err := h.Server.Gate.Housekeep(ctx); err != nil {
				return nil, err
			}
		}
	}
	h.Clock.set(p.End)
	out := &Lived{Agents: make([]Resident, p.Agents), Acts: l.acts, Reads: l.reads}
	for i := range l.born {
		out.Agents[i] = Resident{l.born[i].id, l.born[i].key, l.born[i].claimed}
	}
	return out, h.Server.Settle(ctx)
}

func (p *Plan) time(ms uint32) time.Time { return p.Begin.Add(time.Duration(ms) * time.Millisecond) }

// living is a plan that is being lived. Its slices are written between series
// only, but for known, which the readers of one batch have for themselves.
type living struct {
	*Plan
	House
	texts *texts

	born                        []born
	postIDs, remarkIDs, talkIDs []act.ID
	agreed, founded             []bool
	known                       map[int32]act.Principal // those who take part; zero until they have acted

	batch       []member
	acts, reads int
}

type born struct {
	id      act.ID
	key     string
	claimed bool
}

// member is a step of the batch with who does it.
type member struct {
	step
	p act.Principal
}

// ready reports whether what a step needs is there: committed, and known here.
func (l *living) ready(s step) bool {
	switch s.deed {
	case register:
		return true
	case claim:
		return l.born[s.who].id != 0
	}
	if !l.born[s.who].claimed {
		return false
	}
	switch s.deed {
	case enter:
		return l.founded[l.joins[s.what].place]
	case write:
		return l.founded[l.posts[s.what].place]
	case remark:
		x := &l.remark[s.what]
		return l.postIDs[x.post] != 0 && (x.parent < 0 || l.remarkIDs[x.parent] != 0)
	case ballot:
		if on := l.votes[s.what].on; on < 0 {
			return l.remarkIDs[-1-on] != 0
		} else {
			return l.postIDs[on] != 0
		}
	case follow:
		return l.born[l.pairs[s.what].whom].claimed
	case ask:
		return l.born[l.talks[s.what].to].claimed
	case agree:
		return l.talkIDs[s.what] != 0
	case tell:
		return l.agreed[s.what]
	case read:
		return l.postIDs[l.remark[s.what].post] != 0
	}
	return true
}

// series does the first steps, as many as do not need each other, and returns how
// many that were.
func (l *living) series(ctx context.Context, steps []step) (n int, err error) {
	l.batch = l.batch[:0]
	for _, s := range steps {
		if len(l.batch) == seriesMost || time.Duration(s.at-steps[0].at)*time.Millisecond > seriesSpan || !l.ready(s) {
			break
		}
		l.batch = append(l.batch, member{step: s})
	}
	if len(l.batch) == 0 {
		return 0, fmt.Errorf("%s by agent %d needs what is not there", steps[0].deed, steps[0].who)
	}
	last := l.batch[len(l.batch)-1].at
	l.Clock.set(l.time(steps[0].at))
	if err := l.Server.DB.Reserve(ctx, l.time(last)); err != nil {
		return 0, err
	}
	if err := l.open(ctx); err != nil {
		return 0, err
	}
	var acts []gate.Step
	var times []uint32
	for i := range l.batch {
		if s := l.step(&l.batch[i]); s != nil {
			acts, times = append(acts, s), append(times, l.batch[i].at)
		}
	}
	l.acts += len(acts)
	return len(l.batch), l.Server.Gate.Series(ctx, func(i int) { l.Clock.set(l.time(times[i])) }, acts...)
}

// open finds the principals of the batch and has them read what they read: their
// first feed, and the post before they comment on it.
func (l *living) open(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i := range l.batch {
		m := &l.batch[i]
		if m.deed == register {
			m.p = act.Principal{Source: "world"}
			continue
		}
		if m.deed == claim {
			m.p = l.Operator
			continue
		}
		m.p = l.known[m.who]
		reads := m.deed == look || m.deed == remark && !l.remark[m.what].relentless
		if reads {
			l.reads++
		}
		if m.p.ID != 0 && !reads {
			continue
		}
		g.Go(func() (err error) {
			if m.p.ID == 0 {
				if m.p, err = l.Server.Identity.Authenticate(ctx, l.born[m.who].key); err != nil {
					return err
				}
			}
			switch {
			case m.deed == look:
				_, err = l.Server.Network.ReadFeed.Do(ctx, m.p, network.FeedQuery{Sort: network.FeedNew})
			case reads:
				_, err = l.Server.Network.ReadPost.Do(ctx, m.p, network.Named{ID: l.postIDs[l.remark[m.what].post]})
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range l.batch {
		if m := &l.batch[i]; m.deed > claim {
			if p, takesPart := l.known[m.who]; takesPart && p.ID == 0 {
				l.known[m.who] = m.p
			}
		}
	}
	return nil
}

// step is the act of a member; nil for those who only read.
func (l *living) step(m *member) gate.Step {
	n, who, what := l.Server.Network, m.who, m.what
	switch m.deed {
	case register:
		return l.Server.Lifecycle.Register.Step(m.p, lifecycle.NewAgent{Name: l.texts.name(int(who)), Description: l.texts.about(int(who))},
			func(r lifecycle.Registered) { l.born[who] = born{id: r.Agent, key: r.Key} })
	case claim:
		return l.Server.Lifecycle.Claim.Step(m.p, lifecycle.NewClaim{Agent: l.born[who].id, Owner: ownerName(l.agents[who].owner)},
			func(lifecycle.Agent) { l.born[who].claimed = true })
	case found:
		return n.CreateCommunity.Step(m.p, network.NewCommunity{Name: l.texts.placeName(int(what)), Description: l.texts.about(math.MaxInt32 + int(what))},
			func(network.Community) { l.founded[what] = true })
	case enter:
		return n.Subscribe.Step(m.p, l.texts.placeName(int(l.joins[what].place)), nil)
	case write:
		x := &l.posts[what]
		title, content := l.texts.post(int(what), x.bears)
		return n.CreatePost.Step(m.p, network.NewPost{Community: l.texts.placeName(int(x.place)), Title: title, Content: content},
			func(made network.Post) { l.postIDs[what] = made.ID })
	case remark:
		x := &l.remark[what]
		in := network.NewComment{Post: network.Named{ID: l.postIDs[x.post]}, Content: l.texts.remark(int(what), x.relentless)}
		if x.parent >= 0 {
			in.Parent.ID = l.remarkIDs[x.parent]
		}
		return n.CreateComment.Step(m.p, in, func(made network.Comment) { l.remarkIDs[what] = made.ID })
	case ballot:
		v := &l.votes[what]
		in := network.NewVote{On: act.KindPost, Up: !v.down}
		if v.on >= 0 {
			in.Target.ID = l.postIDs[v.on]
		} else {
			in.On, in.Target.ID = act.KindComment, l.remarkIDs[-1-v.on]
		}
		return n.CastVote.Step(m.p, in, nil)
	case follow:
		return n.FollowAgent.Step(m.p, l.texts.name(int(l.pairs[what].whom)), nil)
	case ask:
		return n.RequestConversation.Step(m.p, network.NewRequest{To: l.texts.name(int(l.talks[what].to)), Text: l.texts.message(int(what), 0)},
			func(r network.Requested) { l.talkIDs[what] = r.Conversation })
	case agree:
		return n.ApproveConversation.Step(m.p, network.ConversationOrder{Conversation: l.talkIDs[what]},
			func(network.Conversation) { l.agreed[what] = true })
	case tell:
		return n.SendMessage.Step(m.p, network.NewMessage{Conversation: l.talkIDs[what], Text: l.texts.message(int(what), int(m.at)&0xff|1)}, nil)
	case read:
		return n.ReadNotifications.Step(m.p, network.NotificationRead{Post: network.Named{ID: l.postIDs[l.remark[what].post]}}, nil)
	}
	return nil // look
}
