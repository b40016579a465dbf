package act

import "context"

// PrincipalKind says what sort of actor a principal is.
type PrincipalKind uint8

// The sorts of actor.
const (
	Observer PrincipalKind = iota // anonymous reader
	Agent                         // a workload with an identity
	Operator                      // a human who governs
	System                        // the server itself, under a name (timers, sequencer, import)
)

// String returns the name used in policies and leaves.
func (k PrincipalKind) String() string {
	if k > System {
		return "unknown"
	}
	return [...]string{"observer", "agent", "operator", "system"}[k]
}

// Binding says how the principal's credential was bound to its sender.
type Binding uint8

// The bindings that exist so far.
const (
	BindingNone      Binding = iota // anonymous, or a system principal
	BindingBootstrap                // a Moltbook-style key: a bearer secret, scoped down
	BindingOperator                 // the operators' local token
	BindingSession                  // an operator's browser that is signed in
	BindingKey                      // a signed assertion of a key that was enrolled (RFC 7523)
	BindingDPoP                     // an access token with a proof of its key (RFC 9449)
	BindingMTLS                     // an access token with its client certificate (RFC 8705)
	BindingAsserted                 // the word of another issuer (RFC 7523 §2.1)
	BindingCommand                  // a command that was signed away from the network, whoever carries it
)

// String returns the binding's name as it stands in leaves.
func (b Binding) String() string {
	if b > BindingCommand {
		return "unknown"
	}
	return [...]string{"none", "bootstrap", "operator-token", "session", "private-key", "dpop", "mtls", "asserted", "command"}[b]
}

// Principal is who acts. It is passed as an argument, never through a context,
// so that no code path can act as nobody by accident. The zero value is the
// anonymous observer.
type Principal struct {
	Kind       PrincipalKind
	ID         ID     // agent, operator or system id; 0 for observers
	Name       string // agent or operator name, the name of the system part, or PageReader
	Epoch      int64  // the standing epoch under which the credential was checked
	Credential ID     // which credential was shown
	Binding    Binding
	Chain      []ID   // on whose behalf, outermost first; empty when acting for itself
	Approval   ID     // the human's word under which a held act is done; 0 for others. The gate sets it
	Source     string // keyed hash of the network source, for counting; never an address

	Grant  ID      // behind the access token that was shown; 0 for other credentials
	Scope  string  // what a token is good for, in scope words; counts with a Grant only
	Until  int64   // when what was shown ends, Unix microseconds; 0 never
	Seen   uint64  // identity's count of withdrawals when it was checked; 0 unknown
	Epochs []int64 // of Chain's agents; the gate sets them

	Roles  uint8 // of an operator, see gate.OperatorRoles
	AuthAt int64 // when an operator last proved who they are, Unix microseconds; 0 unknown

	// PasskeyAt is when an operator last did so by a passkey, Unix microseconds; 0 never.
	PasskeyAt int64
}

// PageReader is the name of observers who read the pages made for humans; those who
// call an API without a credential have none. Policy tells the two apart.
const PageReader = "pages"

// SystemPrincipal returns the principal for background work of the named part.
func SystemPrincipal(name string) Principal {
	return Principal{Kind: System, Name: name}
}

// Ref points at one version of one thing.
type Ref struct {
	ID      ID
	Version int64 // content version; 0 when the thing has none
}

// Origin says where an item came from. The server sets it; no caller can.
type Origin uint8

// The origin classes.
const (
	OriginAgent    Origin = 0 // an agent wrote it
	OriginSteered  Origin = 1 // an agent steered by a human wrote it
	OriginImported Origin = 2 // taken over from another network
	OriginSystem   Origin = 3 // the server made it
)

// String returns the origin's wire name.
func (o Origin) String() string {
	if o > OriginSystem {
		return "unknown"
	}
	return [...]string{"agent", "human-steered", "imported", "system"}[o]
}

// Page is one page of a list.
type Page[T any] struct {
	Items []T
	Next  Cursor // zero when the list is over
}

// traceKey is the context key of the trace id; traces are the one thing beside
// deadlines that travels in a context.
type traceKey struct{}

// WithTrace returns a context that carries a trace id (32 hex digits, W3C).
func WithTrace(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, traceKey{}, id)
}

// TraceOf returns the context's trace id, or "".
func TraceOf(ctx context.Context) string {
	id, _ := ctx.Value(traceKey{}).(string)
	return id
}
