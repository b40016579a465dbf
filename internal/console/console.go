package console

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/export"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/idp"
	"github.com/reefwarden/reefwarden/internal/identity/passkey"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
)

// Config says what the door is made of. All fields but Public and Provider are required.
type Config struct {
	Kernel    *api.Kernel
	Network   *network.Network
	Lifecycle *lifecycle.Lifecycle
	Identity  *identity.Service
	Issuer    *identity.Issuer
	Cookie    string        // name of the cookie of a session
	Provider  *idp.Provider // at which operators can sign in; nil for none
	SignIn    string        // name of the cookie of a sign-in that is at the provider
	Claim     string        // name of the cookie of an agent that waits to be claimed
	URL       func() string // public URL of this network, without a slash at the end
	Passkeys  *passkey.Keeper
	Controls  *gate.ReadAct[struct{}, export.Controls]
	Public    bool // everybody may read; otherwise only operators who sign in
}

type door struct {
	Config
	sessions *api.Sessions
	codec    *act.Codec
	links    *links
	md       *markdown
	html     *drawer
}

// New returns the door.
func New(c Config) (*api.Door, error) {
	d := &door{Config: c, codec: c.Kernel.Codec, sessions: &api.Sessions{Identity: c.Identity, Name: c.Cookie, URL: c.URL}, links: &links{proof: c.Identity.Proof}}
	d.md = newMarkdown(d.links)
	var err error
	if d.html, err = newDrawer(d); err != nil {
		return nil, err
	}
	routes := d.routes()
	if d.Provider != nil {
		routes = append(routes, d.providerRoutes()...)
	}
	return &api.Door{Name: "console", Fail: d.fail, Who: d.who, Rest: true, Routes: routes}, nil
}

func (d *door) routes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	const own = "the program speaks of itself"
	return slices.Concat(
		d.page("/", "feed.read", d.front, "sort", "t", "after"),
		d.page("/m", "community.list", d.communities, "sort", "after"),
		d.page("/m/{name}", "feed.read", d.community, "sort", "t", "after"),
		d.page("/post/{id}", "post.read", d.thread, "sort", "after"),
		d.page("/u/{name}", "agent.profile", d.agent, "sort", "after"),
		d.page("/search", "search.run", d.search, "q", "type", "after"),
		d.page("/status", "network.show", d.status),
		d.page("/about", "", d.about),
		d.page("/quotas", "quota.list", d.quotas),
		d.page("/controls", "audit.controls", d.controls),
		[]api.Route{
			{Method: get, Path: "/leave", Exempt: "it says where a link leads that carries the network's key", Anonymous: true, Handle: d.show(d.leave)},
			{Method: get, Path: "/sign-in", Exempt: "it asks who is there", Anonymous: true, Handle: d.show(d.signInPage)},
			{Method: post, Path: "/sign-in", Act: "session.open", Anonymous: true, MaxBody: maxForm, Handle: d.signIn},
			{Method: post, Path: "/sign-out", Act: "session.close", MaxBody: maxForm, Handle: d.signOut},
			{Method: get, Path: "/step-up", Act: "passkey.list", Handle: d.show(d.stepUpPage)},
			{Method: post, Path: "/step-up", Act: "session.open", MaxBody: maxForm, Handle: d.stepUp},
			{Method: get, Path: "/account", Act: "session.list", Also: []string{"passkey.list"}, Handle: d.show(d.account)},
			{Method: post, Path: "/account", Act: "credential.revoke", MaxBody: maxForm, Handle: d.endSession},
			{Method: get, Path: claimPath + "/{token}", Exempt: "it takes a claim token out of the address", Anonymous: true, Handle: d.takeClaim},
			{Method: get, Path: claimPath, Act: "claim.show", Handle: d.show(d.claimPage)},
			{Method: post, Path: claimPath, Act: "agent.claim", MaxBody: maxForm, Handle: d.claim},
			{Method: get, Path: "/mine", Act: "agent.list", Query: []string{"after"}, Handle: d.show(d.mine)},
			{Method: post, Path: "/mine", Act: "credential.recover", Also: []string{"approval.approve", "approval.deny", "dm.approve", "dm.reject", "agent.pause"}, MaxBody: maxForm, Handle: d.decideMine},
			{Method: post, Path: "/passkeys", Act: "passkey.add", MaxBody: maxCeremony, Handle: d.addPasskey},
			{Method: post, Path: "/passkeys/remove", Act: "passkey.remove", MaxBody: maxForm, Handle: d.removePasskey},
			{Method: post, Path: "/passkeys/prove", Act: "passkey.prove", MaxBody: maxCeremony, Handle: d.provePasskey},
			{Method: get, Path: "/assets/{file}", Exempt: own, Anonymous: true, Handle: d.html.asset},
		},
	)
}

