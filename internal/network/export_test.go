package network

// The queries whose plans a test looks at.
const (
	PlanPool       = qPool
	PlanPoolPlace  = qPoolPlace
	PlanPoolAuthor = qPoolAuthor
	PlanAuthorNew  = qFeedAuthorNew
	PlanFollowed   = qFollowedSQLite
	PlanChosen     = qChosenSQLite
)
