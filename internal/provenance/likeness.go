package provenance

import (
	"context"
	"slices"
	"sync"

	"github.com/maypok86/otter/v2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/provenance/gain"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Likeness says how far likenesses can be relied on that count as likely influence (L2).
type Likeness struct {
	Threshold int64 // thousandths of a bit; 0 says that nothing counts yet
	Rate      int64 // at most so many of a million that count are wrong
	Targets   int64 // the competitions behind that: won by what had been shown,
	Decoys    int64 // and by what had not
	Judged    int64 // texts that were judged since the network began
	Passed    int64 // and that could not be, because their author had been shown nothing, or all there is
	Found     int64 // edges of level L2 that there are
	At        int64 // Unix microseconds
}

// Likenesses follows the record and finds what texts have taken over from what their
// authors had been shown. One node does it at a time; what it finds are edges of level
// L2. A node that takes over reads a part of the record again and finds the same.
type Likenesses struct {
	db    *store.DB
	texts func(v *store.View, things []act.ID) (map[act.ID]string, error)

	mu         sync.Mutex // one pass at a time; guards all below
	began      bool
	seq        int64 // the last number taken in,
	counted    int64 // and the last one that stands in the state
	background *gain.Background
	pool       *gain.Pool
	features   *otter.Cache[act.ID, gain.Text]
	recent     []wrote // the last texts of the network, in order
	waits      []like  // what was judged and does not count yet
	state      Likeness
}

// wrote is a text that an agent made.
type wrote struct {
	seq, pos int64
	ref      act.Ref
	author   act.ID
}

// like is the best of what an author had been shown.
type like struct {
	of    wrote
	from  act.Ref
	score float64
}

const (
	likeCursor  = "likeness"
	likePage    = 500     // events at once
	likeBack    = 2000    // numbers that are read again when a node takes over
	likeShown   = 64      // texts that an author was shown last, and as many that it was not
	likeRecent  = 4096    // texts that decoys come from
	likeOwn     = 16      // texts of the author's own that count for nothing
	likePool    = 2000    // competitions
	likeWaits   = 2000    // judgements that may count later
	likeKnown   = 16_384  // texts whose features are remembered
	likeFeature = 1 << 20 // features whose commonness is known
	likeBound   = 0.05    // the share of wrong ones, at most
	likeOrd     = 1 << 20 // of the edge among its act's edges

	qWrote store.Q = `SELECT seq, pos, act, ref, version, actor FROM event WHERE seq > $1 AND outcome = 0 ORDER BY seq LIMIT $2`
	qLiked store.Q = `INSERT INTO derivation (pos, ord, source, source_version, made, made_version, level, kind)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (pos, ord) DO NOTHING`
	qLikeness    store.Q = `SELECT threshold, rate, targets, decoys, judged, passed, found, made_at FROM likeness WHERE id = 1`
	qLikenessPut store.Q = `INSERT INTO likeness (id, threshold, rate, targets, decoys, judged, passed, found, made_at) VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE SET threshold = $1, rate = $2, targets = $3, decoys = $4, judged = $5, passed = $6, found = $7, made_at = $8`
)

const qLikely store.Q = `SELECT d.pos, d.ord, d.source, d.source_version, d.made, d.made_version, d.level, d.kind, e.seq
FROM derivation AS d JOIN event AS e ON e.pos = d.pos WHERE d.level = 2 AND e.seq <= $1 ORDER BY d.pos, d.ord`

// Likely calls fn with every edge of level L2 of acts up to a number.
func Likely(v *store.View, through int64, fn func(NumberedDerivation) error) error {
	return v.All(qLikely, func(r *store.Row) error { return fn(NumberedDerivation{r.Int(8), scanDerivation(r)}) }, through)
}

// NewLikenesses returns a follower. texts gives what things say that can still be read.
func NewLikenesses(db *store.DB, texts func(*store.View, []act.ID) (map[act.ID]string, error)) *Likenesses {
	return &Likenesses{
		db: db, texts: texts, background: gain.NewBackground(likeFeature), pool: gain.NewPool(likePool, likeBound),
		features: otter.Must(&otter.Options[act.ID, gain.Text]{MaximumSize: likeKnown}),
	}
}

// LikenessOf reads how far likenesses can be relied on; zero where none was judged.
func LikenessOf(v *store.View) (l Likeness, err error) {
	_, err = v.One(qLikeness, func(r *store.Row) error {
		l = Likeness{Threshold: r.Int(0), Rate: r.Int(1), Targets: r.Int(2), Decoys: r.Int(3), Judged: r.Int(4), Passed: r.Int(5), Found: r.Int(6), At: r.Int(7)}
		return nil
	})
	return l, err
}

// Follow takes in what was written since the last pass. After an error it begins like a
// node that takes over.
func (l *Likenesses) Follow(ctx context.Context) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		if err != nil {
			l.began, l.pool, l.recent, l.waits = false, gain.NewPool(likePool, likeBound), nil, nil
		}
	}()
	for {
		var page []wrote
		var last int64
		if err := l.db.View(ctx, func(v *store.View) (err error) {
			if !l.began {
				if err := l.begin(v); err != nil {
					return err
				}
			}
			page, last, err = l.read(v)
			return err
		}); err != nil {
			return err
		}
		if last == l.seq {
			return nil
		}
		if err := l.db.View(ctx, func(v *store.View) error { return l.judgeAll(v, page) }); err != nil {
			return err
		}
		l.seq = last
		now, verdict := l.state, l.pool.Verdict()
		if err := l.db.Write(ctx, func(tx *store.Tx) (err error) { now, err = l.store(tx, verdict); return err }); err != nil {
			return err
		}
		l.state, l.counted = now, max(l.counted, l.seq)
		l.waits = slices.DeleteFunc(l.waits, func(x like) bool { return verdict.Counts(x.score) })
	}
}

