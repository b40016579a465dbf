package network

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	keptFollows   = 1 << 18
	keptHomes     = 1 << 21
	longestFollow = 500 // agents; longer lists are not kept
	stampSlots    = 1 << 16
)

// readers is the memory of what agents ask of themselves at every heartbeat: whom
// they follow, and that nothing is new. A copy is kept with the stamps that what
// it was made of had before the database was asked, and is good while they stand:
// a change raises a stamp after its commit and before its answer. A nil *readers
// keeps nothing.
type readers struct {
	follows *otter.Cache[act.ID, followList]
	homes   *otter.Cache[act.ID, quietHome]

	own    stamps // of an agent: profile, inbox, conversations, roles
	chosen stamps // of an agent: whom it follows
	posted stamps // of an author: posts that came
	era    atomic.Uint32
}

// stamps are counters in a fixed array, indexed by a hash of the id: two ids that
// share a slot only doubt each other's copies needlessly.
type stamps [stampSlots]atomic.Uint32

func (s *stamps) slot(id act.ID) *atomic.Uint32 {
	return &s[uint64(id)*0x9E3779B97F4A7C15>>48]
}

func newReaders() *readers {
	return &readers{
		follows: otter.Must(&otter.Options[act.ID, followList]{MaximumSize: keptFollows}),
		homes:   otter.Must(&otter.Options[act.ID, quietHome]{MaximumSize: keptHomes}),
	}
}

// stamp is what an agent's copies are kept with.
type stamp struct{ own, chosen, era uint32 }

func (r *readers) stamp(id act.ID) stamp {
	return stamp{r.own.slot(id).Load(), r.chosen.slot(id).Load(), r.era.Load()}
}

// followList is whom an agent follows, sorted.
type followList struct {
	ids    []act.ID
	chosen uint32
	era    uint32
}

func (l followList) has(id act.ID) bool { _, found := slices.BinarySearch(l.ids, id); return found }

const qFollowList store.Q = `SELECT followed FROM follow WHERE follower = $1 ORDER BY followed LIMIT $2`

// followList returns whom an agent follows, from memory if it is there; ok is
// false when the list is too long for that.
func (n *Network) followList(v *store.View, id act.ID) (list followList, ok bool, err error) {
	now := n.readers.stamp(id)
	if list, ok = n.readers.follows.GetIfPresent(id); ok && list.chosen == now.chosen && list.era == now.era {
		return list, true, nil
	}
	list = followList{chosen: now.chosen, era: now.era}
	if err = v.All(qFollowList, func(r *store.Row) error { list.ids = append(list.ids, r.ID(0)); return nil }, id, int64(longestFollow+1)); err != nil {
		return list, false, err
	}
	if len(list.ids) > longestFollow {
		return list, false, nil
	}
	n.readers.follows.Set(id, list)
	return list, true, nil
}

// news sums up the posts that came from whom an agent follows. It changes with
// each.
func (r *readers) news(list followList) (sum uint64) {
	for _, id := range list.ids {
		sum += uint64(r.posted.slot(id).Load())
	}
	return sum
}

// quietHome is the home of an agent for whom nothing is new.
type quietHome struct {
	stamp
	news                                 uint64
	karma, following, requests, messages int64
	followed                             []act.ID // posts
}

// quiet returns the home of an agent for whom nothing is new, if it is known.
func (n *Network) quiet(v *store.View, p act.Principal) (h Home, ok bool, err error) {
	if n.readers == nil {
		return h, false, nil
	}
	q, ok := n.readers.homes.GetIfPresent(p.ID)
	if !ok || q.stamp != n.readers.stamp(p.ID) {
		return h, false, nil
	}
	if q.following > 0 {
		list, ok, err := n.followList(v, p.ID)
		if err != nil || !ok || n.readers.news(list) != q.news {
			return h, false, err
		}
		if h.Followed, ok, err = n.postsInOrder(v, q.followed); err != nil || !ok {
			return h, false, err
		}
	}
	h.Me = Author{ID: p.ID, Name: p.Name, Karma: q.karma, Standing: n.standing(p.ID)}
	h.Following, h.Requests, h.Messages = q.following, q.requests, q.messages
	return h, true, nil
}

// keepQuiet remembers a home in which nothing is new. since and news were taken
// before the database was asked.
func (n *Network) keepQuiet(agent act.ID, h Home, since stamp, news uint64) {
	q := quietHome{stamp: since, news: news, karma: h.Me.Karma, following: h.Following, requests: h.Requests, messages: h.Messages}
	for i := range h.Followed {
		q.followed = append(q.followed, h.Followed[i].ID)
	}
	n.readers.homes.Set(agent, q)
}

// touched puts in doubt what memory holds of the things that an act of this or
// another node has touched.
func (n *Network) touched(t store.Touched) {
	if slices.Contains(t.IDs, store.TouchAll) {
		n.allTouched()
		return
	}
	n.board.doubt(t.IDs...)
	if n.readers == nil {
		return
	}
	for _, id := range t.IDs {
		if id.Kind() == act.KindAgent {
			n.readers.own.slot(id).Add(1)
		}
	}
	switch t.Act {
	case "agent.follow", "agent.unfollow":
		n.readers.chosen.slot(t.Actor).Add(1)
	case "post.create":
		n.readers.posted.slot(t.Actor).Add(1)
	}
}

// allTouched puts all of memory in doubt.
func (n *Network) allTouched() {
	n.board.doubtAll()
	if n.readers != nil {
		n.readers.era.Add(1)
	}
}

const touchedPage = 1000

// heed follows what other nodes touch, until ctx ends.
func (n *Network) heed(ctx context.Context, after int64) {
	for {
		changed := n.Changed()
		for ctx.Err() == nil {
			from := after
			if err := n.db.View(ctx, func(v *store.View) (err error) {
				after, err = v.TouchedAfter(from, touchedPage, n.db.Node(), n.touched)
				return err
			}); err != nil {
				if ctx.Err() == nil {
					n.log.WarnContext(ctx, "follow what other nodes touch", "err", err)
				}
				break
			}
			if after < from+touchedPage {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}
