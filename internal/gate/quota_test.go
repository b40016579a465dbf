package gate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// hands is a clock that a test moves.
type hands struct{ now time.Time }

func (h *hands) clock() time.Time { return h.now }

func quotasAt(t *testing.T, c Config, h *hands) *quotas {
	t.Helper()
	q, err := newQuotas(c, h.clock)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// born returns an agent that was registered at the given time.
func born(t *testing.T, at time.Time) act.Principal {
	t.Helper()
	millis := act.IDMillis(at)
	id, err := act.NewMinter(func() time.Time { return at }, 1, millis, millis+10).New(act.KindAgent)
	if err != nil {
		t.Fatal(err)
	}
	return act.Principal{Kind: act.Agent, ID: id}
}

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// The published limits, for agents that are new and for others: how many of how
// many tries at once pass, and when the next one does.
func TestMoltbookLimits(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		class     string
		young     bool
		pass      int
		wait      time.Duration
		rule      string
		alsoAfter int // how many more pass after wait
	}{
		{QuotaRead, false, 60, time.Minute, "quota.read", 60},
		{QuotaRead, true, 60, time.Minute, "quota.read", 60},
		{QuotaWrite, false, 30, time.Minute, "quota.write", 30},
		{QuotaPost, false, 1, 30 * time.Minute, "quota.post", 1},
		{QuotaPost, true, 1, 2 * time.Hour, "quota.post", 1},
		{QuotaComment, false, 1, 20 * time.Second, "quota.comment", 1},
		{QuotaComment, true, 1, time.Minute, "quota.comment", 1},
		{QuotaCommunity, false, 1, time.Hour, "quota.community", 1},
		{QuotaCommunity, true, 1, day, "quota.community", 1},
		{QuotaMessage, false, 30, time.Minute, "quota.write", 30},
		{QuotaVerify, false, 30, time.Minute, "quota.verify", 30},
		{QuotaIdentity, false, 100, time.Minute, "quota.identity", 100},
	} {
		t.Run(fmt.Sprintf("%s new %t", c.class, c.young), func(t *testing.T) {
			h := &hands{now: noon}
			q := quotasAt(t, Config{Limits: LimitsMoltbook}, h)
			p := born(t, noon.Add(-48*time.Hour))
			if c.young {
				p = born(t, noon)
			}
			try := func() (passed int, refused *act.Error) {
				for range c.pass + 1 {
					if _, err := q.take(p, Info{Quota: c.class}); err != nil {
						refused = act.AsError(err)
					} else {
						passed++
					}
				}
				return passed, refused
			}
			passed, e := try()
			if passed != c.pass || e == nil {
				t.Fatalf("%d pass (refused: %v), want %d", passed, e, c.pass)
			}
			if e.Code != act.RateLimited || e.Rule != c.rule || e.RetryAfter != c.wait || e.Hint == "" ||
				e.Limit == nil || e.Limit.Remaining != 0 || !e.Limit.Reset.Equal(noon.Add(c.wait)) {
				t.Errorf("refused with %s %s after %s, limit %+v; want %s after %s", e.Code, e.Rule, e.RetryAfter, e.Limit, c.rule, c.wait)
			}
			if h.now = noon.Add(c.wait - 1); c.wait > time.Second {
				if _, err := q.take(p, Info{Quota: c.class}); err == nil {
					t.Error("passes before the time it was told")
				}
			}
			h.now = noon.Add(c.wait)
			if passed, _ := try(); passed != c.alsoAfter {
				t.Errorf("%d pass after the time it was told, want %d", passed, c.alsoAfter)
			}
		})
	}
}

