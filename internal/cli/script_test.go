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
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	exe, err := exec.LookPath("reef")
	ts.Check(err)
	cmd := exec.CommandContext(ctx, exe, append([]string{"serve", "--data", data, "--addr", "127.0.0.1:0", "--log-level", "warn"}, args...)...)
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
		ts.Fatalf("the server said %q", line)
	}
	ts.Setenv("REEF_URL", url)
	ts.Setenv("REEF_DATA", data)
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
