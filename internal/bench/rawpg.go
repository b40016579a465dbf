package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/reefwarden/reefwarden/internal/act"
)

// PostgreSQL has two raw baselines. The one that groups drains what is queued
// and commits it in one pipelined transaction on one connection: the least that
// durable rows can cost there, and not how several nodes can write. The other
// has a transaction for each request on a pool of the size of store's, in one
// round trip: the same rows under the same rules as the product.

const (
	// The position is the database's; the leaf stands under the same one.
	rawEventPostgres = `INSERT INTO event (pos, seq, act, ref, version, actor, at) VALUES (nextval('position_seq'), $1, 'post.create', $2, 1, $3, $4)`
	rawLeafPostgres  = `INSERT INTO leaf (pos, body) VALUES (currval('position_seq'), $1)`

	rawPool    = 16
	rawTimeout = 30 * time.Second
)

// rawBase is what both have in common.
type rawBase struct {
	minter     *act.Minter
	places     map[string]act.ID
	leaf, salt []byte
	seq        int64
}

// queryer is a connection or a pool.
type queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func newRawBase(ctx context.Context, db queryer) (rawBase, error) {
	b := rawBase{minter: rawMinter(), places: make(map[string]act.ID), salt: make([]byte, 16)}
	_, _ = rand.Read(b.salt)
	rows, err := db.Query(ctx, rawPlaces)
	if err != nil {
		return b, err
	}
	var name string
	var id int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &id}, func() error { b.places[name] = act.ID(id); return nil }); err != nil {
		return b, err
	}
	var pos int64
	return b, errors.Join(
		db.QueryRow(ctx, rawLeafLast).Scan(&b.leaf),
		db.QueryRow(ctx, rawLastPos).Scan(&pos, &b.seq),
	)
}

// queue puts the rows of a post into a batch; seq is its event's number, nil
// for none.
func (b *rawBase) queue(batch *pgx.Batch, p rawPost, seq any) error {
	id, err := b.minter.New(act.KindPost)
	if err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	batch.Queue(rawPostMake, int64(id), int64(b.places[p.place]), int64(p.author), p.title, p.content, b.salt, now)
	batch.Queue(rawEventPostgres, seq, int64(id), int64(p.author), now)
	batch.Queue(rawLeafPostgres, b.leaf)
	return nil
}

func openRawGroup(ctx context.Context, url string) (poster, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	b, err := newRawBase(ctx, conn)
	if err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	var places, agents counts
	commit := func(group []*rawJob) error {
		ctx, cancel := context.WithTimeout(ctx, rawTimeout)
		defer cancel()
		seq := b.seq
		batch := &pgx.Batch{}
		batch.Queue("BEGIN")
		places.reset()
		agents.reset()
		for _, j := range group {
			b.seq++
			if err := b.queue(batch, j.rawPost, b.seq); err != nil {
				return err
			}
			places.add(b.places[j.place])
			agents.add(j.author)
		}
		for _, id := range places.sorted() {
			batch.Queue(rawPlaceAdd, places.by[id], int64(id))
		}
		for _, id := range agents.sorted() {
			batch.Queue(rawAuthorAdd, agents.by[id], int64(id))
		}
		batch.Queue("COMMIT")
		if err := conn.SendBatch(ctx, batch).Close(); err != nil {
			b.seq = seq
			_, rerr := conn.Exec(ctx, "ROLLBACK")
			return errors.Join(err, rerr)
		}
		return nil
	}
	return newGrouped(commit, func() { _ = conn.Close(ctx) }), nil
}

// rawEach stores each post in a transaction of its own.
type rawEach struct {
	rawBase
	pool *pgxpool.Pool
}

func openRawTx(ctx context.Context, url string) (poster, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = rawPool
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	b, err := newRawBase(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &rawEach{b, pool}, nil
}

func (w *rawEach) post(p rawPost) error {
	ctx, cancel := context.WithTimeout(context.Background(), rawTimeout)
	defer cancel()
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	if err := w.queue(batch, p, nil); err != nil {
		return err
	}
	batch.Queue(rawPlaceAdd, int64(1), int64(w.places[p.place]))
	batch.Queue(rawAuthorAdd, int64(1), int64(p.author))
	batch.Queue("COMMIT")
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		_, rerr := conn.Exec(ctx, "ROLLBACK")
		return errors.Join(err, rerr)
	}
	return nil
}

func (w *rawEach) close() { w.pool.Close() }
