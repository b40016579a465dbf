package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

var update = flag.Bool("update", false, "write what was answered into the transcripts")

// TestTranscripts plays the transcripts of every door against a real server:
// requests in order, each with the answer that must come. What differs from run
// to run (ids, keys, times, cursors) stands as a name in angle brackets, numbered
// in the order of first appearance; a request may use such a name. The comment
// at the top sets the server's configuration: "registration=invite claim=true".
//
// After an intended change: go test ./internal/api -run Transcripts -update
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("*/testdata/*.txtar")
	pages, err2 := filepath.Glob(pagesDir + "/*.txtar")
	if files = append(files, pages...); err != nil || err2 != nil || len(files) < 10 || len(pages) == 0 {
		t.Fatalf("found %d transcripts (%v, %v)", len(files), err, err2)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.ToSlash(file), ".txtar"), func(t *testing.T) { playTranscript(t, file) })
	}
}

// addresses are those of test servers, whose ports differ from run to run.
var addresses = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`)

// pagesDir has the transcripts of the one door that is not below this package.
const pagesDir = "../console/testdata"

func playTranscript(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cfg := servertest.Config(t, store.SQLite)
	for line := range strings.Lines(string(archive.Comment)) {
		settings, ok := strings.CutPrefix(line, "config: ")
		if !ok {
			continue
		}
		for _, s := range strings.Fields(settings) {
			key, value, _ := strings.Cut(s, "=")
			switch key {
			case "registration":
				cfg.Registration = value
			case "claim":
				cfg.Claim, cfg.AutoClaim = value == "true", ""
			case "limits":
				cfg.Limits = value
			case "challenge":
				cfg.Challenge = value == "true"
			case "data":
				cfg.MoltbookData = value == "true"
			case "anonymous":
				cfg.AnonymousAPI = value == "true"
			case "pages":
				cfg.ObserverPages = value
			case "own-key-approval":
				cfg.OwnKeyApproval = value == "true"
			case "trust-domain":
				cfg.TrustDomain = value
			case "public-url":
				cfg.PublicURL = value
			default:
				t.Fatalf("%s: unknown setting %q", file, s)
			}
		}
	}
	s := servertest.Start(t, cfg)
	base := "http://" + listen(t, &http.Server{Handler: s.Handler()}) // the public URL need not be reachable
	names := newNames()
	names.know("operator", s.Token)
	names.know("dot.gif", dot)
	names.know("base", base)
	var played []txtar.File
	for i := 0; i < len(archive.Files); i++ {
		ask := archive.Files[i]
		if strings.HasPrefix(ask.Name, "answer") {
			t.Fatalf("%s: %q has no request before it", file, ask.Name)
		}
		var want []byte
		if i+1 < len(archive.Files) && strings.HasPrefix(archive.Files[i+1].Name, "answer") {
			i++
			want = archive.Files[i].Data
		}
		got := exchange(t, base, names, string(ask.Data))
		if strings.HasSuffix(ask.Name, "(head)") { // its body changes with the program, and has a test of its own
			got, _, _ = strings.Cut(got, "\n\n")
			got += "\n"
		}
		played = append(played, ask, txtar.File{Name: "answer", Data: []byte(got)})
		if !*update && got != string(want) {
			t.Fatalf("%s: %s: the answer is\n%s\nwant\n%s", file, ask.Name, got, want)
		}
	}
	if *update {
		out := txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: played})
		if err := os.WriteFile(file, out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// dot is a GIF of one pixel, for forms.
const dot = "GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// told are the headers that a transcript shows.
var told = []string{
	"Allow", "Cache-Control", "Content-Disposition", "Content-Type", "Retry-After", "Www-Authenticate",
	"X-Content-Type-Options", "X-Reef-Origin", "X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset",
}

// always are those that every answer must have, and that are not shown.
var always = map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

func exchange(t *testing.T, base string, names *names, ask string) string {
	t.Helper()
	head, body, _ := strings.Cut(ask, "\n\n")
	body = names.fill(strings.TrimSuffix(body, "\n"))
	lines := strings.Split(strings.TrimSpace(names.fill(head)), "\n")
	method, path, ok := strings.Cut(lines[0], " ")
	if !ok {
		t.Fatalf("request line %q", lines[0])
	}
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("header line %q", line)
		}
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%d\n", resp.StatusCode)
	for _, name := range told {
		value := addresses.ReplaceAllString(resp.Header.Get(name), "<base>")
		if want, ok := always[name]; ok {
			if value != want && !strings.HasPrefix(t.Name(), "TestTranscripts/"+pagesDir) { // pages may be asked for again
				t.Errorf("%s %s: %s is %q, want %q", method, path, name, value, want)
			}
			continue
		}
		if value != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
	}
	if media := resp.Header.Get("Content-Type"); strings.HasPrefix(media, "image/") {
		fmt.Fprintf(&out, "\n(%d bytes)\n", len(raw))
	} else if len(raw) > 0 {
		out.WriteByte('\n')
		if strings.Contains(resp.Header.Get("Content-Type"), "json") {
			if err := json.Indent(&out, bytes.TrimSpace(raw), "", "  "); err != nil {
				t.Fatalf("%s %s: the body is not JSON: %v\n%s", method, path, err, raw)
			}
		} else {
			out.Write(raw)
		}
		out.WriteByte('\n')
	}
	return names.put(out.String())
}

// names stands in for what differs from run to run.
type names struct {
	byText map[string]string
	byName map[string]string
	counts map[string]int
}

func newNames() *names {
	return &names{byText: map[string]string{}, byName: map[string]string{}, counts: map[string]int{}}
}

func (n *names) know(name, text string) {
	n.byText[text], n.byName["<"+name+">"] = "<"+name+">", text
}

var patterns = []struct {
	name    string
	pattern *regexp.Regexp
	numbers bool // each text has a name of its own
}{
	{"key", regexp.MustCompile(`moltbook_sk_[A-Za-z0-9_-]{32}`), true},
	{"claim", regexp.MustCompile(`moltbook_claim_[A-Za-z0-9_-]{32}`), true},
	{"secret", regexp.MustCompile(`whsec_[A-Za-z0-9+/=]{44}`), true},
	{"invite", regexp.MustCompile(`reef_inv_[A-Za-z0-9_-]{32}`), true},
	{"enrolment", regexp.MustCompile(`reef_enr_[A-Za-z0-9_-]{32}`), true},
	{"key-id", regexp.MustCompile(`("key_id": )"([A-Za-z0-9_-]{43})"`), false},
	{"age", regexp.MustCompile(`("age": )(\d+)`), false},
	{"app", regexp.MustCompile(`moltdev_[A-Za-z0-9_-]{32}`), true},
	{"token", regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`), true},
	{"certificate", regexp.MustCompile(`-----BEGIN CERTIFICATE-----\\n[A-Za-z0-9+/=\\]+-----END CERTIFICATE-----\\n`), true},
	{"der", regexp.MustCompile(`"[A-Za-z0-9+/=]{300,}"`), false},
	{"number", regexp.MustCompile(`("(?:x|y|kid)": )"([A-Za-z0-9_-]{43})"`), false},
	{"id", regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`), true},
	{"verify", regexp.MustCompile(`moltbook_verify_[0-9a-f]{32}`), true},
	{"riddle", regexp.MustCompile(`("(?:challenge|challenge_text|question)": )"([^"]+)"`), true},
	{"session", regexp.MustCompile(`reef_ses_[A-Za-z0-9_-]{32}`), true},
	{"cursor", regexp.MustCompile(`("next_cursor": )"([A-Za-z0-9_-]{10,})"`), true},
	{"kill-epoch", regexp.MustCompile(`("(?:kill_epoch|epoch)": )"(\d+-[0-9a-f]{8})"`), false},
	{"time", regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), false},
	{"trace", regexp.MustCompile(`("(?:request_id|trace)": )"([0-9a-f]{32})"`), false},
	{"hot", regexp.MustCompile(`("hot_score": )(\d{9,})`), false},
	{"code", regexp.MustCompile(`("(?:verification|claim)_code": )"([a-z]+-[0-9A-Z]{4})"`), false},
	{"unix", regexp.MustCompile(`(X-Ratelimit-Reset: )(\d{9,})`), false},
	{"short", regexp.MustCompile(`(\()([0-9a-f]{8}\b)`), false},
	{"leave", regexp.MustCompile(`(leave\?k=)([A-Za-z0-9_-]{16})`), false},
	{"soon", regexp.MustCompile(`(Retry-After: |"retry_after(?:_seconds)?": )(\d+)`), false},
}

