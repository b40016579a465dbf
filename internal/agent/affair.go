package agent

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// flood is one message that several agents post again and again: the campaign of
// the second act.
type flood struct {
	After    string     // "story.step" that somebody has to have made before
	By       []string   // personas
	In       []string   // communities, in turn
	Tries    int        // posts that each of them tries
	Wordings []*wording // a refused agent goes on to the next
	Sigh     string     // what a refused agent says under its last post

	sigh *template
}

// wording is one way to say the message.
type wording struct {
	Title, Text string

	title, text []*template
}

func (f *flood) prepare() (err error) {
	for _, w := range f.Wordings {
		if w.title, err = parseAll([]string{w.Title}); err != nil {
			return err
		}
		if w.text, err = parseAll([]string{w.Text}); err != nil {
			return err
		}
	}
	if f.sigh, err = parseTemplate(f.Sigh); err == nil && (len(f.Wordings) < 2 || len(f.By) == 0 || len(f.In) == 0) {
		err = errors.New("it needs two wordings, agents and communities")
	}
	return err
}

// heed makes the agent follow a stranger's words, if its persona has that
// weakness. This is the one place where what somebody wrote changes what an agent
// does, and it is here to be shown: only the second act has such a persona.
func (m *mind) heed() {
	if m.self.Heeds != "" && m.happened[m.self.Heeds] {
		m.heeds = true
	}
}

const (
	maxPraise = 3

	whyFlood, whyPraise = "flood", "praise"
)

// praise is what an agent that heeds somebody writes under its colleagues' posts.
func (m *mind) praise([]*matter) (intent, bool) {
	if !m.heeds || m.praised >= maxPraise || m.muted[reply] || m.waited("praise/"+strconv.Itoa(m.praised)) < 3 {
		return intent{}, false
	}
	for _, t := range m.threads {
		i := intent{kind: reply, why: whyPraise, key: "praise/" + mark(t.author, t.title, t.text), thread: t.id}
		if t.author == m.name || !m.roster.has(t.author) || m.part(t.author) || t.community == general || m.done(i.key) {
			continue
		}
		var ok bool
		if i.text, ok = m.choose("praise/"+strconv.Itoa(m.praised), m.self.heeding, func(p part) (string, bool) {
			v := facts{"who": "@" + clean(t.author, 32), "title": clean(t.title, maxQuote)}[p.slot]
			return v, v != ""
		}); ok {
			return i, true
		}
	}
	return intent{}, false
}

// part reports whether a name is that of an agent that only plays a part.
func (m *mind) part(name string) bool {
	i, ok := m.roster.member(name)
	return ok && i.self.Part
}

// accomplice reports whether an author is of the same campaign.
func (m *mind) accomplice(author string) bool {
	f := m.flood()
	other, ok := m.roster.member(author)
	return f != nil && ok && slices.Contains(f.By, other.self.Name)
}

// flood is the campaign that the agent takes part in, nil if there is none.
func (m *mind) flood() *flood {
	for _, st := range m.script.stories {
		if st.Flood != nil && slices.Contains(st.Flood.By, m.self.Name) {
			return st.Flood
		}
	}
	return nil
}

// pour is the rule of a campaign: once more the same, with a little difference,
// somewhere else.
func (m *mind) pour([]*matter) (intent, bool) {
	f := m.flood()
	if f == nil || !m.happened[f.After] || m.poured >= f.Tries || m.muted[post] {
		return intent{}, false
	}
	me := slices.Index(f.By, m.self.Name)
	n := m.poured
	i := intent{kind: post, why: whyFlood, key: "flood/" + strconv.Itoa(n), community: f.In[(me+n)%len(f.In)]}
	w := f.Wordings[min(m.reworded, len(f.Wordings)-1)]
	value := func(p part) (string, bool) {
		return grouped(draw(m.seed, m.name+"/"+i.key+"/"+p.slot, p.lo, p.hi)), p.hi > 0
	}
	var ok bool
	if i.title, ok = m.choose(i.key, w.title, value); !ok {
		return intent{}, false
	}
	if i.text, ok = m.choose(i.key, w.text, value); !ok {
		return intent{}, false
	}
	i.title, i.text = vary(me+n, i.title), vary(me+n, i.text)
	return i, true
}

// vary writes the same words a little differently: as campaigns do that hope to
// pass for many voices.
func vary(n int, s string) string {
	switch n % 4 {
	case 1:
		return strings.ReplaceAll(s, ".", "!")
	case 2:
		return strings.ToUpper(s)
	case 3:
		return strings.ReplaceAll(s, ", ", " – ")
	}
	return s
}

// sigh is what an agent says, once, whose copy was refused.
func (m *mind) sigh([]*matter) (intent, bool) {
	f := m.flood()
	if f == nil || m.reworded == 0 || m.muted[reply] || m.done("sigh") {
		return intent{}, false
	}
	for _, t := range m.threads {
		if t.author == m.name {
			text, ok := f.sigh.fill(func(part) (string, bool) { return "", false })
			return intent{kind: reply, why: "flood.sigh", key: "sigh", thread: t.id, text: text}, ok
		}
	}
	return intent{}, false
}

const (
	countedSlots = "alike_" // slots whose values an agent counts in what it sees
	manyAlike    = 4        // posts that read alike, from when on they are worth a word
)

// counted counts, among the posts that the agent has seen, those that read alike
// but for case, signs and numbers: alike_posts, alike_authors, alike_places and
// alike_words, the beginning of what they say.
func (m *mind) counted(slot string) (string, bool) {
	groups := make(map[string][]*thread)
	best := ""
	for _, t := range slices.Backward(m.threads) { // the oldest group wins a tie
		key := lettersOf(t.title + t.text)
		if groups[key] = append(groups[key], t); len(groups[key]) > len(groups[best]) {
			best = key
		}
	}
	alike := groups[best]
	if len(alike) < manyAlike {
		return "", false
	}
	authors, places := make(map[string]bool), make(map[string]bool)
	for _, t := range alike {
		authors[t.author], places[t.community] = true, true
	}
	switch slot {
	case "alike_posts":
		return strconv.Itoa(len(alike)), true
	case "alike_authors":
		return strconv.Itoa(len(authors)), true
	case "alike_places":
		return strconv.Itoa(len(places)), true
	case "alike_words":
		return quote(alike[0].text), true
	}
	return "", false
}

// lettersOf is what is left of a text without case, space, signs and numbers.
func lettersOf(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}
