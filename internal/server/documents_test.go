package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// example is a shell example of a document and what the document says of its answer.
type example struct {
	line   int // of its document
	script string
	status int
	paths  []string // that the answer has
}

var (
	answersLine = regexp.MustCompile("^Answers `([0-9]{3})` with (.+)\\.$")
	quoted      = regexp.MustCompile("`([^`]+)`")
	placeholder = regexp.MustCompile(`\b[A-Z]+(_[A-Z]+)+\b|\bINVITE\b`)
)

// examples reads the bash blocks of a document. Each must be followed by the line
// that says what comes back.
func examples(text string) (list []example, err error) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] != "```bash" {
			continue
		}
		e := example{line: i + 1}
		for i++; i < len(lines) && lines[i] != "```"; i++ {
			e.script += lines[i] + "\n"
		}
		if i+1 >= len(lines) {
			return nil, fmt.Errorf("line %d: the example does not end", e.line)
		}
		said := answersLine.FindStringSubmatch(lines[i+1])
		if said == nil {
			return nil, fmt.Errorf("line %d: the example is followed by %q, not by what it answers", e.line, lines[i+1])
		}
		e.status, _ = strconv.Atoi(said[1])
		for _, path := range quoted.FindAllStringSubmatch(said[2], -1) {
			e.paths = append(e.paths, path[1])
		}
		if !strings.Contains(e.script, "curl") || len(e.paths) == 0 {
			return nil, fmt.Errorf("line %d: the example calls nothing or names no part of the answer", e.line)
		}
		list = append(list, e)
	}
	return list, nil
}

// holds reports whether an answer has something at a path such as post.id.
func holds(answer any, path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		object, ok := answer.(map[string]any)
		if !ok {
			return false
		}
		if answer, ok = object[name]; !ok || answer == nil {
			return false
		}
	}
	return true
}

// reader is a network of which somebody reads the documents for the first time.
type reader struct {
	*servertest.Server
	invites bool
	ownKey  bool // agents approve requests themselves
	made    int
}

func (r *reader) must(t *testing.T, method, path, key string, body any) servertest.Answer {
	t.Helper()
	a := r.Call(t, method, path, key, body)
	if a.Status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, a.Status, a.Raw)
	}
	return a
}

func (r *reader) invite(t *testing.T) string {
	t.Helper()
	if !r.invites {
		return ""
	}
	code, _ := r.must(t, http.MethodPost, "/v1/invites", r.Token, map[string]string{"owner": "readers"}).JSON["code"].(string)
	return code
}

// newcomer registers an agent under a name of its own; its owner claims it.
func (r *reader) newcomer(t *testing.T) (name, key string) {
	t.Helper()
	r.made++
	name = agentNameOf(r.made)
	body := map[string]string{"name": name, "description": "reads documents"}
	if r.invites {
		body["invite"] = r.invite(t)
	}
	agent, _ := r.must(t, http.MethodPost, "/api/v1/agents/register", "", body).JSON["agent"].(map[string]any)
	key, _ = agent["api_key"].(string)
	if agent["status"] != "claimed" {
		id, _ := agent["id"].(string)
		r.must(t, http.MethodPost, "/v1/agents/"+id+"/claim", r.Token, map[string]string{"owner": "readers"})
	}
	return name, key
}

// agentNameOf makes names that do not look like each other.
func agentNameOf(i int) string {
	const letters = "abcdefghjknpqrst"
	name := []byte("reader-")
	for shift := 12; shift >= 0; shift -= 4 {
		name = append(name, letters[i>>shift&15])
	}
	return string(name)
}

func idOf(a servertest.Answer, object string) string {
	inner, _ := a.JSON[object].(map[string]any)
	id, _ := inner["id"].(string)
	return id
}

// scene gives an example agents of its own and what its placeholders stand for.
func (r *reader) scene(t *testing.T, dir string) (key string, stand map[string]string) {
	t.Helper()
	me, key := r.newcomer(t)
	other, otherKey := r.newcomer(t)
	friend, friendKey := r.newcomer(t)
	_, askerKey := r.newcomer(t)
	r.made++
	post := idOf(r.must(t, http.MethodPost, "/api/v1/posts", otherKey, map[string]string{
		"submolt_name": "general", "title": "Two price feeds differ " + other, "content": "Since this morning, says " + other,
	}), "post")
	comment := idOf(r.must(t, http.MethodPost, "/api/v1/posts/"+post+"/comments", otherKey, map[string]string{"content": "More to come from " + other}), "comment")
	r.must(t, http.MethodPost, "/api/v1/agents/"+me+"/follow", otherKey, nil)
	request := func(from, to string) string {
		id, _ := r.must(t, http.MethodPost, "/api/v1/agents/dm/request", from, map[string]string{"to": to, "message": "May I ask you something?"}).JSON["conversation_id"].(string)
		return id
	}
	conversation, asked := request(key, friend), request(askerKey, me)
	if r.ownKey {
		r.must(t, http.MethodPost, "/api/v1/agents/dm/requests/"+conversation+"/approve", friendKey, nil)
	} else {
		r.must(t, http.MethodPost, "/v1/conversations/"+conversation+"/approve", r.Token, map[string]string{"owner": "readers", "reason": "they know each other"})
	}
	avatar := filepath.Join(dir, "avatar.png")
	f, err := os.Create(avatar)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, image.NewGray(image.Rect(0, 0, 32, 32))); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return key, map[string]string{
		"POST_ID": post, "COMMENT_ID": comment, "AGENT_NAME": agentNameOf(r.made), "OTHER_AGENT": other,
		"CONVERSATION_ID": conversation, "REQUEST_ID": asked, "INVITE": r.invite(t), "AVATAR_FILE": avatar,
	}
}

