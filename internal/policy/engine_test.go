package policy

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// scoped are the kinds of things that scopes are made of.
var scoped = []act.Kind{act.KindAgent, act.KindOwner, act.KindCommunity, act.KindClass}

// registry lists the acts as the server registers them.
func registry() []ActInfo {
	return []ActInfo{
		{Name: "agent.register"}, {Name: "agent.claim"}, {Name: "agent.me", Read: true}, {Name: "agent.update"},
		{Name: "agent.invite"}, {Name: "agent.list", Read: true}, {Name: "agent.show", Read: true},
		{Name: "agent.pause"}, {Name: "agent.resume"}, {Name: "agent.kill"}, {Name: "agent.quarantine"}, {Name: "agent.release"},
		{Name: "kill.list", Read: true}, {Name: "kill.note"}, {Name: "network.condition", Read: true}, {Name: "network.backup"},
		{Name: "network.restore"}, {Name: "network.confirm"},
		{Name: "community.create"}, {Name: "community.list", Read: true}, {Name: "community.show", Read: true},
		{Name: "community.moderators", Read: true}, {Name: "community.subscribe"}, {Name: "community.unsubscribe"},
		{Name: "label.define"}, {Name: "label.attach"}, {Name: "label.detach"}, {Name: "label.prompt"}, {Name: "label.revoke"},
		{Name: "label.list", Read: true}, {Name: "label.roles", Read: true}, {Name: "briefing.take"},
		{Name: "community.update"}, {Name: "community.picture"}, {Name: "community.appoint"}, {Name: "community.dismiss"},
		{Name: "post.pin", Kinds: []act.Kind{act.KindPost}}, {Name: "post.unpin", Kinds: []act.Kind{act.KindPost}},
		{Name: "post.create", Kinds: []act.Kind{act.KindCommunity}},
		{Name: "post.read", Kinds: []act.Kind{act.KindPost}, Read: true, Redacts: true},
		{Name: "post.delete", Kinds: []act.Kind{act.KindPost}},
		{Name: "comment.create", Kinds: []act.Kind{act.KindPost, act.KindComment}},
		{Name: "comment.list", Kinds: []act.Kind{act.KindPost, act.KindComment}, Read: true},
		{Name: "comment.delete", Kinds: []act.Kind{act.KindComment}},
		{Name: "content.report", Kinds: []act.Kind{act.KindPost, act.KindComment}},
		{Name: "report.list", Kinds: []act.Kind{act.KindCommunity}, Read: true},
		{Name: "content.unseal", Kinds: []act.Kind{act.KindPost, act.KindComment}},
		{Name: "content.erase", Kinds: []act.Kind{act.KindPost, act.KindComment}},
		{Name: "system.expire"},
		{Name: "vote.cast", Kinds: []act.Kind{act.KindPost, act.KindComment}},
		{Name: "feed.read", Kinds: []act.Kind{act.KindPost, act.KindCommunity}, Read: true},
		{Name: "home.read", Read: true}, {Name: "notification.list", Read: true}, {Name: "notification.read"},
		{Name: "search.run", Read: true}, {Name: "system.tidy"}, {Name: "system.forget"},
		{Name: "import.write"},
		{Name: "avatar.set"}, {Name: "avatar.remove"}, {Name: "agent.follow"}, {Name: "agent.unfollow"},
		{Name: "image.read", Kinds: []act.Kind{act.KindImage}, Read: true},
		{Name: "agent.profile", Kinds: []act.Kind{act.KindAgent, act.KindPost, act.KindComment}, Read: true},
		{Name: "identity.prove"}, {Name: "identity.verify", Read: true}, {Name: "owner.mail"}, {Name: "claim.mail"},
		{Name: "app.create"}, {Name: "app.revoke"}, {Name: "agent.expire"},
		{Name: "class.put"}, {Name: "class.retire"}, {Name: "class.list", Read: true}, {Name: "class.show", Read: true},
		{Name: "mandate.open"}, {Name: "mandate.revise"}, {Name: "mandate.close"}, {Name: "mandate.attest"},
		{Name: "mandate.list", Read: true}, {Name: "mandate.show", Read: true}, {Name: "outcome.record"}, {Name: "outcome.list", Read: true},
		{Name: "agent.request"}, {Name: "agent.spawn"}, {Name: "agent.adopt"}, {Name: "agent.lapse"}, {Name: "agent.end"},
		{Name: "process.open"}, {Name: "process.renew", Read: true}, {Name: "process.list", Read: true}, {Name: "telemetry.report"}, {Name: "telemetry.read", Read: true}, {Name: "rollout.start"}, {Name: "rollout.pause"}, {Name: "rollout.resume"}, {Name: "rollout.abort"}, {Name: "rollout.show", Read: true},
		{Name: "agent.rebind"}, {Name: "rollout.step"}, {Name: "rollout.revert"}, {Name: "agent.appeal"}, {Name: "agent.trust"}, {Name: "trust.list", Read: true}, {Name: "health.alert"}, {Name: "health.stop"}, {Name: "notice.list", Read: true},
		{Name: "agent.line", Read: true}, {Name: "agent.orphans", Read: true}, {Name: "budget.show", Read: true}, {Name: "budget.report"},
		{Name: "quota.set"}, {Name: "quota.drop"}, {Name: "quota.list", Read: true}, {Name: "quota.show", Read: true}, {Name: "quota.alert"},
		{Name: "approval.approve"}, {Name: "approval.deny"}, {Name: "approval.list", Read: true}, {Name: "approval.show", Read: true},
		{Name: "challenge.answer"}, {Name: "system.settle"},
		{Name: "dm.request"}, {Name: "dm.requests", Read: true}, {Name: "dm.check", Read: true}, {Name: "dm.list", Read: true},
		{Name: "dm.read", Read: true}, {Name: "dm.mark"}, {Name: "dm.send"}, {Name: "dm.approve"}, {Name: "dm.reject"},
		{Name: "dm.unblock"}, {Name: "dm.survey", Read: true}, {Name: "dm.inspect"}, {Name: "dm.reveal"},
		{Name: "task.post"}, {Name: "task.list", Read: true}, {Name: "task.read", Read: true}, {Name: "task.claim"}, {Name: "task.progress"},
		{Name: "task.complete"}, {Name: "task.fail"}, {Name: "task.handback"}, {Name: "task.cancel"}, {Name: "system.lapse"},
		{Name: "event.read", Read: true},
		{Name: "webhook.create"}, {Name: "webhook.list", Read: true}, {Name: "webhook.delete"}, {Name: "webhook.rotate"},
		{Name: "webhook.replay"}, {Name: "webhook.deliveries", Read: true},
		{Name: "queue.create"}, {Name: "queue.update"}, {Name: "queue.delete"}, {Name: "queue.list", Read: true}, {Name: "queue.show", Read: true},
		{Name: "network.show", Read: true}, {Name: "session.open"}, {Name: "session.lapse"}, {Name: "session.close"}, {Name: "session.list", Read: true},
		{Name: "passkey.list", Read: true}, {Name: "passkey.add"}, {Name: "passkey.remove"}, {Name: "passkey.prove"},
		{Name: "token.issue", Attenuates: true}, {Name: "token.exchange"}, {Name: "token.assert"}, {Name: "token.refresh"}, {Name: "token.revoke"},
		{Name: "consent.give"}, {Name: "consent.redeem"}, {Name: "device.start"}, {Name: "device.show", Read: true}, {Name: "device.approve"}, {Name: "device.deny"},
		{Name: "token.inspect", Read: true}, {Name: "credential.rotate"}, {Name: "credential.revoke"}, {Name: "credential.recover"}, {Name: "command.register"},
		{Name: "audit.checkpoint", Read: true}, {Name: "audit.tile", Read: true}, {Name: "audit.entries", Read: true}, {Name: "audit.prove", Read: true}, {Name: "audit.hold"}, {Name: "audit.release"}, {Name: "audit.holds", Read: true}, {Name: "audit.controls", Read: true}, {Name: "audit.query", Read: true}, {Name: "audit.queries", Read: true}, {Name: "audit.define"}, {Name: "audit.withdraw"},
		{Name: "policy.schema", Read: true}, {Name: "claim.show", Read: true}, {Name: "owner.list", Read: true}, {Name: "owner.link"}, {Name: "owner.move"},
		{Name: "role.list", Read: true}, {Name: "role.bind"}, {Name: "role.unbind"}, {Name: "role.define"}, {Name: "role.drop"},
		{Name: "retention.list", Read: true}, {Name: "retention.set"}, {Name: "retention.reset"},
		{Name: "scope.pause", Kinds: scoped}, {Name: "scope.resume", Kinds: scoped}, {Name: "scope.quarantine", Kinds: scoped},
		{Name: "scope.release", Kinds: scoped}, {Name: "scope.kill", Kinds: scoped}, {Name: "scope.finish"}, {Name: "drill.begin"}, {Name: "drill.record"},
		{Name: "trace.why", Read: true}, {Name: "trace.blast", Read: true}, {Name: "trace.spread", Read: true}, {Name: "trace.cut", Read: true},
		{Name: "trace.flow", Read: true}, {Name: "trace.replay", Read: true}, {Name: "trace.recalls", Read: true}, {Name: "trace.contain"}, {Name: "trace.restore"}, {Name: "trace.widen"},
		{Name: "scope.list", Read: true}, {Name: "scope.show", Read: true},
		{Name: "enrollment.create"}, {Name: "identity.inventory", Read: true}, {Name: "key.rotate"}, {Name: "key.renew"}, {Name: "key.activate"}, {Name: "system.rewrap"}, {Name: "agent.enroll"}, {Name: "svid.issue"}, {Name: "svid.sign"},
		{Name: "policy.list", Read: true}, {Name: "policy.show", Read: true}, {Name: "policy.check", Read: true}, {Name: "policy.diff", Read: true},
		{Name: "policy.dryrun", Read: true}, {Name: "policy.flips", Read: true},
		{Name: "policy.activate"}, {Name: "policy.revert"}, {Name: "policy.shadow"}, {Name: "policy.unshadow"},
		{Name: "manifest.plan", Read: true}, {Name: "manifest.list", Read: true}, {Name: "manifest.get", Read: true}, {Name: "manifest.export", Read: true},
		{Name: "manifest.apply"}, {Name: "community.provide"}, {Name: "community.classify"},
		{Name: "taint.raise"}, {Name: "taint.flag"}, {Name: "taint.clear"}, {Name: "taint.list", Read: true}, {Name: "taint.show", Read: true}, {Name: "taint.own", Read: true},
		{Name: "queue.receive"}, {Name: "queue.ack"}, {Name: "queue.extend"}, {Name: "queue.dead", Read: true}, {Name: "queue.redrive"},
	}
}

