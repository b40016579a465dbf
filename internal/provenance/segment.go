package provenance

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
)

// A segment is a part of a log that has been sealed: its rows in the order of the
// sequence, as columns. It has a head and a body. The head is
//
//	"rseg", version, what it holds (bytes)
//	rows, items (uvarints)
//	number of keys, the first, then the difference of each to the one before
//	    (uvarints): the readers of exposures, the sources of derivations
//	SHA-256 of the body, SHA-256 of the head until there
//
// so that who looks for one key need not read the body, and what was changed is
// found in either.
type segmentKind byte

const (
	sealedExposures   segmentKind = 1
	sealedDerivations segmentKind = 2

	segmentMagic   = "rseg"
	segmentVersion = 1
)

// digest names a segment: the last bytes of its head.
type digest = [sha256.Size]byte

// segment is a sealed part of a log.
type segment struct {
	kind  segmentKind
	rows  int
	items int // showings of exposures, edges of derivations
	keys  []act.ID
	sum   digest // of the body
	own   digest // of the head
}

var errSegment = errors.New("not a segment")

// seal makes the segment of a body.
func (s *segment) seal(body []byte) (head []byte) {
	s.sum = sha256.Sum256(body)
	head = append([]byte(segmentMagic), segmentVersion, byte(s.kind))
	head = binary.AppendUvarint(head, uint64(s.rows))
	head = binary.AppendUvarint(head, uint64(s.items))
	head = binary.AppendUvarint(head, uint64(len(s.keys)))
	var last act.ID
	for _, k := range s.keys {
		head = binary.AppendUvarint(head, uint64(k-last))
		last = k
	}
	head = append(head, s.sum[:]...)
	s.own = sha256.Sum256(head)
	return append(head, s.own[:]...)
}

// openSegment reads a head, which must not have changed since it was sealed.
func openSegment(head []byte) (s segment, err error) {
	if len(head) < len(segmentMagic)+2*len(s.own) {
		return s, errSegment
	}
	rest, own := head[:len(head)-len(s.own)], head[len(head)-len(s.own):]
	if s.own = sha256.Sum256(rest); !bytes.Equal(s.own[:], own) {
		return s, fmt.Errorf("%w: its head was changed", errSegment)
	}
	return parseHead(rest, s.own)
}

// parseHead reads a head without its own digest.
func parseHead(b []byte, own digest) (s segment, err error) {
	s.own = own
	if len(b) < len(segmentMagic)+2+len(s.sum) || string(b[:len(segmentMagic)]) != segmentMagic {
		return s, errSegment
	}
	if v := b[len(segmentMagic)]; v != segmentVersion {
		return s, fmt.Errorf("%w that this release can read: version %d", errSegment, v)
	}
	s.kind = segmentKind(b[len(segmentMagic)+1])
	b, sum := b[len(segmentMagic)+2:len(b)-len(s.sum)], b[len(b)-len(s.sum):]
	s.sum = digest(sum)
	c := cursor{b: b}
	rows, items, keys := c.u(), c.u(), c.u()
	if c.bad || rows > math.MaxInt32 || items > math.MaxInt32 || keys > uint64(len(c.b)) {
		return s, errSegment
	}
	s.rows, s.items, s.keys = int(rows), int(items), make([]act.ID, keys)
	var last act.ID
	for i := range s.keys {
		delta := act.ID(c.u())
		if i > 0 && (delta <= 0 || last+delta < last) {
			return s, errSegment
		}
		last += delta
		s.keys[i] = last
	}
	if !ended(&c) {
		return s, errSegment
	}
	return s, nil
}

// has reports whether the segment has rows of a key.
func (s *segment) has(key act.ID) bool {
	_, found := slices.BinarySearch(s.keys, key)
	return found
}

// open returns the columns of the segment's body, which must be the one that was
// sealed.
func (s *segment) open(body []byte, kind segmentKind) (table, error) {
	if s.kind != kind {
		return nil, errSegment
	}
	if sha256.Sum256(body) != s.sum {
		return nil, fmt.Errorf("%w: its body was changed", errSegment)
	}
	return unpack(body)
}

