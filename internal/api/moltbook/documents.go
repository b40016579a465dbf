package moltbook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
)

//go:embed documents/*.tmpl
var documentFiles embed.FS

// edition is the version of the documents' text. What the configuration adds to
// them is told apart by the digest behind it (semver build metadata).
const edition = "1.0.0"

// Documents says what the documents tell agents, and how they are signed.
type Documents struct {
	Kernel *api.Kernel
	URL    func() string // public URL of this network, without a slash at the end
	Facts  Facts
	Signer Signer
}

// Facts are the settings that the documents tell.
type Facts struct {
	Name           string // of the network, as people say it
	Slug           string // the same as skills are named
	Registration   string // open, invite or closed
	Claim          bool
	OwnKeyApproval bool
	Challenge      bool
	Heartbeat      time.Duration
	Rates          map[string]gate.Rate // none when the network has no limits
	NewFor         time.Duration        // how long an agent is new
}

// Signer signs documents with the network's key (package identity).
type Signer interface {
	SignDetached(content []byte) (string, error)
	PublicKeys() ([]byte, error)
}

// documents are the rendered files by path.
type documents map[string]document

type document struct {
	contentType []string
	body        []byte
}

// NewDocuments returns the door of the five documents that agents read, with
// their signature and the keys to check it. They are the same for everybody and
// show nothing of the network's content.
func NewDocuments(d Documents) *api.Door {
	render := sync.OnceValues(d.render)
	show := func(path string) api.Route {
		return api.Route{
			Method: http.MethodGet, Path: path, Anonymous: true, Exempt: "made from the configuration alone, for agents that have no key yet",
			Handle: func(_ context.Context, c *api.Call) error {
				all, err := render()
				if err != nil {
					return err
				}
				doc := all[path]
				c.Send(http.StatusOK, doc.contentType, doc.body)
				return nil
			},
		}
	}
	door := &api.Door{Name: "moltbook", Fail: (&door{json: []string{"application/json"}}).fail}
	for _, path := range []string{"/skill.md", "/heartbeat.md", "/messaging.md", "/rules.md", "/skill.json", "/skill.json.jws"} {
		door.Routes = append(door.Routes, show(path))
	}
	// Keys come and go while the server runs.
	door.Routes = append(door.Routes, api.Route{
		Method: http.MethodGet, Path: "/.well-known/jwks.json", Anonymous: true, Exempt: "the network's public keys, for everybody who checks what it signs",
		Handle: func(_ context.Context, c *api.Call) error {
			keys, err := d.Signer.PublicKeys()
			if err != nil {
				return err
			}
			c.Send(http.StatusOK, []string{"application/jwk-set+json"}, append(keys, '\n'))
			return nil
		},
	})
	return door
}

// page is what a template sees.
type page struct {
	Facts
	URL, API, Native, Host, Version, Heartbeat string

	Newness     string  // how long an agent is new
	Limits      []limit // for everybody
	Tighter     []limit // for new agents
	Copies      bool    // texts that are alike are limited
	ShortText   int     // letters, under which they are limited
	ShortFactor int     // so many times less
}

func (d Documents) render() (documents, error) {
	base := d.URL()
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	p := page{
		Facts: d.Facts, URL: base, API: base + "/api/v1", Native: base + "/v1", Host: u.Host,
		Heartbeat: words(d.Facts.Heartbeat), Version: edition, Newness: period(d.Facts.NewFor),
	}
	p.Limits, p.Tighter = limits(d.Facts.Rates)
	p.Copies = slices.ContainsFunc(slices.Collect(maps.Keys(d.Facts.Rates)), func(name string) bool { return strings.HasPrefix(name, "copies") })
	p.ShortText, p.ShortFactor = gate.ShortText, gate.ShortFactor
	// Whatever changes a text changes the version.
	texts, err := p.texts()
	if err != nil {
		return nil, err
	}
	all := sha256.New()
	for _, name := range textNames {
		all.Write(texts[name])
	}
	p.Version = edition + "+" + hex.EncodeToString(all.Sum(nil)[:6])
	if texts, err = p.texts(); err != nil {
		return nil, err
	}
	out := documents{}
	skill := skillJSON{
		Name: p.Slug, Version: p.Version, Description: "A governed network for AI agents.", Author: p.Name, License: "Apache-2.0",
		Homepage: base, Keywords: []string{"agents", "network", "governed", "tasks"},
		Digests: map[string]string{}, Signature: base + "/skill.json.jws", Keys: base + "/.well-known/jwks.json",
	}
	skill.Moltbot.Emoji, skill.Moltbot.Category, skill.Moltbot.API = "🪸", "social", p.API
	skill.Moltbot.Files, skill.Moltbot.Requires.Bins = map[string]string{}, []string{"curl"}
	skill.Moltbot.Triggers = []string{"check the network", "post to the network", "read my messages"}
	for _, name := range textNames {
		sum := sha256.Sum256(texts[name])
		skill.Digests[name] = "sha256:" + hex.EncodeToString(sum[:])
		skill.Moltbot.Files[name] = base + "/" + name
		out["/"+name] = document{[]string{"text/markdown; charset=utf-8"}, texts[name]}
	}
	jsonType := []string{"application/json"}
	body, err := encode(skill)
	if err != nil {
		return nil, err
	}
	signature, err := d.Signer.SignDetached(body)
	if err != nil {
		return nil, err
	}
	out["/skill.json"] = document{jsonType, body}
	out["/skill.json.jws"] = document{[]string{"application/jose"}, []byte(signature + "\n")}
	return out, nil
}

var textNames = []string{"heartbeat.md", "messaging.md", "rules.md", "skill.md"}

func (p page) texts() (map[string][]byte, error) {
	all, err := template.ParseFS(documentFiles, "documents/*.tmpl")
	if err != nil {
		return nil, err
	}
	out := make(map[string][]byte)
	for _, name := range textNames {
		var b bytes.Buffer
		if err := all.ExecuteTemplate(&b, name+".tmpl", p); err != nil {
			return nil, fmt.Errorf("render %s: %w", name, err)
		}
		out[name] = b.Bytes()
	}
	return out, nil
}

// skillJSON is skill.json as clients parse it, with digests and signature beside
// (moltbook.md §2).
type skillJSON struct {
	Name        string   `json:"name"`
	Version     string   `json:"version"`
	Description string   `json:"description"`
	Author      string   `json:"author"`
	License     string   `json:"license"`
	Homepage    string   `json:"homepage"`
	Keywords    []string `json:"keywords"`
	Moltbot     struct {
		Emoji    string            `json:"emoji"`
		Category string            `json:"category"`
		API      string            `json:"api_base"`
		Files    map[string]string `json:"files"`
		Requires struct {
			Bins []string `json:"bins"`
		} `json:"requires"`
		Triggers []string `json:"triggers"`
	} `json:"moltbot"`
	Digests   map[string]string `json:"digests"`
	Signature string            `json:"signature"` // a detached JWS over the bytes of this file
	Keys      string            `json:"keys"`
}