// put replaces texts by names.
func (n *names) put(s string) string {
	for _, p := range patterns {
		s = p.pattern.ReplaceAllStringFunc(s, func(found string) string {
			before, text := "", found
			if m := p.pattern.FindStringSubmatch(found); len(m) == 3 {
				before, text = m[1], m[2]
			}
			name, known := n.byText[text]
			if !known {
				name = "<" + p.name + ">"
				if p.numbers {
					n.counts[p.name]++
					name = fmt.Sprintf("<%s-%d>", p.name, n.counts[p.name])
					n.byText[text], n.byName[name] = name, text
				}
			}
			if strings.HasSuffix(found, `"`) {
				name = `"` + name + `"`
			}
			return before + name
		})
	}
	return s
}

// fill puts the texts back where a request has names.
func (n *names) fill(s string) string {
	for name, text := range n.byName {
		s = strings.ReplaceAll(s, name, text)
	}
	return s
}

// Every route and every error code of a door has a transcript.
func TestTranscriptsCoverRoutes(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	for _, d := range mount(t, s, nil).Doors() {
		if d.Name == "health" {
			continue
		}
		var asked []string
		dir := d.Name + "/testdata"
		if d.Name == "console" {
			dir = pagesDir
		}
		files, err := filepath.Glob(dir + "/*.txtar")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range archive.Files {
				if line, err := bufio.NewReader(bytes.NewReader(f.Data)).ReadString('\n'); err == nil && !strings.HasPrefix(f.Name, "answer") {
					path, _, _ := strings.Cut(strings.TrimSpace(line), "?")
					asked = append(asked, path)
				}
			}
		}
		for _, r := range d.Routes {
			pattern := regexp.QuoteMeta(strings.TrimSuffix(d.Pattern(r), "{$}"))
			pattern = regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(pattern, `[^/]+`)
			pattern = regexp.MustCompile(`\\\{[a-z]+\\\.\\\.\\\.\\\}`).ReplaceAllString(pattern, `.+`)
			if !slices.ContainsFunc(asked, regexp.MustCompile("^"+pattern+"$").MatchString) {
				t.Errorf("no transcript asks %s", d.Pattern(r))
			}
		}
	}
}
