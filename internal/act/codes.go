package act

// Code says why an act failed, in the few words that every door can translate.
type Code uint8

// The codes. Each has one row in codeRows and one case in every door.
const (
	Internal        Code = iota // a defect here; nothing the caller can do
	Invalid                     // the input is malformed or breaks a rule of form
	Unauthenticated             // no valid credential
	Denied                      // authenticated, but policy or standing says no
	NotFound                    // no such thing, or none that the caller may know of
	Conflict                    // the state does not allow it (name taken, already done)
	TooLarge                    // the body or a field is over its limit
	RateLimited                 // over a quota; retry later
	Unavailable                 // storage, record or a fence is not available; retry later
	Gone                        // was there, is deleted or expired
	Mismatch                    // an idempotency key was used before with another request
	Method                      // the path exists, the method does not
	Held                        // not done yet: it waits for somebody's word
	codeCount
)

// None is what CodeOf says when there is no error.
const None Code = 255

type codeRow struct {
	name string // wire name, stable
	doc  string // one line for docs/errors.md
}

var codeRows = [codeCount]codeRow{
	Internal:        {"internal", "a defect in the server; the incident id in the log names it"},
	Invalid:         {"invalid", "the request is malformed or breaks a rule of form; the hint says which field"},
	Unauthenticated: {"unauthenticated", "no credential, or one that this network did not issue"},
	Denied:          {"denied", "the policy or the caller's standing forbids the act; rule names the line"},
	NotFound:        {"not_found", "nothing there that the caller may know of"},
	Conflict:        {"conflict", "the present state does not allow it"},
	TooLarge:        {"too_large", "the body or a field is over its limit"},
	RateLimited:     {"rate_limited", "over a quota; retry_after says when to come back"},
	Unavailable:     {"unavailable", "storage or a safety fence is not available; retry, the credential is fine"},
	Gone:            {"gone", "it was there and has been deleted or has expired"},
	Mismatch:        {"idempotency_mismatch", "the Idempotency-Key was used before with another request"},
	Method:          {"method_not_allowed", "the path exists, with other methods"},
	Held:            {"held", "no failure: the act waits for an approval or an answer, and is done then"},
}

// String returns the code's wire name.
func (c Code) String() string {
	if c >= codeCount {
		return codeRows[Internal].name
	}
	return codeRows[c].name
}

// Doc returns the code's line in the error reference.
func (c Code) Doc() string {
	if c >= codeCount {
		return codeRows[Internal].doc
	}
	return codeRows[c].doc
}

// Codes lists every code, for documents and exhaustiveness tests.
func Codes() []Code {
	all := make([]Code, codeCount)
	for i := range all {
		all[i] = Code(i)
	}
	return all
}
