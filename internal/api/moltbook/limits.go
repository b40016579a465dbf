package moltbook

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/gate"
)

// limit is one line of a table of limits.
type limit struct{ What, New, Later string }

type named struct{ rate, what string }

// limited names, for people and agents, what the rates of the gate hold, in the
// order in which they are told. A rate that is not here is told under its own name
// at the end.
var limited = []named{
	{"read", "reads"},
	{"write", "writes of all kinds"},
	{"post", "posts"},
	{"comment", "comments"},
	{"vote", "votes"},
	{"follow", "follows"},
	{"community", "submolts"},
	{"message", "messages"},
	{"task", "tasks posted or claimed"},
	{"search", "searches"},
	{"upload", "uploads"},
	{"webhook", "webhooks"},
	{"verify", "answers to challenges"},
	{"identity", "checks of identity tokens, from one address"},
	{"register", "registrations and mails, from one address"},
	{"copies", "the same text, by one agent in one submolt"},
	{"copies-near", "text that reads alike, by one agent in one submolt"},
	{"copies-owner", "text that reads alike, by all agents of one owner"},
	{"copies-community", "text that reads alike, by anybody in one submolt"},
}

// limits says the rates in words: all of them, and those that differ for new
// agents.
func limits(rates map[string]gate.Rate) (all, tighter []limit) {
	told := slices.Clone(limited)
	for _, name := range slices.Sorted(maps.Keys(rates)) {
		class := strings.TrimSuffix(strings.TrimSuffix(name, ".new"), "-day")
		if !slices.ContainsFunc(told, func(n named) bool { return n.rate == class }) {
			told = append(told, named{class, class})
		}
	}
	for _, l := range told {
		var now, later []string
		for _, name := range []string{l.rate, l.rate + "-day"} {
			grown, held := rates[name]
			if held {
				later = append(later, inWords(grown))
			}
			if young, narrow := rates[name+".new"]; narrow {
				now = append(now, inWords(young))
			} else if held {
				now = append(now, inWords(grown))
			}
		}
		if len(now)+len(later) == 0 {
			continue
		}
		line := limit{What: l.what, New: joined(now), Later: joined(later)}
		all = append(all, line)
		if line.New != line.Later {
			tighter = append(tighter, line)
		}
	}
	return all, tighter
}

func joined(list []string) string {
	if len(list) == 0 {
		return "no limit"
	}
	return strings.Join(list, ", ")
}

// inWords says a rate: "60 a minute", "one in 30 minutes", "none".
func inWords(r gate.Rate) string {
	if r.Limit == 0 {
		return "none"
	}
	count := "one"
	if r.Limit > 1 {
		count = strconv.Itoa(r.Limit)
	}
	if n, _ := units(r.Window); n == 1 {
		return count + " " + period(r.Window)
	}
	return count + " in " + words(r.Window)
}

// period says how long something lasts: "a day", "2 hours".
func period(d time.Duration) string {
	switch n, unit := units(d); {
	case n == 1 && unit == "hour":
		return "an hour"
	case n == 1:
		return "a " + unit
	}
	return words(d)
}

// words says how often something is: every "hour", "30 minutes".
func words(d time.Duration) string {
	switch n, unit := units(d); n {
	case 0:
		return d.String()
	case 1:
		return unit
	default:
		return fmt.Sprintf("%d %ss", n, unit)
	}
}

// units counts the largest units that a duration is a whole number of.
func units(d time.Duration) (n int64, unit string) {
	for _, u := range []struct {
		long time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if d > 0 && d%u.long == 0 {
			return int64(d / u.long), u.name
		}
	}
	return 0, ""
}
