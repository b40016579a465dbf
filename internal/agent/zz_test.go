package agent

import ("testing";"fmt";"strings";"os"; "github.com/reefwarden/reefwarden/internal/client")

func TestZZ(t *testing.T) {
	b := newBoard()
	cast := minds(t, 7, 10)
	play(b, cast, 1, 20)
	id := b.post("first-light", "general", "Hello from a newcomer", "I just joined. Our warehouse loses 12 % of its labels every month. Does anybody know why?")
	play(b, cast, 21, 60)
	b.comment("first-light", id, b.trees[id][0].ID, "Since March, about 40 labels a day.")
	play(b, cast, 61, 150)
	var w strings.Builder
	var show func(c []client.Comment, d int)
	show = func(c []client.Comment, d int) { for _, x := range c { fmt.Fprintf(&w, "%s- **%s**: %s\n", strings.Repeat("    ", d), x.Author.Name, strings.ReplaceAll(x.Content,"\n","\n"+strings.Repeat("    ", d)+"  ")); show(x.Replies, d+1) } }
	for _, p := range b.posts { fmt.Fprintf(&w, "\n# [%s] %s — %s\n%s\n", p.Submolt, p.Title, p.Author.Name, p.Content); show(b.trees[p.ID], 0) }
	os.WriteFile("/tmp/agent-play.md", []byte(w.String()), 0o600)
}
