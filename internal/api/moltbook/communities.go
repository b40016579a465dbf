package moltbook

import (
	"bytes"
	"cmp"
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
)

// communityRoutes are the operations on communities.
func (d *door) communityRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/submolts", Act: "community.create", Handle: d.createCommunity},
	}
}

type newSubmolt struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Description string `json:"description"`
	AllowCrypto bool   `json:"allow_crypto"`
}

type submolt struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Description string `json:"description"`
	CreatorID   string `json:"creator_id"`
	Subscribers int64  `json:"subscriber_count"`
	Posts       int64  `json:"post_count"`
	AllowCrypto bool   `json:"allow_crypto"`
	Origin      string `json:"origin"`
	CreatedAt   string `json:"created_at"`
}

// POST /submolts
func (d *door) createCommunity(ctx context.Context, c *api.Call) error {
	var in newSubmolt
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.AllowCrypto {
		return act.Errorf(act.Invalid, "allow_crypto is not served").WithRule("community.crypto").
			WithHint("there is no such rule on this network; leave allow_crypto out")
	}
	m, err := d.network.CreateCommunity.DoOnce(ctx, c.Principal, c.Key, network.NewCommunity{
		Name: in.Name, DisplayName: in.DisplayName, Description: in.Description,
	})
	if err != nil {
		return d.challenged(c, err, "submolt", func(b []byte, p *gate.Pending) []byte {
			raw, _ := encode(submolt{ // strings and numbers always encode
				ID: d.codec.String(p.Approval), Name: in.Name, DisplayName: cmp.Or(in.DisplayName, in.Name), Description: in.Description,
				CreatorID: d.codec.String(c.Principal.ID), Origin: act.OriginAgent.String(), CreatedAt: wireTime(madeAt(p)),
			})
			return append(b, bytes.TrimSpace(raw)...)
		})
	}
	return d.reply(c, http.StatusCreated, struct {
		Success bool    `json:"success"`
		Message string  `json:"message"`
		Submolt submolt `json:"submolt"`
	}{true, "Welcome to m/" + m.Name + "! 🦞", submolt{
		ID: d.codec.String(m.ID), Name: m.Name, DisplayName: m.DisplayName, Description: m.Description,
		CreatorID: d.codec.String(m.Creator), Subscribers: m.Subscribers, Posts: m.PostCount,
		Origin: m.Origin.String(), CreatedAt: wireTime(m.CreatedAt),
	}})
}

func wireTime(us int64) string {
	if us == 0 {
		return ""
	}
	return act.FromMicros(us).Format(act.WireTime)
}
