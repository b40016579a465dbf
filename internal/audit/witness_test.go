package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// witness is a double of a witness (C2SP tlog-witness); the real one is in
// TestT64_TheRealWitness.
type witness struct {
	name string
	key  ed25519.PrivateKey
	log  note.Verifier

	mu   sync.Mutex
	down bool      // guarded by mu
	lies bool      // guarded by mu: it signs something else
	seen tlog.Tree // guarded by mu
	hook func()    // guarded by mu: is called before an answer
}

func newWitness(t testing.TB, name string) *witness {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := testKey(1).Public(origin)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	return &witness{name: name, key: key, log: v}
}

func (w *witness) keyHash() (raw []byte, hash uint32) {
	raw = append([]byte{4}, w.key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(w.name+"\n"), raw...))
	return raw, binary.BigEndian.Uint32(sum[:])
}

func (w *witness) vkey() string {
	raw, hash := w.keyHash()
	return fmt.Sprintf("%s+%08x+%s", w.name, hash, base64.StdEncoding.EncodeToString(raw))
}

func (w *witness) set(down, lies bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down, w.lies = down, lies
}

func (w *witness) add(body []byte) (int, []byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hook != nil {
		w.hook()
	}
	if w.down {
		return 0, nil, errors.New("connection refused")
	}
	head, signed, _ := bytes.Cut(body, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	old, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "old "), 10, 64)
	if err != nil {
		return http.StatusBadRequest, nil, nil
	}
	c, err := audit.OpenCheckpoint(signed, w.log)
	switch {
	case err != nil:
		return http.StatusForbidden, nil, nil
	case old != w.seen.N, old == c.Size && c.Root != w.seen.Hash:
		return http.StatusConflict, fmt.Appendf(nil, "%d\n", w.seen.N), nil
	}
	var proof tlog.TreeProof
	for _, l := range lines[1:] {
		h, err := tlog.ParseHash(l)
		if err != nil {
			return http.StatusBadRequest, nil, nil
		}
		proof = append(proof, h)
	}
	if old > 0 && old < c.Size && tlog.CheckTree(proof, c.Size, c.Root, old, w.seen.Hash) != nil {
		return http.StatusUnprocessableEntity, nil, nil
	}
	w.seen = tlog.Tree{N: c.Size, Hash: c.Root}
	n, err := note.Open(signed, note.VerifierList(w.log))
	if err != nil {
		return http.StatusForbidden, nil, nil
	}
	text := n.Text
	if w.lies {
		text = "something else\n"
	}
	_, hash := w.keyHash()
	raw := binary.BigEndian.AppendUint32(nil, hash)
	raw = binary.BigEndian.AppendUint64(raw, 1_700_000_000)
	raw = append(raw, ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime 1700000000\n%s", text))...)
	return http.StatusOK, fmt.Appendf(nil, "— %s %s\n", w.name, base64.StdEncoding.EncodeToString(raw)), nil
}

// witnessed returns a tree with witnesses of which quorum have to cosign.
func witnessed(t testing.TB, db *store.DB, quorum int, list ...*witness) *audit.Tree {
	t.Helper()
	c := audit.TreeConfig{DB: db, Key: testKey(1), Origin: origin, Quorum: quorum}
	for _, w := range list {
		one, err := audit.ParseWitness(w.vkey() + "@https://" + w.name)
		if err != nil {
			t.Fatal(err)
		}
		c.Witnesses = append(c.Witnesses, one)
	}
	c.Post = func(_ context.Context, url string, body []byte) (int, []byte, error) {
		for _, w := range list {
			if url == "https://"+w.name+"/add-checkpoint" {
				return w.add(body)
			}
		}
		return 0, nil, fmt.Errorf("nobody is at %s", url)
	}
	return audit.NewTree(c)
}

func cosign(t testing.TB, tree *audit.Tree) audit.State {
	t.Helper()
	if err := tree.Cosign(t.Context()); err != nil {
		t.Fatal(err)
	}
	return current(t, tree)
}

