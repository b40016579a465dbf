package server_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

const (
	qTestTablesPostgres store.Q = `SELECT table_name FROM information_schema.tables WHERE table_schema = $1 AND table_type = 'BASE TABLE'`
	qTestReadings       store.Q = `SELECT l.body FROM leaf AS l JOIN event AS e ON e.pos = l.pos WHERE e.act = $1`
)

// lines collects a log; the server's parts write to it at once.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.text.Bytes())
}

// T02: nothing that agents write to each other alone is found in clear anywhere
// but in what its two sides are answered: not in the database's files, its log, a
// dump of all its rows or a backup, not in the server's log, its metrics or its errors.
func TestT02_MessagesAreNowhereInClear(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			var log lines
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s, err := server.New(ctx, cfg, telemetry.NewLogger(&log, telemetry.Options{Level: slog.LevelDebug}))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			noCanary(t, cfg, s, &log)
		})
	}
}

func noCanary(t *testing.T, cfg server.Config, s *server.Server, log *lines) {
	ctx := context.Background()
	const canary = "k4n4ry"
	var keys [2]string
	var agents [2]act.Principal
	for i := range keys {
		out, err := s.Lifecycle.Register.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewAgent{Name: fmt.Sprintf("side-%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = out.Key
		if agents[i], err = s.Identity.Authenticate(ctx, out.Key); err != nil {
			t.Fatal(err)
		}
	}
	call := func(key, method, path, body string, want int) string {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		if body == "" {
			r = httptest.NewRequest(method, path, nil)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Fatalf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, want)
		}
		return w.Body.String()
	}
	asked, err := s.Network.RequestConversation.Do(ctx, agents[0], network.NewRequest{To: agents[1].Name, Text: "a request with " + canary})
	if err != nil {
		t.Fatal(err)
	}
	call(keys[1], http.MethodPost, "/api/v1/agents/dm/requests/"+s.Codec.String(asked.Conversation)+"/approve", "", http.StatusForbidden)
	raw, err := os.ReadFile(filepath.Join(cfg.Data, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	operator, err := s.Identity.Authenticate(ctx, strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Network.ApproveConversation.Do(ctx, operator, network.ConversationOrder{
		Conversation: asked.Conversation, Owner: "tests", Reason: "they work together",
	}); err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/agents/dm/conversations/" + s.Codec.String(asked.Conversation)
	const messages = 1000
	for i := range messages {
		if _, err := s.Network.SendMessage.Do(ctx, agents[i%2], network.NewMessage{
			Conversation: asked.Conversation, Text: fmt.Sprintf("sk-%s-%d", canary, i), NeedsHuman: i%7 == 0,
		}); err != nil {
			t.Fatal(err)
		}
	}
	// Its sides read it; errors say nothing of it.
	if got := call(keys[0], http.MethodGet, path, "", http.StatusOK); strings.Count(got, canary) != 100 { // content and message of 50
		t.Errorf("a side reads %d canaries", strings.Count(got, canary))
	}
	for _, body := range []string{
		`{"message":"` + canary + `","extra":1}`, `{"message":"` + strings.Repeat(canary, 1000) + `"}`,
		`{"message":7,"content":"` + canary + `"}`, `{"message":"` + canary, `{"message":"` + canary + `\ud800"}`,
	} {
		if got := call(keys[0], http.MethodPost, path+"/send", body, http.StatusBadRequest); strings.Contains(got, canary) {
			t.Errorf("an error says what was sent: %s", got)
		}
	}
	settled, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.Settle(settled); err != nil {
		t.Fatal(err)
	}

	scanned := 0
	scan := func(where string, b []byte) {
		scanned += len(b)
		for _, form := range []string{canary, hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary)))} {
			if n := bytes.Count(b, []byte(form)); n > 0 {
				t.Errorf("%s holds %d canaries in clear", where, n)
			}
		}
	}
	metrics := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	metrics.RemoteAddr = "127.0.0.1:4242"
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, metrics)
	scan("metrics", w.Body.Bytes())
	scan("the log", log.bytes())
	if err := filepath.WalkDir(cfg.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		scan(filepath.Base(path), b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if s.DB.Dialect() == store.Postgres {
		dump(t, cfg.Schema, s.DB, scan)
	}
	var copied bytes.Buffer
	if _, err := s.Lifecycle.Backup(ctx, operator, lifecycle.NewBackup{}, func() (io.Writer, error) { return &copied, nil }, nil); err != nil {
		t.Fatal(err)
	}
	if copied.Len() < 100<<10 {
		t.Errorf("the backup has %d bytes: that is not a thousand messages", copied.Len())
	}
	scan("the backup", copied.Bytes())
	if scanned < 1<<20 {
		t.Errorf("%d bytes were scanned: that is not the database", scanned)
	}
	for _, line := range servertest.Violations(t, s) {
		t.Errorf("invariant: %s", line)
	}
}

// dump passes every row of every table, as text, to scan.
func dump(t *testing.T, schema string, db *store.DB, scan func(string, []byte)) {
	t.Helper()
	if err := db.View(context.Background(), func(v *store.View) error {
		var tables []string
		if err := v.All(qTestTablesPostgres, func(r *store.Row) error { tables = append(tables, r.Text(0)); return nil }, schema); err != nil {
			return err
		}
		if len(tables) < 20 {
			t.Errorf("%d tables", len(tables))
		}
		for _, table := range tables {
			q := store.Q(`SELECT CAST(row_to_json(x) AS TEXT) FROM "` + table + `" AS x`)
			if err := v.All(q, func(r *store.Row) error { scan("table "+table, []byte(r.Text(0))); return nil }); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// T02: an operator reads nothing without an approval. A granted reading is one
// reading and one leaf, however often it is tried at once.
func TestT02_BreakingTheGlassIsOneReadingAndOneLeaf(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, a := s.Agent(t, "ada")
		_, b := s.Agent(t, "bob")
		asked, err := s.Network.RequestConversation.Do(ctx, a, network.NewRequest{To: b.Name, Text: "may we talk?"})
		if err != nil {
			t.Fatal(err)
		}
		operator, err := s.Identity.Authenticate(ctx, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		reveal := func() error {
			out, err := s.Network.Reveal.Do(ctx, operator, asked.Conversation)
			if err == nil && (len(out.Messages) != 1 || out.Messages[0].Text != "may we talk?") {
				t.Errorf("the reading has %+v", out.Messages)
			}
			if err != nil && len(out.Messages) > 0 {
				t.Error("a refused reading shows messages")
			}
			return err
		}
		if err := reveal(); act.CodeOf(err) != act.Denied {
			t.Fatalf("a reading nobody granted: %v", err)
		}
		if _, err := s.Network.Reveal.Do(ctx, a, asked.Conversation); act.CodeOf(err) != act.Denied {
			t.Fatalf("a reading by an agent: %v", err)
		}
		inspect := func() error {
			_, err := s.Network.Inspect.Do(ctx, operator, network.NewInspection{Conversation: asked.Conversation, Reason: "incident 42"})
			return err
		}
		if err := inspect(); act.CodeOf(err) != act.Held {
			t.Fatalf("a reading is granted without an approval: %v", err)
		}
		if err := reveal(); act.CodeOf(err) != act.Denied {
			t.Fatalf("a reading that was asked for: %v", err)
		}
		pending, ok := errors.AsType[*gate.Pending](inspect())
		if !ok {
			t.Fatal("asked again, the reading does not wait for an approval")
		}
		if _, err := s.Lifecycle.Approve(ctx, a, gate.Key{}, lifecycle.Verdict{Approval: pending.Approval, Reason: "why not"}); act.CodeOf(err) != act.Denied {
			t.Fatalf("an agent approves a reading: %v", err)
		}
		approved, err := s.Lifecycle.Approve(ctx, operator, gate.Key{}, lifecycle.Verdict{Approval: pending.Approval, Reason: "incident 42"})
		if err != nil || approved.State != lifecycle.ApprovalExecuted {
			t.Fatalf("the approval is %s (%v)", approved.State, err)
		}
		var read atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if reveal() == nil {
					read.Add(1)
				}
			})
		}
		wg.Wait()
		s.Gate.Flush()
		if n := read.Load(); n != 1 {
			t.Errorf("one grant gave %d readings", n)
		}
		var leaves int64
		if err := s.DB.View(ctx, func(v *store.View) error {
			return v.All(qTestReadings, func(r *store.Row) error {
				if bytes.Contains(r.Bytes(0), []byte(`"outcome":"done"`)) {
					leaves++
				}
				return nil
			}, "dm.reveal")
		}); err != nil || leaves != 1 {
			t.Errorf("%d leaves of the reading (%v)", leaves, err)
		}
	})
}

// One pair of agents has one conversation, whoever asks at the same time; what
// is sent, read and ended at once leaves exact counts; nothing is sent after an
// end was answered.
func TestConversationsUnderParallelUse(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, a := s.Agent(t, "ada")
		_, b := s.Agent(t, "bob")
		var made atomic.Int64
		var conversation atomic.Int64
		var wg sync.WaitGroup
		for i := range 20 {
			from, to := a, b
			if i%2 == 1 {
				from, to = b, a
			}
			wg.Go(func() {
				out, err := s.Network.RequestConversation.Do(ctx, from, network.NewRequest{To: to.Name, Text: "shall we talk?"})
				switch {
				case err == nil:
					made.Add(1)
					conversation.Store(int64(out.Conversation))
				case act.CodeOf(err) != act.Invalid:
					t.Errorf("request: %v", err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 {
			t.Fatalf("%d conversations of one pair", made.Load())
		}
		operator, err := s.Identity.Authenticate(ctx, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		id := act.ID(conversation.Load())
		order := network.ConversationOrder{Conversation: id, Owner: "tests", Reason: "test"}
		if _, err := s.Network.ApproveConversation.Do(ctx, operator, order); err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			p := []act.Principal{a, b}[i%2]
			wg.Go(func() {
				var err error
				if i%5 == 4 {
					_, err = s.Network.MarkRead.Do(ctx, p, network.MessageMark{Conversation: id})
				} else {
					_, err = s.Network.SendMessage.Do(ctx, p, network.NewMessage{Conversation: id, Text: "x"})
				}
				if err != nil {
					t.Errorf("act %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		page, err := s.Network.ReadConversation.Do(ctx, a, network.MessageQuery{Conversation: id, Limit: 100})
		if err != nil || len(page.Items) != 49 {
			t.Fatalf("%d messages (%v)", len(page.Items), err)
		}
		for _, m := range page.Items {
			if m.Sender != a.ID && !exposed(t, s, a.ID, m.ID) {
				t.Fatal("a message was shown without an exposure row")
			}
		}
		var ended atomic.Bool
		for range 10 {
			wg.Go(func() {
				for range 20 {
					after := ended.Load()
					if _, err := s.Network.SendMessage.Do(ctx, a, network.NewMessage{Conversation: id, Text: "x"}); err == nil && after {
						t.Error("a message was sent after the end was answered")
					}
				}
			})
		}
		if _, err := s.Network.RejectConversation.Do(ctx, b, network.ConversationOrder{Conversation: id, Block: true}); err != nil {
			t.Fatal(err)
		}
		ended.Store(true)
		wg.Wait()
	})
}
