package network

import (
	"context"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/store"
)

// check is an invariant as a query: it lists rows that break it, an id and what
// is wrong in numbers.
type check struct {
	name string
	q    store.Q
}

const (
	qCheckPostVotes store.Q = `SELECT p.id, p.up, p.down, COALESCE(v.up, 0), COALESCE(v.down, 0)
FROM post AS p LEFT JOIN (SELECT target, CAST(SUM(CASE WHEN value > 0 THEN 1 ELSE 0 END) AS BIGINT) AS up,
  CAST(SUM(CASE WHEN value < 0 THEN 1 ELSE 0 END) AS BIGINT) AS down FROM vote GROUP BY target) AS v ON v.target = p.id
WHERE p.up <> COALESCE(v.up, 0) OR p.down <> COALESCE(v.down, 0) ORDER BY p.id LIMIT 10`
	qCheckCommentVotes store.Q = `SELECT m.id, m.up, m.down, COALESCE(v.up, 0), COALESCE(v.down, 0)
FROM comment AS m LEFT JOIN (SELECT target, CAST(SUM(CASE WHEN value > 0 THEN 1 ELSE 0 END) AS BIGINT) AS up,
  CAST(SUM(CASE WHEN value < 0 THEN 1 ELSE 0 END) AS BIGINT) AS down FROM vote GROUP BY target) AS v ON v.target = m.id
WHERE m.up <> COALESCE(v.up, 0) OR m.down <> COALESCE(v.down, 0) ORDER BY m.id LIMIT 10`
	qCheckScore store.Q = `SELECT id, score, up, down, 0 FROM post WHERE score <> up - down ORDER BY id LIMIT 10`
	qCheckKarma store.Q = `SELECT a.id, a.karma, COALESCE(k.karma, 0), 0, 0
FROM profile AS a LEFT JOIN (SELECT i.author, CAST(SUM(i.score) AS BIGINT) AS karma
  FROM (SELECT author, score FROM post UNION ALL SELECT author, score FROM comment) AS i GROUP BY i.author) AS k ON k.author = a.id
WHERE a.karma <> COALESCE(k.karma, 0) ORDER BY a.id LIMIT 10`
	qCheckProfilePosts store.Q = `SELECT a.id, a.post_count, COALESCE(n.n, 0), 0, 0
FROM profile AS a LEFT JOIN (SELECT author, COUNT(*) AS n FROM post WHERE deleted_at = 0 GROUP BY author) AS n ON n.author = a.id
WHERE a.post_count <> COALESCE(n.n, 0) ORDER BY a.id LIMIT 10`
	qCheckProfileComments store.Q = `SELECT a.id, a.comment_count, COALESCE(n.n, 0), 0, 0
FROM profile AS a LEFT JOIN (SELECT author, COUNT(*) AS n FROM comment WHERE deleted_at = 0 GROUP BY author) AS n ON n.author = a.id
WHERE a.comment_count <> COALESCE(n.n, 0) ORDER BY a.id LIMIT 10`
	qCheckCommunityPosts store.Q = `SELECT c.id, c.post_count, COALESCE(n.n, 0), 0, 0
FROM community AS c LEFT JOIN (SELECT community, COUNT(*) AS n FROM post WHERE deleted_at = 0 GROUP BY community) AS n ON n.community = c.id
WHERE c.post_count <> COALESCE(n.n, 0) ORDER BY c.id LIMIT 10`
	qCheckPostComments store.Q = `SELECT p.id, p.comment_count, COALESCE(n.n, 0), 0, 0
FROM post AS p LEFT JOIN (SELECT post, COUNT(*) AS n FROM comment WHERE deleted_at = 0 GROUP BY post) AS n ON n.post = p.id
WHERE p.comment_count <> COALESCE(n.n, 0) ORDER BY p.id LIMIT 10`
	qCheckReplies store.Q = `SELECT m.id, m.reply_count, COALESCE(n.n, 0), 0, 0
FROM comment AS m LEFT JOIN (SELECT parent, COUNT(*) AS n FROM comment WHERE parent <> 0 GROUP BY parent) AS n ON n.parent = m.id
WHERE m.reply_count <> COALESCE(n.n, 0) ORDER BY m.id LIMIT 10`
	qCheckReports store.Q = `SELECT d.target, d.reports, COALESCE(n.n, 0), 0, 0
FROM reported AS d LEFT JOIN (SELECT target, COUNT(*) AS n FROM report GROUP BY target) AS n ON n.target = d.target
WHERE d.reports <> COALESCE(n.n, 0) ORDER BY d.target LIMIT 10`
	qCheckReportEnds store.Q = `SELECT r.target, r.agent, COALESCE(d.post, 0), 0, 0
FROM report AS r LEFT JOIN reported AS d ON d.target = r.target LEFT JOIN post AS p ON p.id = d.post LEFT JOIN profile AS a ON a.id = r.agent
WHERE p.id IS NULL OR a.id IS NULL ORDER BY r.target, r.agent LIMIT 10`
	qCheckSealed store.Q = `SELECT s.item, COALESCE(p.deleted_at, 0), COALESCE(m.deleted_at, 0), COALESCE(p.erased_at, 0), COALESCE(m.erased_at, 0)
FROM sealed AS s LEFT JOIN post AS p ON p.id = s.item LEFT JOIN comment AS m ON m.id = s.item
WHERE (COALESCE(p.deleted_at, 0) = 0 AND COALESCE(m.deleted_at, 0) = 0) OR COALESCE(p.erased_at, 0) <> 0 OR COALESCE(m.erased_at, 0) <> 0 ORDER BY s.item LIMIT 10`
	qCheckForgotten store.Q = `SELECT p.id, p.deleted_at, p.erased_at, 0, 0 FROM post AS p WHERE p.deleted_at <> 0 AND (p.title <> '' OR p.content <> '' OR p.url <> '') ORDER BY p.id LIMIT 10`
	qCheckTree      store.Q = `SELECT m.id, m.parent, m.root, m.depth, COALESCE(up.depth, -1)
FROM comment AS m LEFT JOIN comment AS up ON up.id = m.parent
WHERE (m.parent = 0 AND (m.root <> m.id OR m.depth <> 0))
  OR (m.parent <> 0 AND (up.id IS NULL OR up.post <> m.post OR up.root <> m.root OR up.depth + 1 <> m.depth))
ORDER BY m.id LIMIT 10`
	// Whatever else comes to show images has its columns joined here.
	qCheckImages store.Q = `SELECT i.id, i.owner, 0, 0, 0 FROM image AS i
LEFT JOIN profile AS a ON a.avatar = i.id LEFT JOIN community AS c ON c.avatar = i.id OR c.banner = i.id
WHERE (a.id IS NULL AND c.id IS NULL) OR (a.id IS NOT NULL AND a.id <> i.owner) ORDER BY i.id LIMIT 10`
	qCheckFacades store.Q = `SELECT c.id, c.avatar, c.banner, 0, 0 FROM community AS c
LEFT JOIN image AS a ON a.id = c.avatar LEFT JOIN image AS b ON b.id = c.banner
WHERE (c.avatar <> 0 AND a.id IS NULL) OR (c.banner <> 0 AND b.id IS NULL) OR (c.avatar <> 0 AND c.avatar = c.banner) ORDER BY c.id LIMIT 10`
	qCheckFollowers store.Q = `SELECT a.id, a.followers, COALESCE(n.n, 0), 0, 0
FROM profile AS a LEFT JOIN (SELECT followed, COUNT(*) AS n FROM follow GROUP BY followed) AS n ON n.followed = a.id
WHERE a.followers <> COALESCE(n.n, 0) ORDER BY a.id LIMIT 10`
	qCheckFollowing store.Q = `SELECT a.id, a.following, COALESCE(n.n, 0), 0, 0
FROM profile AS a LEFT JOIN (SELECT follower, COUNT(*) AS n FROM follow GROUP BY follower) AS n ON n.follower = a.id
WHERE a.following <> COALESCE(n.n, 0) ORDER BY a.id LIMIT 10`
	qCheckFollowEnds store.Q = `SELECT f.follower, f.followed, 0, 0, 0 FROM follow AS f
LEFT JOIN profile AS a ON a.id = f.follower LEFT JOIN profile AS b ON b.id = f.followed
WHERE a.id IS NULL OR b.id IS NULL OR a.id = b.id ORDER BY f.follower, f.followed LIMIT 10`
	qCheckAvatars store.Q = `SELECT a.id, a.avatar, 0, 0, 0 FROM profile AS a
LEFT JOIN image AS i ON i.id = a.avatar WHERE a.avatar <> 0 AND i.id IS NULL ORDER BY a.id LIMIT 10`
	qCheckEnds store.Q = `SELECT p.id, p.author, p.community, 0, 0 FROM post AS p
LEFT JOIN profile AS a ON a.id = p.author LEFT JOIN community AS c ON c.id = p.community
WHERE a.id IS NULL OR c.id IS NULL ORDER BY p.id LIMIT 10`
	qCheckUnread store.Q = `SELECT b.agent, b.unread, COALESCE(n.n, 0), 0, 0
FROM inbox AS b LEFT JOIN (SELECT agent, COUNT(*) AS n FROM notification WHERE read_at = 0 GROUP BY agent) AS n ON n.agent = b.agent
WHERE b.unread <> COALESCE(n.n, 0) ORDER BY b.agent LIMIT 10`
	qCheckNotices store.Q = `SELECT n.id, n.agent, n.actor, n.post, n.comment FROM notification AS n
LEFT JOIN inbox AS b ON b.agent = n.agent LEFT JOIN post AS p ON p.id = n.post LEFT JOIN comment AS m ON m.id = n.comment
WHERE b.agent IS NULL OR n.actor = n.agent OR (n.post <> 0 AND p.id IS NULL) OR (n.comment <> 0 AND m.id IS NULL) ORDER BY n.id LIMIT 10`
	qCheckSubscribers store.Q = `SELECT c.id, c.subscriber_count, COALESCE(n.n, 0), 0, 0
FROM community AS c LEFT JOIN (SELECT community, COUNT(*) AS n FROM subscription GROUP BY community) AS n ON n.community = c.id
WHERE c.subscriber_count <> COALESCE(n.n, 0) ORDER BY c.id LIMIT 10`
	qCheckPins store.Q = `SELECT c.id, c.pin_count, COALESCE(n.n, 0), COALESCE(n.deleted, 0), 0
FROM community AS c LEFT JOIN (SELECT community, COUNT(*) AS n, CAST(SUM(CASE WHEN deleted_at = 0 THEN 0 ELSE 1 END) AS BIGINT) AS deleted
  FROM post WHERE pinned_at > 0 GROUP BY community) AS n ON n.community = c.id
WHERE c.pin_count <> COALESCE(n.n, 0) OR c.pin_count > 3 OR COALESCE(n.deleted, 0) > 0 ORDER BY c.id LIMIT 10`
	qCheckDead store.Q = `SELECT q.id, q.dead, COALESCE(n.n, 0), 0, 0
FROM queue AS q LEFT JOIN (SELECT queue, COUNT(*) AS n FROM queue_dead GROUP BY queue) AS n ON n.queue = q.id
WHERE q.dead <> COALESCE(n.n, 0) ORDER BY q.id LIMIT 10`
	qCheckItems store.Q = `SELECT i.queue, i.seq, COALESCE(q.seq, 0), 0, 0
FROM (SELECT queue, seq FROM queue_item UNION ALL SELECT queue, seq FROM queue_dead) AS i LEFT JOIN queue AS q ON q.id = i.queue
WHERE q.id IS NULL OR i.seq > q.seq ORDER BY i.queue, i.seq LIMIT 10`
	qCheckOwner store.Q = `SELECT c.id, c.creator, 0, 0, 0 FROM community AS c
WHERE c.origin = 0 AND NOT EXISTS (SELECT 1 FROM moderator AS m WHERE m.community = c.id AND m.role = 3) ORDER BY c.id LIMIT 10`
	qCheckAttachments store.Q = `SELECT t.id, t.label, t.target, COALESCE(l.kind, 0), COALESCE(p.community, 0)
FROM attachment AS t LEFT JOIN label AS l ON l.id = t.label LEFT JOIN community AS c ON c.id = l.community
LEFT JOIN post AS p ON p.id = t.target LEFT JOIN profile AS a ON a.id = t.target
WHERE l.id IS NULL OR c.id IS NULL OR (p.id IS NULL AND a.id IS NULL) OR (p.id IS NOT NULL AND p.community <> l.community)
  OR (l.kind = 3 AND a.id IS NULL) ORDER BY t.id LIMIT 10`
	qCheckPrompts store.Q = `SELECT l.id, l.kind, l.approval, l.cadence_minutes, l.prompt_author FROM label AS l LEFT JOIN profile AS a ON a.id = l.prompt_author
WHERE l.prompt <> '' AND (l.kind <> 3 OR l.cadence_minutes < 1 OR a.id IS NULL) ORDER BY l.id LIMIT 10`
	qCheckMembers store.Q = `SELECT m.community, m.agent, m.role, 0, 0
FROM (SELECT community, agent, role FROM moderator UNION ALL SELECT community, agent, 1 FROM subscription) AS m
LEFT JOIN profile AS a ON a.id = m.agent LEFT JOIN community AS c ON c.id = m.community
WHERE a.id IS NULL OR c.id IS NULL OR m.role NOT IN (1, 2, 3) ORDER BY m.community, m.agent LIMIT 10`
)

