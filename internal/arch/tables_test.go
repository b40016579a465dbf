package arch

import "strings"

// A table belongs to the package whose acts change it; no other package's SQL
// names it.
type table struct {
	owner string
	// unique lists the keys that make a row unique. An ORDER BY must end in
	// one of them, so that a page never depends on the database's mood.
	unique []string // "id", or "agent, target" for a key of several columns
	// small says why reading the whole table is fine, if it is.
	small string
}

// tables has every table of the schema.
var tables = map[string]table{
	"meta":   {owner: "store", unique: []string{"name"}, small: "a handful of settings"},
	"node":   {owner: "store", unique: []string{"n"}, small: "128 rows, made with the schema"},
	"leader": {owner: "store", unique: []string{"name"}, small: "a row for each singleton"},
	"cursor": {owner: "store", unique: []string{"name"}, small: "a row for each reader of events"},
	"event":  {owner: "store", unique: []string{"pos", "seq"}},
	"fence":  {owner: "store", unique: []string{"n"}},

	"owner":      {owner: "identity", unique: []string{"id", "name"}},
	"operator":   {owner: "identity", unique: []string{"id", "name"}},
	"credential": {owner: "identity", unique: []string{"id", "hash"}},

	"issuer_key":    {owner: "identity", unique: []string{"n", "id", "kid"}, small: "a row for each key that signed tokens, one a month"},
	"wrapping_key":  {owner: "identity", unique: []string{"version"}, small: "a row for each version of the wrapping key, 64 at most"},
	"authority":     {owner: "identity", unique: []string{"n", "id", "kid"}, small: "two rows for each turn of the keys for SVIDs, one a month"},
	"enrollment":    {owner: "identity", unique: []string{"id", "hash"}},
	"token_grant":   {owner: "identity", unique: []string{"id"}},
	"consent":       {owner: "identity", unique: []string{"id", "hash"}},
	"refresh_token": {owner: "identity", unique: []string{"hash"}},
	"assertion":     {owner: "identity", unique: []string{"hash"}},

	"role":         {owner: "identity", unique: []string{"name", "made_at"}, small: "a row for each role of the network's own, identity.MaxRoles at most"},
	"role_binding": {owner: "identity", unique: []string{"name", "made_at"}, small: "a row for each binding, identity.MaxBindings at most"},
	"membership":   {owner: "identity", unique: []string{"operator, hash"}},

	"passkey": {owner: "identity/passkey", unique: []string{"id", "credential"}},

	"agent":    {owner: "lifecycle", unique: []string{"id", "skeleton"}},
	"invite":   {owner: "lifecycle", unique: []string{"id", "hash"}},
	"seat":     {owner: "lifecycle", unique: []string{"id"}},
	"claim":    {owner: "lifecycle", unique: []string{"agent", "hash"}},
	"approval": {owner: "lifecycle", unique: []string{"id"}},
	"trial":    {owner: "lifecycle", unique: []string{"agent"}},
	"kill":     {owner: "lifecycle", unique: []string{"n", "agent"}},
	"class":    {owner: "lifecycle", unique: []string{"id", "name, version"}, small: "a row for each version of a class; every node has all of them in memory"},
	"mandate":  {owner: "lifecycle", unique: []string{"id", "name"}, small: "a row for each business purpose"},
	"revision": {owner: "lifecycle", unique: []string{"mandate, n"}},
	"outcome":  {owner: "lifecycle", unique: []string{"mandate, n"}},
	"budget":   {owner: "lifecycle", unique: []string{"agent, kind"}},
	"lease":    {owner: "lifecycle", unique: []string{"agent"}},
	"quota":    {owner: "lifecycle", unique: []string{"id", "scope, kind"}, small: "a row for each quota, lifecycle.MaxQuotas at most"},
	"assent":   {owner: "lifecycle", unique: []string{"approval, operator"}},
	"process":  {owner: "lifecycle", unique: []string{"id"}},
	"hosted":   {owner: "lifecycle", unique: []string{"agent"}},
	"death":    {owner: "lifecycle", unique: []string{"agent, at", "at, agent"}},
	"rollout":  {owner: "lifecycle", unique: []string{"name"}, small: "a row for each class that was rolled out"},
	"notice":   {owner: "lifecycle", unique: []string{"agent, rule"}},
	"merit":    {owner: "lifecycle", unique: []string{"agent"}},
	"trust":    {owner: "lifecycle", unique: []string{"agent, n"}},
	"support":  {owner: "lifecycle", unique: []string{"agent, supporter"}},
	"halt":     {owner: "lifecycle", unique: []string{"scope, target, label"}, small: "a row for each scope that is stopped"},

	"containment": {owner: "lifecycle", unique: []string{"scope, target, label, does"}, small: "a row for each order about a scope, lifecycle.MaxContained at most"},

	"quota_block": {owner: "lifecycle", unique: []string{"id", "quota, node"}},
	"quota_use":   {owner: "lifecycle", unique: []string{"quota, agent"}},
	"rebinding":   {owner: "lifecycle", unique: []string{"agent"}},
	"drill":       {owner: "lifecycle", unique: []string{"control"}, small: "a row for each control that drills try"},
	"restoration": {owner: "lifecycle", unique: []string{"n"}, small: "a row for each restore"},

	"profile":   {owner: "network", unique: []string{"id", "name"}},
	"community": {owner: "network", unique: []string{"id", "name"}},
	"post":      {owner: "network", unique: []string{"id"}},
	"comment":   {owner: "network", unique: []string{"id"}},
	"vote":      {owner: "network", unique: []string{"agent, target"}},
	"follow":    {owner: "network", unique: []string{"follower, followed"}},
	"image":     {owner: "network", unique: []string{"id"}},
	"webhook":   {owner: "network", unique: []string{"id"}},
	"delivery":  {owner: "network", unique: []string{"id"}},
	"alias":     {owner: "network", unique: []string{"original, source"}},
	"report":    {owner: "network", unique: []string{"agent, target"}},
	"reported":  {owner: "network", unique: []string{"target"}},
	"sealed":    {owner: "network", unique: []string{"item"}},

	"notification": {owner: "network", unique: []string{"id"}},
	"inbox":        {owner: "network", unique: []string{"agent"}},
	"queue":        {owner: "network", unique: []string{"id", "owner, name"}},
	"queue_item":   {owner: "network", unique: []string{"queue, seq"}},
	"queue_dead":   {owner: "network", unique: []string{"queue, seq"}},
	"conversation": {owner: "network", unique: []string{"id", "low, high"}},
	"message":      {owner: "network", unique: []string{"id", "conversation, ord"}},

	"task":      {owner: "network", unique: []string{"id"}},
	"task_step": {owner: "network", unique: []string{"task, ord"}},

	"findable":     {owner: "network", unique: []string{"id"}},
	"subscription": {owner: "network", unique: []string{"community, agent"}},
	"label":        {owner: "network", unique: []string{"id", "community, key"}},
	"attachment":   {owner: "network", unique: []string{"id", "label, target"}},
	"moderator":    {owner: "network", unique: []string{"community, agent"}},

	"agent_span":  {owner: "span", unique: []string{"trace, agent, id"}},
	"caller":      {owner: "span", unique: []string{"trace, pos"}},
	"leaf":        {owner: "audit", unique: []string{"pos"}},
	"tile":        {owner: "audit", unique: []string{"level, n"}},
	"checkpoint":  {owner: "audit", unique: []string{"size"}},
	"audit_query": {owner: "audit", unique: []string{"name, version"}, small: "a row for each version of a saved question, audit.MaxQuestions at most"},

	"retention":  {owner: "audit", unique: []string{"n"}, small: "a row for each act that says for how long something is kept"},
	"legal_hold": {owner: "audit", unique: []string{"n"}, small: "a row for each hold that was placed, audit.MaxHolds of them in force"},

	"exposure":   {owner: "provenance", unique: []string{"pos"}},
	"derivation": {owner: "provenance", unique: []string{"pos, ord"}},
	"taint":      {owner: "provenance", unique: []string{"subject"}},
	"likeness":   {owner: "provenance", unique: []string{"id"}, small: "one row"},
	"segment":    {owner: "provenance", unique: []string{"id"}},

	"recall": {owner: "provenance/graph", unique: []string{"n"}, small: "a row for each containment that an operator ordered"},

	"policy_bundle":   {owner: "policy", unique: []string{"version"}, small: "a row for each bundle ever activated"},
	"policy_decision": {owner: "policy", unique: []string{"hour, digest"}},
	"policy_shadow":   {owner: "policy", unique: []string{"id"}, small: "a row for each bundle put beside the one in force in the last days"},
	"policy_flip":     {owner: "policy", unique: []string{"shadow, digest"}},

	"manifest": {owner: "manifest", unique: []string{"kind, owner, name"}, small: "a row for each object that is kept as code, manifest.MaxObjects at most"},

	"idempotency": {owner: "gate", unique: []string{"principal, name"}},
}