// T64: a checkpoint is given out when k of n witnesses have cosigned it. One that is down
// delays it and loses nothing; what it was asked for and did not do is told.
func TestT64_Witnesses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		codec := newCodec(t)
		one, two, three := newWitness(t, "one.test/w"), newWitness(t, "two.test/w"), newWitness(t, "three.test/w")
		tree := witnessed(t, db, 2, one, two, three)
		step := func(leaves int) {
			record(t, db, codec, leaves)
			integrate(t, tree)
		}
		if st := cosign(t, tree); st.Served.Size != 0 {
			t.Fatalf("nothing is given out: %+v", st)
		}
		step(10)
		if st := current(t, tree); st.Last.Size != 10 || st.Served.Size != 0 {
			t.Errorf("before they have signed: %+v", st)
		}
		if st := cosign(t, tree); st.Served.Size != 10 || st.Served.Witnesses != 3 {
			t.Errorf("all sign: %+v", st)
		}
		two.set(true, false)
		three.set(false, true)
		step(300)
		if st := cosign(t, tree); st.Last.Size != 310 || st.Served.Size != 10 {
			t.Errorf("one is down and one lies: %+v", st)
		}
		faults := 0
		for _, w := range tree.Witnessed() {
			if w.Fault != "" {
				faults++
			}
		}
		if faults != 2 {
			t.Errorf("what they did not do is not told: %+v", tree.Witnessed())
		}
		step(5) // the one that was cosigned stays, the others of the hour go
		if st := cosign(t, tree); st.Last.Size != 315 || st.Served.Size != 10 {
			t.Errorf("still: %+v", st)
		}
		if r := verify(t, db, codec); !r.OK() || r.Tree != 315 {
			t.Errorf("the log goes on: %+v", r)
		}
		two.set(false, false)
		// While it signs, the log goes on: what it signed is kept all the same.
		two.mu.Lock()
		two.hook = func() {
			two.hook = nil
			record(t, db, codec, 1)
			if err := tree.Integrate(context.Background()); err != nil {
				t.Error(err)
			}
		}
		two.mu.Unlock()
		if st := cosign(t, tree); st.Served.Size != 315 || st.Last.Size != 316 || st.Served.Witnesses != 2 {
			t.Errorf("back again: %+v", st)
		}
		// A node that knows nothing of the witnesses learns what they have seen from them.
		fresh := witnessed(t, db, 2, one, two, three)
		if st := cosign(t, fresh); st.Served.Size != 316 || st.Served.Witnesses != 2 {
			t.Errorf("another node: %+v", st)
		}
		if r := verify(t, db, codec); !r.OK() {
			t.Errorf("%+v", r)
		}
		report, err := audit.Verify(t.Context(), db, audit.Verifying{Codec: codec, Key: testKey(1), Witnesses: tree.Witnesses})
		if err != nil || !report.OK() {
			t.Errorf("with the witnesses' keys: %+v, %v", report, err)
		}
	})
}

// T64: a witness cosigns no checkpoint of an older log, nor of another one of the same size.
func TestT64_AWitnessRefusesStaleAndForkedLogs(t *testing.T) {
	codec := newCodec(t)
	w := newWitness(t, "one.test/w")
	logs := make(map[int]*audit.Tree)
	for _, size := range []int{20, 30, 10} {
		db := storetest.Open(t, store.SQLite)
		logs[size] = witnessed(t, db, 1, w)
		record(t, db, codec, size)
		integrate(t, logs[size])
	}
	if st := cosign(t, logs[20]); st.Served.Size != 20 {
		t.Fatalf("%+v", st)
	}
	for _, size := range []int{30, 10} {
		if st := cosign(t, logs[size]); st.Served.Size != 0 || logs[size].Witnessed()[0].Fault == "" {
			t.Errorf("another log of %d leaves is cosigned: %+v %+v", size, st, logs[size].Witnessed())
		}
	}
	if !strings.Contains(logs[10].Witnessed()[0].Fault, "seen a checkpoint of 20 leaves, and the log has 10") {
		t.Errorf("%+v", logs[10].Witnessed())
	}
}

func TestParseWitness(t *testing.T) {
	good := newWitness(t, "w.test/a").vkey()
	if w, err := audit.ParseWitness(good + "@https://w.test/a/"); err != nil || w.URL != "https://w.test/a" || w.Key != good {
		t.Errorf("%+v, %v", w, err)
	}
	log, err := testKey(1).Public("w.test/a")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", good, good + "@", good + "@ftp://w.test", "x" + good + "@https://w.test", log + "@https://w.test", "@https://w.test"} {
		if w, err := audit.ParseWitness(bad); err == nil {
			t.Errorf("%q is the witness %+v", bad, w)
		}
	}
}

