package bench

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/world"
)

const (
	keptPlaces = 200 // the largest communities of a world, of which feed pages are read
	keptDepth  = 51  // posts that a community must have for two full pages and more

	keptUnread = `SELECT DISTINCT agent FROM notification WHERE read_at = 0 ORDER BY agent`
)

// keptTails are the keys by which tables of a kept world grow: what was there before
// is too much to be counted again and again.
const (
	keptLast  = `SELECT COALESCE(MAX(%s), 0) FROM %s`
	keptSince = `SELECT COUNT(*) FROM %s WHERE %s > %d`

	// A raw side counts positions on for itself. The product remembers the last, and
	// would give them out again.
	keptPosition = `UPDATE cursor SET seq = MAX(seq, (SELECT MAX(pos) FROM event)) WHERE name = 'position'`
)

func keptKey(table string) string {
	switch table {
	case "event", "leaf", "derivation":
		return "pos"
	}
	return "id"
}

// residents are a world's part in a stage.
type residents struct {
	*world.Kept
	order   []int32          // claimed residents in the order in which they take part
	next    int              // of these
	authors []act.ID         // of the stage's posts
	marks   map[string]int64 // the last key of tables when they were first counted
	scene   *scene           // the one working copy, of all sides
	mine    bool             // it is the run's own, to be removed
}

// keptStage makes a stage of a kept world. All sides take turns on one copy of it, or
// on the world itself where nothing is written beside what a visit leaves: several
// copies of a large one are more than a disk holds.
func (r *runner) keptStage(dir string, copied bool) (s *stage, err error) {
	k, err := world.Open(dir)
	if err != nil {
		return nil, err
	}
	if copied {
		if k, err = r.copyWorld(k); err != nil {
			return nil, err
		}
	}
	c, err := gather(k)
	if err != nil {
		return nil, err
	}
	s = &stage{r: r, db: dbSQLite, dir: k.Dir, codec: c.codec, kept: &residents{Kept: k, marks: make(map[string]int64), mine: copied}}
	s.kept.scene = &scene{s: s, dir: k.Dir, SQLite: databaseFile(k.Dir)}
	s.has = size{agents: k.Agents, places: len(c.places), posts: len(c.posts)}
	for _, p := range c.posts {
		s.posts, s.kept.authors = append(s.posts, p.id), append(s.kept.authors, p.author)
	}
	s.places = c.largest(keptPlaces, keptDepth)
	if len(s.places) == 0 {
		return nil, fmt.Errorf("no community of %s has %d posts: make a larger world", k.Dir, keptDepth)
	}
	quiet, news, err := s.kept.byNews()
	if err != nil {
		return nil, err
	}
	// Agents of even number have nothing new, those of odd number have, as in a
	// stage that was filled for this.
	rnd := rand.New(rand.NewPCG(k.Seed, 2)) //nolint:gosec // who takes part
	for _, list := range [][]int32{quiet, news} {
		rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	half := min(len(quiet), len(news))
	for i := range half {
		s.kept.order = append(s.kept.order, quiet[i], news[i])
	}
	if len(s.kept.order) < r.agents {
		return nil, badFlag("agents", fmt.Sprintf("only %d agents of %s have something new that they have not read, and as many others take part: give %d at most", half, k.Dir, 2*half))
	}
	s.turn()
	return s, nil
}

// largest returns the communities with the most posts, at least so many.
func (c *crowd) largest(most, least int) (names []string) {
	count := func(i int) int {
		if i == 0 {
			return c.weights[0] - 1
		}
		return c.weights[i] - c.weights[i-1] - 1
	}
	order := make([]int, len(c.places))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(count(b), count(a)) })
	for _, i := range order[:min(most, len(order))] {
		if count(i) >= least {
			names = append(names, c.places[i])
		}
	}
	return names
}

// byNews tells the claimed residents apart that have unread notifications.
func (k *residents) byNews() (quiet, news []int32, err error) {
	conn, err := sqlite.OpenConn(databaseFile(k.Dir), sqlite.OpenReadWrite)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close() //nolint:errcheck // only read
	unread := make(map[int]bool)
	if err := sqlitex.Execute(conn, keptUnread, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		if i, ok := k.Find(act.ID(s.ColumnInt64(0))); ok {
			unread[i] = true
		}
		return nil
	}}); err != nil {
		return nil, nil, err
	}
	for i := range k.Agents {
		if _, claimed := k.AppendKey(nil, i); !claimed {
			continue
		}
		if unread[i] {
			news = append(news, int32(i))
		} else {
			quiet = append(quiet, int32(i))
		}
	}
	return quiet, news, nil
}

// turn has other agents take part: those who did have been shown things. When all
// have, it begins anew.
func (s *stage) turn() {
	if s.kept == nil {
		return
	}
	if s.kept.next+s.r.agents > len(s.kept.order) {
		s.kept.next = 0
	}
	s.agents = make([]agent, s.r.agents)
	for i := range s.agents {
		a := s.kept.Resident(int(s.kept.order[s.kept.next+i]))
		s.agents[i] = agent{a.Key, act.Principal{Kind: act.Agent, ID: a.ID}}
	}
	s.kept.next += s.r.agents
}

// gained counts the rows of a table beyond those that were there when it was first
// asked.
func (k *residents) gained(ctx context.Context, c *scene, table string) (int64, error) {
	key := keptKey(table)
	if _, known := k.marks[table]; !known {
		last, err := c.number(ctx, fmt.Sprintf(keptLast, key, table))
		if err != nil {
			return 0, err
		}
		k.marks[table] = last
	}
	return c.number(ctx, fmt.Sprintf(keptSince, table, key, k.marks[table]))
}

// settle makes a kept world, on which a raw side has been, fit for the product again.
func (c *scene) settle(ctx context.Context, kind sideKind) error {
	if c.s.kept == nil || kind != raw {
		return nil
	}
	_, err := c.number(ctx, keptPosition)
	return err
}

// leave gives back what the world's part took.
func (k *residents) leave() {
	if k.mine {
		_ = os.RemoveAll(k.Dir)
	}
}

// compareWorld has the contests of plan held on the kept world that was named.
func (r *runner) compareWorld(ctx context.Context, plan func(context.Context, *stage) ([]contest, error)) error {
	st, err := r.keptStage(r.onWorld, r.bench != "home")
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	r.say("%s: %s", r.onWorld, st.has)
	contests, err := plan(ctx, st)
	if err != nil {
		return err
	}
	for _, c := range contests {
		_, err := r.hold(ctx, c, dbSQLite, 0, true)
		if c.end != nil {
			c.end()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
