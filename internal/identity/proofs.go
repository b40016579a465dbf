package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

const (
	// DefaultProofs is how many proofs a node remembers at a time, some 50 bytes each;
	// a proof is remembered for as long as it could be taken, a minute at the most.
	DefaultProofs = 1 << 20

	// askLimit is how long a node waits for another one's word about a proof.
	askLimit = 400 * time.Millisecond

	askSubject    = "dpop.ask."
	answerSubject = "dpop.answer."
)

// proofs sees to it that a DPoP proof is taken once in the whole network, without a
// write for a request: its nonce names the node that made the nonce, and that node
// remembers which proofs came with it. A node that meets another's nonce asks there
// over the bus; when that one is silent, the client is told to use a nonce of this
// node (RFC 9449 §8), which the bus is not needed for.
//
// Whoever may speak on the bus need not be a node: what nodes say to each other carries a
// tag by the network's key, over whom it is for, and a question's number is random, so
// that no answer can be made up, sent to another node or kept for a later question.
type proofs struct {
	ids    *Service
	cfg    IssuerConfig
	nonces *token.Nonces
	seen   *token.Replay
	node   int
	cancel []func()

	mu    sync.Mutex
	waits map[uint64]chan question // guarded by mu: who waits for an answer
}

// question is what a node asks another one, and the answer.
type question struct {
	Number uint64    `json:"n"` // random
	From   int       `json:"from"`
	Nonce  string    `json:"nonce"`
	Owner  string    `json:"owner"` // the key's thumbprint
	ID     string    `json:"id"`    // the proof's jti
	Until  time.Time `json:"until"`

	Rule string `json:"rule,omitempty"` // of an answer: why not, "" if the proof is fresh
}

func newProofs(s *Service, c IssuerConfig) (*proofs, error) {
	p := &proofs{ids: s, cfg: c, node: s.db.Node(), waits: make(map[uint64]chan question)}
	size := c.Proofs
	if size <= 0 {
		size = DefaultProofs
	}
	p.seen = token.NewReplay(s.clock, size)
	key := c.Nonces
	if key == nil {
		key = s.keys.nonce
	}
	var err error
	p.nonces, err = token.NewNonces(key, p.node)
	return p, err
}

func (p *proofs) start() error {
	if p.cfg.Bus == nil {
		return nil
	}
	for subject, fn := range map[string]func(question){askSubject: p.asked, answerSubject: p.answered} {
		subject += strconv.Itoa(p.node)
		cancel, err := p.cfg.Bus.Subscribe(subject, func(data []byte) {
			if q, ok := p.heard(subject, data); ok {
				fn(q)
			}
		})
		if err != nil {
			return err
		}
		p.cancel = append(p.cancel, cancel)
	}
	return nil
}

func (p *proofs) close() {
	for _, cancel := range p.cancel {
		cancel()
	}
}

// take takes a verified proof, once. It fails with dpop.nonce, dpop.replayed or, with
// Unavailable, dpop.full.
func (p *proofs) take(ctx context.Context, proof token.Proof) error {
	node, err := p.nonces.Check(proof.Nonce, p.ids.clock())
	switch {
	case err != nil:
		return err
	case node == p.node:
		return p.here(proof.JKT, proof.JTI, proof.Until)
	case p.cfg.Bus == nil:
		return token.Refuse("dpop.nonce")
	}
	return p.ask(ctx, node, question{Nonce: proof.Nonce, Owner: proof.JKT, ID: proof.JTI, Until: proof.Until})
}

// here looks a proof up that came with a nonce of this node.
func (p *proofs) here(owner, id string, until time.Time) error {
	seen, err := p.seen.Seen(owner, id, until)
	if err == nil && seen {
		err = token.Refuse("dpop.replayed")
	}
	return err
}

func (p *proofs) ask(ctx context.Context, node int, q question) error {
	var number [8]byte
	_, _ = rand.Read(number[:]) // never fails (crypto/rand)
	q.Number, q.From = binary.BigEndian.Uint64(number[:]), p.node
	answer := make(chan question, 1)
	p.mu.Lock()
	p.waits[q.Number] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waits, q.Number)
		p.mu.Unlock()
	}()
	if err := p.send(askSubject, node, q); err != nil {
		return token.Refuse("dpop.nonce")
	}
	limit := time.NewTimer(askLimit)
	defer limit.Stop()
	select {
	case a := <-answer:
		if a.Rule != "" {
			return token.Refuse(a.Rule)
		}
		return nil
	case <-limit.C:
	case <-ctx.Done():
	}
	return token.Refuse("dpop.nonce") // silent: a nonce of ours needs nobody's word
}

func (p *proofs) send(subject string, node int, q question) error {
	data, err := json.Marshal(q)
	if err != nil {
		return err
	}
	subject += strconv.Itoa(node)
	tag := p.tag(subject, data)
	return p.cfg.Bus.Publish(subject, append(tag[:], data...))
}

// tag tells what a node has said from what somebody else has.
func (p *proofs) tag(subject string, data []byte) [sha256.Size]byte {
	return p.ids.Proof("bus", []byte(subject), data)
}

// heard reads what another node has sent to this one.
func (p *proofs) heard(subject string, data []byte) (q question, ok bool) {
	if len(data) < sha256.Size {
		return q, false
	}
	said := data[sha256.Size:]
	tag := p.tag(subject, said)
	if subtle.ConstantTimeCompare(tag[:], data[:sha256.Size]) != 1 {
		return q, false
	}
	return q, json.Unmarshal(said, &q) == nil
}

// asked answers another node. The nonce is checked here: only this node knows
// whether it was made since its start.
func (p *proofs) asked(q question) {
	node, err := p.nonces.Check(q.Nonce, p.ids.clock())
	if err == nil && node != p.node {
		return
	}
	if err == nil {
		err = p.here(q.Owner, q.ID, q.Until)
	}
	a := question{Number: q.Number}
	if err != nil {
		a.Rule = act.AsError(err).Rule
	}
	if err := p.send(answerSubject, q.From, a); err != nil {
		p.ids.log.Warn("answer about a proof", "err", err)
	}
}

func (p *proofs) answered(a question) {
	p.mu.Lock()
	waits := p.waits[a.Number]
	p.mu.Unlock()
	select {
	case waits <- a:
	default: // too late, or twice
	}
}
