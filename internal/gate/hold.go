package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// The obligations that keep an act waiting. Both are met once, for one call.
const (
	Hold      = "hold"      // a human decides; the argument says who
	Challenge = "challenge" // the agent itself answers a question
)

// holdAct is the name under which the keeping of a call is recorded. Nobody asks
// for it: it is what a decision makes of another act.
const holdAct = "approval.hold"

// Call is an act as it was asked for.
type Call struct {
	Act       string
	Principal act.Principal
	Target    act.Ref
	Input     []byte // encoding/json of the act's input
	Decision  Decision
	Demand    Obligation // Hold or Challenge; what the decision demands first
}

// Pending is a call that waits. As an error it is the cause of act.Held.
type Pending struct {
	Approval  act.ID
	Epoch     int64
	Act       string
	Target    act.Ref
	Policy    string // that demanded it
	Demand    Obligation
	ExpiresAt int64  // Unix microseconds
	Question  string // of a challenge
	Known     bool   // it waited already when it was asked for again
}

// Error makes a Pending a cause.
func (*Pending) Error() string { return "pending" }

// Holds keeps calls until somebody's word (package lifecycle).
type Holds interface {
	// Keep stores a call, sealed. One like it that waits already is returned in
	// its place; a caller with too many that wait is refused.
	Keep(tx *store.Tx, c Call) (Pending, error)
	// Spend marks an approval as used in the transaction of the act that it let
	// through. It fails unless the call is the one that was approved, to the byte,
	// and the approval is neither used nor over.
	Spend(tx *store.Tx, approval act.ID, c Call, made act.Ref) error
	// Recall says what became of a kept call of p: what was made of it, or a
	// Pending if it still waits; else the error is why nothing was made.
	Recall(v *store.View, p act.Principal, approval act.ID) (made act.Ref, waits *Pending, err error)
}

// HeldError is what the caller of an act that waits is told.
func HeldError(p *Pending) *act.Error {
	e := act.Errorf(act.Held, "%s is not done yet: %w", p.Act, p).WithRule(p.Policy)
	if p.Demand.Name == Challenge {
		return e.WithHint("answer the challenge before it expires; sending the same request again shows the same challenge")
	}
	return e.WithHint("a human decides about it; do not send it again, ask for the state of the approval")
}

// demand returns the first obligation that keeps an act waiting, unless it is
// met: a human's word also stands for an answer, not the other way round.
func (d *Decision) demand(met string) (o Obligation, waits bool) {
	for _, o := range d.Obligations {
		if o.Name == Hold && met != Hold {
			return o, true
		}
	}
	for _, o := range d.Obligations {
		if o.Name == Challenge && met == "" {
			return o, true
		}
	}
	return Obligation{}, false
}

// unheld refuses what cannot be kept: acts of others than agents and
// operators, and operators' acts that a challenge is demanded for.
func unheld(i Info, d *Decision, o Obligation) *act.Error {
	return act.Errorf(act.Denied, "the policy demands %s before %s, which it cannot wait for", o.Name, i.Name).
		WithRule(d.Policy).WithHint("ask an operator to change the rule")
}

// passage is one way of a write through the gate.
type passage struct {
	key  Key
	via  act.ID  // the approval under which a kept call is done; 0 for others
	met  string  // the demand that the approval meets
	made act.Ref // what came of it

	stated []act.Ref // what the caller says went into it
	ended  *Ended    // what the witness is told; nil without one

	spend func(*store.Tx) error // uses up what was shown for the act, see DoSpending; nil for others
}

// used calls spend.
func (p *passage) used(tx *store.Tx) error {
	if p.spend == nil {
		return nil
	}
	return p.spend(tx)
}

// keptAct is a registered write as kept calls need it.
type keptAct interface {
	carry(ctx context.Context, approval act.ID, c Call) (act.Ref, error)
	describe(input []byte) ([]Field, error)
}

// Carry does a call that was kept, as its own principal, under the approval that
// lets it through: standing, policy and every guard are looked at again, and the
// approval is used up in the act's own transaction. It takes no quota: that was
// taken when the call was kept.
func (g *Gate) Carry(ctx context.Context, approval act.ID, c Call) (made act.Ref, err error) {
	a, ok := g.kept[c.Act]
	if !ok {
		return made, act.Errorf(act.Gone, "the act %s is not known any more", c.Act).WithRule("approval.act").
			WithHint("send a request of today's kind")
	}
	return a.carry(ctx, approval, c)
}

// Describe lists what stands in the input of a kept call, for whoever decides
// about it.
func (g *Gate) Describe(name string, input []byte) ([]Field, error) {
	if a, ok := g.kept[name]; ok {
		return a.describe(input)
	}
	return nil, nil
}

func (a *WriteAct[In, Out]) carry(ctx context.Context, approval act.ID, c Call) (act.Ref, error) {
	var in In
	if err := json.Unmarshal(c.Input, &in); err != nil {
		return act.Ref{}, act.Errorf(act.Gone, "the kept request cannot be read any more: %w", err).
			WithRule("approval.act").WithHint("send a request of today's kind")
	}
	pass := passage{via: approval, met: c.Demand.Name}
	_, err := a.do(ctx, c.Principal, &pass, in)
	return pass.made, err
}

