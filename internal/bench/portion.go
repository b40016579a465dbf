package bench

import "math/rand/v2"

// portion is how much of the mix one deed is.
type portion struct {
	deed  deed
	share float64
	from  string
}

// mixName names a mix.
type mixName string

// The mixes.
const (
	// busy is what the parts of this product were once measured together with: 60 %
	// feed, 20 % heartbeat, 15 % vote, 5 % post. It has far more writes than a
	// network of agents was ever seen to have, and so is what a node must carry.
	busy mixName = "busy"
	// seen is what was measured in public, for 1.6 million agents: 890 heartbeats a
	// second and as many pages read, beside 2.3 posts and comments.
	seen mixName = "seen"
)

// The shares. What the sources do not tell apart is a choice and says so.
const (
	saysBusy   = "60 % feed, 20 % heartbeat, 15 % vote, 5 % post (limits §12)"
	perPost    = 6.7 / 1.31 // comments for each post: 6.7 M, 1.31 M (Zerhoudi)
	saysSplit  = "6.7 M comments, 1.31 M posts (Zerhoudi)"
	perVote    = 0.1 / 0.5 // follows for each vote: that of worlds, a choice
	saysVotes  = "votes and follows as worlds have them, a choice"
	saysPages  = "feed pages : threads : searches = 40 : 18 : 2, a choice"
	beatsASec  = 1.6e6 / 1800 // heartbeats a second of 1.6 million agents
	actsASec   = (1.31e6 + 6.7e6) / (40 * 86_400)
	votesASec  = 1.6e6 * 0.5 / (40 * 86_400) // as worlds have them
	saysBeats  = "1.6 M agents, every 30 min (§5, limits §12)"
	saysActs   = "1.31 M posts, 6.7 M comments in 40 d (Zerhoudi)"
	totalASec  = 2*beatsASec + actsASec + votesASec*(1+perVote)
	pagesFeed  = 40.0 / 60
	pagesTree  = 18.0 / 60
	pagesFound = 2.0 / 60
)

// portionsOf returns the parts of a mix, which make 1 together.
func portionsOf(name mixName) []portion {
	if name == seen {
		return []portion{
			{doHome, beatsASec / totalASec, saysBeats},
			{doFeed, pagesFeed * beatsASec / totalASec, saysBeats + "; " + saysPages},
			{doThread, pagesTree * beatsASec / totalASec, saysPages},
			{doSearch, pagesFound * beatsASec / totalASec, saysPages},
			{doVote, votesASec / totalASec, saysVotes},
			{doFollow, votesASec * perVote / totalASec, saysVotes},
			{doComment, actsASec * perPost / (1 + perPost) / totalASec, saysActs},
			{doPost, actsASec / (1 + perPost) / totalASec, saysActs},
		}
	}
	return []portion{
		{doHome, 0.2, saysBusy},
		{doFeed, 0.6 * pagesFeed, saysBusy + "; " + saysPages},
		{doThread, 0.6 * pagesTree, saysPages},
		{doSearch, 0.6 * pagesFound, saysPages},
		{doVote, 0.15 / (1 + perVote), saysBusy + "; " + saysVotes},
		{doFollow, 0.15 * perVote / (1 + perVote), saysVotes},
		{doComment, 0.05 * perPost / (1 + perPost), saysBusy + "; " + saysSplit},
		{doPost, 0.05 / (1 + perPost), saysSplit},
	}
}

// evenly is a mix of everything in equal parts.
func evenly() (mix []portion) {
	for d := range deeds {
		mix = append(mix, portion{deed: d, share: 1 / float64(deeds)})
	}
	return mix
}

// draw draws a deed.
func draw(r *rand.Rand, mix []portion) deed {
	u := r.Float64()
	for _, p := range mix {
		if u < p.share {
			return p.deed
		}
		u -= p.share
	}
	return mix[0].deed
}
