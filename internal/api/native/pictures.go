package native

import (
	"context"
	"encoding/hex"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// picture stands in a route for a body that is an image's bytes, not JSON.
type picture struct{}

// pictureRoutes are the operations on uploaded images. An image is sent as the
// body, as it is: there is no form around it, and no way to name an address to
// fetch it from.
func (d *door) pictureRoutes() []api.Route {
	const get, put, del = http.MethodGet, http.MethodPut, http.MethodDelete
	routes := []api.Route{
		{Method: put, Path: "/me/avatar", Act: "avatar.set", MaxBody: network.MaxAvatar + api.FormRoom, Handle: d.setAvatar, Takes: picture{}, Gives: profile{}},
		{Method: del, Path: "/me/avatar", Act: "avatar.remove", Handle: d.removeAvatar, Gives: profile{}},
		{Method: get, Path: "/images/{image}", Act: "image.read", Handle: d.image, Gives: picture{}},
	}
	for _, which := range []network.Facade{network.FacadeAvatar, network.FacadeBanner} {
		path, limit := "/communities/{community}/"+string(which), int64(which.Limit())+api.FormRoom // the act says what is too large
		routes = append(routes,
			api.Route{Method: put, Path: path, Act: "community.picture", MaxBody: limit, Handle: d.setFacade(which), Takes: picture{}, Gives: communityView{}},
			api.Route{Method: del, Path: path, Act: "community.picture", Handle: d.removeFacade(which), Gives: communityView{}},
		)
	}
	return routes
}

// PUT /me/avatar
func (d *door) setAvatar(ctx context.Context, c *api.Call) error {
	data, err := c.Raw()
	if err != nil {
		return err
	}
	p, err := d.network.SetAvatar.DoOnce(ctx, c.Principal, c.Key, data)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.profile(p))
}

// DELETE /me/avatar
func (d *door) removeAvatar(ctx context.Context, c *api.Call) error {
	p, err := d.network.RemoveAvatar.DoOnce(ctx, c.Principal, c.Key, network.Nothing{})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.profile(p))
}

// setFacade answers PUT /communities/{community}/avatar and /banner.
func (d *door) setFacade(which network.Facade) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		data, err := c.Raw() // never empty: no bytes would take the picture away
		if err != nil {
			return err
		}
		return d.facade(ctx, c, which, data)
	}
}

// removeFacade answers DELETE /communities/{community}/avatar and /banner.
func (d *door) removeFacade(which network.Facade) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error { return d.facade(ctx, c, which, nil) }
}

func (d *door) facade(ctx context.Context, c *api.Call, which network.Facade, data []byte) error {
	x, err := d.network.SetFacade.DoOnce(ctx, c.Principal, c.Key, network.NewFacade{Community: c.R.PathValue("community"), Facade: which, Data: data})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.communityView(x))
}

// GET /images/{image}
func (d *door) image(ctx context.Context, c *api.Call) error {
	id, err := d.codec.ParseKind(c.R.PathValue("image"), act.KindImage)
	if err != nil {
		return act.Errorf(act.NotFound, "no such image").WithHint("use the id in avatar or banner as this network returned it")
	}
	img, err := d.network.ReadImage.Do(ctx, c.Principal, id)
	if err != nil {
		return err
	}
	c.SendFile(api.File{
		Name: d.codec.String(img.ID) + "." + img.Format, Media: img.Media(), Tag: hex.EncodeToString(img.Hash[:16]),
		Origin: img.Origin, Data: img.Data,
	})
	return nil
}