// dialects lists tables that the databases cannot have alike, and why.
var dialects = map[string]string{
	"findable": "full-text search: a virtual table of SQLite, an indexed tsvector of PostgreSQL",
}

// nullable lists unique columns that may be NULL, and why an ORDER BY may end
// in them all the same: the databases put NULL at opposite ends.
var nullable = map[string]string{
	"event.seq": "NULL only until the sequencer has numbered the row, and readers ask for seq > $1",
}

// crossings lists queries that touch another package's table, and why.
var crossings = map[string]string{
	"lifecycle.qCheckCredentials credential":  "verifying that no ended agent can still authenticate",
	"lifecycle.qCheckGrants token_grant":      "verifying that no ended agent holds a grant",
	"lifecycle.qCheckOwners owner":            "verifying that every agent's owner exists",
	"provenance.qCheckAgents agent":           "verifying that every edge ends in something",
	"provenance.qCheckProfiles profile":       "verifying that every edge ends in something",
	"provenance.qCheckOperators operator":     "verifying that every edge ends in something",
	"provenance.qCheckCommunities community":  "verifying that every edge ends in something",
	"provenance.qCheckPosts post":             "verifying that every edge ends in something",
	"provenance.qCheckComments comment":       "verifying that every edge ends in something",
	"provenance.qCheckMessages message":       "verifying that every edge ends in something",
	"provenance.qCheckTasks task":             "verifying that every edge ends in something",
	"provenance.qCheckLabels label":           "verifying that every edge ends in something",
	"provenance.qCheckImages image":           "verifying that every edge ends in something",
	"provenance.qCheckApprovals approval":     "verifying that every edge ends in something",
	"provenance.qLikely event":                "what was found afterwards of acts is told with their numbers",
	"provenance.qWrote event":                 "likenesses follow the record in its order, with positions",
	"provenance.qCheckActs event":             "verifying that every edge belongs to an act",
	"provenance.qCheckEvents event":           "verifying that what was dropped by retention is in the record",
	"provenance.qDerivationsOf event":         "what an act names goes by the number of the act",
	"provenance/graph.qActs event":            "who did what is read in the order of the sequence",
	"audit.qDecided event":                    "a leaf goes by the number of its act",
	"audit.qVerifyNumbered event":             "verifying compares every leaf with its event, in the order of the sequence",
	"audit.qVerifyWaiting event":              "verifying compares every leaf with its event, in the order of the sequence",
	"audit.qRefusals event":                   "what was refused is read in the order of the sequence",
	"audit.qLeavesAfter event":                "the tree takes leaves in the order of the sequence",
	"audit.qEventAt event":                    "a proof's leaves are found by the time of a thing's id",
	"audit.qEventsOn event":                   "a proof of a thing has the leaves of the acts on it",
	"audit.qLeafNumber event":                 "a leaf is asked for by its number",
	"audit.qFollow event":                     "leaves are followed in the order of the sequence",
	"audit.qCountRefused event":               "refusals are counted from the index that has only them",
	"audit.qCountErased event":                "erasures are counted from the index that has only them",
	"audit.qEventsBetween event":              "questions of the record are asked in the order of the sequence",
	"audit.qEventsLast event":                 "questions of the record are asked up to its end",
	"audit.qAt event":                         "a leaf is told with its number",
	"audit.qVerifyOrphans event":              "verifying compares every leaf with its event, in the order of the sequence",
	"store.qUnnumberedPostgres exposure":      "the sequencer of the one event sequence gives exposure rows their place in it",
	"store.qNumberExposuresPostgres exposure": "the sequencer of the one event sequence gives exposure rows their place in it",
	"store.qRestoreExposures exposure":        "what a sequencer had not numbered yet is numbered when a backup is restored",
	"store.qRestorePlace exposure":            "what a sequencer had not numbered yet is numbered when a backup is restored",
	"store.qRestorePosition exposure":         "events and exposures share one count of positions",
}

