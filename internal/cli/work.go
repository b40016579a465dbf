package cli

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

const (
	workEvery     = 200 * time.Millisecond // on a terminal
	workEverySlow = progressEvery          // elsewhere
)

// work shows on stderr how far something long has come: a line that is written over
// on a terminal, and a line every ten seconds elsewhere.
type work struct {
	a        *app
	terminal bool
	last     time.Time
	shown    bool
}

func (a *app) work() *work {
	f, ok := a.diag.(*os.File)
	return &work{a: a, terminal: ok && term.IsTerminal(int(f.Fd())), last: time.Now()}
}

// tick shows a state, unless one was shown just before.
func (w *work) tick(format string, args ...any) {
	every := workEverySlow
	if w.terminal {
		every = workEvery
	}
	if time.Since(w.last) < every {
		return
	}
	w.last = time.Now()
	if w.terminal {
		w.shown = true
		fmt.Fprintf(w.a.diag, "\r\x1b[K"+format, args...)
		return
	}
	fmt.Fprintf(w.a.diag, format+"\n", args...)
}

// end clears the line.
func (w *work) end() {
	if w.shown {
		fmt.Fprint(w.a.diag, "\r\x1b[K")
	}
}

// size writes a number of bytes.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