var outputFile = regexp.MustCompile(`curl.* -o ([a-z.]+) `)

// run has bash run an example and compares the answer with what is said of it.
func (r *reader) run(t *testing.T, e example) {
	dir := t.TempDir()
	key, stand := r.scene(t, dir)
	script := placeholder.ReplaceAllStringFunc(e.script, func(name string) string {
		if name == "REEF_KEY" {
			return name
		}
		value, known := stand[name]
		if !known {
			t.Fatalf("line %d: nobody knows what %s stands for", e.line, name)
		}
		return value
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, servertest.Program(t, "bash"), "-euo", "pipefail", "-c",
		`curl() { command curl -sS --noproxy '*' --max-time 30 -w '\n%{http_code}' "$@"; }`+"\n"+script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "REEF_KEY="+key)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("line %d: %v\n%s\n%s", e.line, err, script, out)
	}
	end := strings.LastIndexByte(string(out), '\n')
	body, status := out[:max(end, 0)], string(out[end+1:])
	if file := outputFile.FindStringSubmatch(script); file != nil {
		if body, err = os.ReadFile(filepath.Join(dir, file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if status != strconv.Itoa(e.status) {
		t.Fatalf("line %d: status %s, the document says %d\n%s\n%s", e.line, status, e.status, script, body)
	}
	var answer any
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("line %d: %v: %s", e.line, err, body)
	}
	for _, path := range e.paths {
		if !holds(answer, path) {
			t.Errorf("line %d: the answer has no %s, which the document promises\n%s\n%s", e.line, path, script, body)
		}
	}
}

// Whatever our own documents tell agents to type is typed: every bash example of
// every document that skill.json lists, with a real shell and curl, under the two
// ways that registration and approval can be set up.
func TestEveryCurlExampleOfTheDocumentsRuns(t *testing.T) {
	servertest.Program(t, "curl")
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		for name, change := range map[string]func(*server.Config){
			"dev":    func(c *server.Config) { c.Claim, c.OwnKeyApproval = true, true }, // as `reef dev` is set up
			"invite": func(c *server.Config) { c.Registration, c.Claim, c.AutoClaim = "invite", true, "" },
		} {
			t.Run(d.String()+"/"+name, func(t *testing.T) {
				cfg := servertest.Config(t, d)
				change(&cfg)
				r := &reader{Server: servertest.Start(t, cfg), invites: cfg.Registration == "invite", ownKey: cfg.OwnKeyApproval}
				r.readAll(t)
			})
		}
	}
}

// exampleCounts is how many examples a document has at least; a document that is
// new is given a number here.
var exampleCounts = map[string]int{"skill.md": 31, "heartbeat.md": 6, "messaging.md": 6, "rules.md": 0}

func (r *reader) readAll(t *testing.T) {
	var skill struct {
		Digests map[string]string `json:"digests"`
	}
	if err := json.Unmarshal(r.must(t, http.MethodGet, "/skill.json", "", nil).Raw, &skill); err != nil {
		t.Fatal(err)
	}
	if len(skill.Digests) != len(exampleCounts) {
		t.Errorf("skill.json lists %d documents, want %d", len(skill.Digests), len(exampleCounts))
	}
	for name := range skill.Digests {
		t.Run(name, func(t *testing.T) {
			text := string(r.must(t, http.MethodGet, "/"+name, "", nil).Raw)
			list, err := examples(text)
			if err != nil {
				t.Fatal(err)
			}
			least, known := exampleCounts[name]
			if n := strings.Count(text, "```bash"); len(list) != n || n < least || !known {
				t.Errorf("%d of %d examples are read, want at least %d (a known document: %t)", len(list), n, least, known)
			}
			for _, e := range list {
				r.run(t, e)
			}
			t.Logf("%d examples", len(list))
		})
	}
}

// What reads the documents finds what is wrong with them.
func TestExamplesAreReadStrictly(t *testing.T) {
	const good = "```bash\ncurl x\n```\nAnswers `200` with `a`, `b.c`.\n"
	list, err := examples(good)
	if err != nil || len(list) != 1 || list[0].status != 200 || len(list[0].paths) != 2 || list[0].script != "curl x\n" {
		t.Errorf("%+v, %v", list, err)
	}
	for _, bad := range []string{
		"```bash\ncurl x\n```\n", "```bash\ncurl x\n```\nand so on", "```bash\ncurl x\n",
		"```bash\ncurl x\n```\nAnswers `200`.\n", "```bash\nls\n```\nAnswers `200` with `a`.\n",
		good + "\n```bash\ncurl y\n```\n\nAnswers `200` with `a`.\n",
	} {
		if _, err := examples(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	answer := map[string]any{"a": map[string]any{"b": false, "n": nil}, "l": []any{}}
	for path, want := range map[string]bool{"a": true, "a.b": true, "a.n": false, "a.x": false, "l": true, "l.a": false, "x.a": false} {
		if holds(answer, path) != want {
			t.Errorf("%s: %t", path, !want)
		}
	}
}
