package backup

import (
	"encoding/binary"

	"github.com/reefwarden/reefwarden/internal/store"
)

// A row is its columns one after the other, each a byte that says what it is
// (store.ValueKind) and then a zigzag varint for a number, or a length and so many
// bytes for text and bytes.

// appendRow writes a row.
func appendRow(b []byte, row []store.Value) []byte {
	for _, v := range row {
		b = append(b, byte(v.Kind))
		switch v.Kind {
		case store.ValueNull:
		case store.ValueInt:
			b = binary.AppendVarint(b, v.Int)
		case store.ValueText, store.ValueBytes:
			b = binary.AppendUvarint(b, uint64(len(v.Bytes)))
			b = append(b, v.Bytes...)
		}
	}
	return b
}

// cutRow reads the first row of b into row and returns what follows. The values
// point into b.
func cutRow(b []byte, row []store.Value) (rest []byte, err error) {
	bad := func() ([]byte, error) { return nil, broken("a row cannot be read") }
	for i := range row {
		if len(b) == 0 {
			return bad()
		}
		kind := store.ValueKind(b[0])
		b = b[1:]
		switch kind {
		case store.ValueNull:
			row[i] = store.Value{}
		case store.ValueInt:
			n, size := binary.Varint(b)
			if size <= 0 {
				return bad()
			}
			row[i], b = store.Value{Kind: kind, Int: n}, b[size:]
		case store.ValueText, store.ValueBytes:
			n, size := binary.Uvarint(b)
			if size <= 0 || n > uint64(len(b)-size) {
				return bad()
			}
			row[i] = store.Value{Kind: kind, Bytes: b[size : size+int(n)]}
			b = b[size+int(n):]
		default:
			return bad()
		}
	}
	return b, nil
}
