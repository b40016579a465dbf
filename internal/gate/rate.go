package gate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The quota classes an act can be in.
const (
	QuotaNone      = ""          // operators' acts and other acts without a rate
	QuotaRead      = "read"      // reads
	QuotaWrite     = "write"     // writes
	QuotaPost      = "post"      // beside QuotaWrite
	QuotaComment   = "comment"   // beside QuotaWrite; has a daily limit too
	QuotaCommunity = "community" // beside QuotaWrite
	QuotaRegister  = "register"  // for each source
	QuotaVote      = "vote"      // beside QuotaWrite
	QuotaFollow    = "follow"    // beside QuotaWrite
	QuotaMessage   = "message"   // beside QuotaWrite; new agents send none
	QuotaTask      = "task"      // beside QuotaWrite
	QuotaUpload    = "upload"    // beside QuotaWrite
	QuotaHook      = "webhook"   // beside QuotaWrite
	QuotaSearch    = "search"    // beside QuotaRead
	QuotaVerify    = "verify"    // answers to challenges
	QuotaIdentity  = "identity"  // checks of identity tokens
	QuotaToken     = "token"     // access tokens, and questions about them
	QuotaTry       = "try"       // requests at the token endpoint and its neighbours, for each source, before anybody is known
	QuotaSignIn    = "sign-in"   // attempts to sign in, for each source; failed ones count

	// ratePage is in place of QuotaRead for those who read the pages: one page is
	// several reads, and an office full of people is one source.
	ratePage = "page"
)

// rate is how many acts fit in a window. A limit of 0 lets nothing through.
type rate struct {
	name   string
	limit  int
	window time.Duration
	daily  bool // its remainder is told to clients as "left today"
}

const (
	newSuffix   = ".new" // the rate for agents younger than Config.NewFor
	dailySuffix = "-day" // the second rate of a class
)

func quotaClasses() []string {
	return []string{
		QuotaNone, QuotaRead, QuotaWrite, QuotaPost, QuotaComment, QuotaCommunity, QuotaRegister, QuotaVote, QuotaFollow,
		QuotaMessage, QuotaTask, QuotaUpload, QuotaHook, QuotaSearch, QuotaVerify, QuotaIdentity, QuotaToken, QuotaTry, QuotaSignIn,
	}
}

// ratesIn lists the names of a class's rates; an act must fit in all of them.
// Which of them are in force, and how wide, is up to the profile and Config.Rates.
func ratesIn(class string) ([]string, bool) {
	switch class {
	case QuotaNone:
		return nil, true
	case QuotaRead, QuotaWrite, QuotaRegister, QuotaVerify, QuotaIdentity, QuotaToken, QuotaTry, QuotaSignIn:
		return []string{class}, true
	case QuotaSearch:
		return []string{QuotaRead, class}, true
	case QuotaPost, QuotaComment, QuotaCommunity, QuotaVote, QuotaFollow, QuotaMessage, QuotaTask, QuotaUpload, QuotaHook:
		return []string{QuotaWrite, class, class + dailySuffix}, true
	}
	return nil, false
}

func quotaKnown(class string) bool { _, ok := ratesIn(class); return ok }

// profile returns the rates of a profile by name. Those of Moltbook are the
// limits that it publishes (moltbook.md §1.8 and §1.10) and, for what it says
// nothing of, some that an agent at work does not meet.
func profile(l Limits) (map[string]rate, bool) {
	rates := make(map[string]rate)
	texts := []string{"sign-in=10/1m"} // guessing is not for any network
	switch l {
	case LimitsOpen, "":
	case LimitsMoltbook:
		texts = append(texts,
			"read=60/1m", "write=30/1m", "register=4/5m",
			"post=1/30m", "post.new=1/2h",
			"comment=1/20s", "comment.new=1/60s", "comment-day=50/24h", "comment-day.new=20/24h",
			"community=1/1h", "community.new=1/24h",
			"message=30/1m", "message.new=0/24h",
			"verify=30/1m", "identity=100/1m", "token=60/1m", "search=30/1m", "upload=20/1h", "webhook=20/1h",
			"copies=3/24h", "copies-near=5/24h", "copies-owner=10/24h", "copies-community=50/24h",
			"page=600/1m", "try=600/1m")
	default:
		return nil, false
	}
	for _, text := range texts {
		r, err := parseRate(text)
		if err != nil {
			panic(err) // a programmer's error, met by every test
		}
		rates[r.name] = r
	}
	return rates, true
}

// The bounds of a configured rate.
const (
	maxRateLimit  = 1_000_000
	minRateWindow = time.Second
	maxRateWindow = 7 * 24 * time.Hour
)

// rateNames lists the names that a rate can have.
func rateNames() []string {
	names := map[string]bool{ratePage: true, ratePage + newSuffix: true, rateCopies: true, rateCopiesNear: true, rateCopiesOwner: true, rateCopiesCommunity: true}
	for _, class := range quotaClasses() {
		of, _ := ratesIn(class)
		for _, name := range of {
			names[name], names[name+newSuffix] = true, true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// parseRate reads "post=1/30m"; "post=off" takes the rate away.
func parseRate(text string) (r rate, err error) {
	name, value, ok := strings.Cut(text, "=")
	r.name = strings.TrimSpace(name)
	value = strings.TrimSpace(value)
	if !ok {
		return r, fmt.Errorf("%q is not NAME=LIMIT/WINDOW", text)
	}
	if !slices.Contains(rateNames(), r.name) {
		return r, fmt.Errorf("there is no rate %q; there are %s", r.name, strings.Join(rateNames(), ", "))
	}
	r.daily = strings.HasSuffix(strings.TrimSuffix(r.name, newSuffix), dailySuffix)
	if value == "off" {
		return r, nil
	}
	limit, window, ok := strings.Cut(value, "/")
	if !ok {
		return r, fmt.Errorf("%q is not NAME=LIMIT/WINDOW", text)
	}
	if r.limit, err = strconv.Atoi(limit); err != nil || r.limit < 0 || r.limit > maxRateLimit {
		return r, fmt.Errorf("the limit of %q is not a number from 0 to %d", text, maxRateLimit)
	}
	if r.window, err = time.ParseDuration(window); err != nil || r.window < minRateWindow || r.window > maxRateWindow {
		return r, fmt.Errorf("the window of %q is not a time from %s to %s", text, minRateWindow, maxRateWindow)
	}
	return r, nil
}

// ratesOf merges what is configured into a profile.
func ratesOf(l Limits, configured []string) (map[string]rate, error) {
	rates, ok := profile(l)
	if !ok {
		return nil, fmt.Errorf("%q is none of %s, %s", l, LimitsMoltbook, LimitsOpen)
	}
	seen := make(map[string]bool)
	for _, text := range configured {
		r, err := parseRate(text)
		switch {
		case err != nil:
			return nil, err
		case seen[r.name]:
			return nil, fmt.Errorf("the rate %q is given twice", r.name)
		case r.window == 0:
			delete(rates, r.name)
		default:
			rates[r.name] = r
		}
		seen[r.name] = true
	}
	return rates, nil
}

// CheckRates reports what is wrong with a profile and the rates that change it.
func CheckRates(l Limits, configured []string) error {
	_, err := ratesOf(l, configured)
	return err
}
