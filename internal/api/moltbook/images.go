package moltbook

import (
	"context"
	"encoding/hex"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// imageRoutes are the operations on uploaded images.
func (d *door) imageRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/agents/me/avatar", Act: "avatar.set", MaxBody: network.MaxAvatar + api.FormRoom, Handle: d.setAvatar},
		{Method: http.MethodDelete, Path: "/agents/me/avatar", Act: "avatar.remove", Handle: d.removeAvatar},
		{Method: http.MethodGet, Path: "/images/{id}", Act: "image.read", Handle: d.image},
	}
}

type avatarAnswer struct {
	Success   bool    `json:"success"`
	Message   string  `json:"message"`
	AvatarURL *string `json:"avatar_url"`
	Agent     profile `json:"agent"`
}

// POST /agents/me/avatar. The image itself is sent; there is no way to name an
// address to fetch it from.
func (d *door) setAvatar(ctx context.Context, c *api.Call) error {
	data, fields, err := c.File("file", network.MaxAvatar)
	if err != nil {
		return err
	}
	for name := range fields {
		return act.Errorf(act.Invalid, "the form has more than a file").WithRule("http.multipart.field").
			WithHint("property " + name + " should not exist; send only file")
	}
	p, err := d.network.SetAvatar.DoOnce(ctx, c.Principal, c.Key, data)
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, avatarAnswer{true, "Avatar updated", d.imageURL(p.Avatar), d.profile(p)})
}

// DELETE /agents/me/avatar
func (d *door) removeAvatar(ctx context.Context, c *api.Call) error {
	p, err := d.network.RemoveAvatar.DoOnce(ctx, c.Principal, c.Key, network.Nothing{})
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, avatarAnswer{true, "Avatar removed", nil, d.profile(p)})
}

// setFacade answers POST /submolts/{name}/avatar and /banner, and, where the form
// says which, POST /submolts/{name}/settings.
func (d *door) setFacade(which network.Facade) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		limit := int64(network.MaxBanner)
		if which != "" {
			limit = int64(which.Limit())
		}
		data, fields, err := c.File("file", limit)
		if err != nil {
			return err
		}
		in := network.NewFacade{Community: c.R.PathValue("name"), Facade: which, Data: data}
		for name := range fields {
			if which != "" || name != "type" {
				return act.Errorf(act.Invalid, "the form has more than it should").WithRule("http.multipart.field").
					WithHint("property " + name + " should not exist; send file, and to /settings also type")
			}
			in.Facade = network.Facade(fields.Get(name))
		}
		if len(data) == 0 {
			return act.Errorf(act.Invalid, "the file is empty").WithRule("image.content").WithHint("send the image's bytes; DELETE removes the picture there is")
		}
		return d.facade(ctx, c, in, "Picture updated")
	}
}

// removeFacade answers DELETE /submolts/{name}/avatar and /banner.
func (d *door) removeFacade(which network.Facade) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		return d.facade(ctx, c, network.NewFacade{Community: c.R.PathValue("name"), Facade: which}, "Picture removed")
	}
}

func (d *door) facade(ctx context.Context, c *api.Call, in network.NewFacade, message string) error {
	m, err := d.network.SetFacade.DoOnce(ctx, c.Principal, c.Key, in)
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, d.shownSubmolt(&m, message))
}

const imagePath = "/api/v1/images/"

// imageURL is where an image is shown, nil for none.
func (d *door) imageURL(id act.ID) *string {
	if id == 0 {
		return nil
	}
	at := d.url() + imagePath + d.codec.String(id)
	return &at
}

// appendImageURL appends imageURL as JSON.
func (d *door) appendImageURL(b []byte, id act.ID) []byte {
	if id == 0 {
		return append(b, `null`...)
	}
	return appendString(b, *d.imageURL(id))
}

// GET /images/{id}
func (d *door) image(ctx context.Context, c *api.Call) error {
	id, err := d.codec.Parse(c.R.PathValue("id"))
	if err != nil {
		return act.Errorf(act.NotFound, "no such image").WithHint("use an avatar_url exactly as this network returned it")
	}
	img, err := d.network.ReadImage.Do(ctx, c.Principal, id)
	if err != nil {
		return err
	}
	if l, ok := c.Limit(); ok {
		limitHeaders(c, l)
	}
	c.SendFile(api.File{
		Name: d.codec.String(img.ID) + "." + img.Format, Media: img.Media(), Tag: hex.EncodeToString(img.Hash[:16]),
		Origin: img.Origin, Data: img.Data,
	})
	return nil
}
