package bench

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	messageSize = 200 // characters
	talksEach   = 2   // conversations that each agent asked for

	rawMessageNext = `UPDATE conversation SET last_ord = last_ord + 1, unread_high = unread_high + 1, last_at = $1 WHERE id = $2`
	rawMessageMake = `INSERT INTO message (id, conversation, ord, sender, body, needs_human, origin, read_at, created_at)
SELECT CAST($1 AS BIGINT), c.id, c.last_ord, CAST($2 AS BIGINT), CAST($3 AS BYTEA), 0, 0, 0, CAST($4 AS BIGINT) FROM conversation AS c WHERE c.id = $5`
	rawMessageMakeLite = `INSERT INTO message (id, conversation, ord, sender, body, needs_human, origin, read_at, created_at)
SELECT $1, c.id, c.last_ord, $2, $3, 0, 0, 0, $4 FROM conversation AS c WHERE c.id = $5`
)

// talksAt grows by messages: posts have no part in them.
func (o options) talksAt(agents, scale int) size {
	s := sizeAt(agents, 1)
	s.posts = 0
	s.talks, s.messages = talksEach*agents, o.base*scale
	return s
}

// messages measures the sealed message: POST
// /api/v1/agents/dm/conversations/{id}/send.
func messages(r *runner, ctx context.Context) error {
	return r.compare(ctx, r.talksAt, func(ctx context.Context, st *stage) ([]contest, error) {
		lists, ids := letters(st, r.conns)
		a := &arena{
			st: st, warm: prepared(lists, true), load: prepared(lists, false), gains: []string{"message", "event", "leaf"}, rows: st.has.messages,
			task: func(_ sideKind, t *task) { t.Work, t.IDs = workMessage, ids },
		}
		return []contest{a.contest(ctx, "", append([]compared{{governed, ""}}, rawSides(st.db)...)...)}, nil
	})
}

// letters prepares what each connection sends. Conversations belong to one
// connection each; in turns both sides write.
func letters(st *stage, conns int) (lists [][][]byte, ids map[string]act.ID) {
	lists, ids = make([][][]byte, conns), make(map[string]act.ID)
	for turn := range 2 {
		for i, t := range st.talks {
			sender := t.from
			if turn == 1 {
				sender = t.to
			}
			id := st.codec.String(t.id)
			ids[id] = t.id
			_, text := prose(-1 - i)
			body, err := json.Marshal(map[string]string{"message": text[:messageSize]})
			if err != nil {
				panic(err) // one string
			}
			lists[i%conns] = append(lists[i%conns], request("/api/v1/agents/dm/conversations/"+id+"/send", st.agents[sender].key, body))
		}
	}
	return lists, ids
}

// rawMessages seals and stores a message as the act does: under a key that is set
// up for it, bound to conversation, message and sender, numbered and counted as
// unread, with the event and the leaf and an edge to what came before.
func rawMessages(ids map[string]act.ID) func(act.ID, *http.Request, []byte) (rawWrite, error) {
	key := make([]byte, 32) // what is sealed here is never opened
	return func(sender act.ID, r *http.Request, body []byte) (rawWrite, error) {
		talk, err := pathID(ids, r.URL.Path)
		if err != nil {
			return nil, err
		}
		var in struct {
			Message string `json:"message"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		return func(s *rawState, db rawDB, _ func(string, act.ID)) error {
			id, err := s.minter.New(act.KindMessage)
			if err != nil {
				return err
			}
			var bound []byte
			for _, part := range []act.ID{talk, id, sender} {
				bound = binary.BigEndian.AppendUint64(bound, uint64(part))
			}
			now := time.Now().UnixMicro()
			sealed := aead.Seal(nil, nil, append(s.salt[:len(s.salt):len(s.salt)], in.Message...), bound)
			if err := db.exec(rawMessageNext, now, int64(talk)); err != nil {
				return err
			}
			insert := rawMessageMake
			if _, lite := db.(*rawLite); lite {
				insert = rawMessageMakeLite
			}
			if err := db.exec(insert, int64(id), int64(sender), sealed, now, int64(talk)); err != nil {
				return err
			}
			return s.recordEdge(db, "dm.send", id, talk, sender)
		}, err
	}
}
