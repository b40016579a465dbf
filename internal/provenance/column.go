package provenance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A segment's body is its columns, each compressed where that makes it shorter:
//
//	number of columns, then for each: number, method, length, stored length
//	(uvarints), then what is stored of each, in the same order
//
// Columns that a reader does not know are passed over.
const (
	methodPlain = iota
	methodZstd

	maxColumns = 64
	maxColumn  = 64 << 20 // bytes of one, so that a lie costs no more than that
)

// packer has what compressing takes, which is a lot to make anew each time.
type packer struct{ encoder *zstd.Encoder }

func newPacker() (*packer, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	return &packer{e}, err
}

// unpackers are kept by those who have read a segment for those who will.
var unpackers = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxColumn))
	if err != nil {
		return err
	}
	return d
}}

// table is a segment's body in the making: columns by their number.
type table [][]byte

func (t *table) u(column int, v uint64) { t.set(column, binary.AppendUvarint(t.get(column), v)) }
func (t *table) i(column int, v int64)  { t.set(column, binary.AppendVarint(t.get(column), v)) }

func (t *table) get(column int) []byte {
	for len(*t) <= column {
		*t = append(*t, nil)
	}
	return (*t)[column]
}

func (t *table) set(column int, b []byte) { (*t)[column] = b }

// pack returns the body.
func (t table) pack(p *packer) []byte {
	var head, data []byte
	n := 0
	for number, plain := range t {
		if len(plain) == 0 {
			continue
		}
		n++
		method, stored := methodPlain, plain
		if packed := p.encoder.EncodeAll(plain, nil); len(packed) < len(plain) {
			method, stored = methodZstd, packed
		}
		for _, v := range []int{number, method, len(plain), len(stored)} {
			head = binary.AppendUvarint(head, uint64(v))
		}
		data = append(data, stored...)
	}
	return slices.Concat(binary.AppendUvarint(nil, uint64(n)), head, data)
}

var errBody = errors.New("not the body of a segment")

// unpack returns the columns of a body.
func unpack(b []byte) (t table, err error) {
	type stored struct{ number, method, length, size uint64 }
	n, b, ok := uvarint(b)
	if !ok || n > maxColumns {
		return nil, errBody
	}
	list := make([]stored, n)
	for i := range list {
		s := &list[i]
		for _, v := range []*uint64{&s.number, &s.method, &s.length, &s.size} {
			if *v, b, ok = uvarint(b); !ok {
				return nil, errBody
			}
		}
		if s.number >= maxColumns || s.length > maxColumn || i > 0 && s.number <= list[i-1].number {
			return nil, errBody
		}
	}
	var decoder *zstd.Decoder
	switch d := unpackers.Get().(type) {
	case *zstd.Decoder:
		decoder = d
		defer unpackers.Put(d)
	case error:
		return nil, d
	}
	for _, s := range list {
		if s.size > uint64(len(b)) {
			return nil, errBody
		}
		plain := b[:s.size]
		b = b[s.size:]
		switch s.method {
		case methodPlain:
		case methodZstd:
			if plain, err = decoder.DecodeAll(plain, make([]byte, 0, min(s.length, 16*s.size+64))); err != nil {
				return nil, fmt.Errorf("column %d: %w", s.number, err)
			}
		default:
			return nil, errBody
		}
		if uint64(len(plain)) != s.length {
			return nil, errBody
		}
		t.get(int(s.number))
		t[s.number] = plain
	}
	if len(b) > 0 {
		return nil, errBody
	}
	return t, nil
}

// column returns a cursor over a column, an empty one if it is not there.
func (t table) column(number int) cursor {
	if number >= len(t) {
		return cursor{}
	}
	return cursor{b: t[number]}
}

// cursor reads a column. After its end it gives zeros, and bad is set.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) u() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) i() int64 { return unzigzag(c.u()) }

// below returns a number that must be less than n; 0 if it is not.
func (c *cursor) below(n int) int {
	v := c.u()
	if v >= uint64(n) {
		c.bad = true
		return 0
	}
	return int(v)
}

// count returns a number of things that take a byte each, at least, of a column.
func (c *cursor) count(of cursor) int {
	v := c.u()
	if v > uint64(len(of.b)) || v > math.MaxInt32 {
		c.bad = true
		return 0
	}
	return int(v)
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	part := c.b[:n]
	c.b = c.b[n:]
	return part
}

// ended reports whether every column was right and has been read to its end.
func ended(columns ...*cursor) bool {
	return !slices.ContainsFunc(columns, func(c *cursor) bool { return c.bad || len(c.b) > 0 })
}
