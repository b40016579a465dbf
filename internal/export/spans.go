package export

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp"
)

const (
	spanQueue   = 4096                   // acts that may wait to become spans
	spanEvery   = 250 * time.Millisecond // how long they wait, so that what other nodes have done is known
	keepMade    = 1 << 16                // things whose acts' spans can be linked to
	keepReaders = 1 << 13                // agents of whom is known what they were shown last
	followStep  = 1000
)

// Evidence levels of links (package provenance).
const (
	levelExact    = "L4"
	levelExplicit = "L3"
	levelShown    = "L1"
)

// SpansConfig is what Spans is made of. All fields but Network and Log are required.
type SpansConfig struct {
	Out     *otlp.Out
	DB      *store.DB
	Codec   *act.Codec
	Network string // beside the default one; "" for that
	Log     *slog.Logger
}

// Spans makes a span of every act; it is the gate's Witness. A span has links to the acts
// that made what its actor had been shown, as far as this node knows them: the last
// keepMade things, and of each agent as many as a span has links. The store has all.
type Spans struct {
	SpansConfig
	queue   chan *gate.Ended
	wake    chan struct{} // the queue is half full
	dropped atomic.Int64
	stop    context.CancelFunc
	done    sync.WaitGroup

	// Of the goroutine:
	seq   int64 // of the last leaf that was followed
	made  *recent[act.ID, making]
	shown *recent[act.ID, []act.Ref] // by reader, the newest last, each thing once
}

// making is the span of the act that made a thing.
type making struct {
	otlp.Context
	version int64
}

// NewSpans begins to make spans. The caller must Close it.
func NewSpans(c SpansConfig) *Spans {
	ctx, stop := context.WithCancel(context.Background()) //arch:allow the loop is nobody's request
	s := &Spans{
		SpansConfig: c, queue: make(chan *gate.Ended, spanQueue), wake: make(chan struct{}, 1), stop: stop,
		made: newRecent[act.ID, making](keepMade), shown: newRecent[act.ID, []act.Ref](keepReaders),
	}
	s.done.Go(func() { s.run(ctx) })
	return s
}

// Close makes the spans of what waits, and ends.
func (s *Spans) Close() {
	s.stop()
	s.done.Wait()
}

// Dropped tells how many acts have no span because too many came at once.
func (s *Spans) Dropped() int64 { return s.dropped.Load() }

// Ended takes an act.
func (s *Spans) Ended(a *gate.Ended) {
	select {
	case s.queue <- a:
	default:
		s.dropped.Add(1)
	}
	if len(s.queue) > spanQueue/2 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Spans) run(ctx context.Context) {
	s.begin(ctx)
	tick := time.NewTicker(spanEvery)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			over = true
		case <-s.wake:
		case <-tick.C:
		}
		if s.DB.Dialect() == store.Postgres && !over {
			s.follow(ctx) // other nodes' acts; this one's come through the queue
		}
		for waits := true; waits; {
			select {
			case a := <-s.queue:
				s.take(a)
			default:
				waits = false
			}
		}
	}
}

// begin learns of what was made before this process began.
func (s *Spans) begin(ctx context.Context) {
	if err := s.DB.View(ctx, func(v *store.View) (err error) { s.seq, err = v.LastSequence(); return err }); err != nil {
		s.Log.WarnContext(ctx, "spans will have fewer links", "err", err)
		return
	}
	s.seq = max(0, s.seq-keepMade/2)
	s.follow(ctx)
}

// follow learns of what was made since the last time.
func (s *Spans) follow(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		n := 0
		err := s.DB.View(ctx, func(v *store.View) error {
			n = 0
			return audit.Follow(v, s.seq, followStep, func(f audit.Followed) error {
				if f.Leaf.Outcome == gate.Done.String() {
					s.learn(f.Leaf.Trace, f.Leaf.Act, f.Ref)
				}
				n, s.seq = n+1, f.Seq
				return nil
			})
		})
		if err != nil {
			s.Log.WarnContext(ctx, "spans will have fewer links", "err", err)
			return
		}
		more = n == followStep
	}
}

// makes lists the acts that make things which others are shown, or other versions of them.
// Other acts are about things that are there.
var makes = map[string]bool{
	"post.create": true, "comment.create": true, "dm.request": true, "dm.send": true, "import.write": true,
	"task.post": true, "task.progress": true, "task.complete": true, "task.fail": true,
	"community.create": true, "community.provide": true, "community.update": true, "label.define": true, "label.prompt": true,
	"agent.register": true, "agent.enroll": true, "agent.request": true, "agent.spawn": true, "agent.update": true,
}

// learn remembers which act made a thing. The first is the one that made it; a later one
// counts when it made another version.
func (s *Spans) learn(trace, name string, ref act.Ref) {
	c, ok := contextOf(trace, name, ref)
	if !ok || ref.ID == 0 || !makes[name] {
		return
	}
	if known, is := s.made.get(ref.ID); !is || ref.Version > known.version {
		s.made.put(ref.ID, making{c, ref.Version})
	}
}

