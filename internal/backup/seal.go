package backup

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
)

// sealer compresses and seals the entries of one backup, and opens them. The key
// is the backup's own, so that the number of an entry can be its nonce; its name
// is bound to it, so that no entry stands in for another.
type sealer struct {
	aead   cipher.AEAD
	packed bytes.Buffer
	press  *flate.Writer
	open   io.ReadCloser // of flate
	plain  []byte
}

func newSealer(k Key, id string) (*sealer, error) {
	key, err := k.derive(id, infoRows)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	s := &sealer{open: flate.NewReader(nil)}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	s.press, err = flate.NewWriter(&s.packed, flate.BestSpeed)
	return s, err
}

func nonce(n uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), n)
}

// seal returns the n-th entry, valid until the next call.
func (s *sealer) seal(n uint64, name string, plain []byte) ([]byte, error) {
	s.packed.Reset()
	s.press.Reset(&s.packed)
	if _, err := s.press.Write(plain); err != nil {
		return nil, err
	}
	if err := s.press.Close(); err != nil {
		return nil, err
	}
	b := s.packed.Bytes()
	return s.aead.Seal(b[:0], nonce(n), b, []byte(name)), nil
}

// unseal opens the n-th entry. What it returns is valid until the next call.
func (s *sealer) unseal(n uint64, e Entry, sealed []byte) ([]byte, error) {
	packed, err := s.aead.Open(sealed[:0], nonce(n), sealed, []byte(e.Name))
	if err != nil {
		return nil, broken("an entry does not open with the network's key")
	}
	if e.Plain < 0 || e.Plain > maxChunk {
		return nil, broken("an entry is too large")
	}
	if err := s.open.(flate.Resetter).Reset(bytes.NewReader(packed), nil); err != nil {
		return nil, err
	}
	if int64(cap(s.plain)) < e.Plain {
		s.plain = make([]byte, e.Plain)
	}
	plain := s.plain[:e.Plain]
	if _, err := io.ReadFull(s.open, plain); err != nil {
		return nil, broken("an entry has less in it than it should")
	}
	if n, err := s.open.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return nil, broken("an entry has more in it than it should")
	}
	return plain, nil
}
