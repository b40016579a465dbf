package provenance

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Origins are the agents and communities that what is labelled comes from: as they are while
// they are few, in a Bloom filter of fixed size beyond that. Whoever is among them is never
// said not to be. A value is not changed once it is made. The zero value is none.
type Origins struct {
	few    []act.ID // in order, each once; unused where there is a filter
	filter *bloom
}

const (
	maxOrigins = 32   // that are kept as they are; as many bytes as a filter has
	bloomBits  = 2048 // of a filter,
	bloomMarks = 4    // and of them for each origin
)

type bloom [bloomBits / 64]uint64

// OriginsOf are the given ones; 0 is nobody.
func OriginsOf(ids ...act.ID) Origins {
	few := slices.DeleteFunc(slices.Clone(ids), func(id act.ID) bool { return id == 0 })
	slices.Sort(few)
	return bounded(slices.Compact(few))
}

// anyOrigin is what is said of labels that were made before origins were kept.
func anyOrigin() Origins {
	all := &bloom{}
	for i := range all {
		all[i] = math.MaxUint64
	}
	return Origins{filter: all}
}

// bounded is a set of ids that are in order, each once.
func bounded(ids []act.ID) Origins {
	if len(ids) <= maxOrigins {
		return Origins{few: ids}
	}
	return Origins{filter: new(bloom).with(ids)}
}

// with adds ids to a filter that nobody else has.
func (b *bloom) with(ids []act.ID) *bloom {
	for _, id := range ids {
		for at := range marks(id) {
			b[at/64] |= 1 << (at % 64)
		}
	}
	return b
}

// marks yields the bits that stand for an id: the same on every node, for ever. Nobody
// chooses an id, so nobody can choose bits.
func marks(id act.ID) func(func(uint64) bool) {
	return func(yield func(uint64) bool) {
		x := uint64(id)
		for range bloomMarks {
			x += golden
			z := x
			z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
			z = (z ^ z>>27) * 0x94D049BB133111EB
			if !yield((z ^ z>>31) % bloomBits) {
				return
			}
		}
	}
}

// Join are the origins of what both have gone into.
func (o Origins) Join(other Origins) Origins {
	switch {
	case len(other.few) == 0 && other.filter == nil:
		return o
	case len(o.few) == 0 && o.filter == nil:
		return other
	case o.filter == nil && other.filter == nil:
		both := append(slices.Clone(o.few), other.few...)
		slices.Sort(both)
		return bounded(slices.Compact(both))
	}
	all := &bloom{}
	for _, side := range []Origins{o, other} {
		if all.with(side.few); side.filter != nil {
			for i, w := range side.filter {
				all[i] |= w
			}
		}
	}
	return Origins{filter: all}
}

// Could reports whether somebody can be among the origins. No is certain; yes is wrong as
// often as Error says.
func (o Origins) Could(id act.ID) bool {
	if o.filter == nil {
		_, found := slices.BinarySearch(o.few, id)
		return found
	}
	for at := range marks(id) {
		if o.filter[at/64]&(1<<(at%64)) == 0 {
			return false
		}
	}
	return true
}

// within reports whether all of the origins are among others.
func (o Origins) within(all Origins) bool {
	if o.filter == nil {
		return !slices.ContainsFunc(o.few, func(id act.ID) bool { return !all.Could(id) })
	}
	if all.filter == nil {
		return false
	}
	for i, w := range o.filter {
		if w&^all.filter[i] != 0 {
			return false
		}
	}
	return true
}

// Error is the share of those who are not among the origins of whom it is said all the same
// that they can be.
func (o Origins) Error() float64 {
	if o.filter == nil {
		return 0
	}
	ones := 0
	for _, w := range o.filter {
		ones += bits.OnesCount64(w)
	}
	return math.Pow(float64(ones)/bloomBits, bloomMarks)
}

// Few lists the origins while they are few; ok is false beyond that.
func (o Origins) Few() (ids []act.ID, ok bool) { return slices.Clone(o.few), o.filter == nil }

// The forms in which origins are stored. Nothing at all is the form of rows that were made
// before there were any.
const (
	originsFew    = 1 // the ids, each as its difference to the one before (uvarints)
	originsFilter = 2 // the words of the filter
)

// bytes is the form in which origins are stored.
func (o Origins) bytes() []byte {
	if o.filter != nil {
		b := make([]byte, 1, 1+bloomBits/8)
		b[0] = originsFilter
		for _, w := range o.filter {
			b = binary.BigEndian.AppendUint64(b, w)
		}
		return b
	}
	b, last := []byte{originsFew}, act.ID(0)
	for _, id := range o.few {
		b = binary.AppendUvarint(b, uint64(id-last))
		last = id
	}
	return b
}

// parseOrigins reads what bytes writes. What cannot be read is anybody.
func parseOrigins(b []byte) Origins {
	switch {
	case len(b) > 0 && b[0] == originsFew:
		c := cursor{b: b[1:]}
		var few []act.ID
		last := act.ID(0)
		for len(c.b) > 0 && !c.bad {
			last += act.ID(c.u())
			few = append(few, last)
		}
		if !c.bad && len(few) <= maxOrigins && slices.IsSorted(few) {
			return Origins{few: few}
		}
	case len(b) == 1+bloomBits/8 && b[0] == originsFilter:
		f := &bloom{}
		for i := range f {
			f[i] = binary.BigEndian.Uint64(b[1+8*i:])
		}
		return Origins{filter: f}
	}
	return anyOrigin()
}
