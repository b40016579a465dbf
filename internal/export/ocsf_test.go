package export

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

var update = flag.Bool("update", false, "write the golden events instead of comparing them")

func newCodec(t testing.TB) *act.Codec {
	t.Helper()
	c, err := act.NewCodec(bytes.Repeat([]byte{9}, act.CodecKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ids makes the same ids each time.
func ids(t testing.TB) func(act.Kind) act.ID {
	t.Helper()
	at := time.UnixMilli(1_790_000_000_000)
	m := act.NewMinter(func() time.Time { return at }, 1, 0, act.IDMillis(at.Add(time.Hour)))
	return func(k act.Kind) act.ID {
		id, err := m.New(k)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

const trace = "4bf92f3577b34da6a3ce929d0e0e4736"

// entries are acts of every class, done and not.
func entries(t testing.TB) []gate.Entry {
	id := ids(t)
	agent := act.Principal{Kind: act.Agent, ID: id(act.KindAgent), Name: "ada", Epoch: 1, Binding: act.BindingDPoP, Grant: id(act.KindGrant)}
	operator := act.Principal{Kind: act.Operator, ID: id(act.KindOperator), Name: "mo", Binding: act.BindingOperator}
	post, comment := act.Ref{ID: id(act.KindPost), Version: 1}, act.Ref{ID: id(act.KindComment), Version: 3}
	grant := act.Ref{ID: agent.Grant}
	const at = 1_790_000_000_123_456
	return []gate.Entry{
		{Act: "post.create", At: at, Principal: agent, Out: post, In: [32]byte{1}, Count: 1, Trace: trace, Decision: gate.Decision{Policy: "write", Bundle: 4, Place: "network.cedar:12"}},
		{Act: "comment.create", At: at, Principal: agent, Target: post, Out: comment, Count: 1, Trace: trace},
		{Act: "post.create", At: at, Principal: agent, Outcome: gate.Refused, Code: act.RateLimited, Rule: "quota.post", Count: 41, Trace: trace},
		{Act: "session.open", At: at, Principal: operator, Out: act.Ref{ID: id(act.KindCredential)}, Count: 1},
		{Act: "other", At: at, Principal: act.Principal{Source: "s4"}, Outcome: gate.Refused, Code: act.Unauthenticated, Rule: "key.unknown", Count: 2},
		{Act: "token.issue", At: at, Principal: agent, Out: grant, Count: 1},
		{Act: "token.issue", At: at, Principal: agent, Outcome: gate.Refused, Code: act.Denied, Rule: "standing.paused", Count: 1},
		{Act: "agent.kill", At: at, Principal: operator, Target: act.Ref{ID: agent.ID}, Out: act.Ref{ID: agent.ID}, Reason: "it spreads a payload", Count: 1},
		{Act: "class.put", At: at, Principal: operator, Out: act.Ref{ID: id(act.KindClass), Version: 2}, Count: 1},
		{Act: "health.stop", At: at, Principal: act.SystemPrincipal("conduct"), Target: act.Ref{ID: agent.ID}, Out: act.Ref{ID: agent.ID}, Rule: "conduct.errors", Count: 1},
		{Act: "system.tidy", At: at, Principal: act.SystemPrincipal("housekeeping"), Outcome: gate.Failed, Code: act.Internal, Count: 1},
	}
}

// required lists the members that the published schema wants, from ocsf/ocsf-schema:
// events/base_event.json, events/application/api_activity.json, events/iam/{authentication,
// authorize_session, entity_management}.json, events/findings/{finding,
// detection_finding}.json, objects/{metadata, product, api, trace, span, ai_agent,
// delegation, fingerprint, finding_info}.json. A "|" stands between those of which there
// is at least one.
var required = map[string][]string{
	"":                        {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"},
	"6003":                    {"actor", "api", "src_endpoint"},
	"3002":                    {"user", "service|dst_endpoint"},
	"3003":                    {"user", "privileges|groups|iam_roles"},
	"3004":                    {"entity"},
	"2004":                    {"finding_info"},
	"metadata":                {"product", "version"},
	"metadata.product":        {"name"},
	"api":                     {"operation"},
	"actor":                   {"process|user|session|app_name|app_uid"},
	"actor.user":              {"name|uid"},
	"user":                    {"name|uid"},
	"src_endpoint":            {"ip|uid|name|hostname|svc_name"},
	"entity":                  {"name|uid"},
	"finding_info":            {"uid"},
	"trace":                   {"uid"},
	"trace.span":              {"uid", "start_time", "end_time"},
	"ai_agent":                {"uid"},
	"delegation":              {"uid"},
	"attestation":             {"fingerprint|signatures"},
	"attestation.fingerprint": {"algorithm_id", "value"},
}

// activities lists the values of activity_id beside 0 and 99.
var activities = map[float64][]float64{6003: {1, 2, 3, 4}, 3002: {1, 2, 3, 4, 5}, 3003: {1, 2, 3}, 3004: {1, 2, 3, 4}, 2004: {1, 2, 3}}

func checkEvent(t *testing.T, line []byte) {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatal(err)
	}
	class := e["class_uid"].(float64)
	for path, names := range required {
		at, there := e, true
		switch path {
		case "":
		case "6003", "3002", "3003", "3004", "2004":
			there = path == fmt.Sprint(class)
		default:
			for step := range strings.SplitSeq(path, ".") {
				at, there = at[step].(map[string]any)
				if !there {
					break
				}
			}
		}
		for _, name := range names {
			if there && !slices.ContainsFunc(strings.Split(name, "|"), func(n string) bool { return at[n] != nil && at[n] != "" }) {
				t.Errorf("%v: %s has no %s: %s", class, path, name, line)
			}
		}
	}
	if a := e["activity_id"].(float64); !slices.Contains(activities[class], a) && (a != 99 || e["activity_name"] == "") {
		t.Errorf("%v has the activity %v", class, a)
	}
	if e["type_uid"] != class*100+e["activity_id"].(float64) || e["category_uid"] != float64(int(class)/1000) {
		t.Errorf("type %v, category %v of %v", e["type_uid"], e["category_uid"], class)
	}
	// The fingerprint is what anybody computes.
	print := e["attestation"].(map[string]any)["fingerprint"].(map[string]any)["value"]
	delete(e["attestation"].(map[string]any), "fingerprint")
	raw, _ := json.Marshal(e)
	bare, err := jcs.Transform(raw)
	if err != nil || hash(bare) != print {
		t.Errorf("the fingerprint is %v, the event's is %s (%v)", print, hash(bare), err)
	}
}

func followed(t *testing.T, c *act.Codec, seq int64, e gate.Entry) audit.Followed {
	t.Helper()
	body := audit.AppendLeaf(nil, c, &e)
	leaf, err := audit.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	ref := e.Out
	if ref.ID == 0 {
		ref = e.Target
	}
	return audit.Followed{Seq: seq, Ref: ref, Body: body, Leaf: leaf}
}

// Each class has golden events with all that the published schema requires.
func TestOCSFGolden(t *testing.T) {
	c, f := newCodec(t), form{network: "https://reef.example", version: "v1"}
	var got bytes.Buffer
	classes := map[int64]bool{}
	for i, e := range entries(t) {
		from := followed(t, c, int64(i)+1, e)
		line, class, err := f.event(&from)
		if err != nil {
			t.Fatal(err)
		}
		checkEvent(t, line)
		classes[class] = true
		got.Write(line)
		got.WriteByte('\n')
	}
	if len(classes) != len(classNames) {
		t.Errorf("events of %d classes, want %d", len(classes), len(classNames))
	}
	const golden = "testdata/ocsf.jsonl"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(want, got.Bytes()) {
		t.Errorf("the events are not as %s has them (%v); look at what -update changes", golden, err)
	}
}

// record puts acts on record and numbers them.
func record(t *testing.T, db *store.DB, list []gate.Entry) {
	t.Helper()
	log := audit.New(audit.Config{Codec: newCodec(t)})
	for _, e := range list {
		if err := db.Write(t.Context(), func(tx *store.Tx) error { return log.Record(tx, e) }); err != nil {
			t.Fatal(err)
		}
	}
	lease, ok, err := db.Lead(t.Context(), store.SequencerLease)
	if err != nil || !ok {
		t.Fatalf("lead: %v %v", ok, err)
	}
	if _, err := db.SequencePass(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
}

// faulty takes what it is given, and fails as it is told.
type faulty struct {
	seqs       []int64
	fail, lose error // before it takes, after it has taken
}

func (f *faulty) Name() string { return "faulty" }
func (f *faulty) Close() error { return nil }

func (f *faulty) Take(_ context.Context, events []Event) error {
	if f.fail != nil {
		return f.fail
	}
	for _, e := range events {
		f.seqs = append(f.seqs, e.Seq)
	}
	return f.lose
}

func follower(db *store.DB, sinks ...Sink) *OCSF {
	return NewOCSF(OCSFConfig{DB: db, Sinks: sinks, Network: "https://reef.example", Version: "v1", Log: slog.New(slog.DiscardHandler)})
}

// Every leaf reaches every sink, in order, over failures and restarts; one that comes
// twice has the same number; and a sink that takes nothing holds up no other.
func TestOCSFLosesNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		list := entries(t)
		record(t, db, list)
		down, up := &faulty{fail: errors.New("down")}, &stream{to: &bytes.Buffer{}}
		o := follower(db, down, up)
		if err := o.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(up.to.(*bytes.Buffer).Bytes(), []byte("\n")); n != len(list) || len(down.seqs) != 0 {
			t.Fatalf("%d lines, and %d at the sink that is down", n, len(down.seqs))
		}
		if o.Behind() != int64(len(list)) {
			t.Errorf("%d behind, want %d", o.Behind(), len(list))
		}
		down.fail, down.lose = nil, errors.New("the answer is lost")
		_ = o.Pass(t.Context())
		down.lose = nil
		record(t, db, list[:3])
		o = follower(db, down) // another process
		_ = o.Pass(t.Context())
		_ = o.Pass(t.Context())
		want := 2*len(list) + 3
		if len(down.seqs) != want || o.Behind() != 0 {
			t.Fatalf("%d events, want %d; %d behind", len(down.seqs), want, o.Behind())
		}
		slices.Sort(down.seqs)
		if once := slices.Compact(down.seqs); len(once) != len(list)+3 || once[0] != 1 || once[len(once)-1] != int64(len(once)) {
			t.Errorf("the numbers are %v", once)
		}
	})
}

func events(n int, from int64) (list []Event) {
	for i := range n {
		list = append(list, Event{Seq: from + int64(i), At: 1_790_000_000_123_456, Class: classAPI, Line: fmt.Appendf(nil, `{"n":%d}`, from+int64(i))})
	}
	return list
}

// A file is rotated when it is full, goes on after a restart, and loses the half line
// that a crash has left.
func TestOCSFFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ocsf.jsonl")
	s, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.limit = 100
	for i := range 12 {
		if err := s.Take(t.Context(), events(5, int64(10+i*5))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(path + "*")
	newest, _ := os.ReadFile(path)
	if len(names) != 6 || !bytes.HasSuffix(newest, []byte("{\"n\":69}\n")) {
		t.Errorf("%d files, the newest ends in %q", len(names), newest)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the file: %v", info.Mode())
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"n":7`)
	_ = f.Close()
	if s, err = openFile(path); err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the test is over
	if err := s.Take(t.Context(), events(1, 70)); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.HasSuffix(got, []byte("{\"n\":69}\n{\"n\":70}\n")) {
		t.Errorf("after a crash: %q", got)
	}
}

// collector is a double of Splunk's event collector: it does what is documented of its
// paths, headers and acknowledgements, and is not that product.
type collector struct {
	indexes []string
	acks    bool
	polls   int
	trouble []string
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Splunk tok" {
		c.trouble = append(c.trouble, r.Method+" "+r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"text":"Invalid token","code":4}`)
		return
	}
	if c.acks && r.Header.Get("X-Splunk-Request-Channel") == "" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"text":"Data channel is missing","code":10}`)
		return
	}
	switch r.URL.Path {
	case "/services/collector/event":
		z, err := gzip.NewReader(r.Body)
		if err != nil || r.Header.Get("Content-Encoding") != "gzip" {
			c.trouble = append(c.trouble, "not gzip")
			return
		}
		for d := json.NewDecoder(z); ; {
			var e struct {
				Time  float64
				Index string
				Event map[string]any
			}
			if err := d.Decode(&e); err != nil {
				break
			}
			if e.Time < 1.7e9 || e.Event["n"] == nil {
				c.trouble = append(c.trouble, fmt.Sprint(e))
			}
			c.indexes = append(c.indexes, e.Index)
		}
		if c.acks {
			_, _ = io.WriteString(w, `{"text":"Success","code":0,"ackId":7}`)
			return
		}
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	case "/services/collector/ack":
		if r.URL.Query().Get("channel") != r.Header.Get("X-Splunk-Request-Channel") {
			c.trouble = append(c.trouble, "another channel")
		}
		c.polls++
		fmt.Fprintf(w, `{"acks":{"7":%v}}`, c.polls > 1)
	default:
		c.trouble = append(c.trouble, r.URL.Path)
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestOCSFEventCollector(t *testing.T) {
	for _, acks := range []bool{false, true} {
		c := &collector{acks: acks}
		s := httptest.NewServer(c)
		defer s.Close()
		query := "?index=reef&index.3002=auth"
		if acks {
			query += "&ack=1"
		}
		h, err := OpenSink("hec:"+s.URL+query, "tok", nil)
		if err != nil {
			t.Fatal(err)
		}
		list := events(300, 1)
		list[0].Class = classSignIn
		for i := range list { // several requests
			list[i].Line = fmt.Appendf(nil, `{"n":%d,"x":%q}`, i, strings.Repeat("x", 10_000))
		}
		if err := h.Take(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		if len(c.indexes) != len(list) || c.indexes[0] != "auth" || c.indexes[1] != "reef" || len(c.trouble) > 0 || acks != (c.polls > 1) {
			t.Errorf("acks %v: %d events, %d polls, %v", acks, len(c.indexes), c.polls, c.trouble)
		}
		wrong, err := OpenSink("hec:"+s.URL, "another", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := wrong.Take(t.Context(), events(1, 1)); err == nil || strings.Contains(err.Error(), "another") {
			t.Errorf("a wrong token: %v", err)
		}
	}
}

func TestOCSFWebhook(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Header.Get("Webhook-Id") + " " + r.Header.Get("Webhook-Signature")[:3] + " " + string(body)
	}))
	defer s.Close()
	w, err := OpenSink("webhook:"+s.URL, "secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Take(t.Context(), events(2, 5)); err != nil {
		t.Fatal(err)
	}
	if want := "ocsf_5_6 v1, {\"n\":5}\n{\"n\":6}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOCSFWrongSinks(t *testing.T) {
	for _, text := range []string{"", "file:", "stdout:x", "ftp://x", "hec:http://splunk.example:8088", "webhook:https://u:p@x", "hec:https://x?indx=a", "webhook:"} {
		if _, err := OpenSink(text, "k", io.Discard); act.CodeOf(err) != act.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := OpenSink("hec:https://x", "", io.Discard); act.CodeOf(err) != act.Invalid {
		t.Errorf("hec without a token: %v", err)
	}
}
