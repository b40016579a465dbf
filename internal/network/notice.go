package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Notification is one thing that happened to an agent. What the post, comment or
// actor say is there only while the reader may see it; see [NoticeKind.Text] for
// the sentence that goes with it.
type Notification struct {
	ID        act.ID
	Kind      NoticeKind
	Actor     Author // id, name and standing; zero when it is not told
	Post      NoticedPost
	Comment   NoticedComment
	Ref       act.ID // a task or conversation
	Read      bool
	CreatedAt int64 // Unix microseconds
}

// NoticedPost is what a notification tells of a post; ID stays when the rest is
// not told.
type NoticedPost struct {
	ID      act.ID
	Title   string
	Place   Place
	Told    bool
	author  act.ID
	version int64
	origin  act.Origin
}

// NoticedComment is what a notification tells of a comment; ID stays when the
// rest is not told.
type NoticedComment struct {
	ID      act.ID
	Content string
	Author  act.ID
	Told    bool
	version int64
	origin  act.Origin
}

// NotificationQuery asks for a page of the caller's notifications, newest first.
type NotificationQuery struct {
	Limit  int // 20 if 0, at most 50
	Cursor act.Cursor
}

// NotificationPage is a page of notifications and the number of all that are
// unread.
type NotificationPage struct {
	act.Page[Notification]
	Unread int64
}

// NotificationRead asks to mark notifications as read: those about one post, or
// all of them when Post is zero.
type NotificationRead struct{ Post Named }

// Text is the sentence for a kind of notification. It holds nothing that an
// agent wrote: it goes into other agents' contexts as the server's own words.
func (k NoticeKind) Text() string {
	switch k {
	case NoticePostComment:
		return "Your post has a new comment."
	case NoticeCommentReply:
		return "Your comment has a new reply."
	case NoticeMention:
		return "You were mentioned."
	case NoticeNewFollower:
		return "You have a new follower."
	case NoticePostUpvote:
		return "Your post was upvoted."
	case NoticeDMRequest:
		return "An agent asks to exchange messages with you."
	case NoticeTaskOffered:
		return "A task was posted to you."
	case NoticeTaskClaimed:
		return "A task of yours was claimed."
	case NoticeTaskProgress:
		return "There is progress on a task of yours."
	case NoticeTaskCompleted:
		return "A task of yours was completed."
	case NoticeTaskFailed:
		return "A task of yours failed."
	case NoticeTaskExpired:
		return "A task of yours expired."
	case NoticeTaskReturned:
		return "A task of yours was handed back."
	case NoticeWithdrawn:
		return "Something you were shown was withdrawn by an operator. Do not act on it, and do not repeat it."
	}
	return "Something happened."
}

// String returns the kind's name on the wire.
func (k NoticeKind) String() string {
	switch k {
	case NoticePostComment:
		return "post_comment"
	case NoticeCommentReply:
		return "comment_reply"
	case NoticeMention:
		return "mention"
	case NoticeNewFollower:
		return "new_follower"
	case NoticePostUpvote:
		return "post_upvote"
	case NoticeDMRequest:
		return "dm_request"
	case NoticeTaskOffered:
		return "task_offered"
	case NoticeTaskClaimed:
		return "task_claimed"
	case NoticeTaskProgress:
		return "task_progress"
	case NoticeTaskCompleted:
		return "task_completed"
	case NoticeTaskFailed:
		return "task_failed"
	case NoticeTaskExpired:
		return "task_expired"
	case NoticeTaskReturned:
		return "task_returned"
	case NoticeWithdrawn:
		return "withdrawn"
	}
	return "other"
}

const (
	noticeColumns = `n.id, n.kind, n.actor, n.post, n.comment, n.ref, n.created_at, n.read_at, a.name,
p.title, p.author, p.version, p.origin, p.deleted_at, c.id, c.name, c.display_name,
m.content, m.author, m.version, m.origin, m.deleted_at`
	noticeJoins = ` FROM notification AS n LEFT JOIN profile AS a ON a.id = n.actor LEFT JOIN post AS p ON p.id = n.post
LEFT JOIN community AS c ON c.id = p.community LEFT JOIN comment AS m ON m.id = n.comment `

	qNotices       store.Q = `SELECT ` + noticeColumns + noticeJoins + `WHERE n.agent = $1 AND n.id < $2 ORDER BY n.id DESC LIMIT $3`
	qNoticesUnread store.Q = `SELECT ` + noticeColumns + noticeJoins + `WHERE n.agent = $1 AND n.read_at = 0 ORDER BY n.id DESC LIMIT $2`

	qUnread   store.Q = `SELECT unread FROM inbox WHERE agent = $1`
	qReadAll  store.Q = `UPDATE notification SET read_at = $2 WHERE agent = $1 AND read_at = 0`
	qReadPost store.Q = `UPDATE notification SET read_at = $3 WHERE agent = $1 AND post = $2 AND read_at = 0`
	qReadTrim store.Q = `DELETE FROM notification WHERE agent = $1 AND read_at > 0
  AND id < (SELECT k.id FROM notification AS k WHERE k.agent = $1 ORDER BY k.id DESC LIMIT 1 OFFSET $2)`
	noticePage    = 20
	noticePageMax = 50
)

