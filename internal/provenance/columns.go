package provenance

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Columns are pages of the log as columns, for questions over everything: those of
// one segment, or of what is not sealed. Pages refer to readers, lists and channels
// by their numbers, lists to items; many pages share a list.
type Columns struct {
	Segment  int64    // 0 for what is not sealed
	Readers  []act.ID // each once, in the order of the ids where it is a segment
	Channels []string
	Items    []act.ID // each once
	Listed   []uint32 // the items of the lists, list after list
	Ends     []uint32 // where each list ends in Listed

	// Of each page, in the order of the sequence.
	After   []int64 // the last event before it; -1 while it has no number
	At      []int64 // Unix microseconds
	Reader  []uint32
	List    []uint32
	Channel []uint16
}

// Showings is the number of showings of one thing each.
func (c *Columns) Showings() (n int64) {
	for _, l := range c.List {
		n += int64(len(c.Listing(l)))
	}
	return n
}

// Listing returns the numbers of the items of a list.
func (c *Columns) Listing(n uint32) []uint32 {
	from := uint32(0)
	if n > 0 {
		from = c.Ends[n-1]
	}
	return c.Listed[from:c.Ends[n]]
}

// Page returns the numbers of the items of a page.
func (c *Columns) Page(n int) []uint32 { return c.Listing(c.List[n]) }

const (
	qSegmentsAfter store.Q = `SELECT id FROM segment WHERE id > $1 ORDER BY id`
	qTailAll       store.Q = `SELECT pos, after_seq, agent, at, channel, again, count, items, trace, pages
FROM exposure WHERE pos > $1 ORDER BY pos`
	qDerivationsOf store.Q = `SELECT d.pos, d.ord, d.source, d.source_version, d.made, d.made_version, d.level, d.kind, e.seq
FROM event AS e JOIN derivation AS d ON d.pos = e.pos WHERE e.seq > $1 AND e.seq <= $2 ORDER BY e.seq, d.ord, d.pos`
)

// Segments lists the numbers of the segments above after, in their order.
func Segments(v *store.View, after int64) (ids []int64, err error) {
	err = v.All(qSegmentsAfter, func(r *store.Row) error { ids = append(ids, r.Int(0)); return nil }, after)
	return ids, err
}

// Raw is a segment as it is stored. Its columns can be read beside others' and without
// a view.
type Raw struct {
	id         int64
	head, body []byte
}

// RawSegment reads a segment.
func RawSegment(v *store.View, id int64) (r Raw, err error) {
	r.id = id
	_, err = v.One(qSegment, func(row *store.Row) error { r.head, r.body = row.Bytes(0), row.Bytes(1); return nil }, id)
	return r, err
}

// Columns returns the pages of a segment, which must be as it was sealed.
func (r Raw) Columns() (*Columns, error) {
	s, err := openSegment(r.head)
	var t table
	if err == nil {
		t, err = s.open(r.body, sealedExposures)
	}
	c := &Columns{Segment: r.id, Readers: s.keys}
	if err == nil && !c.read(t, s.rows) {
		err = errBody
	}
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w", r.id, err)
	}
	return c, nil
}

// read takes in what questions over everything need of a segment's columns.
func (c *Columns) read(t table, rows int) bool {
	names, id, version := t.column(colChannels), t.column(colItemID), t.column(colItemVersion)
	for len(names.b) > 0 {
		c.Channels = append(c.Channels, string(names.take(names.count(names))))
	}
	// Versions of one thing stand beside each other: what was shown of it is one item.
	numbers := make([]uint32, 0, len(id.b))
	last := act.ID(0)
	for len(id.b) > 0 {
		last += act.ID(id.i())
		version.i()
		if n := len(c.Items); n == 0 || c.Items[n-1] != last {
			c.Items = append(c.Items, last)
		}
		numbers = append(numbers, uint32(len(c.Items)-1)) //nolint:gosec // a segment has far fewer
	}
	sizes, listed := t.column(colLists), t.column(colListed)
	c.Ends = make([]uint32, 0, len(sizes.b))
	c.Listed = make([]uint32, 0, len(listed.b))
	for len(sizes.b) > 0 {
		for range sizes.count(listed) {
			if n := listed.below(len(numbers)); n < len(numbers) {
				c.Listed = append(c.Listed, numbers[n])
			}
		}
		c.Ends = append(c.Ends, uint32(len(c.Listed))) //nolint:gosec // bounded by the column
	}
	after, at, reader, list, channel := t.column(colAfter), t.column(colAt), t.column(colReader), t.column(colList), t.column(colChannel)
	if rows > len(after.b) || len(c.Channels) > math.MaxUint16 {
		return false
	}
	c.After, c.At = make([]int64, rows), make([]int64, rows)
	c.Reader, c.List, c.Channel = make([]uint32, rows), make([]uint32, rows), make([]uint16, rows)
	var seq, now int64
	for i := range rows {
		seq += after.i()
		now += at.i()
		c.After[i], c.At[i] = seq, now
		c.Reader[i] = uint32(reader.below(len(c.Readers)))    //nolint:gosec // below a length
		c.List[i] = uint32(list.below(len(c.Ends)))           //nolint:gosec // below a length
		c.Channel[i] = uint16(channel.below(len(c.Channels))) //nolint:gosec // looked at above
	}
	return ended(&names, &id, &version, &sizes, &listed, &after, &at, &reader, &list, &channel)
}

