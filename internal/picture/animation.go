package picture

import (
	"encoding/binary"
)

// readGIF reads a GIF (GIF89a specification): a screen, then images and
// extensions made of sub-blocks, until the trailer.
func (p *Picture) readGIF(b []byte) error {
	const head = 13
	if len(b) < head {
		return errCut
	}
	p.Width, p.Height = int64(binary.LittleEndian.Uint16(b[6:])), int64(binary.LittleEndian.Uint16(b[8:]))
	if p.Width < 1 || p.Height < 1 || p.Width > maxSide || p.Height > maxSide || p.Width*p.Height > maxPixels {
		return errDimension
	}
	at := head + colours(b[10])
	if at > len(b) {
		return errCut
	}
	p.keep(b[:at])
	shows := false
	for rest := b[at:]; ; {
		if err := p.segment(); err != nil {
			return err
		}
		if len(rest) == 0 {
			return errCut
		}
		var n int
		kept := true
		switch rest[0] {
		case 0x3B:
			p.keep(rest[:1])
			return ending(shows, rest[1:])
		case 0x2C: // image
			const descriptor = 10
			if len(rest) < descriptor {
				return errCut
			}
			if err := p.frame(int64(binary.LittleEndian.Uint16(rest[5:])), int64(binary.LittleEndian.Uint16(rest[7:]))); err != nil {
				return err
			}
			n, shows = descriptor+colours(rest[9])+1, true // and the code size
		case 0x21: // extension
			if len(rest) < 3 {
				return errCut
			}
			n = 2
			const loop = "\x0bNETSCAPE2.0\x03\x01"
			looping := len(rest) >= n+len(loop) && string(rest[n:n+len(loop)]) == loop
			kept = rest[1] == 0xF9 || (rest[1] == 0xFF && looping)
		default:
			return errForm
		}
		data, ok := blocks(rest, n)
		if !ok {
			return errCut
		}
		if kept {
			if rest[0] == 0x21 && data-n > 1+11+1+3+1 {
				return errForm // neither of the two has room for more
			}
			p.keep(rest[:data])
		}
		rest = rest[data:]
	}
}

// colours is the size of the colour table that flags announce.
func colours(flags byte) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}

// blocks returns where the sub-blocks that begin at n end.
func blocks(b []byte, n int) (end int, ok bool) {
	for n < len(b) {
		size := int(b[n])
		n += 1 + size
		if size == 0 {
			return n, true
		}
	}
	return 0, false
}

const riffHead = 12

// readWebP reads a WebP (RFC 9649): a RIFF file of chunks of name, length and
// data padded to even length.
func (p *Picture) readWebP(b []byte) error {
	size := uint64(binary.LittleEndian.Uint32(b[4:])) + 8
	switch {
	case size > uint64(len(b)):
		return errCut
	case size < uint64(len(b)):
		return errMore
	}
	p.keep(b[:riffHead])
	shows, err := p.webpChunks(b[riffHead:], false)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(p.Data[4:], uint32(len(p.Data)-8))
	return ending(shows && p.Width > 0, nil)
}

// webpChunks reads chunks of the file, or of a frame of an animation.
func (p *Picture) webpChunks(b []byte, inFrame bool) (shows bool, err error) {
	for len(b) > 0 {
		if err := p.segment(); err != nil {
			return false, err
		}
		if len(b) < 8 || uint64(binary.LittleEndian.Uint32(b[4:])) > uint64(len(b)-8) {
			return false, errCut
		}
		name, n := string(b[:4]), int(binary.LittleEndian.Uint32(b[4:]))
		padded := 8 + n + n&1
		if padded > len(b) {
			return false, errCut
		}
		chunk, body := b[:padded], b[8:8+n]
		b = b[padded:]
		switch name {
		case "VP8 ":
			// RFC 6386 §9.1: a key frame's tag, start code, 14 bits for each side.
			if n < 10 || body[0]&1 != 0 || string(body[3:6]) != "\x9d\x01\x2a" {
				return false, errForm
			}
			err = p.webpImage(int64(binary.LittleEndian.Uint16(body[6:])&0x3FFF), int64(binary.LittleEndian.Uint16(body[8:])&0x3FFF))
			shows = true
			p.keep(chunk)
		case "VP8L":
			// RFC 9649 §3.4: a signature, 14 bits for each side less one.
			if n < 5 || body[0] != 0x2F {
				return false, errForm
			}
			bits := binary.LittleEndian.Uint32(body[1:])
			err = p.webpImage(int64(bits&0x3FFF)+1, int64(bits>>14&0x3FFF)+1)
			shows = true
			p.keep(chunk)
		case "VP8X":
			if n != 10 || inFrame || p.Width != 0 {
				return false, errForm
			}
			p.Width, p.Height = int64(uint24(body[4:]))+1, int64(uint24(body[7:]))+1
			if p.Width > maxSide || p.Height > maxSide || p.Width*p.Height > maxPixels {
				return false, errDimension
			}
			p.keep(chunk)
			p.Data[len(p.Data)-10] &^= 0x2C // profile, Exif and XMP are taken out
		case "ANMF":
			if n < 16 || inFrame || p.Width == 0 {
				return false, errForm
			}
			if err := p.frame(int64(uint24(body[6:]))+1, int64(uint24(body[9:]))+1); err != nil {
				return false, err
			}
			p.keep(chunk[:24])
			from := len(p.Data)
			in, err := p.webpChunks(body[16:], true)
			if err != nil || !in {
				return false, errForm
			}
			binary.LittleEndian.PutUint32(p.Data[from-20:], uint32(len(p.Data)-from+16))
			shows = true
		case "ALPH":
			p.keep(chunk)
		case "ANIM":
			if n != 6 || inFrame {
				return false, errForm
			}
			p.keep(chunk)
		default: // profile, Exif, XMP and what is not known
		}
		if err != nil {
			return false, err
		}
	}
	return shows, nil
}

// webpImage counts a coded image; the first of a file without a canvas is the
// canvas.
func (p *Picture) webpImage(width, height int64) error {
	if p.Width == 0 {
		return p.canvas(width, height)
	}
	if width > p.Width || height > p.Height {
		return errForm
	}
	return p.frame(width, height)
}

func uint24(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }
