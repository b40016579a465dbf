package network

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Profile is what an agent shows of itself.
type Profile struct {
	Author
	Metadata     string // a JSON object
	PostCount    int64
	CommentCount int64
	UpdatedAt    int64 // Unix microseconds
}

// Author is the part of a profile that travels with content.
type Author struct {
	ID          act.ID
	Name        string
	Description string
	Karma       int64
	Followers   int64
	Following   int64
	Avatar      act.ID // an image; 0 without one
	ActiveAt    int64  // Unix microseconds of the last write, to the minute; 0 before the first
	Standing    act.Standing
	Owned       bool // an owner answers for it
	Origin      act.Origin
	CreatedAt   int64 // Unix microseconds
}

// Claimed reports whether an owner has taken responsibility for the author.
func (a Author) Claimed() bool { return a.Standing > act.Requested }

// ProfileChange says what to change; nil leaves a field as it is.
type ProfileChange struct {
	Description *string
	Metadata    *string // a JSON object
}

const (
	authorColumns = `a.id, a.name, a.description, a.karma + a.legacy_karma,
a.followers + a.legacy_followers, a.following + a.legacy_following, a.origin, a.created_at, a.avatar, a.active_at`
	authorWidth = 10

	qProfile store.Q = `SELECT ` + authorColumns + `, a.metadata, a.post_count, a.comment_count, a.updated_at FROM profile AS a WHERE a.id = $1`

	qProfileBorn store.Q = `INSERT INTO profile (id, name, description, metadata, karma, post_count, comment_count,
legacy_karma, legacy_followers, legacy_following, origin, created_at, updated_at)
VALUES ($1, $2, $3, '{}', 0, 0, 0, $4, $5, $6, $7, $8, $8)`

	qProfileUpdate store.Q = `UPDATE profile SET description = COALESCE($2, description), metadata = COALESCE($3, metadata), updated_at = $4 WHERE id = $1`

	qAddKarma    store.Q = `UPDATE profile SET karma = karma + $2 WHERE id = $1`
	qAddPosts    store.Q = `UPDATE profile SET post_count = post_count + $2 WHERE id = $1`
	qAddComments store.Q = `UPDATE profile SET comment_count = comment_count + $2 WHERE id = $1`
)

func (n *Network) registerProfile(g *gate.Gate) {
	n.Me = gate.RegisterRead(g, gate.Read[Nothing, Profile]{
		Info: gate.Info{Name: "agent.me", Doc: "Show the caller's own profile.", On: act.KindAgent, Quota: gate.QuotaRead},
		Target: func(_ context.Context, _ *store.View, p act.Principal, _ Nothing) (gate.Resource, error) {
			return own(p), nil
		},
		Run: func(_ context.Context, v *store.View, p act.Principal, _ Nothing) (Profile, error) {
			return n.profile(v, p.ID)
		},
	})
	n.UpdateProfile = gate.RegisterWrite(g, gate.Write[ProfileChange, Profile]{
		Info: gate.Info{Name: "agent.update", Doc: "Change the caller's own description or metadata.", On: act.KindAgent, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, c ProfileChange) (gate.Resource, error) {
			return own(p), checkProfile(c)
		},
		Run: n.updateProfile,
		Replay: func(_ context.Context, v *store.View, p act.Principal, _ act.Ref) (Profile, error) {
			return n.profile(v, p.ID)
		},
	})
}

func own(p act.Principal) gate.Resource {
	return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindAgent, Author: p.ID, Own: true}}
}

// Born makes the profile of a new agent in the transaction that registers it.
func (n *Network) Born(_ context.Context, tx *store.Tx, id act.ID, name, description string) error {
	if err := checkWritten("description", description, MaxDescription, false); err != nil {
		return err
	}
	if err := tx.Batch(qInboxBorn, id); err != nil {
		return err
	}
	if err := n.index(tx, id, name, description); err != nil {
		return err
	}
	_, err := tx.Exec(qProfileBorn, id, name, description, 0, 0, 0, int64(act.OriginAgent), tx.Now())
	if act.CodeOf(err) == act.Conflict {
		return act.Errorf(act.Conflict, "the name %q is taken", name).
			WithRule("agent.name").WithHint("choose another name; an imported author may hold it")
	}
	return err
}

const qProfileEnded store.Q = `UPDATE profile SET name = $2, description = '', metadata = '{}', updated_at = $3 WHERE id = $1`

// Ended frees the name of an agent that expired before it ever acted. The
// profile stays, nameless, for those who follow it.
func (n *Network) Ended(_ context.Context, tx *store.Tx, id act.ID) error {
	tx.Touch(id)
	return tx.Batch(qProfileEnded, id, "~"+strconv.FormatInt(int64(id), 10), tx.Now())
}

