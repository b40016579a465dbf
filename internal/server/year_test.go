package server_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// year is a network whose clock is moved.
type year struct {
	*servertest.Server
	t      *testing.T
	ahead  atomic.Int64
	sealer *provenance.Sealer
	op     act.Principal
	busy   act.Principal // reads what happens to it
	deaf   act.Principal // never does
	talks  act.Principal
	made   map[string]int64 // rows that came into being, by table, at least
}

func must[T any](y *year, what string) func(out T, err error) T {
	return func(out T, err error) T {
		y.t.Helper()
		if err != nil {
			y.t.Fatalf("%s: %v", what, err)
		}
		return out
	}
}

// claimed registers an agent and has somebody claim it.
func (y *year) claimed(name, invite string) act.Principal {
	ctx := context.Background()
	out := must[lifecycle.Registered](y, "register")(y.Lifecycle.Register.Do(ctx, act.Principal{Source: "here"}, lifecycle.NewAgent{Name: name, Invite: invite}))
	must[lifecycle.Agent](y, "claim")(y.Lifecycle.Claim.Do(ctx, y.op, lifecycle.NewClaim{Agent: out.Agent, Owner: "tests"}))
	p, err := y.Identity.Authenticate(ctx, out.Key)
	return must[act.Principal](y, "authenticate")(p, err)
}

// day is what happens on one day.
func (y *year) day(n int) {
	ctx := context.Background()
	named := func(id act.ID) network.Named { return network.Named{ID: id} }
	for _, author := range []act.Principal{y.busy, y.deaf} {
		post := must[network.Post](y, "post")(y.Network.CreatePost.DoOnce(ctx, author, gate.Key{Name: fmt.Sprint("day-", n), Hash: [32]byte{byte(n)}},
			network.NewPost{Community: "general", Title: fmt.Sprint("Day ", n), Content: fmt.Sprint("What day ", n, " was like.")}))
		must[network.Comment](y, "comment")(y.Network.CreateComment.Do(ctx, y.talks, network.NewComment{Post: named(post.ID), Content: fmt.Sprint("And the next, ", n, "?")}))
		must[network.Vote](y, "vote")(y.Network.CastVote.Do(ctx, y.talks, network.NewVote{Target: named(post.ID), On: act.KindPost, Up: true}))
		y.made["notification"] += 2
	}
	y.made["idempotency"] += 2
	if n%2 == 0 {
		must[int64](y, "read notifications")(y.Network.ReadNotifications.Do(ctx, y.busy, network.NotificationRead{}))
	}
	gone := must[network.Post](y, "post")(y.Network.CreatePost.Do(ctx, y.talks, network.NewPost{Community: "general", Title: "Sorry", Content: fmt.Sprint("Wrong number ", n)}))
	must[network.Filed](y, "report")(y.Network.ReportContent.Do(ctx, y.deaf, network.NewReport{Target: named(gone.ID), On: act.KindPost}))
	must[act.Ref](y, "delete")(y.Network.DeletePost.Do(ctx, y.talks, named(gone.ID)))
	y.made["sealed"]++
	y.made["report"]++
	y.made["fence"]++
	for _, reader := range []act.Principal{y.busy, y.talks} {
		must[act.Page[network.Post]](y, "feed")(y.Network.ReadFeed.Do(ctx, reader, network.FeedQuery{Sort: network.FeedNew, Limit: 5}))
	}
	// One who is never claimed, one invite that nobody uses, one sign-in.
	must[lifecycle.Registered](y, "register")(y.Lifecycle.Register.Do(ctx, act.Principal{Source: fmt.Sprint("source-", n)}, lifecycle.NewAgent{Name: fmt.Sprint("stray-", n)}))
	invite := must[lifecycle.Invited](y, "invite")(y.Lifecycle.Invite.Do(ctx, y.op, lifecycle.NewInvite{Owner: "tests", ValidFor: 24 * time.Hour}))
	must[lifecycle.Session](y, "sign in")(y.Lifecycle.OpenSession.Do(ctx, act.Principal{Source: "desk"}, lifecycle.NewSession{Token: y.Token}))
	y.made["agent"]++
	y.made["seat"]++
	y.made["claim"]++
	y.made["invite"]++
	y.made["credential"] += 2
	if n%10 == 0 { // one who is claimed, and killed
		p := y.claimed(fmt.Sprint("guest-", n), invite.Code)
		must[lifecycle.Agent](y, "kill")(y.Lifecycle.Kill.Do(ctx, y.op, lifecycle.Order{Agent: p.ID, Reason: "the visit is over"}))
		y.made["claim"]++
	}
}

