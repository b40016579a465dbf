package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Format is one of the raster formats that are kept, by its stored name.
type Format string

// The formats.
const (
	JPEG Format = "jpeg"
	PNG  Format = "png"
	GIF  Format = "gif"
	WebP Format = "webp"
)

// Limits of an image that is shown. Pixels count all frames of an animation
// together: what a small file can make a viewer unpack is bounded by them.
const (
	maxSide     = 8192 // pixels
	maxPixels   = 1 << 24
	maxSegments = 20_000 // chunks or segments of one file
)

// Picture is an image as it is kept: the pixels and how to show them. Text,
// camera data, colour profiles and thumbnails are taken out on the way in, so
// that nothing travels in an image that cannot be seen.
type Picture struct {
	Format        Format
	Width, Height int64
	Data          []byte // a copy
	pixels        int64  // of all frames together
	segments      int
}

var (
	errCut       = errors.New("it ends too early")
	errForm      = errors.New("its parts do not fit together")
	errSum       = errors.New("a checksum does not fit")
	errMore      = errors.New("something stands after its end")
	errDimension = fmt.Errorf("its sides are not 1 to %d pixels, or all frames together more than %d pixels", maxSide, maxPixels)
	errSegments  = errors.New("it is in too many parts")
)

// Read walks through a file of at most maxBytes to its end and keeps what shows.
// It goes by the bytes alone, and reads lengths and dimensions only: no pixel is
// unpacked, so its cost is that of the bytes that were sent. It refuses with
// act.TooLarge what is too large, and with act.Invalid what is none of the four
// formats, damaged, followed by something else, or more pixels than a viewer
// should unpack.
func Read(data []byte, maxBytes int) (pic Picture, err error) {
	if len(data) > maxBytes {
		return pic, act.Errorf(act.TooLarge, "the image is larger than %d bytes", maxBytes).
			WithRule("image.size").WithHint("send a smaller image")
	}
	read := map[Format]func(*Picture, []byte) error{
		JPEG: (*Picture).readJPEG, PNG: (*Picture).readPNG, GIF: (*Picture).readGIF, WebP: (*Picture).readWebP,
	}
	switch {
	case bytes.HasPrefix(data, []byte("\xFF\xD8\xFF")):
		pic.Format = JPEG
	case bytes.HasPrefix(data, []byte(pngMagic)):
		pic.Format = PNG
	case bytes.HasPrefix(data, []byte("GIF87a")) || bytes.HasPrefix(data, []byte("GIF89a")):
		pic.Format = GIF
	case len(data) >= riffHead && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		pic.Format = WebP
	default:
		return pic, act.Errorf(act.Invalid, "the file is not a JPEG, PNG, GIF or WebP image").WithRule("image.format").
			WithHint("send the bytes of such an image; addresses, SVG and other formats are not taken, whatever type is declared")
	}
	pic.Data = make([]byte, 0, len(data))
	if err := read[pic.Format](&pic, data); err != nil {
		return Picture{}, act.Errorf(act.Invalid, "the file is not a whole %s image: %s", pic.Format, err.Error()).
			WithRule("image.content").WithHint("export the image again, without anything attached to it, and at a smaller size if it is large")
	}
	return pic, nil
}

func (p *Picture) keep(parts ...[]byte) {
	for _, b := range parts {
		p.Data = append(p.Data, b...)
	}
}

// canvas sets the dimensions.
func (p *Picture) canvas(width, height int64) error {
	p.Width, p.Height = width, height
	return p.frame(width, height)
}

// frame counts the pixels of a canvas or a frame.
func (p *Picture) frame(width, height int64) error {
	if width < 1 || height < 1 || width > maxSide || height > maxSide {
		return errDimension
	}
	if p.pixels += width * height; p.pixels > maxPixels {
		return errDimension
	}
	return nil
}

// segment counts a part of the file.
func (p *Picture) segment() error {
	if p.segments++; p.segments > maxSegments {
		return errSegments
	}
	return nil
}

const pngMagic = "\x89PNG\r\n\x1a\n"

// pngKept are the chunks of a PNG that show (PNG third edition §11), with the
// most bytes that each may hold.
var pngKept = map[string]int{
	"IHDR": 13, "PLTE": 768, "tRNS": 256, "gAMA": 4, "sRGB": 1, "cHRM": 32, "acTL": 8, "fcTL": 26,
	"IDAT": 1 << 24, "fdAT": 1 << 24, "IEND": 0,
}