// begin reads where the last follower stood. What is judged again then is not counted.
func (l *Likenesses) begin(v *store.View) (err error) {
	seq, err := v.Cursor(likeCursor)
	if err != nil {
		return err
	}
	if l.state, err = LikenessOf(v); err != nil {
		return err
	}
	l.seq, l.counted, l.began = max(0, seq-likeBack), seq, true
	return nil
}

func (l *Likenesses) read(v *store.View) (page []wrote, last int64, err error) {
	last = l.seq
	err = v.All(qWrote, func(r *store.Row) error {
		last = r.Int(0)
		if name := r.Text(2); name == "post.create" || name == "comment.create" {
			page = append(page, wrote{seq: last, pos: r.Int(1), ref: act.Ref{ID: r.ID(3), Version: r.Int(4)}, author: r.ID(5)})
		}
		return nil
	}, l.seq, int64(likePage))
	return page, last, err
}

// judgeAll judges texts, in their order. What their authors were shown is read once for all
// of them.
func (l *Likenesses) judgeAll(v *store.View, page []wrote) error {
	of := make(map[act.ID]*glimpse)
	for _, w := range page {
		if of[w.author] == nil {
			of[w.author] = &glimpse{before: w.seq, all: make(map[act.ID]bool)}
		}
	}
	if len(of) == 0 {
		return nil
	}
	if err := lately(v, of, l.enough); err != nil {
		return err
	}
	for _, w := range page {
		if err := l.judge(v, w, of[w.author]); err != nil {
			return err
		}
	}
	return nil
}

// enough reports whether an author can be judged by what was read of what it was shown: the
// texts are there, and as many that it was certainly not shown.
func (l *Likenesses) enough(author act.ID, g *glimpse) bool {
	if len(g.last(g.before, likeShown)) < likeShown {
		return false
	}
	decoys := 0
	for i := len(l.recent) - 1; i >= 0 && decoys < likeShown; i-- {
		r := l.recent[i]
		if r.seq <= g.since {
			return false
		}
		if r.author != author && !g.all[r.ref.ID] {
			decoys++
		}
	}
	return true
}

