package network

import (
	"context"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewReport complains about a post or comment to its community's moderators.
type NewReport struct {
	Target Named
	On     act.Kind // KindPost or KindComment
	Reason string   // spam if empty
}

// Report is one agent's complaint. Only operators are told whose it is and the
// words it was made in; to moderators the reason is one of a few, because an
// agent's free text would be a way to speak to them as the server.
type Report struct {
	Agent     act.ID
	Name      string // of the agent
	Reason    string
	CreatedAt int64 // Unix microseconds
}

// Reported is what was complained about, and how often. Its text is not here:
// who may read it reads it as everybody does.
type Reported struct {
	Target  act.ID
	Post    act.ID // the target, or the post that holds the comment
	Author  act.ID
	Place   Place
	Count   int64
	FirstAt int64            // Unix microseconds
	LastAt  int64            // Unix microseconds
	Deleted bool             // nothing is left to be done
	Reasons map[string]int64 // of the last reportsShown reports, by kind
	Reports []Report         // the same; operators only
}

// ReportQuery asks for what was reported, what was reported first last.
type ReportQuery struct {
	Community string // name; "" is the whole network, for operators
	Limit     int    // 25 if 0, at most 100
	Cursor    act.Cursor
}

const (
	maxReportReason = 500 // characters
	reportsShown    = 20  // of each target

	qReportMake store.Q = `INSERT INTO report (agent, target, reason, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (agent, target) DO NOTHING`
	// The row of a target is made with its first report, so that a parallel one waits for it.
	qReportedMake store.Q = `INSERT INTO reported (target, community, post, author, reports, first_at, last_at) VALUES ($1, $2, $3, $4, 0, $5, $5)
ON CONFLICT (target) DO UPDATE SET last_at = excluded.last_at`
	qAddReports store.Q = `UPDATE reported SET reports = reports + $2 WHERE target = $1`

	reportedColumns = `r.target, r.post, r.author, r.reports, r.first_at, r.last_at, c.id, c.name, c.display_name, p.deleted_at, COALESCE(m.deleted_at, 0)
FROM reported AS r JOIN community AS c ON c.id = r.community JOIN post AS p ON p.id = r.post LEFT JOIN comment AS m ON m.id = r.target WHERE `
	reportedAfter = `(r.first_at, r.target) < ($1, $2) ORDER BY r.first_at DESC, r.target DESC LIMIT $3`

	qReported      store.Q = `SELECT ` + reportedColumns + reportedAfter
	qReportedPlace store.Q = `SELECT ` + reportedColumns + `r.community = $4 AND ` + reportedAfter
	qReports       store.Q = `SELECT r.agent, a.name, r.reason, r.created_at FROM report AS r JOIN profile AS a ON a.id = r.agent
WHERE r.target = $1 ORDER BY r.created_at DESC, r.agent DESC LIMIT $2`
)

// kindOf sorts a complaint: every other reason is "other".
func kindOf(reason string) string {
	switch kind := strings.ToLower(strings.TrimSpace(reason)); kind {
	case "spam", "harassment", "impersonation", "injection", "leak", "off-topic":
		return kind
	}
	return "other"
}

// Filed is what became of a report.
type Filed struct {
	Target  act.ID
	Place   Place
	Already bool // the same agent had reported it before
}

func (n *Network) registerReport(g *gate.Gate) {
	n.ReportContent = gate.RegisterWrite(g, gate.Write[NewReport, Filed]{
		Info: gate.Info{Name: "content.report", Doc: "Report a post or comment to the moderators of its community.", On: act.KindPost, Also: []act.Kind{act.KindComment}, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewReport) (gate.Resource, error) {
			if err := checkWritten("reason", in.Reason, maxReportReason, false); err != nil {
				return gate.Resource{}, err
			}
			id, err := n.itemID(v, in.Target, in.On)
			if err != nil {
				return gate.Resource{}, err
			}
			if in.On == act.KindComment {
				return n.target(v, p, qCommentTarget, qCommentEpoch, id)
			}
			return n.target(v, p, qPostTarget, qPostEpoch, id)
		},
		Run: n.reportContent,
		Replay: func(_ context.Context, v *store.View, p act.Principal, made act.Ref) (out Filed, err error) {
			at, err := n.voted(v, p, made.ID)
			if err != nil {
				return out, err
			}
			c, _, err := n.community(v, qCommunity, at.Place)
			return Filed{Target: made.ID, Place: c.Place, Already: true}, err
		},
	})
	n.ListReports = gate.RegisterRead(g, gate.Read[ReportQuery, act.Page[Reported]]{
		Info: gate.Info{Name: "report.list", Doc: "List what was reported: to who moderates a community, and to operators with names and words.", On: act.KindCommunity, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, _ act.Principal, in ReportQuery) (gate.Resource, error) {
			if in.Community == "" {
				return gate.Resource{Facts: gate.Facts{Kind: act.KindCommunity}}, nil
			}
			c, _, err := n.place(v, in.Community)
			return gate.Resource{Ref: act.Ref{ID: c.ID}, Facts: gate.Facts{Kind: act.KindCommunity, Community: c.ID}}, err
		},
		Run: n.listReports,
	})
}

func (n *Network) reportContent(_ context.Context, tx *store.Tx, p act.Principal, in NewReport) (out Filed, fx gate.Effects, err error) {
	if out.Target, err = n.itemID(&tx.View, in.Target, in.On); err != nil {
		return out, fx, err
	}
	at, err := n.voted(&tx.View, p, out.Target)
	if err != nil {
		return out, fx, err
	}
	c, _, err := n.community(&tx.View, qCommunity, at.Place)
	if err != nil {
		return out, fx, err
	}
	out.Place = c.Place
	reason := in.Reason
	if strings.TrimSpace(reason) == "" {
		reason = "spam"
	}
	made, err := tx.Exec(qReportMake, p.ID, out.Target, reason, tx.Now())
	if err != nil {
		return out, fx, err
	}
	_, sum := seal(reason)
	fx = gate.Effects{Out: act.Ref{ID: out.Target}, Named: true, In: sum}
	if out.Already = made == 0; out.Already {
		return out, fx, nil
	}
	_, err = tx.Exec(qReportedMake, out.Target, c.ID, at.Post, at.Author.ID, tx.Now())
	tx.Add(qAddReports, out.Target, 1)
	return out, fx, err
}

// ReportList names the list that a report cursor belongs to.
func ReportList(q ReportQuery) string { return "reports/" + q.Community }

func (n *Network) listReports(_ context.Context, v *store.View, p act.Principal, in ReportQuery) (page act.Page[Reported], err error) {
	limit := in.Limit
	if limit <= 0 {
		limit = FeedLimit
	}
	limit = min(limit, 100)
	from := [2]int64{lastKey, lastKey}
	if !in.Cursor.IsZero() {
		if len(in.Cursor.Keys) != 2 {
			return page, act.Errorf(act.Invalid, "the cursor is not one of this list").WithRule("cursor").
				WithHint("use next_cursor exactly as returned; leave it out to start again")
		}
		from = [2]int64(in.Cursor.Keys)
	}
	q, args := qReported, []any{from[0], from[1], int64(limit + 1)}
	moderates := p.Kind == act.Operator
	if in.Community != "" {
		c, _, err := n.community(v, qCommunityByName, in.Community)
		if err != nil {
			return page, err
		}
		role, err := n.role(v, p, c.ID)
		if err != nil {
			return page, err
		}
		moderates = moderates || role >= gate.RoleModerator
		q, args = qReportedPlace, append(args, c.ID)
	}
	// A read's policy sees no roles (its answers are shared by all who ask alike),
	// so who moderates is asked here.
	if !moderates {
		return page, act.Errorf(act.Denied, "reports are for those who moderate the community").WithRule("report.role").
			WithHint("report what you see with POST /posts/{id}/report; its moderators read that")
	}
	if err := v.All(q, func(r *store.Row) error {
		page.Items = append(page.Items, Reported{
			Target: r.ID(0), Post: r.ID(1), Author: r.ID(2), Count: r.Int(3), FirstAt: r.Int(4), LastAt: r.Int(5),
			Place:   Place{ID: r.ID(6), Name: r.Text(7), DisplayName: r.Text(8)},
			Deleted: r.Int(9) != 0 || r.Int(10) != 0,
		})
		return nil
	}, args...); err != nil {
		return page, err
	}
	page.Next.List = ReportList(in)
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		last := page.Items[limit-1]
		page.Next.Keys = []int64{last.FirstAt, int64(last.Target)}
	}
	for i := range page.Items {
		if err := n.reasons(v, p, &page.Items[i]); err != nil {
			return page, err
		}
	}
	return page, nil
}

// reasons reads the last reports of a target.
func (n *Network) reasons(v *store.View, p act.Principal, x *Reported) error {
	x.Reasons = make(map[string]int64)
	return v.All(qReports, func(r *store.Row) error {
		one := Report{Agent: r.ID(0), Name: r.Text(1), Reason: r.Text(2), CreatedAt: r.Int(3)}
		x.Reasons[kindOf(one.Reason)]++
		if p.Kind == act.Operator {
			x.Reports = append(x.Reports, one)
		}
		return nil
	}, x.Target, int64(reportsShown))
}