// people is a directory that tests write to.
type people struct {
	mu sync.Mutex
	by map[act.ID]PrincipalFacts
}

func (d *people) Facts(agent act.ID) PrincipalFacts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.by[agent]
}

func (d *people) set(id act.ID, f PrincipalFacts) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by[id] = f
}

func testID(kind act.Kind, n int) act.ID { return act.ID(n<<22 | int(kind)<<17) }

func testCodec(t testing.TB) *act.Codec {
	t.Helper()
	c, err := act.NewCodec(bytes.Repeat([]byte{7}, act.CodecKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func testPub(n byte) ed25519.PublicKey {
	pub, _ := testKey(n).Public().(ed25519.PublicKey)
	return pub
}

var created = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// bundle makes a signed bundle of one file.
func bundle(t testing.TB, version int64, text string) *Bundle {
	t.Helper()
	b := &Bundle{Version: version, Schema: Schema, CreatedAt: created, Files: []File{{Name: "test.cedar", Text: text}}}
	if _, err := Sign(b, testKey(1)); err != nil {
		t.Fatal(err)
	}
	return b
}

func newEngine(t testing.TB, d Directory, more func(*Config)) *Engine {
	t.Helper()
	c := Config{Key: testPub(1), Codec: testCodec(t), Directory: d, Acts: registry()}
	if more != nil {
		more(&c)
	}
	return New(c)
}

func activate(t testing.TB, e *Engine, version int64, text string) {
	t.Helper()
	if err := e.Activate(bundle(t, version, text)); err != nil {
		t.Fatal(err)
	}
}

func activateDefault(t testing.TB, e *Engine) {
	t.Helper()
	b, err := Default(created)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(b, testKey(1)); err != nil {
		t.Fatal(err)
	}
	if err := e.Activate(b); err != nil {
		t.Fatal(err)
	}
}

func ruleOf(err error) string {
	e, _ := errors.AsType[*act.Error](err)
	if e == nil {
		return ""
	}
	return e.Rule
}

func TestDefaultBundle(t *testing.T) {
	d := &people{by: map[act.ID]PrincipalFacts{}}
	agent := func(n int, s act.Standing) act.Principal {
		id := testID(act.KindAgent, n)
		d.set(id, PrincipalFacts{Standing: s, Claimed: s != act.Requested})
		return act.Principal{Kind: act.Agent, ID: id}
	}
	shut := newEngine(t, d, nil)
	open := newEngine(t, d, func(c *Config) { c.AnonymousAPI = true })
	activateDefault(t, shut)
	activateDefault(t, open)
	paged := newEngine(t, d, func(c *Config) { c.ObserverPages = true })
	activateDefault(t, paged)

	operator := act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1), Roles: uint8(gate.OperatorAdmin), Binding: act.BindingOperator}
	type asking struct {
		name string
		e    *Engine
		p    act.Principal
		own  bool
	}
	all := []asking{
		{"observer", shut, act.Principal{}, false},
		{"observer, open", open, act.Principal{}, false},
		{"page reader, shut", shut, act.Principal{Name: act.PageReader}, false},
		{"page reader", paged, act.Principal{Name: act.PageReader}, false},
		{"stranger where pages are public", paged, act.Principal{}, false},
		{"observer of another name", paged, act.Principal{Name: "page"}, false},
		{"requested", shut, agent(1, act.Requested), false},
		{"requested, own", open, agent(1, act.Requested), true},
		{"active", shut, agent(2, act.Active), false},
		{"active, own", open, agent(2, act.Active), true},
		{"paused, own", shut, agent(3, act.Paused), true},
		{"killed, own", shut, agent(4, act.Killed), true},
		{"unknown, own", shut, act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, 99)}, true},
		{"operator", shut, operator, false},
		{"operator, own", open, operator, true},
		{"setup", shut, act.SystemPrincipal("setup"), true},
		{"gate", shut, act.SystemPrincipal("gate"), true},
		{"reaper", shut, act.SystemPrincipal("reaper"), true},
		{"assessor", shut, act.SystemPrincipal("trust"), true},
		{"housekeeping", shut, act.SystemPrincipal("housekeeping"), true},
		{"keeper", shut, act.SystemPrincipal("approvals"), true},
		{"restorer", shut, act.SystemPrincipal("restore"), true},
		{"issuer", shut, act.SystemPrincipal("issuer"), true},
		{"keys", shut, act.SystemPrincipal("keys"), true},
		{"driller", shut, act.SystemPrincipal("drill"), true},
		{"sweeper", shut, act.SystemPrincipal("containment"), true},
		{"labels", shut, act.SystemPrincipal("labels"), true},
		{"container", shut, act.SystemPrincipal("container"), true},
		{"provider", shut, act.SystemPrincipal("provider"), true},
		{"other system", shut, act.SystemPrincipal("timer"), true},
	}
	actives, operators := []string{"active", "active, own"}, []string{"operator", "operator, own"}
	both := slices.Concat(actives, operators)
	reads := slices.Concat([]string{"observer, open"}, actives, operators)
	pages := slices.Concat([]string{"page reader"}, reads)
	strangers := []string{"observer", "observer, open", "page reader, shut", "page reader", "stranger where pages are public", "observer of another name"}
	may := map[string][]string{
		"agent.register":    strangers,
		"agent.claim":       operators,
		"agent.me":          {"requested", "requested, own", "active", "active, own"},
		"agent.update":      {"active, own"},
		"agent.invite":      operators,
		"agent.list":        operators,
		"agent.show":        operators,
		"agent.pause":       operators,
		"agent.resume":      operators,
		"agent.kill":        append([]string{"restorer", "sweeper", "driller"}, operators...),
		"scope.pause":       operators,
		"scope.resume":      operators,
		"scope.quarantine":  operators,
		"scope.release":     operators,
		"scope.kill":        append([]string{"restorer"}, operators...),
		"scope.finish":      {"sweeper"},
		"drill.begin":       {"driller"},
		"drill.record":      {"driller"},
		"trace.why":         operators,
		"trace.blast":       operators,
		"trace.spread":      operators,
		"trace.cut":         operators,
		"trace.flow":        operators,
		"trace.replay":      operators,
		"trace.recalls":     operators,
		"trace.contain":     operators,
		"trace.restore":     operators,
		"trace.widen":       {"container"},
		"scope.list":        operators,
		"scope.show":        operators,
		"kill.list":         operators,
		"kill.note":         append([]string{"restorer"}, operators...),
		"network.condition": operators,
		"network.backup":    operators,
		"network.confirm":   operators,
		"network.restore":   {"restorer"},
		"agent.quarantine":  operators,
		"agent.release":     operators,
		"community.create":  append([]string{"setup"}, actives...),
		"post.create":       actives,
		"post.read":         pages,
		"post.delete":       {"active, own"},
		"comment.create":    actives,
		"comment.list":      pages,
		"comment.delete":    {"active, own"},
		"content.report":    actives,
		"report.list":       slices.Concat(actives, operators),
		"content.unseal":    operators,
		"content.erase":     operators,
		"system.expire":     {"housekeeping"},
		"vote.cast":         actives,
		"feed.read":         pages,
		"import.write":      operators,
		"avatar.set":        {"active, own"},
		"avatar.remove":     {"active, own"},
		"agent.follow":      actives,
		"agent.unfollow":    actives,
		"image.read":        reads,
		"agent.profile":     pages,
		"identity.prove":    {"active, own"},
		"identity.verify":   strangers,
		"owner.mail":        {"active, own"},
		"claim.mail":        strangers,
		"app.create":        operators,
		"app.revoke":        operators,
		"approval.approve":  operators,
		"approval.deny":     operators,
		"approval.list":     slices.Concat(actives, operators),
		"approval.show":     slices.Concat(actives, operators),
		"challenge.answer":  {"active, own"},
		"system.settle":     {"keeper"},
		"dm.request":        actives,
		"dm.requests":       actives,
		"dm.check":          actives,
		"dm.list":           actives,
		"dm.read":           actives,
		"dm.mark":           actives,
		"dm.send":           {"active, own"},
		"dm.approve":        operators, // an agent's own key only where the server is set so
		"dm.reject":         append([]string{"active, own"}, operators...),
		"dm.unblock":        append([]string{"active, own"}, operators...),
		"dm.survey":         operators,
		"dm.inspect":        operators, // held
		"dm.reveal":         operators,
		"task.post":         actives,
		"task.list":         actives,
		"task.read":         actives,
		"task.claim":        actives,
		"task.progress":     actives,
		"task.complete":     actives,
		"task.fail":         actives,
		"task.handback":     actives,
		"task.cancel":       {"active, own"},
		"system.lapse":      {"other system"},
		"denial.record":     {"gate"},
		"agent.expire":      {"reaper"},
		"agent.lapse":       {"reaper"},
		"agent.end":         {"reaper"},
		"rollout.start":     operators, "rollout.pause": operators, "rollout.resume": operators, "rollout.abort": operators, "rollout.show": operators,
		"audit.checkpoint": operators, "audit.tile": operators, "audit.entries": operators, "audit.prove": operators, "audit.hold": operators, "audit.release": operators, "audit.holds": operators, "audit.controls": operators, "audit.query": operators, "audit.queries": operators, "audit.define": operators, "audit.withdraw": operators,
		"process.open": actives, "process.renew": actives, "process.list": operators, "telemetry.report": actives, "telemetry.read": slices.Concat(actives, operators),
		"agent.rebind": {"reaper"}, "rollout.step": {"reaper"}, "rollout.revert": {"reaper"},
		"agent.appeal": operators,
		"agent.trust":  slices.Concat(operators, []string{"assessor"}), "trust.list": both,
		"health.alert": {"reaper"},
		"health.stop":  {"reaper"},
		"notice.list":  operators,
		"class.put":    operators, "class.retire": operators, "class.list": operators, "class.show": operators,
		"mandate.open": operators, "mandate.revise": operators, "mandate.close": operators, "mandate.attest": operators,
		"mandate.list": operators, "mandate.show": operators, "outcome.list": operators, "outcome.record": actives,
		"agent.request": operators, "agent.spawn": actives, "agent.adopt": operators, "agent.orphans": operators,
		"agent.line": both, "budget.show": both, "budget.report": actives,
		"quota.set": operators, "quota.drop": operators, "quota.list": operators, "quota.show": operators, "quota.alert": {"reaper"},
		"home.read": actives, "notification.list": actives, "notification.read": actives,
		"search.run":  pages,
		"system.tidy": {"housekeeping"}, "system.forget": {"housekeeping"},

		"label.list":            reads,
		"label.roles":           reads,
		"label.define":          nil,
		"label.attach":          nil,
		"label.prompt":          nil,
		"label.detach":          {"active, own"},
		"label.revoke":          operators,
		"briefing.take":         {"active, own"},
		"community.list":        pages,
		"community.show":        pages,
		"community.moderators":  reads,
		"community.subscribe":   actives,
		"community.unsubscribe": actives,
		"community.picture":     nil,
		"community.update":      nil, // roles have a test of their own, TestDefaultBundleOnRoles
		"community.appoint":     operators,
		"community.dismiss":     append([]string{"active, own"}, operators...),
		"post.pin":              nil,
		"post.unpin":            nil,
		"event.read":            slices.Concat(actives, operators),
		"webhook.create":        both, "webhook.list": both, "webhook.delete": both, "webhook.rotate": both,
		"webhook.replay": both, "webhook.deliveries": both,
		"network.show": pages, "session.open": strangers, "session.lapse": strangers, "session.close": {"operator, own"}, "session.list": operators,
		"agent.enroll": strangers, "enrollment.create": operators, "credential.recover": operators, "command.register": operators, "identity.inventory": operators,
		"policy.schema": operators, "claim.show": operators, "owner.list": operators, "owner.link": operators, "owner.move": append([]string{"provider"}, operators...),
		"role.list": operators, "role.bind": operators, "role.unbind": operators, "role.define": operators, "role.drop": operators,
		"retention.list": operators, "retention.set": operators, "retention.reset": operators,
		"policy.list": operators, "policy.show": operators, "policy.check": operators, "policy.diff": operators, "policy.dryrun": operators, "policy.flips": operators,
		"manifest.plan": operators, "manifest.list": operators, "manifest.get": operators, "manifest.export": operators, "manifest.apply": operators,
		"community.provide": operators, "community.classify": operators,
		"taint.raise": {"labels"}, "taint.flag": operators, "taint.clear": operators, "taint.list": operators, "taint.show": operators, "taint.own": actives,
		"policy.activate": operators, "policy.revert": operators, "policy.shadow": operators, "policy.unshadow": operators,
		"passkey.list": operators, "passkey.add": operators, "passkey.remove": operators, "passkey.prove": operators,
		"token.issue": {"active, own"}, "token.exchange": {"active, own"}, "token.assert": {"active, own", "operator, own"},
		"token.refresh": {"active, own", "operator, own"}, "token.revoke": append([]string{"active, own"}, operators...), "token.inspect": both,
		"credential.rotate": {"active, own"}, "credential.revoke": append([]string{"active, own"}, operators...),
		"svid.issue": {"active, own"}, "svid.sign": {"active, own"},
		"key.rotate":   append([]string{"issuer"}, operators...),
		"key.renew":    operators,
		"key.activate": {"keys"}, "system.rewrap": {"keys"},
		"consent.give": operators, "consent.redeem": operators, "device.start": strangers,
		"device.show": operators, "device.approve": operators, "device.deny": operators,
		"queue.create": actives, "queue.update": actives, "queue.delete": actives, "queue.list": both, "queue.show": both,
		"queue.receive": actives, "queue.ack": actives, "queue.extend": actives, "queue.dead": actives, "queue.redrive": actives,
	}
	for name := range may {
		if len(shut.Rules(name)) == 0 {
			t.Errorf("no policy names %s", name)
		}
		for _, a := range all {
			got := a.e.Decide(a.p, gate.Question{Act: name, Resource: gate.Facts{Own: a.own}})
			if want := slices.Contains(may[name], a.name); got.Allow != want {
				t.Errorf("%s: %s: allowed is %v, want %v (by %s)", name, a.name, got.Allow, want, got.Policy)
			}
			if !got.Allow && got.Hint == "" || got.Allow && got.Hint != "" {
				t.Errorf("%s: %s: allowed is %v with hint %q", name, a.name, got.Allow, got.Hint)
			}
			if got.Bundle != DefaultVersion || got.Policy == "" {
				t.Errorf("%s: %s: decision is not traceable: %+v", name, a.name, got)
			}
			if got.Policy != DefaultDeny && !strings.HasPrefix(got.Place, "default/") {
				t.Errorf("%s: %s: place is %q", name, a.name, got.Place)
			}
		}
	}
	for _, i := range registry() {
		if _, ok := may[i.Name]; !ok {
			t.Errorf("%s is not in this test", i.Name)
		}
	}

	// Denials that somebody has to understand.
	post := gate.Facts{Kind: act.KindPost}
	for _, c := range []struct {
		p              act.Principal
		act            string
		f              gate.Facts
		policy, hinted string
	}{
		{agent(1, act.Requested), "post.create", gate.Facts{}, "unclaimed", "claim"},
		{agent(1, act.Requested), "post.read", post, "unclaimed", "claim"},
		{operator, "post.create", gate.Facts{}, "origin", "Operators cannot create content"},
		{operator, "vote.cast", post, "origin", "Operators cannot create content"},
		{agent(2, act.Active), "post.delete", post, DefaultDeny, "only your own posts"},
		{agent(2, act.Active), "agent.kill", gate.Facts{}, DefaultDeny, "agent.kill"},
		{agent(2, act.Active), "comment.create", gate.Facts{Kind: act.KindPost, Locked: true}, "locked", "locked"},
		{agent(2, act.Active), "post.read", gate.Facts{Kind: act.KindPost, Visibility: gate.Restricted}, DefaultDeny, "public"},
		{act.Principal{}, "post.read", post, DefaultDeny, "without a credential"},
		{act.Principal{}, "agent.kill", gate.Facts{}, DefaultDeny, "Register"},
		{agent(2, act.Active), "post.explode", gate.Facts{}, DefaultDeny, "post.explode"},
		{agent(2, act.Active), "post.read", gate.Facts{Kind: act.KindInvite}, DefaultDeny, "post.read"},
		{agent(2, act.Active), "post.read", gate.Facts{Kind: act.KindPost, Visibility: 77}, DefaultDeny, "post.read"},
		{agent(5, 250), "post.read", post, DefaultDeny, "post.read"},
		{act.Principal{Kind: 9}, "agent.register", gate.Facts{}, DefaultDeny, "agent.register"},
	} {
		got := shut.Decide(c.p, gate.Question{Act: c.act, Resource: c.f})
		if got.Allow || got.Policy != c.policy || !strings.Contains(got.Hint, c.hinted) {
			t.Errorf("%s by %v: %+v, want a denial by %s whose hint says %q", c.act, c.p.Kind, got, c.policy, c.hinted)
		}
	}
	internal := gate.Facts{Kind: act.KindPost, Classification: gate.Internal}
	if open.Decide(act.Principal{}, gate.Question{Act: "post.read", Resource: internal}).Allow {
		t.Error("an anonymous reader was shown an internal post")
	}
}