// T64: litewitness, a witness that others have written, cosigns the log as it grows, and
// refuses an older one and a fork. tools/peer.sh witness builds it.
func TestT64_TheRealWitness(t *testing.T) {
	program := os.Getenv("REEF_WITNESS_PEER")
	if program == "" {
		storetest.Missing(t, "REEF_WITNESS_PEER names no witness: tools/peer.sh witness builds one")
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "w") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, conn) }()
		}
	}()
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listen.Addr().String()
	_ = listen.Close()
	file := filepath.Join(dir, "witness.db")
	cmd := exec.Command(program, "-db", file, "-key", ssh.FingerprintSHA256(public), "-name", "peer.test/w1", "-ssh-agent", filepath.Join(dir, "agent"), "-listen", addr)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	vkey := ""
	for lines := bufio.NewScanner(said); vkey == "" && lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), "vkey="); ok {
			vkey = strings.Trim(strings.Fields(rest)[0], `"`)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	ours, err := testKey(1).Public(origin)
	if err != nil || vkey == "" {
		t.Fatalf("the witness says no key: %v", err)
	}
	knows(t, file, ours)

	var logs []*audit.Tree
	for range 2 {
		db := storetest.Open(t, store.SQLite)
		w, err := audit.ParseWitness(vkey + "@http://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Timeout: 10 * time.Second}
		logs = append(logs, audit.NewTree(audit.TreeConfig{
			DB: db, Key: testKey(1), Origin: origin, Witnesses: []audit.Witness{w}, Quorum: 1,
			Post: func(ctx context.Context, url string, body []byte) (int, []byte, error) {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
				if err != nil {
					return 0, nil, err
				}
				resp, err := client.Do(req)
				if err != nil {
					return 0, nil, err
				}
				defer resp.Body.Close()
				raw, err := io.ReadAll(resp.Body)
				return resp.StatusCode, raw, err
			},
		}))
	}
	codec := newCodec(t)
	deadline := time.Now().Add(20 * time.Second)
	total := int64(0)
	for _, n := range []int{1, 255, 300} {
		record(t, logs[0].DB, codec, n)
		integrate(t, logs[0])
		total += int64(n)
		for current(t, logs[0]).Served.Size != total && time.Now().Before(deadline) { // it may not listen yet
			cosign(t, logs[0])
		}
		if st := current(t, logs[0]); st.Served.Size != total {
			t.Fatalf("after %d leaves: %+v %+v", total, st.Served, logs[0].Witnessed())
		}
	}
	for _, n := range []int{100, 456, 100} { // older, a fork of the same size, and one that goes on
		record(t, logs[1].DB, codec, n)
		integrate(t, logs[1])
		if st := cosign(t, logs[1]); st.Served.Size != 0 || logs[1].Witnessed()[0].Fault == "" {
			t.Errorf("another log of %d leaves is cosigned", st.Last.Size)
		}
	}
}

// knows tells the witness of a log.
func knows(t *testing.T, file, key string) {
	t.Helper()
	conn, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	empty := sha256.Sum256(nil)
	for _, q := range []struct {
		text string
		args []any
	}{
		{`INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)`, []any{origin, base64.StdEncoding.EncodeToString(empty[:])}},
		{`INSERT INTO key (origin, key) VALUES (?, ?)`, []any{origin, key}},
	} {
		if err := sqlitex.Execute(conn, q.text, &sqlitex.ExecOptions{Args: q.args}); err != nil {
			t.Fatal(err)
		}
	}
}

// T63: what a witness has signed is stored or asked for again, whatever fails on the way.
func TestT63_CosigningFailsAtEveryStep(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		var failing store.Step
		var armed bool
		cfg.Fault = func(s store.Step) error {
			if armed && s == failing {
				return errors.New("injected")
			}
			return nil
		}
		db := storetest.OpenConfig(t, cfg)
		codec, w := newCodec(t), newWitness(t, "one.test/w")
		tree := witnessed(t, db, 1, w)
		size := int64(0)
		for _, step := range []store.Step{store.StepBegin, store.StepStatement, store.StepCommit, store.StepCommitted} {
			record(t, db, codec, 7)
			size += 7
			integrate(t, tree)
			failing, armed = step, true
			err := tree.Cosign(t.Context())
			armed = false
			if err == nil {
				t.Errorf("step %v: no error came back", step)
			}
			if served := current(t, tree).Served.Size; served != size-7 && (step != store.StepCommitted || served != size) {
				t.Errorf("step %v: %d leaves are given out, want %d or, if it was stored, 7 more", step, served, size-7)
			}
			if st := cosign(t, tree); st.Served.Size != size {
				t.Errorf("step %v: the next pass gives %d leaves out, want %d", step, st.Served.Size, size)
			}
			if r := verify(t, db, codec); !r.OK() {
				t.Errorf("step %v: %+v", step, r)
			}
		}
	})
}
