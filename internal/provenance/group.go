package provenance

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Pages that are recorded together share one row of the log. Its coding is their
// number and then for each page, in order:
//
//	reader, bits (uvarints): bitAgain, bitTrace, bitSame, above them the channel:
//	    1 + its number among the group's, or 0 before a new one (length, name)
//	count (uvarint), if bitAgain
//	trace (16 bytes), if bitTrace
//	how many pages ago the same items stood (uvarint), if bitSame; otherwise the
//	    length of the items' coding and the coding, as AppendItems makes it
type group struct {
	n        int
	coded    []byte
	channels []string
	sheets   map[*sheet]int // where the items of a sheet stand in this group

	one entry // the only page, while there is one
}

// entry is a page to be recorded. What it refers to stays as it is until the
// group is reset.
type entry struct {
	reader  act.ID
	channel string
	again   bool
	count   int64
	trace   string // 32 hex digits, or none
	items   []byte
	sheet   *sheet // whose items they are; nil if no other page can have them
}

const (
	bitAgain = 1 << iota
	bitTrace
	bitSame
	groupBits = 3

	traceSize = 16
)

func (g *group) reset() {
	clear(g.channels)
	clear(g.sheets)
	g.n, g.coded, g.channels, g.one = 0, g.coded[:0], g.channels[:0], entry{}
}

// add takes one more page in.
func (g *group) add(e entry) {
	if g.sheets == nil {
		g.sheets = make(map[*sheet]int)
	}
	bits := uint64(0)
	if e.again {
		bits |= bitAgain
	}
	var trace [traceSize]byte
	if len(e.trace) == 2*traceSize {
		if _, err := hex.Decode(trace[:], []byte(e.trace)); err == nil {
			bits |= bitTrace
		}
	}
	at, same := 0, false
	if e.sheet != nil {
		if at, same = g.sheets[e.sheet]; same {
			bits |= bitSame
		} else {
			g.sheets[e.sheet] = g.n
		}
	}
	named := slices.Index(g.channels, e.channel) + 1
	g.coded = binary.AppendUvarint(g.coded, uint64(e.reader))
	g.coded = binary.AppendUvarint(g.coded, bits|uint64(named)<<groupBits)
	if named == 0 {
		g.channels = append(g.channels, e.channel)
		g.coded = binary.AppendUvarint(g.coded, uint64(len(e.channel)))
		g.coded = append(g.coded, e.channel...)
	}
	if e.again {
		g.coded = binary.AppendUvarint(g.coded, uint64(e.count))
	}
	if bits&bitTrace != 0 {
		g.coded = append(g.coded, trace[:]...)
	}
	if same {
		g.coded = binary.AppendUvarint(g.coded, uint64(g.n-at))
	} else {
		g.coded = binary.AppendUvarint(g.coded, uint64(len(e.items)))
		g.coded = append(g.coded, e.items...)
	}
	g.n++
	g.one = e
}

var errGroup = errors.New("not a group of pages")

// decodeGroup calls fn with each of the n pages of a group. pages has what the
// row says of all of them; fn gets a copy with the rest.
func decodeGroup(b []byte, n int64, row Exposure, fn func(Exposure) error) error {
	var channels []string
	var lists [][]act.Ref
	take := func(length uint64) (part []byte, ok bool) {
		if length > uint64(len(b)) {
			return nil, false
		}
		part, b = b[:length], b[length:]
		return part, true
	}
	for ord := range n {
		x := row
		x.Ord = ord
		var reader, bits, count, length uint64
		var ok bool
		var part []byte
		if reader, b, ok = uvarint(b); !ok {
			return errGroup
		}
		if bits, b, ok = uvarint(b); !ok {
			return errGroup
		}
		x.Reader, x.Again, x.Count = act.ID(reader), bits&bitAgain != 0, 1
		switch named := bits >> groupBits; {
		case named > uint64(len(channels)):
			return errGroup
		case named > 0:
			x.Channel = channels[named-1]
		default:
			if length, b, ok = uvarint(b); !ok {
				return errGroup
			}
			if part, ok = take(length); !ok {
				return errGroup
			}
			x.Channel = string(part)
			channels = append(channels, x.Channel)
		}
		if x.Again {
			if count, b, ok = uvarint(b); !ok {
				return errGroup
			}
			x.Count = int64(count)
		}
		if bits&bitTrace != 0 {
			if part, ok = take(traceSize); !ok {
				return errGroup
			}
			x.Trace = hex.EncodeToString(part)
		}
		if length, b, ok = uvarint(b); !ok {
			return errGroup
		}
		if bits&bitSame != 0 {
			if length == 0 || length > uint64(ord) {
				return errGroup
			}
			x.Items = lists[uint64(ord)-length]
		} else {
			if part, ok = take(length); !ok {
				return errGroup
			}
			var err error
			if x.Items, err = DecodeItems(part); err != nil {
				return err
			}
		}
		lists = append(lists, x.Items)
		if err := fn(x); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return errGroup
	}
	return nil
}