// contextOf is the span of an act that was done: it follows from the act's trace, its
// name and what it made or was aimed at, all of which stand in the record.
func contextOf(trace, name string, ref act.Ref) (c otlp.Context, ok bool) {
	if hex.DecodedLen(len(trace)) != len(c.Trace) {
		return c, false
	}
	if _, err := hex.Decode(c.Trace[:], []byte(trace)); err != nil {
		return c, false
	}
	h := sha256.New()
	h.Write(c.Trace[:])
	h.Write([]byte(name))
	var what [16]byte
	binary.BigEndian.PutUint64(what[:8], uint64(ref.ID))
	binary.BigEndian.PutUint64(what[8:], uint64(ref.Version))
	h.Write(what[:])
	copy(c.Span[:], h.Sum(nil))
	return c, true
}

// spanOf returns the span of a leaf's act, for those who name it; ok is false when it has
// none that follows from the record: acts that were not done have spans that nothing else
// knows.
func spanOf(f *audit.Followed) (id string, ok bool) {
	c, ok := contextOf(f.Leaf.Trace, f.Leaf.Act, f.Ref)
	return hex.EncodeToString(c.Span[:]), ok && f.Leaf.Outcome == gate.Done.String()
}

// Traceparent is the header (W3C Trace Context §3.2) that names the span of the act with
// a number in the record, "" for one that has none.
func Traceparent(v *store.View, seq int64) (header string, err error) {
	err = audit.Follow(v, seq-1, 1, func(f audit.Followed) error {
		if span, ok := spanOf(&f); ok && f.Seq == seq {
			header = "00-" + f.Leaf.Trace + "-" + span + "-01"
		}
		return nil
	})
	return header, err
}

// take makes the span of an act, if somebody wants it.
func (s *Spans) take(a *gate.Ended) {
	e := &a.Entry
	x := otlp.Span{Name: e.Act, Begin: a.Began, Took: a.Took, Keep: e.Outcome != gate.Done || contains(e.Act)}
	ref := e.Out
	if ref.ID == 0 {
		ref = e.Target
	}
	trace := e.Trace
	if trace == "" { // work of the server's own
		_, trace = telemetry.StartTrace(context.Background(), "") //arch:allow the span of an act that has ended is nobody's request
	}
	x.Context, _ = contextOf(trace, e.Act, ref)
	if !a.Write || e.Outcome != gate.Done {
		x.Span = another(x.Span, a.Began) // such an act can be done several times in one trace
	} else {
		s.learn(e.Trace, e.Act, ref)
	}
	reader := e.Principal.Kind == act.Agent
	if reader && len(a.Shown) > 0 {
		s.remember(e.Principal.ID, a.Shown)
	}
	if !x.Keep && !s.Out.Keeps(x.Trace) {
		return
	}
	x.Attrs = s.attributes(a)
	if e.Outcome != gate.Done && e.Code != act.Held {
		if x.Failed = e.Rule; x.Failed == "" {
			x.Failed = e.Code.String()
		}
	}
	if c, ok := otlp.ParseContext(e.Caller.Trace, e.Caller.Span); ok {
		x.Links = append(x.Links, otlp.Link{Context: c, Attrs: []slog.Attr{slog.String(otlp.LinkKind, otlp.LinkCaller)}})
	}
	if a.Write && reader {
		x.Links = s.links(x.Links, e.Principal.ID, a.Edges)
	}
	s.Out.Emit(&x)
}

// another makes a span id of its own out of one that others could have too.
func another(span [8]byte, at time.Time) [8]byte {
	binary.BigEndian.PutUint64(span[:], binary.BigEndian.Uint64(span[:])^uint64(at.UnixNano()))
	return span
}

// remember notes what an agent was shown.
func (s *Spans) remember(reader act.ID, shown []act.Ref) {
	before, _ := s.shown.get(reader)
	list := slices.DeleteFunc(slices.Clone(before), func(r act.Ref) bool { return slices.Contains(shown, r) })
	list = append(list, shown...)
	s.shown.put(reader, list[max(0, len(list)-s.Out.Links()):])
}