// pass has the chores done that fall due in the time that passes.
func (y *year) pass(by time.Duration) {
	y.t.Helper()
	ctx := context.Background()
	to := y.DB.Clock()().Add(by)
	if err := y.DB.Reserve(ctx, to.Add(time.Hour)); err != nil {
		y.t.Fatal(err)
	}
	y.ahead.Add(int64(by))
	if err := y.Settle(ctx); err != nil {
		y.t.Fatal(err)
	}
	for name, chore := range map[string]func(context.Context) error{
		"tend":  y.Lifecycle.Tend,
		"reap":  func(ctx context.Context) error { _, err := y.Lifecycle.Reap(ctx); return err },
		"tasks": func(ctx context.Context) error { return y.Network.SweepTasks(ctx, y.DB) },
		"seal":  func(ctx context.Context) error { _, err := y.sealer.Seal(ctx); return err },
		"keep":  y.Housekeep,
	} {
		if err := chore(ctx); err != nil {
			y.t.Fatalf("%s: %v", name, err)
		}
	}
	// What had to wait for another chore is dropped by the next pass.
	if err := y.Housekeep(ctx); err != nil {
		y.t.Fatal(err)
	}
}

// bounded holds every table against what Retention says of it.
func (y *year) bounded(cfg server.Config, when string) map[string]server.Grown {
	y.t.Helper()
	all, err := server.Growth(context.Background(), y.DB, cfg)
	if err != nil {
		y.t.Fatal(err)
	}
	byName := make(map[string]server.Grown)
	for _, g := range all {
		byName[g.Table] = g
		if wrong := g.Wrong(); wrong != "" {
			y.t.Errorf("%s: %s: %s; %s", when, g.Table, wrong, g.Bound())
		}
	}
	return byName
}

// A network that lives a year keeps every table under the bound that is printed
// for it, and its invariants after every month's chores.
func TestYearStaysBounded(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			y := &year{t: t, made: make(map[string]int64)}
			cfg := servertest.Config(t, d)
			cfg.AutoClaim, cfg.Claim, cfg.UnclaimedFor = "", true, 24*time.Hour
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(y.ahead.Load())) }
			y.Server = servertest.Start(t, cfg)
			y.op = operator(t, y.Server)
			var err error
			if y.sealer, err = provenance.NewSealer(y.DB, nil); err != nil {
				t.Fatal(err)
			}
			y.busy, y.deaf, y.talks = y.claimed("busy", ""), y.claimed("deaf", ""), y.claimed("talks", "")
			step := 3
			if os.Getenv("REEF_SOAK") == "1" {
				step = 1
			}
			const length = 366
			for n := 0; n < length; n += step {
				y.day(n)
				y.pass(time.Duration(step) * 24 * time.Hour)
				if n%30 < step {
					y.bounded(cfg, fmt.Sprint("day ", n))
					servertest.CheckInvariants(t, y.Server.Server)
				}
				if t.Failed() {
					return
				}
			}
			grown := y.bounded(cfg, "after the year")
			// That they are under their bounds says something only if there was more.
			for table, made := range y.made {
				if g := grown[table]; g.Rows*2 > made {
					t.Errorf("%d rows of %s are left of %d and more that were made", g.Rows, table, made)
				}
			}
			if g := grown["exposure"]; g.Rows > 64 || grown["segment"].Rows == 0 {
				t.Errorf("%d rows of exposures wait, %d segments", g.Rows, grown["segment"].Rows)
			}
		})
	}
}
