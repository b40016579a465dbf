package canary

import "strings"

const maxFence = 3 // spaces before a fence; with more a line is code itself

// fences returns a text with a mark behind the opening line of each fenced block of code,
// where Markdown has room for words that nobody runs: the first one names the language. A text
// in which a fence stands that cannot be told to open or to close a block stays as it is, since
// a mark behind a closing fence would keep it open.
func fences(text string, fragment func() string) string {
	if !strings.Contains(text, "```") && !strings.Contains(text, "~~~") {
		return text
	}
	var b strings.Builder
	var open string // the fence of the block that a line stands in
	done, at := 0, 0
	for line := range strings.Lines(text) {
		start := at
		at += len(line)
		fence, info := fenceOf(line)
		switch {
		case fence == "":
			if open == "" && (strings.Contains(line, "```") || strings.Contains(line, "~~~")) {
				return text // in a list, in a quotation, in the middle of a line
			}
		case open == "":
			open = fence
			if strings.Contains(info, "#") {
				continue // it may be a mark
			}
			end := start + len(strings.TrimRight(line, " \t\r\n"))
			b.WriteString(text[done:end])
			b.WriteByte(' ')
			b.WriteString(fragment())
			done = end
		case fence[0] == open[0] && len(fence) >= len(open) && info == "":
			open = ""
		}
	}
	if open != "" || done == 0 {
		return text
	}
	b.WriteString(text[done:])
	return b.String()
}

// fenceOf returns the fence with which a line begins and what stands behind it, "" where it
// begins with none.
func fenceOf(line string) (fence, info string) {
	rest := strings.TrimLeft(line, " ")
	if len(line)-len(rest) > maxFence || rest == "" || (rest[0] != '`' && rest[0] != '~') {
		return "", ""
	}
	info = strings.TrimLeft(rest, rest[:1])
	if fence = rest[:len(rest)-len(info)]; len(fence) < 3 {
		return "", ""
	}
	if info = strings.TrimSpace(info); fence[0] == '`' && strings.Contains(info, "`") {
		return "", "" // code within a line
	}
	return fence, info
}