// links adds the acts behind what an act came from: first what it names itself, then what
// its actor was shown last.
func (s *Spans) links(list []otlp.Link, actor act.ID, edges []gate.Edge) []otlp.Link {
	named := make(map[act.ID]bool, len(edges))
	add := func(ref act.Ref, level string, more ...slog.Attr) {
		m, known := s.made.get(ref.ID)
		if !known || len(list) >= s.Out.Links() {
			return
		}
		list = append(list, otlp.Link{Context: m.Context, Attrs: append(more,
			slog.String(otlp.LinkKind, otlp.LinkInfluence), slog.String(otlp.LinkLevel, level),
			slog.String(otlp.LinkItem, s.Codec.String(ref.ID)), slog.String(otlp.LinkItemKind, ref.ID.Kind().String()), slog.Int64(otlp.LinkVersion, ref.Version))})
	}
	for _, e := range edges {
		named[e.From.ID] = true
		level := levelExplicit
		if e.Kind == gate.EdgeContext {
			level = levelExact
		}
		add(e.From, level, slog.String(otlp.LinkEdge, edgeName(e.Kind)))
	}
	shown, _ := s.shown.get(actor)
	for _, ref := range slices.Backward(shown) {
		if !named[ref.ID] {
			add(ref, levelShown)
		}
	}
	return list
}

func edgeName(k gate.EdgeKind) string {
	switch k {
	case gate.EdgeReply:
		return "reply"
	case gate.EdgeVote:
		return "vote"
	case gate.EdgeMention:
		return "mention"
	case gate.EdgeFollow:
		return "follow"
	case gate.EdgeMessage:
		return "message"
	case gate.EdgeTask:
		return "task"
	case gate.EdgePrompt:
		return "prompt"
	case gate.EdgeContext:
		return "context"
	}
	return "other"
}

// attributes says of an act what its leaf says: never content, never an operator's words.
func (s *Spans) attributes(a *gate.Ended) []slog.Attr {
	e, p := &a.Entry, &a.Entry.Principal
	list := make([]slog.Attr, 0, 24)
	text := func(key, value string) {
		if value != "" {
			list = append(list, slog.String(key, value))
		}
	}
	ref := func(id, kind, version string, r act.Ref) {
		if r.ID == 0 {
			return
		}
		list = append(list, slog.String(id, s.Codec.String(r.ID)), slog.String(kind, r.ID.Kind().String()))
		if r.Version != 0 {
			list = append(list, slog.Int64(version, r.Version))
		}
	}
	text(otlp.Network, s.Network)
	text(otlp.PrincipalKind, p.Kind.String())
	if p.ID != 0 {
		text(otlp.PrincipalID, s.Codec.String(p.ID))
	}
	if p.Kind == act.Agent {
		list = append(list, slog.String(otlp.GenAIOperation, otlp.GenAIExecuteTool), slog.String(otlp.GenAITool, strings.ReplaceAll(e.Act, ".", "_")),
			slog.String(otlp.GenAIAgentID, s.Codec.String(p.ID)), slog.String(otlp.GenAIAgentName, p.Name))
	} else {
		text(otlp.PrincipalName, p.Name)
	}
	if p.Binding != act.BindingNone {
		text(otlp.PrincipalBinding, p.Binding.String())
	}
	if len(p.Chain) > 0 {
		chain := make([]string, len(p.Chain))
		for i, id := range p.Chain {
			chain[i] = s.Codec.String(id)
		}
		list = append(list, slog.Any(otlp.PrincipalChain, chain))
	}
	if e.Target.ID.Kind() == act.KindConversation {
		text(otlp.GenAIConversation, s.Codec.String(e.Target.ID))
	}
	ref(otlp.TargetID, otlp.TargetKind, otlp.TargetVersion, e.Target)
	ref(otlp.MadeID, otlp.MadeKind, otlp.MadeVersion, e.Out)
	switch {
	case e.Outcome == gate.Done:
		text(otlp.Outcome, e.Outcome.String())
		text(otlp.Decision, "allow")
	case e.Code == act.Held:
		text(otlp.Outcome, e.Code.String())
		text(otlp.Decision, "hold")
	default:
		text(otlp.Outcome, e.Outcome.String())
		text(otlp.Code, e.Code.String())
		text(otlp.ErrorType, e.Code.String())
		if e.Outcome == gate.Refused {
			text(otlp.Decision, "deny")
		}
	}
	text(otlp.Rule, e.Rule)
	text(otlp.PolicyID, e.Decision.Policy)
	if e.Decision.Bundle != 0 {
		list = append(list, slog.Int64(otlp.PolicyBundle, e.Decision.Bundle))
	}
	if e.In != [32]byte{} {
		text(otlp.ContentHash, hex.EncodeToString(e.In[:]))
	}
	if len(a.Shown) > 0 {
		list = append(list, slog.Int(otlp.Shown, len(a.Shown)))
	}
	return list
}

// contains reports whether an act stops somebody or takes something away from everybody.
// Its span is kept whatever the sampler says.
func contains(name string) bool {
	switch noun, _, _ := strings.Cut(name, "."); noun {
	case "scope", "kill", "health", "drill":
		return true
	}
	switch name {
	case "agent.pause", "agent.quarantine", "agent.kill", "agent.lapse", "agent.end", "agent.expire",
		"content.erase", "credential.revoke", "token.revoke", "policy.activate", "policy.revert", "rollout.revert":
		return true
	}
	return false
}
