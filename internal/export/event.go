package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/gowebpki/jcs"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
)

// SchemaVersion is the version of OCSF that events are in.
const SchemaVersion = "1.9.0"

// The classes that events have.
const (
	classAPI       = 6003
	classSignIn    = 3002
	classAuthorize = 3003
	classEntity    = 3004
	classFinding   = 2004
)

var classNames = map[int64]string{
	classAPI: "API Activity", classSignIn: "Authentication", classAuthorize: "Authorize Session",
	classEntity: "Entity Management", classFinding: "Detection Finding",
}

var categoryNames = map[int64]string{2: "Findings", 3: "Identity & Access Management", 6: "Application Activity"}

// Values of enumerations that several classes share.
const (
	activityOther = 99

	severityInfo = 1
	severityLow  = 2
	severityHigh = 4

	statusSuccess = 1
	statusFailure = 2
)

// object is a JSON object; encoding sorts its members.
type object map[string]any

// form says what events say of this network and program.
type form struct {
	network string // its public URL
	version string // of the program
}

// event renders one leaf as an OCSF event: canonical JSON (RFC 8785), one line. Whatever
// the schema has no member for is in unmapped.
func (f form) event(from *audit.Followed) (line []byte, class int64, err error) {
	l := &from.Leaf
	class = classOf(l)
	activity, activityName := activityOf(class, l.Act)
	severity, severityName := severityOf(l)
	uid := strconv.FormatInt(from.Seq, 10)
	e := object{
		"class_uid": class, "class_name": classNames[class], "category_uid": class / 1000, "category_name": categoryNames[class/1000],
		"activity_id": activity, "activity_name": activityName, "type_uid": class*100 + activity, "type_name": classNames[class] + ": " + activityName,
		"severity_id": severity, "severity": severityName, "time": l.At / 1000, "message": message(l),
		"metadata": object{
			"version": SchemaVersion, "uid": uid, "sequence": from.Seq, "log_name": "audit", "log_provider": f.network, "profiles": profiles(class, l),
			"product": object{"name": "Reefwarden", "vendor_name": "Reefwarden", "version": f.version, "uid": f.network},
		},
		"actor": actorOf(&l.Principal), "unmapped": unmapped(from),
	}
	if l.Count > 1 {
		e["count"] = l.Count
	}
	if class != classFinding { // of a finding it is how far its review is
		e["status_id"], e["status"] = statusSuccess, "Success"
		if l.Outcome != "done" {
			e["status_id"], e["status"], e["status_code"] = statusFailure, "Failure", l.Code
			if l.Rule != "" {
				e["status_detail"] = l.Rule
			}
		}
	}
	f.fill(e, class, from)
	attestation := object{"uid": uid, "chain_uid": f.network, "authority_uid": f.network}
	e["attestation"] = attestation
	bare, err := canonical(e)
	if err != nil {
		return nil, class, err
	}
	// The fingerprint is over the canonical event without itself (attestation of the
	// schema's record_integrity).
	attestation["fingerprint"] = object{"algorithm_id": 3, "algorithm": "SHA-256", "value": hash(bare)}
	line, err = canonical(e)
	return line, class, err
}

