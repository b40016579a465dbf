package identity

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// InventoryCursor is the name of the list in its cursors.
	InventoryCursor = "identity.inventory"
	// MaxInventory bounds a page of it.
	MaxInventory = 100
	// DormantAfter is how long a credential is not used before it counts as dormant.
	DormantAfter = 30 * 24 * time.Hour

	inventoryScan = 2000 // rows that one page looks at
)

// InventoryQuery asks for a page of what lets anybody in, in the order of ids.
type InventoryQuery struct {
	Grants  bool   // grants instead of credentials
	Agent   act.ID // only this one's
	Dormant bool   // only what was not used for DormantAfter
	Unowned bool   // only what belongs to agents without an owner
	Ended   bool   // also what was revoked or is over
	Cursor  act.Cursor
	Limit   int // 1 to MaxInventory; MaxInventory if 0
}

// Item is a credential or a grant and what an auditor wants to know of it.
type Item struct {
	ID        act.ID
	Kind      string // agent-key, public-key, operator-token, …; of a grant client, exchange, …
	Binding   string // bearer, key, dpop or mtls
	Subject   act.ID
	Name      string // of an agent
	Standing  act.Standing
	Owner     act.ID // of an agent, 0 while nobody owns it
	OwnerName string
	Scope     string
	KeyID     string // thumbprint of the key or certificate, "" for bearer secrets
	Parent    act.ID // of a grant: of which it was carved out
	Delegate  act.ID // of a grant: who may carve its own out of it
	CreatedAt int64  // Unix microseconds
	ExpiresAt int64  // Unix microseconds; 0 never
	RevokedAt int64  // Unix microseconds; 0 while it stands
	UsedAt    int64  // Unix microseconds, to the minute; 0 never
	Age       time.Duration
	Dormant   bool
	Unowned   bool
}

const (
	qItems     store.Q = `SELECT id, subject, kind, hash, created_at, expires_at, revoked_at, jwk, scope, used_at FROM credential WHERE id > $1 ORDER BY id LIMIT $2`
	qItemsOf   store.Q = `SELECT id, subject, kind, hash, created_at, expires_at, revoked_at, jwk, scope, used_at FROM credential WHERE id > $1 AND subject = $3 ORDER BY id LIMIT $2`
	qGrants    store.Q = `SELECT ` + grantColumns + ` FROM token_grant WHERE id > $1 ORDER BY id LIMIT $2`
	qGrantsOf  store.Q = `SELECT ` + grantColumns + ` FROM token_grant WHERE id > $1 AND holder = $3 ORDER BY id LIMIT $2`
	bindBearer         = "bearer"
)

func (i *Issuer) registerInventory(g *gate.Gate) {
	i.Inventory = gate.RegisterRead(g, gate.Read[InventoryQuery, act.Page[Item]]{
		Info: gate.Info{Name: "identity.inventory", Doc: "List the credentials and grants there are, with age, binding, scope, last use, and which are dormant or nobody's.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Target: func(_ context.Context, v *store.View, p act.Principal, in InventoryQuery) (gate.Resource, error) {
			var owner act.ID
			if in.Agent != 0 {
				_, owner, _ = i.cfg.Agents.AgentFacts(in.Agent)
			}
			answers, err := i.ids.Answers(v, p, owner)
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork, Answered: len(answers) > 0}}, err
		},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in InventoryQuery) (act.Page[Item], error) {
			return i.inventory(v, in)
		},
	})
}

func (i *Issuer) inventory(v *store.View, in InventoryQuery) (page act.Page[Item], err error) {
	if in.Limit == 0 {
		in.Limit = MaxInventory
	}
	if in.Limit < 1 || in.Limit > MaxInventory {
		return page, act.Errorf(act.Invalid, "a page has 1 to %d entries", MaxInventory).WithRule("limit").WithHint("ask for less and follow next_cursor")
	}
	var after act.ID
	if !in.Cursor.IsZero() {
		if in.Cursor.List != InventoryCursor || len(in.Cursor.Keys) != 1 {
			return page, act.Errorf(act.Invalid, "the cursor is not one of this list").WithRule("cursor").WithHint("use next_cursor exactly as returned")
		}
		after = act.ID(in.Cursor.Keys[0])
	}
	now := act.Micros(i.ids.clock())
	seen := 0
	full := false
	take := func(item Item) {
		seen++
		if full {
			return
		}
		after = item.ID
		if i.describe(&item, now); i.asked(&item, in, now) {
			page.Items = append(page.Items, item)
			full = len(page.Items) == in.Limit
		}
	}
	q, args := qItems, []any{after, int64(inventoryScan)}
	switch {
	case in.Grants && in.Agent != 0:
		q, args = qGrantsOf, append(args, in.Agent)
	case in.Grants:
		q = qGrants
	case in.Agent != 0:
		q, args = qItemsOf, append(args, in.Agent)
	}
	if err := v.All(q, func(r *store.Row) error {
		if in.Grants {
			take(grantItem(scanGrant(r)))
		} else {
			take(credentialItem(scanCredential(r)))
		}
		return nil
	}, args...); err != nil {
		return page, err
	}
	if full || seen == inventoryScan {
		page.Next = act.Cursor{List: InventoryCursor, Keys: []int64{int64(after)}}
	}
	for n := range page.Items {
		if page.Items[n].OwnerName, err = i.ids.OwnerName(v, page.Items[n].Owner); err != nil {
			return page, err
		}
	}
	return page, nil
}

func credentialItem(c Credential) Item {
	item := Item{
		ID: c.ID, Kind: c.Kind, Binding: bindBearer, Subject: c.Subject, Scope: c.Scope, KeyID: c.KeyID,
		CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt, RevokedAt: c.RevokedAt, UsedAt: c.UsedAt,
	}
	switch c.Kind {
	case kindKey, kindCommandKey:
		item.Binding = "key"
	case kindSVID:
		item.Binding = "mtls"
	}
	return item
}

func grantItem(g Grant) Item {
	item := Item{
		ID: g.ID, Kind: string(g.Kind), Binding: "dpop", Subject: g.Holder, Scope: string(g.Authority.Scope), KeyID: g.Confirm.JKT,
		Parent: g.Parent, Delegate: g.Delegate, CreatedAt: g.CreatedAt, ExpiresAt: act.Micros(g.Authority.Expires), RevokedAt: g.RevokedAt, UsedAt: g.UsedAt,
	}
	if g.Confirm.X5T != "" {
		item.Binding, item.KeyID = "mtls", g.Confirm.X5T
	}
	return item
}

// describe fills in what memory knows of a credential's subject.
func (i *Issuer) describe(item *Item, now int64) {
	item.Age = time.Duration(now-item.CreatedAt) * time.Microsecond
	item.Dormant = now-max(item.UsedAt, item.CreatedAt) >= DormantAfter.Microseconds()
	if item.Subject.Kind() == act.KindAgent {
		item.Name, item.Owner, item.Standing = i.cfg.Agents.AgentFacts(item.Subject)
		item.Unowned = item.Owner == 0
	}
}

func (i *Issuer) asked(item *Item, in InventoryQuery, now int64) bool {
	over := item.RevokedAt != 0 || item.ExpiresAt != 0 && item.ExpiresAt <= now
	return (in.Ended || !over) && (!in.Dormant || item.Dormant) && (!in.Unowned || item.Unowned)
}
