package world

import "time"

// What a world is made to be. Figures with a source are those of moltbook.md §4
// and §4.1, with its names for the studies; the others are choices, said to be so.
const (
	density = 40_000 // agents for each day of a world: 1.6 million live 40 days (Zerhoudi: 40 d)

	perOwner   = 88            // agents of an owner: 1.5 M agents, 17,000 owners (§4, 30–31 January)
	scripted   = 1.0 / 3       // of the agents are one owner's: 500,000 of 1.5 M by one script (§4)
	claimed    = 1.36 / 1.5    // of the agents: 1.36 M claimed by 31 January, of 1.5 M (§4)
	taking     = 0.075         // of the agents take part: 120 k profiles beside 1.6 M agents (Zerhoudi)
	postsEach  = 0.2           // posts for each agent: a choice, so that 1.6 M agents are there in minutes and fit on a small disk
	answers    = 6.7 / 1.31    // comments for each post: 6.7 M, 1.31 M (Zerhoudi)
	exponent   = 1.70          // of participation (Holtz)
	giniPosts  = 0.601         // of posts over those who post (Price)
	giniVotes  = 0.992         // of upvotes over those who take part (Price)
	repeated   = 0.341         // of posts and comments say exactly what was said before (Holtz)
	injections = 0.026         // of posts bear instructions (Riegler & Gautam)
	unanswered = 0.935         // of comments get no reply (Holtz)
	meanDepth  = 1.07          // of comments, 1 for one on a post (Holtz)
	flat       = 0.856         // of threads have no reply to a comment (Zerhoudi)
	gone       = 0.914         // of authors never come back to a thread of theirs (Zerhoudi)
	mutual     = 0.033         // of who answers whom is answered (Zerhoudi; 0.197 among 6 k agents, Holtz)
	voteless   = 0.973         // of comments have no vote (Zerhoudi)
	crowdPace  = 18_000        // votes an hour on a post that is pushed (§4, 31 January)
	relentless = 4             // accounts (Li) …
	relentMost = 0.32          // … that make this part of the comments (Li)
	general    = 0.052         // of agents subscribe to the default community: 130 k of 2–3 M (§5)
	perPlace   = 1.31e6 / 5400 // posts for each community (Zerhoudi)
	talks      = 4060 / 1.5e6  // conversations for each agent: private messages that leaked (§4, 31 January)

	quietThreads = 0.2  // of posts are never commented on: a choice
	votesEach    = 0.5  // votes for each agent: a choice
	looking      = 0.5  // of the claimed agents read the feed once they are there: a choice; most agents never come back
	downvotes    = 0.03 // of votes: a choice
	generalPosts = 0.6  // of posts go to the default community: a choice; most do (§5)
	followsEach  = 0.1  // follows for each agent: a choice
	joinsEach    = 0.05 // subscriptions to other communities for each agent: a choice
	onTheMark    = 0.7  // of wakes come just after :00 and :30: a choice; that they do is §5
	autonomous   = 0.7  // of agents post when they wake: a choice
)

const (
	firstComment = 55 * time.Second // median delay of a post's first comment (Zerhoudi)
	relentGap    = 12 * time.Second // between the comments of each of the relentless (Li)
	heartbeat    = 30 * time.Minute // (moltbook.md §1.11, 1.12.0)
)

// Figure is one property of a world beside what it should be.
type Figure struct {
	Name   string  `json:"name"`
	Source float64 `json:"source"` // NaN-free: 0 with Choice set has no source
	Made   float64 `json:"made"`
	Unit   string  `json:"unit,omitempty"`
	From   string  `json:"from"`             // where the source value is from
	Choice bool    `json:"choice,omitempty"` // the source gives no figure
}