func TestObligations(t *testing.T) {
	d := &people{by: map[act.ID]PrincipalFacts{}}
	e := newEngine(t, d, nil)
	activate(t, e, 1, `
		@id("b") @hold("review") permit (principal is Observer, action == Action::"token.issue", resource);
		@id("a") @notify("operators") @hold("review") permit (principal, action == Action::"token.issue", resource);
		@id("c") @attenuate("ttl=60s") permit (principal is Agent, action == Action::"token.issue", resource);
		@id("d") forbid (principal is Operator, action == Action::"token.issue", resource);`)
	for _, c := range []struct {
		kind   act.PrincipalKind
		allow  bool
		policy string
		want   []gate.Obligation
	}{
		{act.Observer, true, "b", []gate.Obligation{{Name: "hold", Arg: "review"}, {Name: "notify", Arg: "operators"}}},
		{act.Agent, true, "a", []gate.Obligation{{Name: "notify", Arg: "operators"}, {Name: "hold", Arg: "review"}, {Name: "attenuate", Arg: "ttl=60s"}}},
		{act.Operator, false, "d", nil},
		{act.System, true, "a", []gate.Obligation{{Name: "notify", Arg: "operators"}, {Name: "hold", Arg: "review"}}},
	} {
		for range 2 { // decided, then from the cache
			got := e.Decide(act.Principal{Kind: c.kind}, gate.Question{Act: "token.issue", Resource: gate.Facts{Kind: act.KindGrant}})
			if got.Allow != c.allow || got.Policy != c.policy || !slices.Equal(got.Obligations, c.want) {
				t.Errorf("%v: %+v, want %s with %v", c.kind, got, c.policy, c.want)
			}
		}
	}
}

