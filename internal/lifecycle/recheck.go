package lifecycle

import (
	"cmp"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Standings are read in groups: a statement costs as much as several rows.
const (
	fewStandings  = 8
	manyStandings = 64

	qFewStandings store.Q = `SELECT id, state, epoch FROM agent WHERE id IN ($1, $2, $3, $4, $5, $6, $7, $8) ORDER BY id`

	qManyStandings store.Q = `SELECT id, state, epoch FROM agent WHERE id IN (
$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
$21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40,
$41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60,
$61, $62, $63, $64) ORDER BY id`
)

// standing is a row of the statements above.
type standing struct {
	id    act.ID
	state act.Standing
	epoch int64
}

// Recheck reads the standing of agents again inside a transaction and says, by
// their places, what is wrong with those that may no longer act. An error of its
// own is storage's. On PostgreSQL the transaction holds the fence lock shared by
// then, so a kill that this read does not see waits for the transaction to end
// before it is acknowledged.
func (l *Lifecycle) Recheck(tx *store.Tx, agents []act.Principal, verdicts []error) error {
	halts := l.halts.Load()
	if n, err := haltsNow(&tx.View); err != nil || n != halts.n {
		for i := range verdicts {
			verdicts[i] = gate.Moved()
		}
		return err
	}
	for len(agents) > 0 {
		n := min(len(agents), manyStandings)
		if err := l.recheckSome(tx, halts, agents[:n], verdicts[:n]); err != nil {
			return err
		}
		agents, verdicts = agents[n:], verdicts[n:]
	}
	return nil
}

func (l *Lifecycle) recheckSome(tx *store.Tx, halts *halts, agents []act.Principal, verdicts []error) error {
	q, n := qFewStandings, fewStandings
	if len(agents) > fewStandings {
		q, n = qManyStandings, manyStandings
	}
	args := make([]any, n)
	for i := range args {
		args[i] = agents[min(i, len(agents)-1)].ID // the last one fills the rest
	}
	var room [manyStandings]standing
	rows := room[:0]
	if err := tx.All(q, func(r *store.Row) error {
		rows = append(rows, standing{r.ID(0), act.Standing(r.Int(1)), r.Int(2)})
		return nil
	}, args...); err != nil {
		return err
	}
	for i, p := range agents {
		at, found := slices.BinarySearchFunc(rows, p.ID, func(s standing, id act.ID) int { return cmp.Compare(s.id, id) })
		if !found {
			verdicts[i] = stands(act.StandingUnknown, 0, p)
			continue
		}
		verdicts[i] = stands(l.weighedRow(halts, p.ID, rows[at].state, tx.Now()), rows[at].epoch, p)
	}
	return nil
}
