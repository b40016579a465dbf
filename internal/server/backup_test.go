package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/backup"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qTestSequence store.Q = `SELECT COUNT(seq), COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0) FROM event WHERE seq > $1`
	qTestActsBy   store.Q = `SELECT COUNT(*) FROM event WHERE actor = $1 AND act <> 'agent.register'`
)

// eachCarriage runs fn with the configuration of a network and of the empty place
// where its backup is restored.
func eachCarriage(t *testing.T, fn func(t *testing.T, from, to server.Config)) {
	t.Helper()
	for _, c := range []struct {
		name     string
		from, to store.Dialect
	}{
		{"sqlite", store.SQLite, store.SQLite},
		{"postgres", store.Postgres, store.Postgres},
		{"into_postgres", store.SQLite, store.Postgres},
		{"into_sqlite", store.Postgres, store.SQLite},
	} {
		t.Run(c.name, func(t *testing.T) { fn(t, servertest.Config(t, c.from), servertest.Config(t, c.to)) })
	}
}

// restored makes a network at to of the backup in a file, under the key of from.
func restored(t *testing.T, from, to server.Config, file string) server.Restored {
	t.Helper()
	archive, err := backup.Open(context.Background(), file, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.Restore(context.Background(), to, server.Restoring{Archive: archive, Key: from.KeyPath()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	return out
}

// backedUp takes a backup over the wire.
func backedUp(t *testing.T, s *servertest.Server) (file string, m backup.Manifest) {
	t.Helper()
	a := s.Call(t, http.MethodPost, "/v1/backup", s.Token, map[string]string{"reason": "nightly"})
	if a.Status != http.StatusOK {
		t.Fatalf("backup: %d %s", a.Status, a.Raw)
	}
	m, err := backup.Check(context.Background(), bytes.NewReader(a.Raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "net.reefbackup")
	if err := os.WriteFile(file, a.Raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, m
}

// confirm names the kills that are known; it returns the status and the rule.
func confirm(t *testing.T, s *servertest.Server, kills string) (status int, rule any) {
	t.Helper()
	a := s.Call(t, http.MethodPost, "/v1/network/confirm", s.Token, map[string]string{"kills": kills, "reason": "looked it up"})
	return a.Status, a.JSON["rule"]
}

// mustWait fails unless an agent's request is refused as one of a network that
// waits for its operator: with 503, the rule and a time to come back, never with
// what reads as a bad key.
func mustWait(t *testing.T, what string, a servertest.Answer) {
	t.Helper()
	if a.Status != http.StatusServiceUnavailable || !bytes.Contains(a.Raw, []byte(lifecycle.RuleRestored)) || a.Header.Get("Retry-After") == "" {
		t.Errorf("%s: %d %s (Retry-After %q), want 503 %s", what, a.Status, a.Raw, a.Header.Get("Retry-After"), lifecycle.RuleRestored)
	}
}

// writing is agents who write for as long as it lasts, and what was acknowledged.
type writing struct {
	s    *servertest.Server
	talk act.ID // a conversation between agents 0 and 1

	stop atomic.Bool
	done sync.WaitGroup
	mu   sync.Mutex
	made map[act.ID]string // guarded by mu: posts with their titles
	said map[string]bool   // guarded by mu: messages
}

func (l *writing) counts() (posts, messages int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.made), len(l.said)
}

// writes has an agent write posts, comments, votes and messages.
func (l *writing) writes(t *testing.T, n int, p act.Principal) {
	defer l.done.Done()
	ctx := context.Background()
	for i := 0; !l.stop.Load(); i++ {
		title := fmt.Sprintf("report%d of writer%d", i, n)
		post, err := l.s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "general", Title: title, Content: "word" + title})
		if err != nil {
			t.Errorf("post: %v", err)
			return
		}
		l.mu.Lock()
		l.made[post.ID] = title
		l.mu.Unlock()
		if _, err := l.s.Network.CreateComment.Do(ctx, p, network.NewComment{Post: network.Named{ID: post.ID}, Content: "on " + title}); err != nil {
			t.Errorf("comment: %v", err)
		}
		if n < 2 {
			text := fmt.Sprintf("sealed %d by %d", i, n)
			if _, err := l.s.Network.SendMessage.Do(ctx, p, network.NewMessage{Conversation: l.talk, Text: text}); err != nil {
				t.Errorf("message: %v", err)
				return
			}
			l.mu.Lock()
			l.said[text] = true
			l.mu.Unlock()
		}
	}
}

// slowed is a file to which the first bytes are written only after some more writes
// were acknowledged: so the backup is under way while they happen.
type slowed struct {
	*os.File
	t    *testing.T
	once sync.Once
	more func() bool
}

func (h *slowed) Write(b []byte) (int, error) {
	h.once.Do(func() { eventually(h.t, "writes go on during the backup", h.more) })
	return h.File.Write(b)
}

// A backup that is taken while agents write has everything that was acknowledged
// before it was asked for, and restores to a network whose invariants hold: the
// sequence goes on densely, sealed messages open, words are found. It lets no agent
// act before an operator has confirmed.
func TestBackupUnderLoadRestores(t *testing.T) {
	eachCarriage(t, func(t *testing.T, from, to server.Config) {
		ctx := context.Background()
		to.AnonymousAPI = true // observers may read
		s := servertest.Open(t, from)
		keys, agents := make([]string, 4), make([]act.Principal, 4)
		for i := range agents {
			keys[i], agents[i] = s.Agent(t, fmt.Sprintf("writer-%d", i))
		}
		l := &writing{s: s, made: map[act.ID]string{}, said: map[string]bool{}}
		l.talk = talk(t, s, agents[0], agents[1])
		l.done.Add(len(agents))
		for i, p := range agents {
			go l.writes(t, i, p)
		}
		defer func() { l.stop.Store(true); l.done.Wait() }()
		enough := soak(25, 2000)
		eventually(t, "some were written", func() bool { p, m := l.counts(); return p >= enough && m >= 5 })

		l.mu.Lock()
		made, said := maps.Clone(l.made), maps.Clone(l.said)
		l.mu.Unlock()
		file := filepath.Join(t.TempDir(), "b")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		operator, err := s.Identity.Authenticate(ctx, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Lifecycle.Backup(ctx, operator, lifecycle.NewBackup{Reason: "under load"}, func() (io.Writer, error) {
			return &slowed{File: f, t: t, more: func() bool { p, _ := l.counts(); return p >= len(made)+enough }}, nil
		}, nil)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatalf("backup: %v", err)
		}
		l.stop.Store(true)
		l.done.Wait()
		lateKey, _ := s.Agent(t, "late")
		servertest.CheckInvariants(t, s.Server)
		s.Stop()

		out := restored(t, from, to, file)
		if out.Backup.ID != m.ID || out.Items == 0 || out.Condition.Confirmed() {
			t.Errorf("restored is %+v", out)
		}
		r := servertest.Start(t, to) // checks the invariants at the end, too
		servertest.CheckInvariants(t, r.Server)
		waits(t, r, keys[0], lateKey)
		if status, rule := confirm(t, r, "1"); status != http.StatusConflict || rule != "kill.missing" {
			t.Errorf("an epoch that the network lacks is confirmed: %d %v", status, rule)
		}
		mustWait(t, "an agent after a refused confirmation", r.Call(t, http.MethodGet, "/v1/home", keys[0], nil))
		if status, _ := confirm(t, r, lifecycle.NoKills); status != http.StatusOK {
			t.Fatalf("confirm: %d", status)
		}

		for i := range agents {
			if agents[i], err = r.Identity.Authenticate(ctx, keys[i]); err != nil {
				t.Fatalf("the key of before: %v", err)
			}
		}
		for id, title := range made {
			if p, err := r.Network.ReadPost.Do(ctx, agents[2], network.Named{ID: id}); err != nil || p.Title != title {
				t.Errorf("%q was acknowledged before the backup and is %q (%v)", title, p.Title, err)
			}
		}
		for page := (network.MessageQuery{Conversation: l.talk, Limit: 100}); ; {
			got, err := r.Network.ReadConversation.Do(ctx, agents[0], page)
			if err != nil {
				t.Fatalf("sealed messages: %v", err)
			}
			for _, one := range got.Items {
				delete(said, one.Text)
			}
			if page.Cursor = got.Next; got.Next.IsZero() {
				break
			}
		}
		if len(said) > 0 {
			t.Errorf("%d messages acknowledged before the backup do not open: %v", len(said), said)
		}
		found, err := r.Network.Search.Do(ctx, agents[2], network.SearchQuery{Text: "wordreport3", Type: network.SearchPosts})
		if err != nil || len(found.Items) == 0 {
			t.Errorf("a search finds %d (%v)", len(found.Items), err)
		}
		fresh, err := r.Network.CreatePost.Do(ctx, agents[3], network.NewPost{Community: "general", Title: "after the restore", Content: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if title, twice := l.made[fresh.ID]; twice {
			t.Errorf("the id of %q was given again", title)
		}
		dense(t, r, m.Seq)
	})
}

// talk has two agents talk with each other.
func talk(t *testing.T, s *servertest.Server, a, b act.Principal) act.ID {
	t.Helper()
	ctx := context.Background()
	asked, err := s.Network.RequestConversation.Do(ctx, a, network.NewRequest{To: b.Name, Text: "may we talk?"})
	if err != nil {
		t.Fatal(err)
	}
	operator, err := s.Identity.Authenticate(ctx, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Network.ApproveConversation.Do(ctx, operator, network.ConversationOrder{
		Conversation: asked.Conversation, Owner: "tests", Reason: "they work together",
	}); err != nil {
		t.Fatal(err)
	}
	return asked.Conversation
}

// dense fails unless the sequence goes on after seq without a gap.
func dense(t *testing.T, s *servertest.Server, seq int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	var n, first, last int64
	if err := s.DB.View(ctx, func(v *store.View) error {
		_, err := v.One(qTestSequence, func(r *store.Row) error { n, first, last = r.Int(0), r.Int(1), r.Int(2); return nil }, seq)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if n == 0 || first != seq+1 || last != seq+n {
		t.Errorf("after event %d of the backup come %d from %d to %d", seq, n, first, last)
	}
}

// waits shows that a restored network refuses every act of agents, of those that it
// knows and of those that registered after the backup, and serves all others.
func waits(t *testing.T, s *servertest.Server, key, late string) {
	t.Helper()
	for _, k := range []string{key, late} {
		for _, path := range []string{"/v1/home", "/v1/posts", "/v1/conversations", "/api/v1/agents/me", "/api/v1/feed", "/v1/agents"} {
			mustWait(t, "GET "+path, s.Call(t, http.MethodGet, path, k, nil))
		}
		mustWait(t, "a post", s.Call(t, http.MethodPost, "/v1/posts", k, map[string]string{"community": "general", "title": "t", "content": "c"}))
		mustWait(t, "a post on the old wire", s.Call(t, http.MethodPost, "/api/v1/posts", k, map[string]string{"submolt": "general", "title": "t", "content": "c"}))
		mustWait(t, "a confirmation by an agent", s.Call(t, http.MethodPost, "/v1/network/confirm", k, map[string]string{"kills": "none", "reason": "let me in"}))
	}
	mustWait(t, "a registration", s.Call(t, http.MethodPost, "/api/v1/agents/register", "", map[string]string{"name": "stranger", "description": "d"}))
	for _, door := range s.API.Doors() {
		if door.Name == "console" { // people's; its empty search form and its refusal of a forged form are no acts
			continue
		}
		for _, r := range door.Routes {
			if r.Act == "" || r.Anonymous || r.Waits != nil {
				continue
			}
			path := door.Prefix
			for part := range strings.SplitSeq(strings.TrimPrefix(r.Path, "/"), "/") {
				if strings.HasPrefix(part, "{") {
					part = "x"
				}
				path += "/" + part
			}
			if path == "/oauth/authorize" || path == "/oauth/device" { // people's, too: what they show and refuse is no act
				continue
			}
			var body any
			if r.Method != http.MethodGet {
				body = map[string]string{}
			}
			if a := s.Call(t, r.Method, path, key, body); a.Status < 400 || a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden {
				t.Errorf("%s %s: an agent is answered %d %s", r.Method, path, a.Status, a.Raw)
			}
		}
	}
	if a := s.Call(t, http.MethodGet, "/v1/agents", s.Token, nil); a.Status != http.StatusOK {
		t.Errorf("an operator is answered %d %s", a.Status, a.Raw)
	}
	if a := s.Call(t, http.MethodGet, "/v1/network", s.Token, nil); a.Status != http.StatusOK || a.JSON["agents"] != "refused" {
		t.Errorf("the network says %d %s", a.Status, a.Raw)
	}
	if a := s.Call(t, http.MethodGet, "/readyz", "", nil); a.Status != http.StatusOK || a.JSON["agents"] != "refused" || a.JSON["rule"] != lifecycle.RuleRestored {
		t.Errorf("/readyz says %d %s", a.Status, a.Raw)
	}
	stranger := act.Principal{Kind: act.Observer, Source: "test"}
	if _, err := s.Network.ReadFeed.Do(context.Background(), stranger, network.FeedQuery{}); err != nil {
		t.Errorf("an observer is refused: %v", err)
	}
	if in, err := s.Lifecycle.OpenSession.Do(context.Background(), stranger, lifecycle.NewSession{Token: s.Token}); err != nil || in.Key == "" {
		t.Errorf("an operator who signs in to the pages is refused: %v", err)
	}
	if _, err := s.Lifecycle.OpenSession.Do(context.Background(), stranger, lifecycle.NewSession{Token: key}); act.CodeOf(err) != act.Unauthenticated {
		t.Errorf("somebody who signs in with an agent's key: %v", err)
	}
}
