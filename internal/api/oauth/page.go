package oauth

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/legible"
)

//go:embed pages
var pageFiles embed.FS

// drawer draws the few pages on which a human answers. They have no script, no
// picture, and no style but the one that stands in them.
type drawer struct {
	pages  *template.Template
	style  template.CSS
	policy string // what a page may load: the style, by its hash
}

func newDrawer() (*drawer, error) {
	style, err := pageFiles.ReadFile("pages/page.css")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(style)
	t, err := template.New("").Funcs(template.FuncMap{"plain": legible.Line}).ParseFS(pageFiles, "pages/*.html")
	return &drawer{
		pages: t, style: template.CSS(style), //nolint:gosec // our own file
		policy: "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'",
	}, err
}

// view is what a page shows.
type view struct {
	Page, Title string
	Who         string // who is signed in
	Client      string
	Host        string // where the browser goes after
	Words       []string
	Delegate    string // the agent that will act, too
	Fields      []field
	Code        string // that the terminal shows
	Age         string // since the terminal asked
	Next        string // where the page goes by itself
	To          string // the address that the form leads to
	Error       *act.Error
	Style       template.CSS
}

// isPage reports whether a request is a human's.
func (d *door) isPage(c *api.Call) bool {
	return c.Route.Path == pathAuthorize || c.Route.Path == pathDevice
}

// show sends a page. Its policy lets it load nothing, be framed by nobody, and send
// forms to us and on to the client alone (CSP 3; a form's redirects count).
func (d *door) show(c *api.Call, status int, v view) error {
	var b bytes.Buffer
	v.Style = d.html.style
	if err := d.html.pages.ExecuteTemplate(&b, "page.html", v); err != nil {
		return err
	}
	policy := d.html.policy
	if u, err := url.Parse(v.To); v.To != "" && err == nil {
		policy += " " + u.Scheme + "://" + u.Host
	}
	head := c.W.Header()
	head["Content-Security-Policy"] = []string{policy}
	head["X-Frame-Options"] = []string{"DENY"}
	head["Cross-Origin-Opener-Policy"] = []string{"same-origin"}
	head["Referrer-Policy"] = []string{"same-origin"} // the forms' origin is told to ourselves
	c.Send(status, []string{"text/html; charset=utf-8"}, b.Bytes())
	return nil
}

// failPage shows an error to a human, who is sent to sign in where that would help.
func (d *door) failPage(c *api.Call, e *act.Error) {
	status := api.Status(e.Code)
	if e.Rule == "session.missing" && (c.R.Method == http.MethodGet || c.R.Method == http.MethodHead) {
		if err := d.comeBack(c); err == nil {
			return
		}
	}
	if err := d.show(c, status, view{Page: "error", Title: http.StatusText(status), Error: e}); err != nil {
		c.Send(http.StatusInternalServerError, []string{"text/plain; charset=utf-8"}, []byte("The page could not be drawn.\n"))
	}
}

// comeBack sends a human who is not signed in to do so, and then back to where they
// are. The cookie does not come along from another site's page; from ours it does.
func (d *door) comeBack(c *api.Call) error {
	here := hereOf(c)
	if c.R.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return d.show(c, http.StatusOK, view{Page: "again", Title: "One moment", Next: here[strings.LastIndexByte(c.R.URL.EscapedPath(), '/')+1:]})
	}
	seeOther(c, "../sign-in?next="+url.QueryEscape(here))
	return nil
}

// hereOf is where a human is: path and query.
func hereOf(c *api.Call) string {
	here := c.R.URL.EscapedPath()
	if c.R.URL.RawQuery != "" {
		here += "?" + c.R.URL.RawQuery
	}
	return here
}
