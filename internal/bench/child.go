package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// sideKind says what a child process serves.
type sideKind string

// The kinds of side.
const (
	governed   sideKind = "governed"   // the product
	ungoverned sideKind = "ungoverned" // the same without decision, leaf and edges
	raw        sideKind = "raw"        // net/http and one hand-written group commit
	rawTx      sideKind = "raw_tx"     // PostgreSQL: net/http and a transaction a request
	bare       sideKind = "bare"       // net/http sending prepared bytes
	asServed   sideKind = "served"     // the product with the settings that reef serve was given
)

// work is what a raw side does.
type work string

// The kinds of work; "" stores posts.
const (
	workVote    work = "vote"
	workMessage work = "message"
	workHome    work = "home"
	workSearch  work = "search"
)

// task is what a child is told on its first line of input.
type task struct {
	Kind    sideKind
	Data    string              // directory of a governed or ungoverned server
	SQLite  string              // database file of a raw side
	URL     string              // PostgreSQL
	Authors map[string]act.ID   // raw: "Bearer …" to the agent
	Page    []byte              // bare: body to send
	Header  http.Header         // bare: headers to send with it
	Work    work                // raw: what is asked for
	IDs     map[string]act.ID   // raw: what is named in paths
	Finds   map[string][]string // raw: queries to what the index is asked in turn, until something is found
	OwnKeys bool                // governed: agents approve conversations themselves
	Public  string              // governed: the network's URL, where it must outlast a start
	KeyFile string              // governed: the network's key, where several nodes share it
	NATS    string              // governed: the bus between nodes

	Settings map[string]any // served: the flags of reef serve
}

// order is every further line of input; the answer to each is a report.
type order struct {
	Do   string // usage, profile, unprofile, heap
	Path string // profile, heap: file to write
}

// report is a line of output.
type report struct {
	URL    string        // of the first report: where it serves
	Err    string        // what went wrong
	CPU    time.Duration // user and system, of the process since it began
	Allocs uint64        // objects allocated since it began
}

const schema = "reef"

// childCommand is the hidden command that a side's process runs. It ends when
// its input ends, so that it cannot outlive the process that measures.
func childCommand(out, diag io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "side", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return child(cmd.Context(), cmd.InOrStdin(), out, diag)
		},
	}
}

func child(ctx context.Context, in io.Reader, out, diag io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := bufio.NewReader(in)
	answer := json.NewEncoder(out)
	var t task
	if err := readLine(lines, &t); err != nil {
		return err
	}
	addr, wait, err := t.serve(ctx, diag)
	if err != nil {
		_ = answer.Encode(report{Err: err.Error()})
		return err
	}
	defer wait()
	defer cancel()
	if err := answer.Encode(report{URL: addr}); err != nil {
		return err
	}
	for {
		var o order
		if err := readLine(lines, &o); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		r := report{}
		if err := obey(o); err != nil {
			r.Err = err.Error()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		r.CPU, r.Allocs = ownCPU(), m.Mallocs
		if err := answer.Encode(r); err != nil {
			return err
		}
	}
}

func readLine(lines *bufio.Reader, into any) error {
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

func obey(o order) error {
	switch o.Do {
	case "usage":
		return nil
	case "profile":
		f, err := os.Create(o.Path)
		if err != nil {
			return err
		}
		return pprof.StartCPUProfile(f) // the file is closed with the process
	case "unprofile":
		pprof.StopCPUProfile()
		return nil
	case "heap":
		runtime.GC() // what is of use remains
		f, err := os.Create(o.Path)
		if err != nil {
			return err
		}
		return errors.Join(pprof.WriteHeapProfile(f), f.Close())
	}
	return fmt.Errorf("unknown order %q", o.Do)
}

// ownCPU returns what this process has used since it began.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// serve starts the side and returns its address and a function that waits for
// its end once ctx is over.
func (t task) serve(ctx context.Context, diag io.Writer) (addr string, wait func(), err error) {
	switch t.Kind {
	case governed, ungoverned, asServed:
		return t.serveProduct(ctx, diag)
	case raw, rawTx:
		return t.serveRaw(ctx)
	case bare:
		return serveHandler(ctx, pageHandler(t.Page, t.Header), func() {})
	}
	return "", nil, fmt.Errorf("unknown side %q", t.Kind)
}

// serveRaw serves the raw side of the scenario.
func (t task) serveRaw(ctx context.Context) (string, func(), error) {
	decode := rawPosts
	switch t.Work {
	case workHome, workSearch:
		p, err := openRawReads(ctx, t)
		if err != nil {
			return "", nil, err
		}
		return serveHandler(ctx, rawReadHandler(p, t), p.close)
	case workVote:
		decode = rawVotes(t.IDs)
	case workMessage:
		decode = rawMessages(t.IDs)
	}
	g, err := openRaw(ctx, t)
	if err != nil {
		return "", nil, err
	}
	return serveHandler(ctx, rawHandler(g, decode), g.close)
}

func (t task) serveProduct(ctx context.Context, diag io.Writer) (string, func(), error) {
	s, err := t.product(ctx, diag)
	if err != nil {
		return "", nil, err
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s.URL(), func() {
		if err := <-done; err != nil {
			fmt.Fprintln(diag, "reef bench:", err)
		}
		s.Close()
	}, nil
}

// product opens the server as it is measured: limits open, everything else as
// an operator would have it; or as reef serve would open it.
func (t task) product(ctx context.Context, diag io.Writer) (*server.Server, error) {
	if t.Kind == asServed {
		cfg, err := server.Load(t.Settings)
		if err != nil {
			return nil, err
		}
		return server.New(ctx, cfg, telemetry.NewLogger(diag, telemetry.Options{Level: slog.LevelWarn}))
	}
	return server.New(ctx, server.Config{
		Data: t.Data, Addr: "127.0.0.1:0", DB: t.URL, Schema: schema, KeyFile: t.KeyFile, NATS: t.NATS,
		Registration: "open", Claim: true, AutoClaim: "bench", Limits: "open", Bare: t.Kind == ungoverned, OwnKeyApproval: t.OwnKeys, PublicURL: t.Public,
		ObserverPages: server.PagesOff,
	}, telemetry.NewLogger(diag, telemetry.Options{Level: slog.LevelWarn}))
}

// serveHandler serves a baseline with nothing but net/http around it.
func serveHandler(ctx context.Context, h http.Handler, after func()) (string, func(), error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(listener)
	}()
	return "http://" + listener.Addr().String(), func() {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopFor/2)
		defer cancel()
		_ = s.Shutdown(drain)
		<-done
		after()
	}, nil
}

// pageHandler sends the same bytes to everybody.
func pageHandler(page []byte, header http.Header) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, values := range header {
			h[name] = values
		}
		_, _ = w.Write(page)
	})
}