// readPNG reads a PNG: a magic number, then chunks of length, name, data and
// checksum, the last of them IEND.
func (p *Picture) readPNG(b []byte) error {
	p.keep(b[:len(pngMagic)])
	shows := false
	for rest := b[len(pngMagic):]; ; {
		if err := p.segment(); err != nil {
			return err
		}
		if len(rest) < 12 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)-12) {
			return errCut
		}
		n := int(binary.BigEndian.Uint32(rest))
		chunk, name, body := rest[:12+n], string(rest[4:8]), rest[8:8+n]
		rest = rest[12+n:]
		if crc32.ChecksumIEEE(chunk[4:8+n]) != binary.BigEndian.Uint32(chunk[8+n:]) {
			return errSum
		}
		if (p.Width == 0) != (name == "IHDR") {
			return errForm // the first and only the first
		}
		most, kept := pngKept[name]
		switch {
		case kept && n > most, name == "IHDR" && n != most, name == "fcTL" && n != most:
			return errForm
		case !kept && name[0]&0x20 == 0:
			return errForm // a critical chunk that is not known
		}
		var err error
		switch name {
		case "IHDR":
			err = p.canvas(int64(binary.BigEndian.Uint32(body)), int64(binary.BigEndian.Uint32(body[4:])))
		case "fcTL":
			err = p.frame(int64(binary.BigEndian.Uint32(body[4:])), int64(binary.BigEndian.Uint32(body[8:])))
		case "IDAT":
			shows = true
		}
		if err != nil {
			return err
		}
		if kept {
			p.keep(chunk)
		}
		if name == "IEND" {
			return ending(shows, rest)
		}
	}
}

// ending says what is wrong with the end of a file, of which rest is left.
func ending(shows bool, rest []byte) error {
	switch {
	case !shows:
		return errForm
	case len(rest) > 0:
		return errMore
	}
	return nil
}

// readJPEG reads a JPEG (ITU-T T.81 annex B): segments behind markers, in scans
// followed by coded data, until the marker EOI.
func (p *Picture) readJPEG(b []byte) error {
	p.keep(b[:2])
	shows := false
	for rest := b[2:]; ; {
		if err := p.segment(); err != nil {
			return err
		}
		for len(rest) > 1 && rest[0] == 0xFF && rest[1] == 0xFF {
			rest = rest[1:] // fill bytes
		}
		if len(rest) < 2 {
			return errCut
		}
		if rest[0] != 0xFF {
			return errForm
		}
		marker := rest[1]
		if marker == 0xD9 {
			p.keep(rest[:2])
			return ending(shows && p.Width > 0, rest[2:])
		}
		if len(rest) < 4 {
			return errCut
		}
		n := 2 + int(binary.BigEndian.Uint16(rest[2:]))
		if n > len(rest) || n < 4 {
			return errCut
		}
		part, body := rest[:n], rest[4:n]
		rest = rest[n:]
		switch {
		case marker == 0xDA: // start of scan: the coded data follows
			end := scanEnd(rest)
			p.keep(part, rest[:end])
			rest, shows = rest[end:], true
		case marker == 0xC4 || marker == 0xDB || marker == 0xDD || marker == 0xCC: // tables
			p.keep(part)
		case marker >= 0xC0 && marker <= 0xCF && marker != 0xC8: // start of frame
			if p.Width != 0 || len(body) < 6 {
				return errForm
			}
			if err := p.canvas(int64(binary.BigEndian.Uint16(body[3:])), int64(binary.BigEndian.Uint16(body[1:]))); err != nil {
				return err
			}
			p.keep(part)
		case marker == 0xE0 && len(body) == 14 && string(body[:5]) == "JFIF\x00",
			marker == 0xEE && len(body) == 12 && string(body[:5]) == "Adobe": // how colours are coded
			p.keep(part)
		case marker >= 0xE0 && marker <= 0xEF, marker == 0xFE: // application data, comment
		default:
			return errForm
		}
	}
}

// scanEnd returns where the coded data of a scan ends: before a marker that is
// neither a stuffed byte nor a restart.
func scanEnd(b []byte) int {
	for i := 0; ; {
		next := bytes.IndexByte(b[i:], 0xFF)
		if next < 0 || i+next+1 >= len(b) {
			return len(b)
		}
		i += next
		if m := b[i+1]; m != 0 && (m < 0xD0 || m > 0xD7) {
			return i
		}
		i += 2
	}
}
