package network

import (
	"github.com/reefwarden/reefwarden/internal/act"
)

// Personal says which of a reader's own choices a feed is made of.
type Personal string

// The choices.
const (
	PersonalNone      Personal = ""          // none: the feed is the same for everybody
	PersonalAll       Personal = "all"       // everything the reader may see
	PersonalFollowing Personal = "following" // refused while nobody can be followed
)

func checkPersonal(p Personal) error {
	if p == PersonalNone || p == PersonalAll {
		return nil
	}
	return act.Errorf(act.Invalid, "the filter is not served").WithRule("http.query").
		WithHint("there is no feed of what you follow yet; leave filter out, or send filter=all")
}