func canonical(e object) ([]byte, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(raw)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// fill adds what a class has beside what all have.
func (f form) fill(e object, class int64, from *audit.Followed) {
	l := &from.Leaf
	source := endpoint(&l.Principal)
	thing := l.Out
	if thing.ID == "" {
		thing = l.Target
	}
	switch class {
	case classAPI:
		e["api"] = object{"operation": l.Act, "service": object{"name": f.network}}
		e["src_endpoint"] = source
		var resources []object
		for _, r := range []audit.LeafRef{l.Target, l.Out} {
			if r.ID != "" && (len(resources) == 0 || resources[0]["uid"] != r.ID) {
				resources = append(resources, resource(r))
			}
		}
		if len(resources) > 0 {
			e["resources"] = resources
		}
		if l.Principal.Kind == "agent" {
			e["ai_agent"] = object{"uid": l.Principal.ID, "name": l.Principal.Name, "type_id": 0}
			if l.Principal.Grant != "" {
				e["delegation"] = object{"uid": l.Principal.Grant, "issuer_uid": f.network}
			}
		}
		if l.Trace != "" {
			trace := object{"uid": l.Trace, "service": object{"name": f.network}}
			if span, ok := spanOf(from); ok {
				trace["span"] = object{"uid": span, "operation": l.Act, "start_time": l.At / 1000, "end_time": l.At / 1000}
			}
			e["trace"] = trace
		}
	case classSignIn:
		e["user"], e["src_endpoint"], e["is_remote"] = subject(l), source, true
		e["service"] = object{"name": f.network}
		if l.Out.Kind == "credential" {
			e["session"] = object{"uid": l.Out.ID}
		}
	case classAuthorize:
		e["user"], e["src_endpoint"] = subject(l), source
		e["session"] = object{"uid": thing.ID}
		e["privileges"] = []string{thing.Kind + ":" + thing.ID}
	case classEntity:
		e["entity"], e["src_endpoint"] = resource(thing), source
		if l.Reason != "" {
			e["comment"] = l.Reason
		}
	case classFinding:
		e["finding_info"] = object{
			"uid": strconv.FormatInt(from.Seq, 10), "title": message(l), "types": []string{l.Act}, "created_time": l.At / 1000,
			"product": object{"name": "Reefwarden", "vendor_name": "Reefwarden"},
		}
		e["status_id"], e["status"], e["is_alert"] = 1, "New", true
		e["resources"] = []object{resource(thing)}
	}
}

// profiles lists what of the schema's profiles an event has.
func profiles(class int64, l *audit.Leaf) []string {
	list := []string{"record_integrity"}
	if class == classAPI {
		if l.Principal.Kind == "agent" {
			list = append(list, "ai_operation")
		}
		if l.Trace != "" {
			list = append(list, "trace")
		}
	}
	return list
}

// entities are the nouns whose acts change what there is or what it may do, not what is
// said.
var entities = map[string]bool{
	"agent": true, "class": true, "mandate": true, "policy": true, "credential": true, "key": true, "enrollment": true, "app": true,
	"owner": true, "passkey": true, "command": true, "rollout": true, "scope": true, "manifest": true, "network": true, "kill": true,
	"consent": true, "device": true, "approval": true, "webhook": true, "queue": true, "process": true,
}

// spoken are acts on entities that change nothing of the kind.
var spoken = map[string]bool{"agent.follow": true, "agent.unfollow": true, "queue.receive": true, "queue.ack": true, "queue.extend": true}

func classOf(l *audit.Leaf) int64 {
	noun, _, _ := strings.Cut(l.Act, ".")
	done := l.Outcome == "done"
	switch {
	case noun == "health" && done:
		return classFinding
	case noun == "session" || l.Act == "passkey.prove" || l.Code == act.Unauthenticated.String():
		return classSignIn
	case noun == "token" && l.Act != "token.revoke" || noun == "svid" || l.Act == "consent.redeem":
		if done && l.Out.ID != "" {
			return classAuthorize
		}
		return classSignIn
	case entities[noun] && !spoken[l.Act] && (l.Target.ID != "" || l.Out.ID != ""):
		return classEntity
	}
	return classAPI
}

// verbs are the activities of verbs where they are not what is usual: a thing is updated.
var verbs = map[string]int64{
	"create": 1, "register": 1, "request": 1, "spawn": 1, "enroll": 1, "invite": 1, "open": 1, "put": 1, "add": 1, "give": 1, "send": 1,
	"post": 1, "define": 1, "write": 1, "provide": 1, "cast": 1, "report": 1, "note": 1, "record": 1, "start": 1,
	"read": 2, "show": 2, "list": 2, "reveal": 2, "unseal": 2, "receive": 2, "inspect": 2, "verify": 2, "search": 2, "run": 2,
	"update": 3, "revise": 3, "rotate": 3, "renew": 3, "activate": 3, "revert": 3, "apply": 3,
	"delete": 4, "remove": 4, "erase": 4, "kill": 4, "end": 4, "expire": 4, "revoke": 4, "retire": 4, "close": 4, "forget": 4, "tidy": 4,
}

var activityNames = map[int64]string{1: "Create", 2: "Read", 3: "Update", 4: "Delete"}

// activityOf returns a class's activity; what has none of the schema's goes by the act's
// own name.
func activityOf(class int64, name string) (int64, string) {
	_, verb, _ := strings.Cut(name, ".")
	switch class {
	case classSignIn:
		if verb == "close" || verb == "lapse" {
			return 2, "Logoff"
		}
		return 1, "Logon"
	case classAuthorize:
		return 1, "Assign Privileges"
	case classFinding:
		return 1, "Create"
	}
	if n := verbs[verb]; n != 0 {
		return n, activityNames[n]
	}
	return activityOther, name
}

func severityOf(l *audit.Leaf) (int64, string) {
	switch {
	case l.Outcome == "done" && contains(l.Act):
		return severityHigh, "High"
	case l.Outcome != "done":
		return severityLow, "Low"
	}
	return severityInfo, "Informational"
}

// message says what happened in one line, without what anybody wrote.
func message(l *audit.Leaf) string {
	text := l.Act + " " + l.Outcome
	if l.Rule != "" {
		text += " by " + l.Rule
	}
	return text
}

func actorOf(p *audit.LeafPrincipal) object {
	switch p.Kind {
	case "operator":
		user := object{"type_id": 1, "type": "User"}
		if p.ID != "" {
			user["uid"] = p.ID
		}
		if p.Name != "" {
			user["name"] = p.Name
		}
		return object{"user": user, "app_name": "operator"}
	case "agent":
		return object{"app_uid": p.ID, "app_name": p.Name}
	case "system":
		return object{"app_name": "reefwarden:" + p.Name}
	}
	return object{"app_name": "anonymous"}
}

// subject is whom a sign-in or a token is for.
func subject(l *audit.Leaf) object {
	p := &l.Principal
	user := object{"type_id": 0, "type": "Unknown", "name": "unknown"}
	switch p.Kind {
	case "operator":
		user["type_id"], user["type"] = 1, "User"
	case "agent":
		user["type_id"], user["type"] = 99, "AI Agent"
	}
	if p.Name != "" {
		user["name"] = p.Name
	}
	if p.ID != "" {
		user["uid"] = p.ID
	} else if l.Target.ID != "" {
		user["uid"] = l.Target.ID
	}
	return user
}

// endpoint is where a call came from, as far as the record says: a keyed hash of the
// network source for strangers, the caller itself for others.
func endpoint(p *audit.LeafPrincipal) object {
	e := object{"name": p.Kind}
	if p.Source != "" {
		e["uid"] = p.Source
	}
	if p.ID != "" {
		e["uid"] = p.ID
	}
	if p.Name != "" {
		e["name"] = p.Kind + ":" + p.Name
	}
	return e
}

func resource(r audit.LeafRef) object {
	out := object{"uid": r.ID, "type": r.Kind}
	if r.Version != 0 {
		out["version"] = strconv.FormatInt(r.Version, 10)
	}
	return out
}

// unmapped is what the schema has no member for, and the hash by which the event's leaf
// is found in the Merkle log (RFC 6962 §2.1).
func unmapped(from *audit.Followed) object {
	l := &from.Leaf
	out := object{"act": l.Act, "outcome": l.Outcome, "principal_kind": l.Principal.Kind, "leaf_sha256": hash(append([]byte{0}, from.Body...))}
	text := func(key, value string) {
		if value != "" {
			out[key] = value
		}
	}
	text("code", l.Code)
	text("rule", l.Rule)
	text("approval", l.Approval)
	text("content_sha256", l.In)
	text("binding", l.Principal.Binding)
	text("credential", l.Principal.Credential)
	text("trace", l.Trace)
	if len(l.Chain) > 0 {
		out["chain"] = l.Chain
	}
	if l.Policy.ID != "" {
		decision := object{"id": l.Policy.ID}
		if l.Policy.Bundle != 0 {
			decision["bundle"] = l.Policy.Bundle
		}
		if l.Policy.Place != "" {
			decision["place"] = l.Policy.Place
		}
		out["policy"] = decision
	}
	for name, r := range map[string]audit.LeafRef{"target": l.Target, "made": l.Out} {
		if r.ID != "" {
			out[name] = resource(r)
		}
	}
	return out
}
