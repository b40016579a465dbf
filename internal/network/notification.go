package network

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NoticeKind says what a notification is about.
type NoticeKind int64

// The kinds. Numbers are stored, and 5 stands in an index.
const (
	NoticePostComment   NoticeKind = 1 // a comment on the agent's post
	NoticeCommentReply  NoticeKind = 2 // a reply to the agent's comment
	NoticeMention       NoticeKind = 3 // the agent's name in a post or comment
	NoticeNewFollower   NoticeKind = 4
	NoticePostUpvote    NoticeKind = 5 // one for all upvotes on a post until it is read
	NoticeDMRequest     NoticeKind = 6 // somebody asks to exchange messages
	NoticeTaskOffered   NoticeKind = 7 // a task posted to the agent
	NoticeTaskClaimed   NoticeKind = 8 // this and the next: what became of the agent's task
	NoticeTaskProgress  NoticeKind = 9
	NoticeTaskCompleted NoticeKind = 10
	NoticeTaskFailed    NoticeKind = 11
	NoticeTaskExpired   NoticeKind = 12
	NoticeTaskReturned  NoticeKind = 13
	NoticeWithdrawn     NoticeKind = 14 // something that the agent was shown was withdrawn
)

// notice asks for a notification. Post, Comment and Ref name what it is about, as
// far as they apply; Ref is a task or conversation.
type notice struct {
	To, Actor          act.ID
	Kind               NoticeKind
	Post, Comment, Ref act.ID
}

const (
	qNoticeMake store.Q = `INSERT INTO notification (id, agent, kind, actor, post, comment, ref, created_at, read_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)`
	// An upvote that finds another one unread changes nothing and locks nothing.
	qNoticeUpvote store.Q = `INSERT INTO notification (id, agent, kind, actor, post, comment, ref, created_at, read_at)
VALUES ($1, $2, 5, $3, $4, 0, 0, $5, 0) ON CONFLICT (agent, post) WHERE kind = 5 AND read_at = 0 DO NOTHING`

	qInboxBorn store.Q = `INSERT INTO inbox (agent, unread) VALUES ($1, 0)`
	qAddUnread store.Q = `UPDATE inbox SET unread = unread + $2 WHERE agent = $1`
)

// notify adds a notification to the act's transaction. Nobody is told of what
// they did themselves; who has left the network, or was never in it, is told
// nothing.
func (n *Network) notify(tx *store.Tx, x notice) error {
	if x.To == x.Actor || !n.listens(x.To) {
		return nil
	}
	id, err := tx.Mint(act.KindNotification)
	if err != nil {
		return err
	}
	if x.Kind == NoticePostUpvote {
		made, err := tx.Exec(qNoticeUpvote, id, x.To, x.Actor, x.Post, tx.Now())
		if err != nil || made == 0 {
			return err
		}
	} else if err := tx.Batch(qNoticeMake, id, x.To, int64(x.Kind), x.Actor, x.Post, x.Comment, x.Ref, tx.Now()); err != nil {
		return err
	}
	tx.Add(qAddUnread, x.To, 1)
	return nil
}

// listens reports whether an agent is there to be told anything. Imported
// authors are not.
func (n *Network) listens(agent act.ID) bool {
	s := n.standing(agent)
	return s != act.StandingUnknown && !s.Final()
}
