package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// quotaRoutes are how operators bound what many agents use up together. A scope is one part
// of the path: "network", "team:NAME", "class:NAME".
func (d *door) quotaRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/quotas", Act: "quota.list", Handle: d.quotas, Gives: list[quota]{}},
		{Method: get, Path: "/quotas/{scope}/{kind}", Act: "quota.show", Handle: d.quota, Gives: quota{}},
		{Method: post, Path: "/quotas/{scope}/{kind}", Act: "quota.set", Handle: d.setQuota, Takes: newQuota{}, Gives: quota{}},
		{Method: post, Path: "/quotas/{scope}/{kind}/drop", Act: "quota.drop", Handle: d.dropQuota, Takes: newOrder{}, Gives: quota{}},
	}
}

type quota struct {
	Scope    string  `json:"scope"` // as it is named in the path
	Kind     string  `json:"kind"`
	Limit    int64   `json:"limit"`
	Period   string  `json:"period"` // "hour", "day", or "" for good
	Used     int64   `json:"used"`   // since it began
	Given    int64   `json:"given"`  // to nodes for their agents, used or not
	Left     int64   `json:"left"`   // below 0 where the limit was set below what was used
	Reported bool    `json:"reported"`
	BeganAt  *string `json:"began_at"`  // null where it does not renew
	RenewsAt *string `json:"renews_at"` // null where it does not renew
	WarnedAt *string `json:"warned_at"` // when operators were told that most of it is used up
	Reason   string  `json:"reason"`
	By       string  `json:"by"` // operator
	SetAt    *string `json:"set_at"`
}

func (d *door) quotaOf(q lifecycle.Quota) quota {
	return quota{
		Scope: q.On.Scope, Kind: q.On.Kind, Limit: q.Limit, Period: string(q.Period), Used: q.Used, Given: q.Given, Left: q.Left(), Reported: q.Reported(),
		BeganAt: wireTime(q.BeganAt), RenewsAt: wireTime(q.RenewsAt()), WarnedAt: wireTime(q.WarnedAt),
		Reason: q.Reason, By: d.codec.String(q.By), SetAt: wireTime(q.SetAt),
	}
}

func quotaName(c *api.Call) lifecycle.QuotaName {
	return lifecycle.QuotaName{Scope: c.R.PathValue("scope"), Kind: c.R.PathValue("kind")}
}

// GET /quotas
func (d *door) quotas(ctx context.Context, c *api.Call) error {
	found, err := d.lifecycle.ListQuotas.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, act.Page[lifecycle.Quota]{Items: found}, d.quotaOf))
}

// GET /quotas/{scope}/{kind}
func (d *door) quota(ctx context.Context, c *api.Call) error {
	q, err := d.lifecycle.ShowQuota.Do(ctx, c.Principal, quotaName(c))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.quotaOf(q))
}

type newQuota struct {
	Limit  int64  `json:"limit"`
	Period string `json:"period"` // "hour" or "day" in UTC; "" for good
	Reason string `json:"reason"`
}

// POST /quotas/{scope}/{kind}
func (d *door) setQuota(ctx context.Context, c *api.Call) error {
	var in newQuota
	if err := c.Decode(&in); err != nil {
		return err
	}
	q, err := d.lifecycle.SetQuota.DoOnce(ctx, c.Principal, c.Key, lifecycle.NewQuota{
		On: quotaName(c), Limit: in.Limit, Period: lifecycle.Period(in.Period), Reason: in.Reason,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.quotaOf(q))
}

// POST /quotas/{scope}/{kind}/drop answers what it was.
func (d *door) dropQuota(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	q, err := d.lifecycle.DropQuota.DoOnce(ctx, c.Principal, c.Key, lifecycle.QuotaOrder{On: quotaName(c), Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.quotaOf(q))
}