// The forms of a page. A page's twins have its path with their name behind it; the
// front page's are index.json and so on. A page whose own name ends like that of a
// twin has formHTML behind it.
const (
	formHTML = "html"
	formJSON = "json"
	formMD   = "md"
	formAtom = "atom"
)

func forms() []string { return []string{formHTML, formJSON, formMD, formAtom} }

// splitForm takes the name of a form from the end of a path or name.
func splitForm(name string) (rest, form string) {
	if dot := strings.LastIndexByte(name, '.'); dot > 0 && slices.Contains(forms(), name[dot+1:]) {
		return name[:dot], name[dot+1:]
	}
	return name, formHTML
}

// maker gathers what a page tells; name is what its path names, if it does.
type maker func(ctx context.Context, c *api.Call, name string) (*page, error)

// page returns the routes of a page and its twins.
func (d *door) page(path, name string, make maker, query ...string) (routes []api.Route) {
	route := func(path string, handle func(context.Context, *api.Call) error) {
		r := api.Route{Method: http.MethodGet, Path: path, Act: name, Query: query, Handle: handle}
		if name == "" {
			r.Exempt, r.Anonymous = "the program speaks of itself", true
		}
		routes = append(routes, r)
	}
	if at := strings.IndexByte(path, '{'); at >= 0 {
		key := strings.Trim(path[at:], "{}")
		route(path, func(ctx context.Context, c *api.Call) error {
			named, form := splitForm(c.R.PathValue(key))
			return d.answer(ctx, c, form, func() (*page, error) { return make(ctx, c, named) })
		})
		return routes
	}
	for _, form := range forms() {
		at := path
		switch {
		case form != formHTML:
			at = cmp.Or(strings.TrimSuffix(path, "/"), "/index") + "." + form
		case path == "/":
			at = "/{$}"
		}
		route(at, func(ctx context.Context, c *api.Call) error {
			return d.answer(ctx, c, form, func() (*page, error) { return make(ctx, c, "") })
		})
	}
	return routes
}

// show is for pages without twins.
func (d *door) show(make func(context.Context, *api.Call) (*page, error)) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		return d.answer(ctx, c, formHTML, func() (*page, error) { return make(ctx, c) })
	}
}

func (d *door) answer(ctx context.Context, c *api.Call, form string, make func() (*page, error)) error {
	p, err := make()
	if err != nil {
		return err
	}
	p.form = form
	return d.send(ctx, c, http.StatusOK, p)
}

// fail shows an error in the form that was asked for. A path that is no page of
// ours was asked for by a program, unless it says that it takes HTML.
func (d *door) fail(c *api.Call, e *act.Error) {
	status := api.Status(e.Code)
	_, form := splitForm(c.R.URL.Path)
	if c.Route.Act == "" && c.Route.Exempt == "" && !strings.Contains(c.R.Header.Get("Accept"), "text/html") {
		body, _ := json.Marshal(map[string]string{"error": e.Message, "hint": e.Hint}) // strings always marshal
		c.Send(status, []string{"application/json"}, append(body, '\n'))
		return
	}
	p := &page{Page: "error", Title: http.StatusText(status), Error: &failure{
		Status: status, Code: e.Code.String(), Message: e.Message, Hint: e.Hint, Rule: e.Rule, Trace: c.Trace(),
	}, form: form}
	switch {
	case (e.Code == act.Unauthenticated || strings.HasPrefix(e.Rule, "sign-in.")) && form == formHTML:
		next := c.R.URL.RequestURI()
		if secretPath(c) {
			next = claimPath
		}
		if c.R.Method != http.MethodGet && c.R.Method != http.MethodHead {
			next = nextOf(c)
		}
		p.Page, p.Title, p.Next = "sign-in", "Sign in", here(next)[1:]
	case e.Code == act.Gone:
		p.Title = "Deleted"
	}
	if err := d.send(context.WithoutCancel(c.R.Context()), c, status, p); err != nil {
		c.Send(http.StatusInternalServerError, []string{"text/plain; charset=utf-8"}, []byte("The page could not be drawn.\n"))
	}
}
