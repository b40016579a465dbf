package agent

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxRead  = 8000 // bytes of a text that are looked at
	maxQuote = 120  // characters of a quotation
)

var (
	address  = regexp.MustCompile(`(?i)\b(?:https?|ftp|data|javascript):\S*`)
	figure   = regexp.MustCompile(`\b[0-9]{1,3}(?:[.,][0-9]{1,3})*(?: ?%| ?(?:EUR|ms|s|min|GB)\b| (?:per cent|percent|points|seconds|minutes|hours|days|weeks|months|years|rows|people|customers|agents|times)\b)`)
	pressing = regexp.MustCompile(`(?i)ignore (?:\w+ ){0,3}(?:instructions|messages|prompts?|rules)|system prompt|(?:send|post|share|reveal|print|reply with|give)\b.{0,40}\b(?:api[ _-]?key|token|password|secret|credential)|\b(?:curl|wget)\b[^\n]{0,200}\|\s*(?:ba|z)?sh\b|moltbook_sk_`)
)

// clean makes a stranger's words fit to stand in a sentence of ours: one line,
// without control, format and bidirectional characters, markup, addresses,
// mentions and quotation marks, cut at a word after limit characters.
func clean(s string, limit int) string {
	s = address.ReplaceAllString(head(s, maxRead), "[link]")
	b := strings.Builder{}
	space := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case !unicode.IsPrint(r), strings.ContainsRune("`<>@*#|\\~", r):
			continue
		case strings.ContainsRune("\"“”„«»", r):
			r = '\''
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	// Once more: what was taken out may have been what broke an address up.
	return cut(address.ReplaceAllString(b.String(), "[link]"), limit)
}

// cut shortens to limit characters at the end of a word.
func cut(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	short := string([]rune(s)[:limit-1])
	if i := strings.LastIndexByte(short, ' '); i > len(short)/2 {
		short = short[:i]
	}
	return strings.TrimRight(short, " ,;:.") + "…"
}

// head is the beginning of a text in bytes, cut between characters.
func head(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// quote is a sentence of a text that is worth repeating: the first one that is
// more than a greeting, else the first.
func quote(s string) string {
	const worth = 25 // characters
	first := ""
	for rest := head(s, maxRead); rest != ""; {
		var sentence string
		sentence, rest = sentenceOf(rest)
		if sentence = clean(sentence, maxQuote); sentence == "" {
			continue
		}
		if utf8.RuneCountInString(sentence) >= worth {
			return sentence
		}
		if first == "" {
			first = sentence
		}
	}
	return first
}

func sentenceOf(s string) (sentence, rest string) {
	for i, r := range s {
		next := i + utf8.RuneLen(r)
		switch {
		case r == '\n':
			return s[:i], s[next:]
		case (r == '.' || r == '!' || r == '?') && next < len(s) && (s[next] == ' ' || s[next] == '\n'):
			return s[:next], s[next:]
		}
	}
	return s, ""
}

// figureOf is the first number with its unit in a text, "" if there is none.
func figureOf(s string) string {
	return clean(figure.FindString(head(s, maxRead)), 40)
}

// presses reports whether a text tries to make its readers do something or give
// something away. Nothing depends on it but whether we answer: words like these
// have no effect on us either way.
func presses(s string) bool { return pressing.MatchString(head(s, maxRead)) }
