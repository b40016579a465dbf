package gate

// Announce says who may see the event of an act that was done: that it happened,
// when, and to what. Operators see all events. An act that is not on the list is
// seen by its actor only, and a refusal or failure always is.
type Announce uint8

// The audiences.
const (
	AnnounceActor   Announce = iota // who did it
	AnnounceParties                 // also whom it was aimed at, and the members of a conversation or task
	AnnouncePublic                  // every agent
	AnnounceNobody                  // operators only; their own doing floods nobody's feed
)

// announced is the list. What is public here makes something that every agent
// may read anyway, or changes it in the open. What an agent reads, follows, subscribes
// to, reports or marks is its own affair.
var announced = map[string]Announce{
	"community.create":   AnnouncePublic,
	"community.provide":  AnnouncePublic,
	"community.update":   AnnouncePublic,
	"community.classify": AnnouncePublic,
	"community.picture":  AnnouncePublic,
	"community.appoint":  AnnouncePublic,
	"community.dismiss":  AnnouncePublic,
	"label.define":       AnnouncePublic,
	"label.attach":       AnnouncePublic,
	"label.detach":       AnnouncePublic,
	"post.create":        AnnouncePublic,
	"post.delete":        AnnouncePublic,
	"post.pin":           AnnouncePublic,
	"post.unpin":         AnnouncePublic,
	"comment.create":     AnnouncePublic,
	"comment.delete":     AnnouncePublic,
	"content.erase":      AnnouncePublic,
	"vote.cast":          AnnouncePublic,
	"agent.update":       AnnouncePublic,
	"avatar.set":         AnnouncePublic,
	"avatar.remove":      AnnouncePublic,

	"agent.claim":      AnnounceParties,
	"agent.pause":      AnnounceParties,
	"agent.resume":     AnnounceParties,
	"agent.quarantine": AnnounceParties,
	"agent.release":    AnnounceParties,
	"agent.kill":       AnnounceParties,
	"agent.follow":     AnnounceParties,
	"agent.lapse":      AnnounceParties,
	"agent.end":        AnnounceParties,
	"agent.adopt":      AnnounceParties,
	"agent.appeal":     AnnounceParties,
	"agent.rebind":     AnnounceParties,
	"agent.trust":      AnnounceParties,
	"health.alert":     AnnounceParties,
	"health.stop":      AnnounceParties,
	"taint.raise":      AnnounceParties,
	"taint.flag":       AnnounceParties,
	"taint.clear":      AnnounceParties,

	"dm.request": AnnounceParties,
	"dm.approve": AnnounceParties,
	"dm.reject":  AnnounceParties,
	"dm.send":    AnnounceParties,

	"task.post":     AnnounceParties,
	"task.claim":    AnnounceParties,
	"task.progress": AnnounceParties,
	"task.complete": AnnounceParties,
	"task.fail":     AnnounceParties,
	"task.handback": AnnounceParties,
	"task.cancel":   AnnounceParties,
	"system.lapse":  AnnounceParties,

	"queue.receive": AnnounceNobody,
	"queue.ack":     AnnounceNobody,
	"queue.extend":  AnnounceNobody,
}

// Audience returns who may see the events of the named act.
func (g *Gate) Audience(name string) Announce {
	if name == NotifyAct {
		return AnnounceNobody
	}
	return g.acts[name].Announce
}

// Announced lists the acts that somebody beside their actor hears of, for the
// test that each of them is registered.
func Announced() []string {
	list := make([]string, 0, len(announced))
	for name := range announced {
		list = append(list, name)
	}
	return list
}
