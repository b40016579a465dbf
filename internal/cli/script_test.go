package cli

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The transcripts in testdata/script run the real command: the test binary is
// reef when it is called so.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"reef": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"network": startNetwork,
			"proxy":   startProxy,
			"setkey":  setKey,
		},
		RequireExplicitExec: true,
	})
}

// startNetwork is the script command "network FLAGS": it starts `reef serve` on
// a free port and sets REEF_URL and REEF_DATA for the commands that follow. The
// server stops when the script ends.
func startNetwork(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("network cannot be negated")
	}
	data := ts.MkAbs("net")
	ts.Setenv("REEF_URL", start(ts, append([]string{"serve", "--data", data, "--addr", "127.0.0.1:0", "--log-level", "warn"}, args...)...))
	ts.Setenv("REEF_DATA", data)
}

// startProxy is the script command "proxy FLAGS": it starts `reef proxy` on a free
// port, or where --listen says, and sets PROXY to what it prints. It stops when the
// script ends.
func startProxy(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("proxy cannot be negated: use exec for one that does not start")
	}
	ts.Setenv("PROXY", start(ts, append([]string{"proxy", "--listen", "127.0.0.1:0"}, args...)...))
}

// start runs a command of reef until the script ends and returns where it says that
// it is ready.
func start(ts *testscript.TestScript, args ...string) string {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	exe, err := exec.LookPath("reef")
	ts.Check(err)
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "REEF_KEYS="+ts.Getenv("REEF_KEYS"), "SSL_CERT_FILE="+ts.Getenv("SSL_CERT_FILE"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	cmd.Stderr = io.Discard
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		stop()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	ts.Check(err)
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		ts.Fatalf("reef %s said %q", args[0], line)
	}
	return url
}

// setKey is the script command "setkey NAME": it sets the variable to the last
// line of the last command's stdout.
func setKey(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: setkey NAME")
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile("stdout")), "\n")
	ts.Setenv(args[0], lines[len(lines)-1])
}
