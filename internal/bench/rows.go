package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	rowsChunk   = 500 // posts or messages stored together
	rowsWriters = 4

	rowsFindLite = `INSERT INTO findable (rowid, words) VALUES ($1, $2)`
	rowsFindPG   = `INSERT INTO findable (id, words) VALUES ($1, CAST(CAST($2 AS TEXT) AS tsvector))`
	rowsMessage  = `INSERT INTO message (id, conversation, ord, sender, body, needs_human, origin, read_at, created_at)
VALUES ($1, $2, $3, $4, $5, 0, 0, $6, $6)`
	rowsTalk = `UPDATE conversation SET last_ord = last_ord + $1 WHERE id = $2`

	// An index over all posts' words is faster made than kept.
	rowsIndexDrop = `DROP INDEX ` + schema + `.findable_words`
	rowsIndexMake = `CREATE INDEX findable_words ON ` + schema + `.findable USING GIN (words)`
)

// growRows adds posts and messages as rows of the form that acts store, found by
// their words like others, with the counters that belong to them.
func (s *stage) growRows(ctx context.Context, to size) error {
	if to.rows <= s.has.rows && to.messages <= s.has.messages {
		return nil
	}
	t := (&scene{s: s, dir: s.dir, name: s.name, SQLite: databaseFile(s.dir)}).task(raw)
	index := rowsFindLite
	if s.db == dbPostgres {
		index = rowsFindPG
		if err := s.r.pg.exec(ctx, s.r.pg.url(s.name), rowsIndexDrop); err != nil {
			return err
		}
	}
	g, err := openRaw(ctx, t)
	if err != nil {
		return err
	}
	err = s.inChunks(ctx, g, s.has.rows, to.rows, func(st *rawState, db rawDB, add func(string, act.ID), i int) error {
		title, content := found(i)
		author, place := s.agents[i%len(s.agents)].ID, s.places[i%len(s.places)]
		id, err := st.post(db, rawPost{author, place, title, content})
		if err != nil {
			return err
		}
		add(rawPlaceAdd, st.places[place])
		add(rawAuthorAdd, author)
		s.posts[to.posts+i] = id
		return db.exec(index, int64(id), s.entry(act.KindPost, title, content))
	})
	s.has.rows = max(s.has.rows, to.rows)
	if err == nil {
		body := make([]byte, messageSize+60) // nobody opens them: nonce, salt and tag are about 60 bytes
		err = s.inChunks(ctx, g, s.has.messages, to.messages, func(st *rawState, db rawDB, add func(string, act.ID), i int) error {
			talk := s.talks[i%len(s.talks)]
			sender := talk.from
			if i/len(s.talks)%2 == 1 {
				sender = talk.to
			}
			id, err := st.minter.New(act.KindMessage)
			if err != nil {
				return err
			}
			add(rowsTalk, talk.id)
			// The request has the number 1.
			return db.exec(rowsMessage, int64(id), int64(talk.id), int64(2+i/len(s.talks)), int64(s.agents[sender].ID), body, time.Now().UnixMicro())
		})
		s.has.messages = max(s.has.messages, to.messages)
	}
	g.close()
	if s.db == dbPostgres && err == nil {
		err = s.r.pg.exec(ctx, s.r.pg.url(s.name, "maintenance_work_mem", "1GB"), rowsIndexMake)
	}
	return err
}

// inChunks has every number from has up to to stored, many in one transaction.
func (s *stage) inChunks(ctx context.Context, g *rawGroups, has, to int, one func(st *rawState, db rawDB, add func(string, act.ID), i int) error) error {
	e, ctx := errgroup.WithContext(ctx)
	e.SetLimit(rowsWriters)
	for from := has; from < to && ctx.Err() == nil; from += rowsChunk {
		e.Go(func() error {
			return g.do(func(st *rawState, db rawDB, add func(string, act.ID)) error {
				for i := from; i < min(from+rowsChunk, to); i++ {
					if err := one(st, db, add, i); err != nil {
						return fmt.Errorf("number %d: %w", i, err)
					}
				}
				return nil
			})
		})
	}
	return e.Wait()
}

// Among the words of a bare row are one that every hundredth post has and one
// that ten posts have, however many posts there are.
const (
	topics = 100
	alike  = 10
)

func topic(i int) string { return "topic" + strconv.Itoa(i%topics) }
func thing(i int) string { return "thing" + strconv.Itoa(i/alike) }

// found returns the title and content of a bare row.
func found(i int) (title, content string) {
	title, content = prose(i)
	return title, content + " " + topic(i) + " " + thing(i)
}