// A forbid that cannot be evaluated denies; a permit that cannot is passed over.
func TestEvaluationFailsClosed(t *testing.T) {
	e := newEngine(t, &people{}, nil)
	activate(t, e, 1, `
		@id("broken-permit") permit (principal, action == Action::"post.read", resource) when { 9223372036854775807 + 1 == 0 };
		@id("all") permit (principal, action, resource);
		@id("broken-forbid") forbid (principal, action == Action::"vote.cast", resource) when { 9223372036854775807 + 1 == 0 };`)
	got := e.Decide(act.Principal{}, gate.Question{Act: "post.read", Resource: gate.Facts{Kind: act.KindPost}})
	if !got.Allow || got.Policy != "all" {
		t.Errorf("a permit that fails was not passed over: %+v", got)
	}
	got = e.Decide(act.Principal{}, gate.Question{Act: "vote.cast", Resource: gate.Facts{Kind: act.KindPost}})
	if got.Allow || got.Policy != "broken-forbid" || got.Place != "test.cedar:4" {
		t.Errorf("a forbid that fails did not deny: %+v", got)
	}
}

// exploding is a directory with a defect.
type exploding struct{}

func (exploding) Facts(act.ID) PrincipalFacts { panic("lost") }

func TestPanicIsDenial(t *testing.T) {
	e := newEngine(t, exploding{}, nil)
	activate(t, e, 1, `@id("all") permit (principal, action, resource);`)
	got := e.Decide(act.Principal{Kind: act.Agent, ID: 1}, gate.Question{Act: "agent.me"})
	if got.Allow || got.Policy != panicked || got.Bundle != 1 {
		t.Errorf("a panic gave %+v", got)
	}
	if got := e.Decide(act.Principal{}, gate.Question{Act: "agent.me"}); !got.Allow {
		t.Errorf("the engine did not survive: %+v", got)
	}
}

func TestReady(t *testing.T) {
	e := newEngine(t, &people{}, nil)
	if err := e.Ready(); ruleOf(err) != noBundle || e.Version() != 0 {
		t.Errorf("without a bundle: ready is %v, version %d", err, e.Version())
	}
	if got := e.Decide(act.Principal{Kind: act.Operator}, gate.Question{Act: "agent.list"}); got.Allow || got.Policy != noBundle || got.Hint == "" {
		t.Errorf("without a bundle: %+v", got)
	}
	activate(t, e, 7, `@id("all") permit (principal, action, resource);`)
	if err := e.Ready(); err != nil || e.Version() != 7 {
		t.Errorf("with a bundle: ready is %v, version %d", err, e.Version())
	}
}

// decide asks about the network itself.
func decide(e *Engine, p act.Principal, name string) gate.Decision {
	return e.Decide(p, gate.Question{Act: name})
}
