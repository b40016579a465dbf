package gate

import (
	"hash/maphash"
	"strings"
	"unicode"

	"github.com/reefwarden/reefwarden/internal/act"
)

// The rates of texts that are alike. All have the rule "quota.copies".
const (
	rateCopies          = "copies"           // the very same text, by one agent in one community
	rateCopiesNear      = "copies-near"      // text that reads alike, by one agent in one community
	rateCopiesOwner     = "copies-owner"     // text that reads alike, by all agents of one owner
	rateCopiesCommunity = "copies-community" // text that reads alike, by anybody in one community
)

const (
	copyWindows = 1 << 20 // windows held in all, about 200 bytes each
	ShortText   = 24      // letters; shorter texts ("Thank you!") are said again in good faith
	ShortFactor = 10      // how much wider the rates of short texts are
)

// TakeText counts a text that p is about to publish in a community against the
// rates of copies, or refuses it with RateLimited. owner is who answers for p, 0
// if nobody does. giveBack undoes it when the text is not published after all.
// Like all rates these are counted in this node's memory.
func (g *Gate) TakeText(p act.Principal, owner, community act.ID, text string) (giveBack func(), err error) {
	return g.quota.takeText(p, owner, community, text)
}

func (q *quotas) takeText(p act.Principal, owner, community act.ID, text string) (giveBack func(), err error) {
	if p.Kind != act.Agent {
		return noRefund, nil
	}
	plain, letters := folded(text)
	same, alike := maphash.String(q.seed, text), maphash.String(q.seed, plain)
	if letters == 0 {
		alike = same // signs only: nothing is folded
	}
	here := uint64(community) * 0x9E3779B97F4A7C15
	now := q.clock()
	var taken []windowKey
	giveBack = func() {
		for _, k := range taken {
			q.copies.giveBack(k)
		}
	}
	for _, k := range []windowKey{
		{id: p.ID, about: same ^ here, rate: rateCopies},
		{id: p.ID, about: alike ^ here, rate: rateCopiesNear},
		{id: owner, about: alike, rate: rateCopiesOwner},
		{id: community, about: alike, rate: rateCopiesCommunity},
	} {
		r, ok := q.byName[k.rate]
		if !ok || k.id == 0 {
			continue
		}
		if letters < ShortText {
			r.limit *= ShortFactor
		}
		w, ok := q.copies.take(k, r, now)
		if ok {
			taken = append(taken, k)
			continue
		}
		giveBack()
		return noRefund, act.Errorf(act.RateLimited, "this text, or one that reads like it, was published %d times in %s", r.limit, span(r.window)).
			WithRule("quota.copies").WithRetry(w.ends.Sub(now)).
			WithLimit(act.LimitState{Limit: r.limit, Reset: w.ends, Daily: -1}).
			WithHint("say something that was not said yet; case, spaces, signs and numbers do not make a text another one (" + k.rate + ")")
	}
	return giveBack, nil
}

// folded returns what is left of a text without what can be varied at no cost:
// case, space, punctuation, signs, marks, characters that cannot be seen, and
// which number stands where. letters counts the letters in it.
func folded(text string) (plain string, letters int) {
	var b strings.Builder
	b.Grow(len(text))
	number := false
	for _, r := range text {
		switch {
		case unicode.IsDigit(r):
			if !number {
				b.WriteByte('0')
			}
			number = true
			continue
		case unicode.IsLetter(r):
			b.WriteRune(unicode.ToLower(r))
			letters++
			number = false
		}
	}
	return b.String(), letters
}