// judge lets what the author of a text had been shown compete with what it had not. Nobody
// was shown a text before that was written, so a text is known not to have been shown when
// all showings since then have been looked at.
func (l *Likenesses) judge(v *store.View, w wrote, g *glimpse) error {
	shown := g.last(w.seq, likeShown)
	var decoys, own []act.ID
	for i := len(l.recent) - 1; i >= 0; i-- {
		switch r := l.recent[i]; {
		case r.author == w.author && len(own) < likeOwn:
			own = append(own, r.ref.ID)
		case r.author != w.author && r.seq > g.since && !g.all[r.ref.ID] && len(decoys) < len(shown):
			decoys = append(decoys, r.ref.ID)
		}
	}
	if l.recent = append(l.recent, w); len(l.recent) > 2*likeRecent {
		l.recent = slices.Delete(l.recent, 0, likeRecent)
	}
	shown = shown[:min(len(shown), len(decoys))] // as many of either, or either would win more often
	news := w.seq > l.counted
	if len(shown) == 0 {
		if news {
			l.state.Passed++
		}
		return nil
	}
	ids := append(append([]act.ID{w.ref.ID}, decoys...), own...)
	for _, ref := range shown {
		ids = append(ids, ref.ID)
	}
	if err := l.learn(v, ids); err != nil {
		return err
	}
	made, _ := l.features.GetIfPresent(w.ref.ID)
	var before gain.Text
	for _, id := range own {
		t, _ := l.features.GetIfPresent(id)
		before = before.Join(t)
	}
	var saw []gain.Text
	for _, ref := range shown {
		t, _ := l.features.GetIfPresent(ref.ID)
		saw = append(saw, t)
	}
	targets, rest := make([]float64, len(shown)), make([]float64, len(shown))
	for i := range shown {
		targets[i] = l.background.Score(made, saw[i], before)
		// What says again what was shown has been shown, in another text.
		if d, _ := l.features.GetIfPresent(decoys[i]); !l.background.Repeats(d, saw) {
			rest[i] = l.background.Score(made, d, before)
		}
	}
	score, at := gain.Best(targets)
	decoy, _ := gain.Best(rest)
	l.pool.Add(score, decoy)
	if news {
		l.state.Judged++
	}
	if at >= 0 && score > decoy {
		l.waits = append(l.waits, like{of: w, from: shown[at], score: score})
		l.waits = l.waits[max(0, len(l.waits)-likeWaits):]
	}
	return nil
}

// learn makes the features of texts that are not known, and counts how common they are.
func (l *Likenesses) learn(v *store.View, ids []act.ID) error {
	var missing []act.ID
	for _, id := range ids {
		if _, known := l.features.GetIfPresent(id); !known {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	texts, err := l.texts(v, missing)
	if err != nil {
		return err
	}
	for _, id := range missing {
		t := gain.Of(texts[id])
		l.background.Add(t)
		l.features.Set(id, t)
	}
	return nil
}

// store writes down what counts by now, and how far this node has come. It may run more
// than once.
func (l *Likenesses) store(tx *store.Tx, verdict gain.Verdict) (now Likeness, err error) {
	now = l.state
	now.Threshold, now.Rate = int64(1000*verdict.Threshold), int64(1e6*verdict.Rate)
	now.Targets, now.Decoys, now.At = int64(verdict.Targets), int64(verdict.Decoys), tx.Now()
	for _, x := range l.waits {
		if !verdict.Counts(x.score) {
			continue
		}
		added, err := tx.Exec(qLiked, x.of.pos, int64(likeOrd), x.from.ID, x.from.Version, x.of.ref.ID, x.of.ref.Version,
			int64(levelLikely), int64(gate.EdgeGain))
		if err != nil {
			return now, err
		}
		now.Found += added
	}
	if err := tx.Batch(qLikenessPut, now.Threshold, now.Rate, now.Targets, now.Decoys, now.Judged, now.Passed, now.Found, now.At); err != nil {
		return now, err
	}
	return now, tx.SaveCursor(likeCursor, l.seq)
}