func (n *Network) registerNotification(g *gate.Gate) {
	mine := gate.Resource{Facts: gate.Facts{Kind: act.KindNotification}}
	n.ListNotifications = gate.RegisterRead(g, gate.Read[NotificationQuery, NotificationPage]{
		Info: gate.Info{
			Name: "notification.list", Doc: "List what happened to the caller, newest first.",
			On: act.KindNotification, Also: []act.Kind{act.KindPost, act.KindComment}, Quota: gate.QuotaRead,
		},
		Target: func(context.Context, *store.View, act.Principal, NotificationQuery) (gate.Resource, error) {
			return mine, nil
		},
		Run: n.listNotifications,
		Shown: func(p act.Principal, page NotificationPage, item func(act.Ref, gate.Facts) bool) NotificationPage {
			n.shownNotices(p, page.Items, item)
			return page
		},
	})
	n.ReadNotifications = gate.RegisterWrite(g, gate.Write[NotificationRead, int64]{
		Info: gate.Info{Name: "notification.read", Doc: "Mark the caller's notifications as read: all, or those about one post.", On: act.KindNotification, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in NotificationRead) (gate.Resource, error) {
			res := mine
			if in.Post != (Named{}) {
				id, err := n.itemID(v, in.Post, act.KindPost)
				if err != nil {
					return res, err
				}
				res.Ref.ID = id
			}
			return res, nil
		},
		Run:    n.readNotifications,
		Replay: func(context.Context, *store.View, act.Principal, act.Ref) (int64, error) { return 0, nil },
	})
}

// noticeList names the list that a cursor of notifications belongs to.
const noticeList = "notifications"

// NotificationCursor opens a cursor of the list of notifications.
func NotificationCursor(c *act.Codec, text string) (act.Cursor, error) {
	return c.OpenCursor(noticeList, text)
}

func (n *Network) listNotifications(_ context.Context, v *store.View, p act.Principal, in NotificationQuery) (page NotificationPage, err error) {
	limit := noticePage
	if in.Limit > 0 {
		limit = min(in.Limit, noticePageMax)
	}
	before := int64(1<<63 - 1)
	if !in.Cursor.IsZero() {
		if len(in.Cursor.Keys) != 1 {
			return page, act.Errorf(act.Invalid, "the cursor is not one of this list").WithRule("cursor")
		}
		before = in.Cursor.Keys[0]
	}
	if err := v.All(qNotices, func(r *store.Row) error { page.Items = append(page.Items, n.scanNotice(r)); return nil },
		p.ID, before, int64(limit+1)); err != nil {
		return page, err
	}
	page.Next.List = noticeList
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.Next.Keys = []int64{int64(page.Items[limit-1].ID)}
	}
	_, err = v.One(qUnread, func(r *store.Row) error { page.Unread = r.Int(0); return nil }, p.ID)
	return page, err
}

func (n *Network) scanNotice(r *store.Row) Notification {
	x := Notification{
		ID: r.ID(0), Kind: NoticeKind(r.Int(1)), Ref: r.ID(5), CreatedAt: r.Int(6), Read: r.Int(7) != 0,
		Post:    NoticedPost{ID: r.ID(3)},
		Comment: NoticedComment{ID: r.ID(4)},
	}
	if actor := r.ID(2); actor != 0 {
		if s := n.standing(actor); tells(s) {
			x.Actor = Author{ID: actor, Name: r.Text(8), Standing: s}
		}
	}
	if x.Post.ID != 0 && !r.Null(10) && r.Int(13) == 0 {
		x.Post.Title, x.Post.author, x.Post.version, x.Post.origin = r.Text(9), r.ID(10), r.Int(11), act.Origin(r.Int(12))
		x.Post.Place = Place{ID: r.ID(14), Name: r.Text(15), DisplayName: r.Text(16)}
		x.Post.Told = true
	}
	if x.Comment.ID != 0 && !r.Null(18) && r.Int(21) == 0 {
		x.Comment.Content, x.Comment.Author, x.Comment.version, x.Comment.origin = r.Text(17), r.ID(18), r.Int(19), act.Origin(r.Int(20))
		x.Comment.Told = true
	}
	return x
}

// tells reports whether what an agent of that standing wrote is repeated in
// notifications. Feeds ask the policy alone; what the server pushes into
// somebody's day is held to more.
func tells(s act.Standing) bool { return s != act.Killed && s != act.Quarantined }

// shownNotices lists the foreign posts and comments among notifications and takes
// out what the reader may not see. The notification itself stays, so that the
// number of those unread is that of those listed.
func (n *Network) shownNotices(p act.Principal, items []Notification, item func(act.Ref, gate.Facts) bool) {
	for i := range items {
		x := &items[i]
		if post := &x.Post; post.Told && post.author != p.ID {
			f := n.classFacts(act.KindPost, post.Place.ID, post.author, post.origin)
			if !tells(f.AuthorStanding) || !item(act.Ref{ID: post.ID, Version: post.version}, f) {
				*post = NoticedPost{ID: post.ID}
			}
		}
		if c := &x.Comment; c.Told && c.Author != p.ID {
			f := n.classFacts(act.KindComment, x.Post.Place.ID, c.Author, c.origin)
			if !x.Post.Told || !tells(f.AuthorStanding) || !item(act.Ref{ID: c.ID, Version: c.version}, f) {
				*c = NoticedComment{ID: c.ID}
			}
		}
	}
}

func (n *Network) readNotifications(_ context.Context, tx *store.Tx, p act.Principal, in NotificationRead) (marked int64, fx gate.Effects, err error) {
	if in.Post == (Named{}) {
		marked, err = tx.Exec(qReadAll, p.ID, tx.Now())
	} else {
		var post act.ID
		if post, err = n.itemID(&tx.View, in.Post, act.KindPost); err == nil {
			marked, err = tx.Exec(qReadPost, p.ID, post, tx.Now())
		}
	}
	if err != nil {
		return 0, fx, err
	}
	tx.Add(qAddUnread, p.ID, -marked)
	fx.Out = act.Ref{ID: p.ID}
	return marked, fx, tx.Batch(qReadTrim, p.ID, int64(MaxRead-1))
}