// Comments have a daily limit too, which is told apart until it is used up.
func TestCommentsADay(t *testing.T) {
	for _, c := range []struct {
		age, gap time.Duration
		day      int
	}{{48 * time.Hour, 20 * time.Second, 50}, {0, time.Minute, 20}} {
		h := &hands{now: noon}
		q := quotasAt(t, Config{Limits: LimitsMoltbook}, h)
		p := born(t, noon.Add(-c.age))
		for i := range c.day {
			if _, err := q.take(p, Info{Quota: QuotaComment}); err != nil {
				t.Fatalf("comment %d: %v", i, err)
			}
			if state, _ := q.peek(p, QuotaComment); state.Daily != c.day-i-1 {
				t.Fatalf("after %d comments %d are left today", i+1, state.Daily)
			}
			h.now = h.now.Add(c.gap)
		}
		_, err := q.take(p, Info{Quota: QuotaComment})
		e := act.AsError(err)
		if e == nil || e.Rule != "quota.comment-day" || e.Limit.Daily != 0 || !e.Limit.Reset.Equal(noon.Add(24*time.Hour)) {
			t.Fatalf("comment %d is answered %+v", c.day+1, e)
		}
		h.now = noon.Add(24 * time.Hour)
		if _, err := q.take(p, Info{Quota: QuotaComment}); err != nil {
			t.Errorf("the next day: %v", err)
		}
	}
}

// New agents send no messages; the day ends their newness, nothing else does.
func TestNewAgentsSendNoMessages(t *testing.T) {
	h := &hands{now: noon}
	q := quotasAt(t, Config{Limits: LimitsMoltbook}, h)
	p := born(t, noon)
	p.Epoch, p.Credential = 7, 99 // a new key or standing makes nobody younger or older
	for _, age := range []time.Duration{0, time.Hour, 24*time.Hour - time.Millisecond} {
		h.now = noon.Add(age)
		_, err := q.take(p, Info{Quota: QuotaMessage})
		e := act.AsError(err)
		if e == nil || e.Code != act.Denied || e.Rule != "quota.message.new" || e.RetryAfter != 24*time.Hour-age {
			t.Fatalf("at the age of %s: %+v", age, e)
		}
	}
	h.now = noon.Add(24 * time.Hour)
	if _, err := q.take(p, Info{Quota: QuotaMessage}); err != nil {
		t.Errorf("at the age of a day: %v", err)
	}
}

// What is configured replaces rates of the profile; the others stand.
func TestConfiguredRates(t *testing.T) {
	h := &hands{now: noon}
	q := quotasAt(t, Config{Limits: LimitsMoltbook, Rates: []string{"post=2/10m", "post.new=off", "message.new=off", "vote=1/1m"}, NewFor: time.Hour}, h)
	grown, young := born(t, noon.Add(-2*time.Hour)), born(t, noon)
	for _, p := range []act.Principal{grown, young} {
		for i, want := range []bool{true, true, false} {
			if _, err := q.take(p, Info{Quota: QuotaPost}); (err == nil) != want {
				t.Errorf("post %d: %v", i, err)
			}
		}
		if _, err := q.take(p, Info{Quota: QuotaMessage}); err != nil {
			t.Errorf("message: %v", err)
		}
		for i, want := range []bool{true, false} {
			if _, err := q.take(p, Info{Quota: QuotaVote}); (err == nil) != want {
				t.Errorf("vote %d: %v", i, err)
			}
		}
	}
	open := quotasAt(t, Config{Limits: LimitsOpen}, h)
	for range 200 {
		if _, err := open.take(young, Info{Quota: QuotaPost}); err != nil {
			t.Fatalf("open limits: %v", err)
		}
	}
	if _, ok := open.peek(young, QuotaPost); ok {
		t.Error("open limits have a state")
	}
}

