package gate

import (
	"fmt"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const sermon = "Join the great reef revival today, every agent who follows gets a pearl"

// Texts that differ in what costs nothing are alike, others are not.
func TestFolded(t *testing.T) {
	want, _ := folded(sermon)
	for _, alike := range []string{
		"JOIN the great reef revival today; every agent who follows gets a pearl!!!",
		"Join\u200b the great reef re\u200dvival today, every\n\nagent who follows gets a pearl",
		"Join the great reef revival today — every agent who follows gets a p-e-a-r-l 🦞",
	} {
		if got, _ := folded(alike); got != want {
			t.Errorf("%q is folded to %q", alike, got)
		}
	}
	if a, _ := folded("pearl 12 of 99"); a != "pearl0of0" {
		t.Errorf("numbers are folded to %q", a)
	}
	if got, _ := folded(sermon + " and a shell"); got == want {
		t.Error("another text is folded alike")
	}
}

// T48: near-copies by 50 agents of 3 operators in 5 minutes: no operator gets
// more than its cap past the gate, and honest posting does not notice.
func TestT48_NearCopiesAreCapped(t *testing.T) {
	h := &hands{now: noon}
	q := quotasAt(t, Config{Limits: LimitsMoltbook}, h)
	m := act.NewMinter(h.clock, 1, act.IDMillis(noon), act.IDMillis(noon)+1<<20)
	id := func(k act.Kind) act.ID {
		t.Helper()
		id, err := m.New(k)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	var owners [3]act.ID
	var rooms [5]act.ID
	for i := range owners {
		owners[i] = id(act.KindOwner)
	}
	for i := range rooms {
		rooms[i] = id(act.KindCommunity)
	}
	agents := make([]act.Principal, 50)
	for i := range agents {
		agents[i] = act.Principal{Kind: act.Agent, ID: id(act.KindAgent)}
	}
	honest, honestOwner := act.Principal{Kind: act.Agent, ID: id(act.KindAgent)}, id(act.KindOwner)

	published := make(map[act.ID]int)
	for i := range 1000 {
		h.now = noon.Add(time.Duration(i) * 5 * time.Minute / 1000)
		n := i % len(agents)
		owner := owners[n%len(owners)]
		text := fmt.Sprintf("%s %d%s", sermon, i, []string{"", "!", " \u200b", " 🦞", "..."}[i%5])
		_, err := q.takeText(agents[n], owner, rooms[i%len(rooms)], text)
		switch e := act.AsError(err); {
		case err == nil:
			published[owner]++
		case e.Code != act.RateLimited || e.Rule != "quota.copies" || e.RetryAfter <= 0 || e.Hint == "" || e.Limit == nil:
			t.Fatalf("copy %d is refused with %+v", i, e)
		}
		if _, err := q.takeText(honest, honestOwner, rooms[i%len(rooms)], "Day log of "+word(i)+": found "+word(i*7+3)+" under a stone"); err != nil {
			t.Fatalf("honest text %d: %v", i, err)
		}
	}
	for _, o := range owners {
		if published[o] != 10 {
			t.Errorf("an operator published %d copies, want its cap of 10", published[o])
		}
	}
	h.now = noon.Add(25 * time.Hour)
	if _, err := q.takeText(agents[0], owners[0], rooms[0], sermon); err != nil {
		t.Errorf("a day later: %v", err)
	}
}

// word makes a word of letters out of a number.
func word(n int) string {
	b := []byte("kelp")
	for ; n > 0; n /= 26 {
		b = append(b, byte('a'+n%26))
	}
	return string(b)
}

// One agent says the very same in one community a few times a day; elsewhere,
// and in short words, more often; and what was not published does not count.
func TestT48_CopiesOfOneAgent(t *testing.T) {
	h := &hands{now: noon}
	q := quotasAt(t, Config{Limits: LimitsMoltbook}, h)
	p := born(t, noon)
	count := func(community act.ID, text string, keep bool) (n int) {
		for range 100 {
			back, err := q.takeText(p, 0, community, text)
			if err != nil {
				return n
			}
			if n++; !keep {
				back()
			}
		}
		return n
	}
	if n := count(1, sermon, false); n != 100 {
		t.Errorf("%d copies that were not published pass", n)
	}
	if n := count(1, sermon, true); n != 3 {
		t.Errorf("%d copies pass, want 3", n)
	}
	if n := count(1, sermon+"!", true); n != 2 {
		t.Errorf("then %d near-copies pass, want 2 more", n)
	}
	if n := count(2, sermon, true); n != 3 {
		t.Errorf("%d copies pass in another community, want 3", n)
	}
	if n := count(1, "Thank you!", true); n != 30 {
		t.Errorf("%d short texts pass, want 30", n)
	}
	open := quotasAt(t, Config{Limits: LimitsOpen}, h)
	for range 100 {
		if _, err := open.takeText(p, 5, 1, sermon); err != nil {
			t.Fatalf("open limits: %v", err)
		}
	}
}

// FuzzFolded: folding what is folded changes nothing.
func FuzzFolded(f *testing.F) {
	for _, s := range []string{sermon, "", "\xff\xfe", "1 2 3", "ÅİßÇ٣", "a\u0301\u200b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once, _ := folded(text)
		if twice, _ := folded(once); twice != once {
			t.Errorf("%q is folded to %q and then to %q", text, once, twice)
		}
	})
}
