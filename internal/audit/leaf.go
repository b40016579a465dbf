package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// Version is the version of the leaves this package writes.
const Version = 1

// AppendLeaf appends the leaf of an entry to dst. Members come in the order of
// their names (RFC 8785 §3.2.3), at every depth; those without a value are left
// out, except act, at, outcome, principal and v:
//
//	act        "post.create"
//	approval   outside id of the approval under which the act was let through
//	at         Unix microseconds
//	chain      outside ids of the delegation chain, outermost first
//	code       why not, unless outcome is done
//	context    {n, sha256} of the things that the caller says went into it, see digestOf
//	count      how many alike the leaf stands for, when more than one
//	in         hex of the salted hash of the input
//	labels     what was in force for the principal, where it had been shown more than comes
//	           with what it is: words in their order, see gate.Label
//	out        {id, kind, version} of what was made or changed
//	outcome    "done", "denied" or "failed"
//	policy     {bundle, id, obligations: [{arg, name}], place} that decided
//	principal  {binding, credential, epoch, grant, id, kind, name};
//	           an observer is {kind, source}
//	reason     an operator's stated reason
//	rule       what denied when it was not a policy
//	target     {id, kind, version} of what the act was aimed at
//	trace      W3C trace id
//	v          1
//
// Mandates join when there are any.
func AppendLeaf(dst []byte, c *act.Codec, e *gate.Entry) []byte {
	dst = append(dst, `{"act":`...)
	dst = appendString(dst, e.Act)
	if e.Approval != 0 {
		dst = appendID(append(dst, `,"approval":`...), c, e.Approval)
	}
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, e.At, 10)
	if chain := e.Principal.Chain; len(chain) > 0 && e.Principal.Kind != act.Observer {
		dst = append(dst, `,"chain":[`...)
		for i, id := range chain {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendID(dst, c, id)
		}
		dst = append(dst, ']')
	}
	if e.Outcome != gate.Done {
		dst = append(dst, `,"code":`...)
		dst = appendString(dst, e.Code.String())
	}
	if len(e.Context) > 0 {
		dst = strconv.AppendInt(append(dst, `,"context":{"n":`...), int64(len(e.Context)), 10)
		sum := digestOf(c, e.Context)
		dst = append(hex.AppendEncode(append(dst, `,"sha256":"`...), sum[:]), `"}`...)
	}
	if e.Count > 1 {
		dst = append(dst, `,"count":`...)
		dst = strconv.AppendInt(dst, e.Count, 10)
	}
	if e.In != [32]byte{} {
		dst = append(dst, `,"in":"`...)
		dst = hex.AppendEncode(dst, e.In[:])
		dst = append(dst, '"')
	}
	dst = appendLabels(dst, e.Labels)
	dst = appendRef(dst, c, `,"out":`, e.Out)
	dst = append(dst, `,"outcome":`...)
	dst = appendString(dst, e.Outcome.String())
	dst = appendDecision(dst, &e.Decision)
	dst = append(dst, `,"principal":`...)
	dst = appendPrincipal(dst, c, &e.Principal)
	dst = appendText(dst, `,"reason":`, e.Reason)
	dst = appendText(dst, `,"rule":`, e.Rule)
	dst = appendRef(dst, c, `,"target":`, e.Target)
	dst = appendText(dst, `,"trace":`, e.Trace)
	return append(dst, `,"v":1}`...)
}