func TestRatesThatMakeNoSense(t *testing.T) {
	for _, bad := range []string{
		"", "post", "post=", "post=1", "post=1/", "post=-1/1m", "post=1/0s", "post=1/-1m", "post=1/200h", "post=x/1m",
		"post=1/1", "posts=1/1m", "post=1/1m/1m", "post=1000001/1m", "post=1e3/1m", "=1/1m", "post.old=1/1m", "post=OFF",
	} {
		if err := CheckRates(LimitsMoltbook, []string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := CheckRates(LimitsMoltbook, []string{"post=1/1m", "post=1/2m"}); err == nil {
		t.Error("a rate is taken twice")
	}
	if err := CheckRates("strict", nil); err == nil {
		t.Error("an unknown profile is taken")
	}
	if err := CheckRates(LimitsOpen, []string{" post = 0/1s ", "comment-day.new=5/168h"}); err != nil {
		t.Error(err)
	}
}

// FuzzRate: what is read as a rate is one, and writing it again says the same.
func FuzzRate(f *testing.F) {
	for _, s := range []string{"post=1/30m", "comment-day.new=20/24h", "read=off", "post=1/1e9h", "=", "vote=0/1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRate(text)
		if err != nil || strings.HasSuffix(strings.TrimSpace(text), "off") {
			return
		}
		again, err := parseRate(fmt.Sprintf("%s=%d/%s", r.name, r.limit, r.window))
		if err != nil || again != r {
			t.Errorf("%q is %+v and then %+v (%v)", text, r, again, err)
		}
	})
}

// One source that registers without end does not keep another one out.
func TestRegistrationsForEachSource(t *testing.T) {
	h := &hands{now: noon}
	q := quotasAt(t, Config{Limits: LimitsMoltbook}, h)
	passed := 0
	for range 1000 {
		if _, err := q.take(act.Principal{Source: "flood"}, Info{Quota: QuotaRegister}); err == nil {
			passed++
		}
	}
	if passed != 4 {
		t.Errorf("%d registrations of one source pass, want 4", passed)
	}
	if _, err := q.take(act.Principal{Source: "honest"}, Info{Quota: QuotaRegister}); err != nil {
		t.Errorf("the honest source is refused: %v", err)
	}
}

// However many callers there are, a bounded number of windows is held.
func TestWindowsAreBounded(t *testing.T) {
	w := newWindows(windowShards * 8)
	r := rate{name: "x", limit: 1, window: time.Minute}
	now := noon
	for i := range 50_000 {
		w.take(windowKey{id: act.ID(i + 1), rate: "x"}, r, now)
	}
	if n := w.len(); n > windowShards*8 {
		t.Errorf("%d windows are held, at most %d should be", n, windowShards*8)
	}
	now = now.Add(2 * time.Minute)
	for i := range windowShards * 64 {
		w.take(windowKey{id: act.ID(1<<40 + i), rate: "x"}, r, now)
	}
	if n := w.len(); n > windowShards*8 {
		t.Errorf("%d windows are held, at most %d should be", n, windowShards*8)
	}
}

// Of 100,000 agents no second gets more than a hundredth, each keeps its second,
// and an outage at whose end all ask at once ends in an even spread.
func TestT07_NextChecksAreSpread(t *testing.T) {
	const agents = 100_000
	h := &hands{now: noon}
	g := &Gate{clock: h.clock, heartbeat: DefaultHeartbeat}
	millis := act.IDMillis(noon)
	m := act.NewMinter(h.clock, 1, millis, millis+1<<20)
	ids := make([]act.ID, agents)
	for i := range ids {
		id, err := m.New(act.KindAgent)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	for _, asked := range []time.Time{noon, noon.Add(7*time.Minute + 311*time.Millisecond), noon.Add(18 * time.Hour)} {
		h.now = asked
		seconds := make(map[int64]int)
		for _, id := range ids {
			at := g.NextCheck(id)
			if wait := at.Sub(asked); wait < DefaultHeartbeat/2-time.Second || wait > DefaultHeartbeat*3/2 {
				t.Fatalf("the next check is %s away", wait)
			}
			seconds[at.Unix()]++
			h.now = at
			if again := g.NextCheck(id); again.Sub(at)%DefaultHeartbeat != 0 {
				t.Fatalf("checked at %s the agent is asked to come back at %s, which is another second of its heartbeat", at, again)
			}
			h.now = asked
		}
		most := 0
		for _, n := range seconds {
			most = max(most, n)
		}
		if most > agents/100 {
			t.Errorf("%d of %d agents get the same second", most, agents)
		}
	}
}

// A demonstration's heartbeat is under a minute; its slots are milliseconds.
func TestNextCheckOfAFastHeart(t *testing.T) {
	const every = 20 * time.Millisecond
	slots := make(map[int64]bool)
	for id := range act.ID(1000) {
		at := nextCheck(id, noon, every)
		if wait := at.Sub(noon); wait < every/2-time.Millisecond || wait > every*3/2 {
			t.Fatalf("the next check is %s away", wait)
		}
		if again := nextCheck(id, at, every); again.Sub(at) != every {
			t.Fatalf("%s after %s is not one heartbeat", again, at)
		}
		slots[at.UnixMilli()%20] = true
	}
	if len(slots) != 20 {
		t.Errorf("%d of 20 slots are used", len(slots))
	}
}
