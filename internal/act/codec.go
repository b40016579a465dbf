package act

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// Codec maps inside ids to outside ids and back, and seals cursors, under one
// network's permanent key. It is safe for concurrent use.
//
// An outside id looks like a version 4 UUID (RFC 9562 §5.4). Its 122 free bits
// are a synthetic-IV encryption of the 63-bit id: a 59-bit check tag that is a
// keyed function of the id, and the id masked by a keyed function of the tag.
// Equal ids map to equal strings, nothing of the id can be read from the
// string, and a guessed string passes with probability 2^-59.
type Codec struct {
	tag, mask cipher.Block
	mac       []byte
}

// CodecKeySize is the length in bytes of the key that [NewCodec] takes.
const CodecKeySize = 64

// NewCodec returns the codec for a network's id key of CodecKeySize bytes.
func NewCodec(key []byte) (*Codec, error) {
	if len(key) != CodecKeySize {
		return nil, fmt.Errorf("id key has %d bytes, want %d", len(key), CodecKeySize)
	}
	tag, err := aes.NewCipher(key[:16])
	if err != nil {
		return nil, fmt.Errorf("id key: %w", err)
	}
	mask, err := aes.NewCipher(key[16:32])
	if err != nil {
		return nil, fmt.Errorf("id key: %w", err)
	}
	return &Codec{tag: tag, mask: mask, mac: append([]byte(nil), key[32:]...)}, nil
}

const (
	tagBits  = 59
	tagMask  = 1<<tagBits - 1
	bodyMask = 1<<63 - 1
)

// prf is a keyed function of v. The buffer is the caller's because it escapes
// into the cipher: an id then costs one allocation.
func prf(b cipher.Block, buf *[aes.BlockSize]byte, v uint64) uint64 {
	clear(buf[:8])
	binary.BigEndian.PutUint64(buf[8:], v)
	b.Encrypt(buf[:], buf[:])
	return binary.BigEndian.Uint64(buf[:8])
}

const hexDigits = "0123456789abcdef"

// dashAt marks the positions of the dashes in a UUID's text.
func dashAt(i int) bool { return i == 8 || i == 13 || i == 18 || i == 23 }

// Append appends the 36 characters of id's outside form to dst.
func (c *Codec) Append(dst []byte, id ID) []byte {
	var buf [aes.BlockSize]byte
	tag := prf(c.tag, &buf, uint64(id)) & tagMask
	body := uint64(id) ^ prf(c.mask, &buf, tag)&bodyMask
	// 122 free bits, high to low: body (63), tag (59). The UUID's fixed bits
	// (version after 48, variant after 12 more) are spliced in between.
	hi, lo := body<<1|tag>>(tagBits-1), tag&(1<<(tagBits-1)-1) // 64 + 58 bits
	var u [16]byte
	top := hi >> 16         // 48 bits: time_low, time_mid
	mid := hi >> 4 & 0x0fff // 12 bits after the version
	low := hi&0x0f<<58 | lo // 62 bits after the variant
	binary.BigEndian.PutUint64(u[:8], top<<16|0x4000|mid)
	binary.BigEndian.PutUint64(u[8:], low|1<<63)
	j := 0
	for i := range 36 {
		if dashAt(i) {
			dst = append(dst, '-')
			continue
		}
		b := u[j/2]
		if j%2 == 0 {
			b >>= 4
		}
		dst = append(dst, hexDigits[b&0x0f])
		j++
	}
	return dst
}

// String returns id's outside form; the empty string for the zero id.
func (c *Codec) String(id ID) string {
	if id == 0 {
		return ""
	}
	return string(c.Append(make([]byte, 0, 36), id))
}

// Parse returns the id behind an outside form, whose hex digits may have either
// case (RFC 9562 §4). Every string that this codec did not make gives
// [NotFound]: a stranger learns nothing from the answer.
func (c *Codec) Parse(s string) (ID, error) {
	id, ok := c.decode(s)
	if !ok {
		return 0, Errorf(NotFound, "no such id").WithHint("use an id exactly as this network returned it")
	}
	return id, nil
}