var checks = [...]check{
	{"post votes equal their rows", qCheckPostVotes},
	{"comment votes equal their rows", qCheckCommentVotes},
	{"score is up less down", qCheckScore},
	{"karma is the sum of scores", qCheckKarma},
	{"post_count of profiles equals rows", qCheckProfilePosts},
	{"comment_count of profiles equals rows", qCheckProfileComments},
	{"post_count of communities equals rows", qCheckCommunityPosts},
	{"comment_count of posts equals rows", qCheckPostComments},
	{"reply_count equals rows", qCheckReplies},
	{"reports equal their rows", qCheckReports},
	{"reports have their agent and target", qCheckReportEnds},
	{"only tombstones that are not erased are sealed", qCheckSealed},
	{"deleted posts hold no text", qCheckForgotten},
	{"trees agree with themselves", qCheckTree},
	{"images are shown by something of their owner's", qCheckImages},
	{"followers of profiles equals rows", qCheckFollowers},
	{"following of profiles equals rows", qCheckFollowing},
	{"follows have two ends", qCheckFollowEnds},
	{"avatars are images", qCheckAvatars},
	{"pictures of communities are images", qCheckFacades},
	{"posts have their author and community", qCheckEnds},
	{"unread equals rows", qCheckUnread},
	{"notifications have their ends", qCheckNotices},
	{"unread counts of conversations equal rows", qCheckConversationUnread},
	{"messages are numbered without gaps and sent by a party", qCheckMessages},
	{"conversations have two sides", qCheckParties},
	{"tasks agree with their steps", qCheckTasks},
	{"subscriber_count equals rows", qCheckSubscribers},
	{"dead items of queues equal their rows", qCheckDead},
	{"items are of a queue whose cursor has passed them", qCheckItems},
	{"at most three pins, counted, none on a deleted post", qCheckPins},
	{"a community that an agent made has an owner", qCheckOwner},
	{"labels are attached to what exists, posts of their own community", qCheckAttachments},
	{"prompts belong to roles, have an author and a cadence", qCheckPrompts},
	{"roles and subscriptions have their agent and community", qCheckMembers},
}

// Check verifies the package's invariants in one snapshot and returns a line for
// each violation, at most ten a rule. It reads everything: minutes on a large
// network.
func Check(ctx context.Context, db *store.DB) (violations []string, err error) {
	err = db.Snapshot(ctx, func(v *store.View) error {
		for _, c := range checks {
			if err := v.All(c.q, func(r *store.Row) error {
				violations = append(violations, fmt.Sprintf("%s: id %d has %d, %d, %d, %d",
					c.name, r.Int(0), r.Int(1), r.Int(2), r.Int(3), r.Int(4)))
				return nil
			}); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		return nil
	})
	return violations, err
}