// Tail is what is not sealed, and grows.
type Tail struct {
	Columns
	Waiting int64 // pages without a number, which are the last; see [Exposure.AfterSeq]
	pos     int64 // of the last row that need not be read again
	readers map[act.ID]uint32
	items   map[act.ID]uint32
	lists   map[string]uint32
}

// NewTail returns one that has read nothing.
func NewTail() *Tail {
	return &Tail{readers: make(map[act.ID]uint32), items: make(map[act.ID]uint32), lists: make(map[string]uint32)}
}

// Follow takes in what has been added to the log. Where rows get their numbers after
// they are committed (PostgreSQL) it begins anew, since they may get them in another
// order. It returns the tail to go on with.
func (t *Tail) Follow(v *store.View) (*Tail, error) {
	if v.Dialect() == store.Postgres {
		t = NewTail()
	}
	var pages []Exposure
	if err := v.All(qTailAll, func(r *store.Row) error {
		t.pos = max(t.pos, r.Int(0))
		return pagesOf(r, func(x Exposure) error { pages = append(pages, x); return nil })
	}, t.pos); err != nil {
		return t, err
	}
	if v.Dialect() == store.Postgres {
		slices.SortFunc(pages, func(a, b Exposure) int {
			// Cast, -1 is the greatest.
			return cmp.Or(cmp.Compare(uint64(a.AfterSeq), uint64(b.AfterSeq)), cmp.Compare(a.Pos, b.Pos), cmp.Compare(a.Ord, b.Ord)) //nolint:gosec // meant
		})
	}
	for i := range pages {
		t.add(&pages[i])
	}
	return t, nil
}

func (t *Tail) add(x *Exposure) {
	if x.AfterSeq < 0 {
		t.Waiting++
	}
	reader, known := t.readers[x.Reader]
	if !known {
		reader = uint32(len(t.Readers)) //nolint:gosec // the tail is short
		t.readers[x.Reader] = reader
		t.Readers = append(t.Readers, x.Reader)
	}
	coded := string(AppendItems(nil, x.Items))
	list, known := t.lists[coded]
	if !known {
		list = uint32(len(t.Ends)) //nolint:gosec // the tail is short
		t.lists[coded] = list
		for _, it := range x.Items {
			n, known := t.items[it.ID]
			if !known {
				n = uint32(len(t.Items)) //nolint:gosec // the tail is short
				t.items[it.ID] = n
				t.Items = append(t.Items, it.ID)
			}
			t.Listed = append(t.Listed, n)
		}
		t.Ends = append(t.Ends, uint32(len(t.Listed))) //nolint:gosec // the tail is short
	}
	channel := 0
	for channel < len(t.Channels) && t.Channels[channel] != x.Channel {
		channel++
	}
	if channel == len(t.Channels) {
		t.Channels = append(t.Channels, x.Channel)
	}
	t.After, t.At = append(t.After, x.AfterSeq), append(t.At, x.At)
	t.Reader, t.List = append(t.Reader, reader), append(t.List, list)
	t.Channel = append(t.Channel, uint16(channel)) //nolint:gosec // names of acts
}

// NumberedDerivation is an edge with the number of the act that stated it.
type NumberedDerivation struct {
	Seq int64
	Derivation
}

// DerivationsIn calls fn with every edge of the acts numbered from after, without it,
// to through, in their order.
func DerivationsIn(v *store.View, after, through int64, fn func(NumberedDerivation) error) error {
	return v.All(qDerivationsOf, func(r *store.Row) error {
		return fn(NumberedDerivation{r.Int(8), scanDerivation(r)})
	}, after, through)
}