// The columns of exposures. Rows refer to the channels, lists and items that
// they share.
const (
	colAfter       = iota // of each page: difference of after_seq to the page before
	colPos                // difference of pos to the page before
	colOrd                // difference of ord to what it would be in one row of the log
	colAt                 // difference of the time to the page before
	colReader             // its number among the keys
	colChannel            // its number among the channels
	colAgain              // 0 or 1
	colCount              // less one
	colTraced             // 0 without a trace, 1 with 16 bytes, 2 with a text
	colTrace              // the bytes, or length and text
	colList               // number of its list of items
	colChannels           // of each channel: length and name
	colLists              // of each list: how many items
	colListed             // of each item of each list: its number among the items
	colItemID             // of each item, by id and version: difference of the id to the one before
	colItemVersion        // and its version
)

// sealExposures makes the segment of pages, which are in the order of the
// sequence.
func sealExposures(pages []Exposure, p *packer) (s segment, head, body []byte) {
	var t table
	s.kind, s.rows = sealedExposures, len(pages)
	channels := make(map[string]int)
	lists := make(map[string]int)
	var distinct [][]act.Ref
	var coded []byte
	list := make([]int, len(pages)) // the number of each page's list
	for i := range pages {
		x := &pages[i]
		s.items += len(x.Items)
		s.keys = append(s.keys, x.Reader)
		if _, known := channels[x.Channel]; !known {
			channels[x.Channel] = len(channels)
			t.u(colChannels, uint64(len(x.Channel)))
			t.set(colChannels, append(t.get(colChannels), x.Channel...))
		}
		coded = AppendItems(coded[:0], x.Items)
		n, known := lists[string(coded)]
		if !known {
			n = len(lists)
			lists[string(coded)] = n
			distinct = append(distinct, x.Items)
		}
		list[i] = n
	}
	slices.Sort(s.keys)
	s.keys = slices.Clip(slices.Compact(s.keys))
	var before Exposure
	before.Ord = -1
	for i := range pages {
		x := &pages[i]
		t.i(colAfter, x.AfterSeq-before.AfterSeq)
		t.i(colPos, x.Pos-before.Pos)
		ord := int64(0)
		if x.Pos == before.Pos {
			ord = before.Ord + 1
		}
		t.i(colOrd, x.Ord-ord)
		t.i(colAt, x.At-before.At)
		reader, _ := slices.BinarySearch(s.keys, x.Reader)
		t.u(colReader, uint64(reader))
		t.u(colChannel, uint64(channels[x.Channel]))
		again := uint64(0)
		if x.Again {
			again = 1
		}
		t.u(colAgain, again)
		t.i(colCount, x.Count-1)
		t.trace(x.Trace)
		t.u(colList, uint64(list[i]))
		before = *x
	}
	t.lists(distinct)
	body = t.pack(p)
	return s, s.seal(body), body
}

func (t *table) trace(trace string) {
	raw, err := hex.DecodeString(trace)
	switch {
	case trace == "":
		t.u(colTraced, 0)
	case err == nil && len(raw) == traceSize && trace == strings.ToLower(trace):
		t.u(colTraced, 1)
		t.set(colTrace, append(t.get(colTrace), raw...))
	default:
		t.u(colTraced, 2)
		t.u(colTrace, uint64(len(trace)))
		t.set(colTrace, append(t.get(colTrace), trace...))
	}
}

