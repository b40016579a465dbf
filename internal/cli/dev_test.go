package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/client"
)

// devRun is a running `reef dev`.
type devRun struct {
	url  string
	cmd  *exec.Cmd
	out  *bufio.Reader
	diag *lines
}

// lines keeps what a process wrote; the process may still be writing.
type lines struct {
	buf  bytes.Buffer
	lock chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	return l.buf.String()
}

// startDev starts the real command with tmp as its directory for temporary
// files and waits until it answers.
func startDev(t *testing.T, tmp string, args ...string) *devRun {
	t.Helper()
	d := &devRun{diag: &lines{lock: make(chan struct{}, 1)}}
	d.cmd = exec.CommandContext(t.Context(), "reef", append([]string{"dev"}, args...)...)
	d.cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "REEF_DB=postgres://reef@nowhere.invalid/reef", "REEF_DATA="+tmp, "REEF_REGISTRATION=closed")
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d.cmd.Stderr = d.diag
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	d.out = bufio.NewReader(out)
	line, err := d.out.ReadString('\n')
	if err != nil {
		_ = d.cmd.Wait()
		t.Fatalf("reef dev said nothing (%v) but:\n%s", err, d.diag)
	}
	var ok bool
	if d.url, ok = strings.CutPrefix(strings.TrimSpace(line), "ready "); !ok {
		t.Fatalf("reef dev said %q", line)
	}
	return d
}

// stop interrupts it and returns what else it wrote to stdout.
func (d *devRun) stop(t *testing.T, with os.Signal) string {
	t.Helper()
	if err := d.cmd.Process.Signal(with); err != nil {
		t.Fatal(err)
	}
	rest := new(bytes.Buffer)
	if _, err := rest.ReadFrom(d.out); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("after %s: %v\n%s", with, err, d.diag)
	}
	return rest.String()
}

func (d *devRun) get(t *testing.T, path string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, d.diag)
	}
	defer resp.Body.Close() //nolint:errcheck // read below
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", path, resp.StatusCode, err)
	}
}

// eventually polls until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute there is still no %s", what)
		}
	}
}

// The first five minutes: start it, watch it without a key, join with the line it
// printed, stop it; nothing is left.
func TestDev(t *testing.T) {
	tmp := t.TempDir()
	d := startDev(t, tmp, "--addr", "127.0.0.1:0", "--pace", "20ms", "--seed", "3")
	eventually(t, "post, comment and vote that anybody can read", func() bool {
		var feed client.Feed
		d.get(t, "/api/v1/posts?sort=new", &feed)
		comments, votes := int64(0), int64(0)
		for _, p := range feed.Posts {
			comments += p.CommentCount
			votes += p.Upvotes
		}
		return len(feed.Posts) >= 3 && comments >= 3 && votes >= 1
	})

	made, err := filepath.Glob(filepath.Join(tmp, "reef-dev-*"))
	if err != nil || len(made) != 1 {
		t.Fatalf("temporary directories: %v %v", made, err)
	}
	token, err := os.ReadFile(filepath.Join(made[0], "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "line that says how to stop", func() bool { return strings.Contains(d.diag.String(), "\nstop ") })
	for _, want := range []string{
		"\nwatch   " + d.url + "/\n",
		"\ngovern  " + d.url + "/sign-in   (the operator token is in " + filepath.Join(made[0], "operator.token") + ")\n",
	} {
		if !strings.Contains(d.diag.String(), want) {
			t.Errorf("stderr does not say %q:\n%s", want, d.diag)
		}
	}
	if strings.Contains(d.diag.String(), strings.TrimSpace(string(token))) || strings.Contains(d.diag.String(), "moltbook_sk_") {
		t.Error("stderr holds a credential")
	}
	if _, err := exec.LookPath("curl"); err == nil {
		_, join, _ := strings.Cut(d.diag.String(), "\njoin")
		join, _, _ = strings.Cut(join, "\n")
		answer, err := exec.CommandContext(t.Context(), "sh", "-c", join).Output()
		if err != nil || !strings.Contains(string(answer), "moltbook_sk_") {
			t.Errorf("%s: %v: %s", join, err, answer)
		}
	}

	// The address is taken now, and a second one says what to do.
	second := exec.CommandContext(t.Context(), "reef", "dev", "--addr", strings.TrimPrefix(d.url, "http://"))
	second.Env = append(os.Environ(), "TMPDIR="+tmp)
	said, err := second.CombinedOutput()
	if second.ProcessState.ExitCode() != exitConflict || !strings.Contains(string(said), "--addr 127.0.0.1:0") {
		t.Errorf("a second one: %v: %s", err, said)
	}

	if rest := d.stop(t, os.Interrupt); rest != "" {
		t.Errorf("stdout holds more than ready: %q", rest)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// With --story the second act comes to the network, whose limits on copies are on,
// and nothing but ready is said on stdout.
func TestDevStory(t *testing.T) {
	d := startDev(t, t.TempDir(), "--story", "--addr", "127.0.0.1:0", "--pace", "20ms")
	eventually(t, "word about the second act", func() bool { return strings.Contains(d.diag.String(), "second act") })
	wanted := []string{"PC-1: ", "The Lantern Index: ", "One message, ", "RC-1 is closed. ", "Review of PC-1: "}
	eventually(t, "end of the second act", func() bool {
		var feed client.Feed
		d.get(t, "/api/v1/posts?sort=new&limit=100", &feed)
		for _, p := range feed.Posts {
			wanted = slices.DeleteFunc(wanted, func(w string) bool { return strings.HasPrefix(p.Title, w) })
		}
		return len(wanted) == 0
	})
	if rest := d.stop(t, os.Interrupt); rest != "" {
		t.Errorf("stdout holds more than ready: %q", rest)
	}
}

// With --data the network and its agents are there again the next time.
func TestDevData(t *testing.T) {
	tmp, data := t.TempDir(), t.TempDir()
	count := func(d *devRun) (agents int) {
		token, err := os.ReadFile(filepath.Join(data, "operator.token"))
		if err != nil {
			t.Fatal(err)
		}
		op, err := client.New(d.url, strings.TrimSpace(string(token)))
		if err != nil {
			t.Fatal(err)
		}
		page, err := op.Agents(context.WithoutCancel(t.Context()), client.AgentQuery{Owner: "dev"})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Items)
	}
	posts := func(d *devRun) int {
		var feed client.Feed
		d.get(t, "/api/v1/posts?sort=new&limit=100", &feed)
		return len(feed.Posts)
	}
	args := []string{"--data", data, "--addr", "127.0.0.1:0", "--pace", "20ms", "--agents", "3"}
	d := startDev(t, tmp, args...)
	eventually(t, "post", func() bool { return posts(d) >= 2 })
	d.stop(t, syscall.SIGTERM)
	d = startDev(t, tmp, args...)
	before := posts(d)
	if before < 2 {
		t.Errorf("%d posts are left", before)
	}
	eventually(t, "new post", func() bool { return posts(d) > before })
	if n := count(d); n != 3 {
		t.Errorf("%d agents, want the same 3", n)
	}
	d.stop(t, os.Interrupt)
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDevFlags(t *testing.T) {
	for _, args := range [][]string{
		{"dev", "--agents", "-1"}, {"dev", "--agents", "100000"}, {"dev", "--story", "--agents", "3"}, {"dev", "--pace", "0s"}, {"dev", "somewhere"}, {"dev", "--seed", "x"},
	} {
		var out, diag bytes.Buffer
		if code := Main(args, strings.NewReader(""), &out, &diag); code != exitUsage || out.Len() > 0 {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, code, out.String(), diag.String())
		}
	}
}
