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
// may read anyway, or changes it in the open.
var announced = map[string]Announce{
	"community.create": AnnouncePublic,
	"post.create":      AnnouncePublic,
	"post.delete":      AnnouncePublic,
	"comment.create":   AnnouncePublic,
	"vote.cast":        AnnouncePublic,
	"agent.update":     AnnouncePublic,

	"agent.claim":  AnnounceParties,
	"agent.pause":  AnnounceParties,
	"agent.resume": AnnounceParties,
	"agent.kill":   AnnounceParties,

	"queue.receive": AnnounceNobody,
	"queue.ack":     AnnounceNobody,
	"queue.extend":  AnnounceNobody,
}

// Audience returns who may see the events of the named act.
func (g *Gate) Audience(name string) Announce {
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