// lists sets the columns of lists and of the items on them, each item once.
func (t *table) lists(lists [][]act.Ref) {
	number := make(map[act.Ref]uint32) // in the order in which they are met
	var items []act.Ref
	var listed []uint32
	for _, list := range lists {
		t.u(colLists, uint64(len(list)))
		for _, it := range list {
			n, known := number[it]
			if !known {
				n = uint32(len(items)) //nolint:gosec // a segment has far fewer
				number[it] = n
				items = append(items, it)
			}
			listed = append(listed, n)
		}
	}
	order := make([]uint32, len(items)) // by id and version
	for i := range order {
		order[i] = uint32(i) //nolint:gosec // as above
	}
	slices.SortFunc(order, func(a, b uint32) int { return compareRefs(items[a], items[b]) })
	place := make([]uint32, len(items))
	last := act.ID(0)
	for i, n := range order {
		place[n] = uint32(i) //nolint:gosec // as above
		t.i(colItemID, int64(items[n].ID-last))
		t.i(colItemVersion, items[n].Version)
		last = items[n].ID
	}
	column := t.get(colListed)
	for _, n := range listed {
		column = binary.AppendUvarint(column, uint64(place[n]))
	}
	t.set(colListed, column)
}

func compareRefs(a, b act.Ref) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Version, b.Version))
}

// exposures calls fn with every page of the segment whose reader is wanted, in
// order. Pages may share their items.
func (s *segment) exposures(body []byte, wanted func(act.ID) bool, fn func(Exposure) error) error {
	t, err := s.open(body, sealedExposures)
	if err != nil {
		return err
	}
	return s.readExposures(t, wanted, fn)
}

func (s *segment) readExposures(t table, wanted func(act.ID) bool, fn func(Exposure) error) error {
	channels, lists, ok := t.shared()
	if !ok {
		return errBody
	}
	after, pos, ord, at := t.column(colAfter), t.column(colPos), t.column(colOrd), t.column(colAt)
	reader, channel, again, count := t.column(colReader), t.column(colChannel), t.column(colAgain), t.column(colCount)
	traced, trace, list := t.column(colTraced), t.column(colTrace), t.column(colList)
	if s.rows > len(after.b) {
		return errBody
	}
	var x Exposure
	x.Ord = -1
	items := 0
	for range s.rows {
		last := x.Pos
		x.AfterSeq += after.i()
		x.Pos += pos.i()
		if x.Pos == last {
			x.Ord++
		} else {
			x.Ord = 0
		}
		x.Ord += ord.i()
		x.At += at.i()
		r, c, l := reader.below(len(s.keys)), channel.below(len(channels)), list.below(len(lists))
		x.Again = again.below(2) == 1
		x.Count = count.i() + 1
		var text []byte
		how := traced.below(3)
		switch how {
		case 1:
			text = trace.take(traceSize)
		case 2:
			text = trace.take(trace.count(trace))
		}
		if reader.bad || channel.bad || list.bad || trace.bad {
			return errBody
		}
		items += len(lists[l])
		if x.Reader = s.keys[r]; !wanted(x.Reader) {
			continue
		}
		x.Channel, x.Items = channels[c], lists[l]
		if x.Trace = string(text); how == 1 {
			x.Trace = hex.EncodeToString(text)
		}
		if err := fn(x); err != nil {
			return err
		}
	}
	if items != s.items || !ended(&after, &pos, &ord, &at, &reader, &channel, &again, &count, &traced, &trace, &list) {
		return errBody
	}
	return nil
}

// shared returns what pages refer to.
func (t table) shared() (channels []string, lists [][]act.Ref, ok bool) {
	names := t.column(colChannels)
	for len(names.b) > 0 {
		channels = append(channels, string(names.take(names.count(names))))
	}
	var items []act.Ref
	id, version := t.column(colItemID), t.column(colItemVersion)
	var last act.ID
	for len(id.b) > 0 {
		last += act.ID(id.i())
		items = append(items, act.Ref{ID: last, Version: version.i()})
	}
	sizes, listed := t.column(colLists), t.column(colListed)
	for len(sizes.b) > 0 {
		list := make([]act.Ref, sizes.count(listed))
		for i := range list {
			if n := listed.below(len(items)); n < len(items) {
				list[i] = items[n]
			}
		}
		lists = append(lists, list)
	}
	return channels, lists, ended(&names, &id, &version, &sizes, &listed)
}