// ParseKind is Parse for an id that must be of one of the given kinds.
func (c *Codec) ParseKind(s string, kinds ...Kind) (ID, error) {
	id, err := c.Parse(s)
	if err != nil {
		return 0, err
	}
	for _, k := range kinds {
		if id.Kind() == k {
			return id, nil
		}
	}
	return 0, Errorf(NotFound, "no such %s", kinds[0]).WithHint("the id names something else; use the id of a " + kinds[0].String())
}

func (c *Codec) decode(s string) (ID, bool) {
	if len(s) != 36 {
		return 0, false
	}
	var u [16]byte
	j := 0
	for i := range 36 {
		ch := s[i]
		if dashAt(i) {
			if ch != '-' {
				return 0, false
			}
			continue
		}
		var v byte
		switch {
		case ch >= '0' && ch <= '9':
			v = ch - '0'
		case ch >= 'a' && ch <= 'f':
			v = ch - 'a' + 10
		case ch >= 'A' && ch <= 'F':
			v = ch - 'A' + 10
		default:
			return 0, false
		}
		u[j/2] = u[j/2]<<4 | v
		j++
	}
	first, second := binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
	if first>>12&0x0f != 4 || second>>62 != 2 {
		return 0, false
	}
	low := second &^ (3 << 62)
	hi := first>>16<<16 | first&0x0fff<<4 | low>>58
	tag := hi&1<<(tagBits-1) | low&(1<<(tagBits-1)-1)
	var buf [aes.BlockSize]byte
	id := (hi>>1 ^ prf(c.mask, &buf, tag)) & bodyMask
	want := prf(c.tag, &buf, id) & tagMask
	if subtle.ConstantTimeEq(int32(tag>>32), int32(want>>32))&
		subtle.ConstantTimeEq(int32(tag), int32(want)) != 1 || id == 0 {
		return 0, false
	}
	return ID(id), true
}

// Cursor is a position in a list: the sort keys of the last item that was
// returned, and the list they belong to. Its zero value is the start.
type Cursor struct {
	List string // names the list and its order, so that a cursor fits only there
	Keys []int64
}

// IsZero reports whether the cursor is the start of the list.
func (c Cursor) IsZero() bool { return len(c.Keys) == 0 }

const (
	cursorVersion = 1
	cursorMAC     = 8
	maxCursorKeys = 4
	// MaxCursor bounds the length of a cursor's text that is looked at.
	MaxCursor = 200
)

// SealCursor returns the opaque text of a cursor; "" for the start.
func (c *Codec) SealCursor(cur Cursor) string {
	if cur.IsZero() {
		return ""
	}
	b := []byte{cursorVersion}
	for _, k := range cur.Keys {
		b = binary.AppendVarint(b, k)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, c.cursorMAC(cur.List, b)...))
}

// OpenCursor returns the cursor behind a text made by SealCursor for the same
// list. Anything else is [Invalid].
func (c *Codec) OpenCursor(list, text string) (Cursor, error) {
	if text == "" {
		return Cursor{List: list}, nil
	}
	bad := func() (Cursor, error) {
		return Cursor{}, Errorf(Invalid, "the cursor is not one of this list").
			WithRule("cursor").WithHint("use next_cursor exactly as returned, with the same sort and filters; leave it out to start again")
	}
	if len(text) > MaxCursor {
		return bad()
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < 1+cursorMAC || raw[0] != cursorVersion {
		return bad()
	}
	if base64.RawURLEncoding.EncodeToString(raw) != text { // line breaks or loose last bits
		return bad()
	}
	body, mac := raw[:len(raw)-cursorMAC], raw[len(raw)-cursorMAC:]
	if !hmac.Equal(mac, c.cursorMAC(list, body)) {
		return bad()
	}
	cur := Cursor{List: list}
	for rest := body[1:]; len(rest) > 0; {
		v, n := binary.Varint(rest)
		if n <= 0 || len(cur.Keys) == maxCursorKeys {
			return bad()
		}
		cur.Keys, rest = append(cur.Keys, v), rest[n:]
	}
	if cur.IsZero() {
		return bad()
	}
	return cur, nil
}

func (c *Codec) cursorMAC(list string, body []byte) []byte {
	h := hmac.New(sha256.New, c.mac)
	h.Write([]byte(list))
	h.Write([]byte{0})
	h.Write(body)
	return h.Sum(nil)[:cursorMAC]
}