// digestOf is the digest of a statement: SHA-256 of a line "id@version" for each thing, with
// outside ids, in its order.
func digestOf(c *act.Codec, things []act.Ref) [sha256.Size]byte {
	h := sha256.New()
	var line []byte
	for _, ref := range things {
		line = append(c.Append(line[:0], ref.ID), '@')
		line = append(strconv.AppendInt(line, ref.Version, 10), '\n')
		h.Write(line)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func appendPrincipal(dst []byte, c *act.Codec, p *act.Principal) []byte {
	if p.Kind == act.Observer {
		dst = append(dst, `{"kind":"observer"`...)
		dst = appendText(dst, `,"source":`, p.Source)
		return append(dst, '}')
	}
	dst = append(dst, '{')
	if p.Binding != act.BindingNone {
		dst = append(dst, `"binding":`...)
		dst = appendString(dst, p.Binding.String())
		dst = append(dst, ',')
	}
	if p.Credential != 0 {
		dst = append(dst, `"credential":`...)
		dst = appendID(dst, c, p.Credential)
		dst = append(dst, ',')
	}
	if p.Epoch != 0 {
		dst = append(dst, `"epoch":`...)
		dst = strconv.AppendInt(dst, p.Epoch, 10)
		dst = append(dst, ',')
	}
	if p.Grant != 0 {
		dst = append(dst, `"grant":`...)
		dst = appendID(dst, c, p.Grant)
		dst = append(dst, ',')
	}
	if p.ID != 0 {
		dst = append(dst, `"id":`...)
		dst = appendID(dst, c, p.ID)
		dst = append(dst, ',')
	}
	dst = append(dst, `"kind":`...)
	dst = appendString(dst, p.Kind.String())
	dst = appendText(dst, `,"name":`, p.Name)
	return append(dst, '}')
}

func appendDecision(dst []byte, d *gate.Decision) []byte {
	if d.Policy == "" {
		return dst
	}
	dst = append(dst, `,"policy":{`...)
	if d.Bundle != 0 {
		dst = append(dst, `"bundle":`...)
		dst = strconv.AppendInt(dst, d.Bundle, 10)
		dst = append(dst, ',')
	}
	dst = append(dst, `"id":`...)
	dst = appendString(dst, d.Policy)
	if len(d.Obligations) > 0 {
		dst = append(dst, `,"obligations":[`...)
		for i, o := range d.Obligations {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '{')
			if o.Arg != "" {
				dst = append(dst, `"arg":`...)
				dst = appendString(dst, o.Arg)
				dst = append(dst, ',')
			}
			dst = append(dst, `"name":`...)
			dst = appendString(dst, o.Name)
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	dst = appendText(dst, `,"place":`, d.Place)
	return append(dst, '}')
}

func appendRef(dst []byte, c *act.Codec, member string, ref act.Ref) []byte {
	if ref.ID == 0 {
		return dst
	}
	dst = append(dst, member...)
	dst = append(dst, `{"id":`...)
	dst = appendID(dst, c, ref.ID)
	dst = append(dst, `,"kind":`...)
	dst = appendString(dst, ref.ID.Kind().String())
	if ref.Version != 0 {
		dst = append(dst, `,"version":`...)
		dst = strconv.AppendInt(dst, ref.Version, 10)
	}
	return append(dst, '}')
}

func appendID(dst []byte, c *act.Codec, id act.ID) []byte {
	dst = append(dst, '"')
	dst = c.Append(dst, id)
	return append(dst, '"')
}

// appendText appends a member with a text, unless the text is empty.
func appendText(dst []byte, member, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(append(dst, member...), s)
}

// appendLabels appends the words of a label, unless there are none.
func appendLabels(dst []byte, l gate.Label) []byte {
	if l == (gate.Label{}) {
		return dst
	}
	dst = append(dst, `,"labels":[`...)
	first := true
	for w := range l.Words {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(dst, w)
	}
	return append(dst, ']')
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string, escaped as RFC 8785 §3.2.2.2 wants
// it: the two-character forms where JSON has them, \u00xx in lower case for the
// other control characters, and everything else as it is. A byte that is not
// part of valid UTF-8 (so also of an encoded surrogate) becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	plain := 0 // start of what has not been copied yet
	for i := 0; i < len(s); {
		b := s[i]
		if b >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[plain:i]...)
				dst = utf8.AppendRune(dst, utf8.RuneError)
				plain = i + 1
			}
			i += size
			continue
		}
		if b >= ' ' && b != '"' && b != '\\' {
			i++
			continue
		}
		dst = append(dst, s[plain:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&0xf])
		}
		i++
		plain = i
	}
	dst = append(dst, s[plain:]...)
	return append(dst, '"')
}
