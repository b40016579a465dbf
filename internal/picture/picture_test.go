package picture

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

// pngChunk is a chunk of a PNG with its checksum.
func pngChunk(name string, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = append(append(b, name...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// riffChunk is a chunk of a WebP, padded.
func riffChunk(name string, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(body)))
	b = append(b, body...)
	return append(b, make([]byte, len(body)&1)...)
}

func riff(chunks ...[]byte) []byte {
	body := append([]byte("WEBP"), bytes.Join(chunks, nil)...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// samples are whole images of every format, of 8 by 6 pixels where an encoder
// made them.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	img := image.NewPaletted(image.Rect(0, 0, 8, 6), palette.WebSafe)
	for i := range img.Pix {
		img.Pix[i] = byte(i * 5 % 200)
	}
	full := image.NewNRGBA(img.Rect)
	for i := range 48 {
		full.Set(i%8, i/8, color.NRGBA{byte(i), byte(3 * i), 200, byte(255 - i)})
	}
	out := map[string][]byte{}
	write := func(name string, encode func(*bytes.Buffer) error) {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			t.Fatal(err)
		}
		out[name] = b.Bytes()
	}
	write("png", func(b *bytes.Buffer) error { return png.Encode(b, full) })
	write("png with palette", func(b *bytes.Buffer) error { return png.Encode(b, img) })
	write("jpeg", func(b *bytes.Buffer) error { return jpeg.Encode(b, full, nil) })
	write("gif", func(b *bytes.Buffer) error { return gif.Encode(b, img, nil) })
	write("gif, animated", func(b *bytes.Buffer) error {
		return gif.EncodeAll(b, &gif.GIF{Image: []*image.Paletted{img, img, img}, Delay: []int{1, 1, 1}})
	})
	out["webp, lossy"] = unbase64(t, "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
	out["webp, lossless"] = unbase64(t, "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
	lossy := out["webp, lossy"][riffHead:]
	out["webp, extended"] = riff(riffChunk("VP8X", make([]byte, 10)), lossy)
	frame := riffChunk("ANMF", append(make([]byte, 16), lossy...))
	out["webp, animated"] = riff(riffChunk("VP8X", append([]byte{2}, make([]byte, 9)...)), riffChunk("ANIM", make([]byte, 6)), frame, frame)
	return out
}

// dressed are images with something in them that does not show; each holds the
// word canary.
func dressed(t testing.TB) map[string][]byte {
	t.Helper()
	s := samples(t)
	canary := []byte("<script>canary</script>")
	insert := func(b []byte, at int, part []byte) []byte {
		return append(append(append([]byte(nil), b[:at]...), part...), b[at:]...)
	}
	segment := func(marker byte, body []byte) []byte {
		return append([]byte{0xFF, marker, 0, byte(2 + len(body))}, body...)
	}
	const afterIHDR = 8 + 12 + 13
	out := map[string][]byte{
		"png text":     insert(s["png"], afterIHDR, pngChunk("tEXt", append([]byte("Comment\x00"), canary...))),
		"png profile":  insert(s["png"], afterIHDR, pngChunk("iCCP", canary)),
		"png camera":   insert(s["png"], afterIHDR, pngChunk("eXIf", canary)),
		"png private":  insert(s["png"], afterIHDR, pngChunk("reEf", canary)),
		"jpeg comment": insert(s["jpeg"], 2, segment(0xFE, canary)),
		"jpeg exif":    insert(s["jpeg"], 2, segment(0xE1, append([]byte("Exif\x00\x00"), canary...))),
		"jpeg thumb":   insert(s["jpeg"], 2, segment(0xE0, append([]byte("JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x01\x01"), canary...))),
		"gif comment":  insert(s["gif"], len(s["gif"])-1, append(append([]byte{0x21, 0xFE, byte(len(canary))}, canary...), 0)),
		"gif app":      insert(s["gif"], len(s["gif"])-1, append(append([]byte("\x21\xFF\x0bXMP DataXMP\x17"), canary...), 0)),
	}
	lossy := s["webp, lossy"][riffHead:]
	flags := append([]byte{0x2C}, make([]byte, 9)...)
	out["webp exif"] = riff(riffChunk("VP8X", flags), riffChunk("ICCP", canary), lossy, riffChunk("EXIF", canary), riffChunk("XMP ", canary))
	out["webp frame"] = riff(riffChunk("VP8X", append([]byte{2}, make([]byte, 9)...)), riffChunk("ANIM", make([]byte, 6)),
		riffChunk("ANMF", append(append(make([]byte, 16), riffChunk("junk", canary)...), lossy...)))
	return out
}

// Whole images are kept as they show, whatever was in them beside; what is kept
// is a whole image again.
func TestImagesKeepWhatShows(t *testing.T) {
	plain := samples(t)
	for name, data := range plain {
		pic, err := Read(data, 1<<20)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(pic.Data, data) {
			t.Errorf("%s: changed although nothing was in it beside", name)
		}
		if pic.Format == WebP {
			continue // made by hand
		}
		if pic.Width != 8 || pic.Height != 6 {
			t.Errorf("%s: %d by %d", name, pic.Width, pic.Height)
		}
	}
	for name, data := range dressed(t) {
		pic, err := Read(data, 1<<20)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Contains(data, []byte("canary")) || bytes.Contains(pic.Data, []byte("canary")) {
			t.Errorf("%s: the canary is kept", name)
		}
		again, err := Read(pic.Data, 1<<20)
		if err != nil || !bytes.Equal(again.Data, pic.Data) {
			t.Errorf("%s: what is kept is not whole: %v", name, err)
		}
		if pic.Format != WebP {
			want, _, err := image.Decode(bytes.NewReader(data))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, _, err := image.Decode(bytes.NewReader(pic.Data))
			if err != nil || got.Bounds() != want.Bounds() || got.At(3, 3) != want.At(3, 3) || got.At(7, 5) != want.At(7, 5) {
				t.Errorf("%s: what is kept looks different (%v)", name, err)
			}
		}
	}
}

// Every beginning of an image, and every image with anything after it, is
// refused.
func TestCutAndContinuedImagesAreRefused(t *testing.T) {
	for name, data := range samples(t) {
		for n := range len(data) {
			if _, err := Read(data[:n], 1<<20); act.CodeOf(err) != act.Invalid {
				t.Fatalf("%s, %d of %d bytes: %v", name, n, len(data), err)
			}
		}
		for _, more := range []string{"\x00", "<html>", "PK\x03\x04", string(data)} {
			if _, err := Read(append(append([]byte(nil), data...), more...), 1<<20); act.CodeOf(err) != act.Invalid {
				t.Errorf("%s with %q after it: %v", name, more, err)
			}
		}
	}
}

// Images that unpack to more than their bytes warrant are refused by what their
// heads say, and nothing is unpacked.
func TestBombsAreRefused(t *testing.T) {
	s := samples(t)
	sides := func(b []byte, at int, put func([]byte, uint32), w, h uint32, width int) []byte {
		b = append([]byte(nil), b...)
		put(b[at:], w)
		put(b[at+width:], h)
		return b
	}
	big32 := func(b []byte, v uint32) { binary.BigEndian.PutUint32(b, v) }
	little16 := func(b []byte, v uint32) { binary.LittleEndian.PutUint16(b, uint16(v)) }
	bombs := map[string][]byte{
		"gif screen": sides(s["gif"], 6, little16, 65535, 65535, 2),
		"webp lossy": sides(s["webp, lossy"], riffHead+8+6, little16, 16383, 16383, 2),
		"webp canvas": riff(riffChunk("VP8X", append(make([]byte, 4), bytes.Repeat([]byte{0xFF}, 6)...)),
			s["webp, lossy"][riffHead:]),
	}
	for _, side := range [][2]uint32{{50_000, 50_000}, {0, 1}, {1, 0}, {1 << 31, 1}, {maxSide + 1, 1}, {maxSide, maxSide}} {
		b := sides(s["png"], 16, big32, side[0], side[1], 4)
		big32(b[29:], crc32.ChecksumIEEE(b[12:29]))
		bombs["png "+string(rune('a'+len(bombs)))] = b
	}
	sof := bytes.Index(s["jpeg"], []byte{0xFF, 0xC0})
	b := append([]byte(nil), s["jpeg"]...)
	copy(b[sof+5:], "\xFF\xFF\xFF\xFF")
	bombs["jpeg"] = b
	frames := bytes.Repeat([]byte("\x2c\x00\x00\x00\x00\x00\x10\x00\x10\x00\x02\x00"), 2)
	bombs["gif frames"] = append(append([]byte("GIF89a\x00\x10\x00\x10\x00\x00\x00"), frames...), ';')
	bombs["gif blocks"] = append(append([]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00"), bytes.Repeat([]byte("\x21\xFE\x00"), maxSegments+1)...), ';')
	for name, data := range bombs {
		if _, err := Read(data, 1<<20); act.CodeOf(err) != act.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(make([]byte, 1<<20+1), 1<<20); act.CodeOf(err) != act.TooLarge {
		t.Errorf("a large file: %v", err)
	}
}

// FuzzPicture: any bytes are kept as a whole image or refused with a hint, and
// what is kept is within its bounds and is kept the same way again.
func FuzzPicture(f *testing.F) {
	for _, set := range []map[string][]byte{samples(f), dressed(f)} {
		for _, data := range set {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pic, err := Read(data, 1<<20)
		if err != nil {
			if e := act.AsError(err); e.Code != act.Invalid || e.Hint == "" {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if len(pic.Data) > len(data) || pic.Width < 1 || pic.Height < 1 || pic.Width*pic.Height > maxPixels {
			t.Fatalf("%d by %d in %d of %d bytes", pic.Width, pic.Height, len(pic.Data), len(data))
		}
		again, err := Read(pic.Data, 1<<20)
		if err != nil || !bytes.Equal(again.Data, pic.Data) || again.Width != pic.Width || again.Height != pic.Height {
			t.Fatalf("what is kept is not kept again: %v", err)
		}
		if c, _, err := image.DecodeConfig(bytes.NewReader(data)); err == nil && (int64(c.Width) != pic.Width || int64(c.Height) != pic.Height) {
			t.Fatalf("%d by %d, decoders say %d by %d", pic.Width, pic.Height, c.Width, c.Height)
		}
	})
}
