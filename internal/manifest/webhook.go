package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"reflect"
	"regexp"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/store"
)

// webhookSpec is what files say of a webhook.
type webhookSpec struct {
	URL      string   `json:"url,omitempty"`
	Acts     []string `json:"acts,omitempty" doc:"which events; all if left out"`
	Subjects []string `json:"subjects,omitempty" doc:"ids of what they are about; of this network only"`
}

var hookName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// webhooks are kept by webhook.create and webhook.delete, and are the applier's own. They
// have no names on the network, and do not change: what a name means is known by what was
// applied under it.
func (m *Manifests) webhooks() *kind {
	there := func(w network.Webhook) (thing, error) {
		spec := webhookSpec{URL: w.URL, Acts: w.Filter.Acts}
		for _, id := range w.Filter.Subjects {
			spec.Subjects = append(spec.Subjects, m.Codec.String(id))
		}
		out, err := said(spec)
		return thing{id: w.ID, version: w.CreatedAt, spec: out, status: map[string]any{"id": m.Codec.String(w.ID), "seq": w.Seq, "disabled": w.Disabled != 0, "reason": w.Reason}}, err
	}
	all := func(v *store.View, who act.ID) (list []thing, err error) {
		hooks, err := m.Network.WebhooksOf(v, who)
		if err != nil {
			return nil, err
		}
		for _, w := range hooks {
			t, err := there(w)
			if err != nil {
				return nil, err
			}
			list = append(list, t)
		}
		return list, nil
	}
	return &kind{
		name: "Webhook", doc: "A URL that events are posted to, for whoever applies it.", spec: reflect.TypeFor[webhookSpec](), sees: "webhook.list", own: true, fixed: []string{"*"},
		named: func(name string) error {
			if !hookName.MatchString(name) {
				return act.Errorf(act.Invalid, "%.80q cannot be the name of a webhook", name).WithHint("use 1 to 63 small letters, digits and '-', like alerts")
			}
			return nil
		},
		find: func(v *store.View, who act.ID, name string, last map[string]any) (thing, bool, error) {
			list, err := all(v, who)
			for _, t := range list {
				if last != nil && len(changes(last, t.spec)) == 0 || last == nil && hookNameOf(t) == name {
					return t, true, err
				}
			}
			return thing{}, false, err
		},
		each: func(v *store.View, who act.ID, do func(string, thing) error) error {
			list, err := all(v, who)
			for _, t := range list {
				if err == nil {
					err = do(hookNameOf(t), t)
				}
			}
			return err
		},
		check: func(_ *scene, _ string, spec map[string]any) error {
			if url, _ := spec["url"].(string); !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") {
				return act.Errorf(act.Invalid, "its url is no http(s) URL").WithHint("say where events are posted to")
			}
			f, err := m.filter(spec)
			if err == nil {
				err = m.Network.CheckFilter(f)
			}
			return err
		},
		put: func(ctx context.Context, p act.Principal, w work, _ string) (string, error) {
			filter, err := m.filter(w.target)
			if err != nil {
				return "", err
			}
			url, _ := w.target["url"].(string)
			made, err := m.Network.CreateWebhook.Do(ctx, p, network.NewWebhook{URL: url, Filter: filter, After: network.FromNow})
			return made.Secret, err
		},
		end: func(ctx context.Context, p act.Principal, w work, _ string) error {
			_, err := m.Network.DeleteWebhook.Do(ctx, p, w.there.id)
			return err
		},
	}
}

// hookNameOf is the name of a webhook that no file has: it comes of what it is.
func hookNameOf(t thing) string {
	var b strings.Builder
	url, _ := t.spec["url"].(string)
	b.WriteString(url)
	for _, field := range []string{"acts", "subjects"} {
		list, _ := t.spec[field].([]any)
		b.WriteByte('\n')
		for _, one := range list {
			text, _ := one.(string)
			b.WriteString(" " + text)
		}
	}
	sum := sha256.Sum256([]byte(b.String()))
	return "hook-" + hex.EncodeToString(sum[:5])
}

func (m *Manifests) filter(spec map[string]any) (f network.EventFilter, err error) {
	s, err := as[webhookSpec](spec)
	if err != nil {
		return f, err
	}
	f.Acts = s.Acts
	for _, text := range s.Subjects {
		id, err := m.Codec.Parse(text)
		if err != nil {
			return f, act.Errorf(act.Invalid, "subjects: %.60q is no id of this network", text).WithHint("ids are a network's own: leave them out, or say them of this one")
		}
		f.Subjects = append(f.Subjects, id)
	}
	return f, nil
}

// with is a spec with another value in a field.
func with(spec map[string]any, field string, value any) map[string]any {
	out := maps.Clone(spec)
	out[field] = value
	return out
}