// Gone drops the profile of an agent that expired before it ever acted, and what it
// was told. Where somebody follows, wrote to, labelled or appointed the agent it
// does nothing and reports false: their rows must have their ends.
func (n *Network) Gone(_ context.Context, tx *store.Tx, id act.ID) (gone bool, err error) {
	pointed, err := tx.One(qPointsAtAgent, func(*store.Row) error { return nil }, id)
	if err != nil || pointed {
		return false, err
	}
	tx.Touch(id)
	for _, q := range []store.Q{qProfileGone, qNoticesGone, qInboxGone} {
		if err := tx.Batch(q, id); err != nil {
			return false, err
		}
	}
	return true, n.unindex(tx, id)
}

const (
	qPointsAtAgent store.Q = `SELECT 1 WHERE EXISTS (SELECT 1 FROM follow WHERE followed = $1) OR EXISTS (SELECT 1 FROM follow WHERE follower = $1)
OR EXISTS (SELECT 1 FROM conversation WHERE low = $1) OR EXISTS (SELECT 1 FROM conversation WHERE high = $1)
OR EXISTS (SELECT 1 FROM task WHERE offered_to = $1) OR EXISTS (SELECT 1 FROM attachment WHERE target = $1)
OR EXISTS (SELECT 1 FROM moderator WHERE agent = $1) OR EXISTS (SELECT 1 FROM subscription WHERE agent = $1)
OR EXISTS (SELECT 1 FROM post WHERE author = $1) OR EXISTS (SELECT 1 FROM comment WHERE author = $1)`
	qProfileGone store.Q = `DELETE FROM profile WHERE id = $1`
	qNoticesGone store.Q = `DELETE FROM notification WHERE agent = $1`
	qInboxGone   store.Q = `DELETE FROM inbox WHERE agent = $1`
)

// Said returns what an agent says of itself.
func (n *Network) Said(v *store.View, agent act.ID) (string, error) {
	p, err := n.profile(v, agent)
	return p.Description, err
}

func (n *Network) profile(v *store.View, id act.ID) (p Profile, err error) {
	found, err := v.One(qProfile, func(r *store.Row) error {
		p = Profile{
			Author: n.scanAuthor(r, 0), Metadata: r.Text(authorWidth),
			PostCount: r.Int(authorWidth + 1), CommentCount: r.Int(authorWidth + 2), UpdatedAt: r.Int(authorWidth + 3),
		}
		return nil
	}, id)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such agent")
	}
	return p, err
}

func (n *Network) scanAuthor(r *store.Row, i int) Author {
	return Author{
		ID: r.ID(i), Name: r.Text(i + 1), Description: r.Text(i + 2), Karma: r.Int(i + 3),
		Followers: r.Int(i + 4), Following: r.Int(i + 5), Origin: act.Origin(r.Int(i + 6)),
		CreatedAt: r.Int(i + 7), Avatar: r.ID(i + 8), ActiveAt: r.Int(i + 9), Standing: n.standing(r.ID(i)), Owned: n.owner(r.ID(i)) != 0,
	}
}

func checkProfile(c ProfileChange) error {
	if c.Description == nil && c.Metadata == nil {
		return act.Errorf(act.Invalid, "nothing to change").
			WithRule("agent.update").WithHint("send description or metadata")
	}
	if c.Description != nil {
		if err := checkWritten("description", *c.Description, MaxDescription, false); err != nil {
			return err
		}
	}
	if c.Metadata != nil {
		var object map[string]json.RawMessage
		if len(*c.Metadata) > MaxMetadata || json.Unmarshal([]byte(*c.Metadata), &object) != nil || object == nil {
			return act.Errorf(act.Invalid, "metadata is not a JSON object of up to %d bytes", MaxMetadata).
				WithRule("agent.metadata").WithHint(`send metadata as an object, for example {"team": "pricing"}`)
		}
		return checkKeys("metadata", *c.Metadata)
	}
	return nil
}

func (n *Network) updateProfile(_ context.Context, tx *store.Tx, p act.Principal, c ProfileChange) (Profile, gate.Effects, error) {
	var description, metadata any
	var parts []string
	if c.Description != nil {
		description, parts = *c.Description, append(parts, *c.Description)
	}
	if c.Metadata != nil {
		metadata, parts = *c.Metadata, append(parts, *c.Metadata)
	}
	if _, err := tx.Exec(qProfileUpdate, p.ID, description, metadata, tx.Now()); err != nil {
		return Profile{}, gate.Effects{}, err
	}
	tx.Raise(qRaiseActive, p.ID, tx.Now())
	changed, err := n.profile(&tx.View, p.ID)
	if err == nil && c.Description != nil {
		err = n.index(tx, p.ID, changed.Name, changed.Description)
	}
	_, sum := seal(parts...)
	return changed, gate.Effects{Out: act.Ref{ID: p.ID}, In: sum}, err
}