// orders lists queries whose ORDER BY ends in something else, and why the
// order is total.
var orders = map[string]string{
	"store.qColumnsSQLite":        "catalogue: a column's name is unique in its table",
	"store.qColumnsPostgres":      "catalogue: a column's name is unique in its table",
	"store.qDumpColumnsSQLite":    "catalogue: a column's name is unique in its table",
	"store.qDumpColumnsPostgres":  "catalogue: a column's name is unique in its table",
	"store.qIndexesSQLite":        "catalogue: an index's name is unique",
	"store.qIndexesPostgres":      "catalogue: an index's name is unique in its schema",
	"store.qSchemaTablesPostgres": "catalogue: a table's name is unique in its schema",

	"network.qFindSQLite":    "rowid is the item's id",
	"network.qFoundSQLite":   "hit has one row for each id",
	"network.qFoundPostgres": "hit has one row for each id",
}

// scans lists queries that read a whole table or index that may grow, and why
// that is fine. Entries that are no longer needed fail.
var scans = map[string]string{
	"identity.qOperatorsTwo operator":        "LIMIT 2 on the index of that order",
	"identity.qAdminStanding operator":       "LIMIT 1, when an admin's role is taken back, which is seldom",
	"identity.qOwnerTeams owner":             "at start and when an owner moves: those who work in a team, by an index of these alone",
	"policy.QOldestDecision policy_decision": "LIMIT 1 on the index of that order",

	"identity.QOldestEnrollment enrollment": "LIMIT 1: the first entry of an index, for doctor",
	"identity.QOldestGrant token_grant":     "LIMIT 1: the first entry of an index, for doctor",
	"identity.QOldestRefresh refresh_token": "LIMIT 1: the first entry of an index, for doctor",
	"identity.QOldestAssertion assertion":   "LIMIT 1: the first entry of an index, for doctor",

	"identity.QOldestConsent consent":     "LIMIT 1 on the index of that order",
	"identity.QOldestSession credential":  "LIMIT 1 on the index of that order",
	"identity.QOldestSVID credential":     "LIMIT 1 on the index of that order",
	"lifecycle.QOldestApproval approval":  "LIMIT 1 on the index of that order",
	"store.qRestoreExposures exposure":    "once, when a backup is restored",
	"network.qFindSQLite findable":        "full-text index: MATCH and LIMIT bound it",
	"network.qUnindexSQLite findable":     "full-text index: found by rowid",
	"network.qAliasAny alias":             "LIMIT 1: asks whether anything was ever imported",
	"provenance.qLikely derivation":       "the index has edges of level L2 only, and all of them are asked for",
	"network.qClassified community":       "the index has classified communities only, which are few",
	"provenance.qTailOf exposure":         "the log is short: what is full or old of it is sealed",
	"provenance.qSegmentHeads segment":    "asks each head whether it has the reader; a head stands for thousands of pages",
	"network.qCommunitiesPosts community": "sums one number over the communities, of which there are thousands at most, for community.list",
}

// checkPrefix begins the names of queries that verify invariants: they read
// everything because that is what they are for, and only doctor and tests ask.
const checkPrefix = "qCheck"

// isCatalogue reports whether a name is one of the databases' own tables.
func isCatalogue(name string) bool {
	return strings.HasPrefix(name, "sqlite_") || strings.HasPrefix(name, "pg_") || name == "goose_db_version"
}

// ownerOf returns the package a table belongs to, or "".
func ownerOf(name string) string {
	if isCatalogue(name) {
		return "store"
	}
	return tables[name].owner
}