func (a *WriteAct[In, Out]) describe(input []byte) ([]Field, error) {
	var in In
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, err
	}
	return fieldsOf(in), nil
}

// encodeInput encodes an input so that it comes back the same. What does not
// come back (an unexported field, say) is a defect of the act.
func encodeInput[In any](name string, in In) ([]byte, error) {
	raw, err := json.Marshal(in)
	if err == nil {
		var back In
		if err = json.Unmarshal(raw, &back); err == nil && !reflect.DeepEqual(in, back) {
			return nil, act.Errorf(act.Internal, "the input of %s cannot be kept", name)
		}
	}
	if err != nil {
		return nil, act.Errorf(act.Internal, "the input of %s cannot be kept: %w", name, err)
	}
	return raw, nil
}

// keep stores the call instead of doing it. Its error is act.Held when that
// went well.
func (a *WriteAct[In, Out]) keep(ctx context.Context, p act.Principal, pass *passage, in In, target Resource, d *Decision, o Obligation) (out Out, fresh bool, err error) {
	g := a.g
	if p.Kind != act.Agent && (p.Kind != act.Operator || o.Name != Hold) || g.Holds == nil {
		return out, false, unheld(a.w.Info, d, o)
	}
	if pass.via != 0 {
		return out, false, act.Errorf(act.Denied, "the policy now demands %s before %s", o.Name, a.w.Name).
			WithRule(d.Policy).WithHint("send the request again")
	}
	call := Call{Act: a.w.Name, Principal: p, Target: target.Ref, Decision: *d, Demand: o}
	if call.Input, err = encodeInput(a.w.Name, in); err != nil {
		return out, false, err
	}
	var waits Pending
	var used act.Ref
	var replayed bool
	err = g.db.Write(ctx, func(tx *store.Tx) error {
		replayed = false
		if err := g.recheck(tx, p, target); err != nil {
			return err
		}
		if err := pass.used(tx); err != nil {
			return err
		}
		if pass.key.Name != "" {
			var err error
			if used, replayed, err = usedKey(tx, p, a.w.Name, pass.key); err != nil || replayed {
				return err
			}
		}
		var err error
		if waits, err = g.Holds.Keep(tx, call); err != nil {
			return err
		}
		if pass.key.Name != "" {
			if err := saveKey(tx, p, a.w.Name, pass.key, act.Ref{ID: waits.Approval, Version: waits.Epoch}); err != nil {
				return err
			}
		}
		if waits.Known {
			return nil
		}
		fx := Effects{Out: act.Ref{ID: waits.Approval, Version: waits.Epoch}, Edges: contextEdges(pass.stated)}
		return g.record(tx, Entry{
			Act: holdAct, At: tx.Now(), Principal: p, Target: target.Ref, Out: fx.Out,
			Outcome: Done, Decision: *d, Count: 1, Trace: act.TraceOf(ctx), Caller: telemetry.CallerOf(ctx), Context: pass.stated,
		}, fx)
	})
	switch {
	case err != nil:
		return out, false, err
	case replayed:
		out, err = a.replay(ctx, p, used)
		return out, false, err
	}
	if !waits.Known {
		g.pulse.beat()
	}
	return out, !waits.Known, HeldError(&waits)
}

// recall answers for a key under which a call was kept: with what was made of
// it, or as the call itself was answered.
func (a *WriteAct[In, Out]) recall(ctx context.Context, p act.Principal, approval act.ID) (made act.Ref, err error) {
	err = a.g.db.View(ctx, func(v *store.View) error {
		var waits *Pending
		if made, waits, err = a.g.Holds.Recall(v, p, approval); err == nil && waits != nil {
			err = HeldError(waits)
		}
		return err
	})
	return made, err
}

// Field is one piece of a kept call's input.
type Field struct {
	Name  string // "post.id", in snake case
	Value any    // string, int64, uint64, float64, bool or act.ID
}

// fieldsOf lists what is set in a struct, in the order of its fields.
func fieldsOf(in any) (list []Field) {
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		if v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem() // what is pointed at is set, whatever its value
		} else if v.IsZero() {
			return
		}
		id, isID := v.Interface().(act.ID)
		switch {
		case isID:
			list = append(list, Field{name, id})
			return
		case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
			list = append(list, Field{name + "_bytes", int64(v.Len())})
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for f, value := range v.Fields() {
				if f.IsExported() {
					walk(joined(name, f.Name), value)
				}
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				walk(name, v.Index(i))
			}
		case reflect.String:
			list = append(list, Field{name, v.String()})
		case reflect.Bool:
			list = append(list, Field{name, v.Bool()})
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			list = append(list, Field{name, v.Int()})
		case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			list = append(list, Field{name, v.Uint()})
		case reflect.Float32, reflect.Float64:
			list = append(list, Field{name, v.Float()})
		default: // a kind that no input has
		}
	}
	walk("", reflect.ValueOf(in))
	return list
}

// joined returns the name of a field under another, in snake case.
func joined(under, name string) string {
	var b bytes.Buffer
	if under != "" {
		b.WriteString(under + ".")
	}
	lower := false
	for i := range len(name) {
		c := name[i]
		if upper := c >= 'A' && c <= 'Z'; upper {
			if lower {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
			lower = false
		} else {
			lower = true
		}
		b.WriteByte(c)
	}
	return b.String()
}
