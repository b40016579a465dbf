package canary

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Marks makes and reads the marks of one network. Nil reads none.
type Marks struct {
	block cipher.Block
	mac   []byte
}

// View is one showing of a thing to an agent.
type View struct {
	Reader act.ID
	Item   act.Ref
	Hour   uint32 // since 1970
}

const (
	sign     = "#reef."
	tagSize  = 8             // bytes that prove a mark, and the start of its cipher
	bodySize = 8 + 8 + 4 + 4 // reader, item, version, hour

	maxLink   = 2048 // bytes; longer ones stay as they are, and so do
	maxAround = 8    // those with so many signs behind them: a text costs what it is long

	linkEnds     = " \t\r\n<>\"`\\"
	linkTrailing = ".,;:!?'"
	linkUnsure   = "*_~" // part of the link, or of what stands around it
)

var encoding = base64.RawURLEncoding

// New takes a key of 64 bytes; none marks nothing.
func New(key []byte) *Marks {
	if len(key) == 0 {
		return nil
	}
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		panic(err) // a programmer's error: the key has another size
	}
	return &Marks{block: block, mac: key[32:]}
}

func (c *Marks) tag(body []byte) []byte {
	h := hmac.New(sha256.New, c.mac)
	_, _ = h.Write(body) // never fails
	return h.Sum(nil)[:tagSize]
}

// crypt seals or opens a body under its tag.
func (c *Marks) crypt(tag, body []byte) {
	iv := make([]byte, aes.BlockSize)
	copy(iv, tag)
	cipher.NewCTR(c.block, iv).XORKeyStream(body, body)
}

// Mark is the fragment of a view. It is the same for an hour, so that who reads a thing
// twice sees no change.
func (c *Marks) Mark(v View) string {
	all := make([]byte, tagSize, tagSize+bodySize)
	all = binary.BigEndian.AppendUint64(all, uint64(v.Reader))
	all = binary.BigEndian.AppendUint64(all, uint64(v.Item.ID))
	all = binary.BigEndian.AppendUint32(all, uint32(v.Item.Version)) //nolint:gosec // versions are few
	all = binary.BigEndian.AppendUint32(all, v.Hour)
	tag := c.tag(all[tagSize:])
	copy(all, tag)
	c.crypt(tag, all[tagSize:])
	return sign + encoding.EncodeToString(all)
}

// open reads what Mark writes, without the sign. What the network has not made is nothing.
func (c *Marks) open(text string) (v View, ok bool) {
	all, err := encoding.DecodeString(text)
	if err != nil || len(all) != tagSize+bodySize {
		return v, false
	}
	tag, body := all[:tagSize], all[tagSize:]
	c.crypt(tag, body)
	if subtle.ConstantTimeCompare(tag, c.tag(body)) != 1 {
		return v, false
	}
	v.Reader, v.Item.ID = act.ID(binary.BigEndian.Uint64(body)), act.ID(binary.BigEndian.Uint64(body[8:])) //nolint:gosec // as Mark wrote it
	v.Item.Version, v.Hour = int64(binary.BigEndian.Uint32(body[16:])), binary.BigEndian.Uint32(body[20:])
	return v, true
}

// Put returns a text with a mark at each link and at each fenced block of code that has none.
// What a mark could harm stays as it is. mark is asked for where there is something to mark.
func Put(text string, mark func() string) string { return links(fences(text, mark), mark) }

// links returns a text with a fragment at each link that has none, but for links in code, and
// those of which nobody can tell where they end.
func links(text string, fragment func() string) string {
	var b strings.Builder
	done, counted, ticks := 0, 0, 0
	for at := 0; ; {
		next := strings.Index(text[at:], "http")
		if next < 0 {
			break
		}
		at += next
		ticks, counted = ticks+strings.Count(text[counted:at], "`"), at
		link := linkAt(text[at:])
		if link == "" || ticks%2 == 1 || strings.Contains(link, "#") {
			at += max(len(link), len("http"))
			continue
		}
		at += len(link)
		b.WriteString(text[done:at])
		b.WriteString(fragment())
		done = at
	}
	if done == 0 {
		return text
	}
	b.WriteString(text[done:])
	return b.String()
}

// linkAt returns the link with which a text begins, "" where it begins with none, or with one
// of which nobody can tell where it ends.
func linkAt(text string) string {
	scheme := len("https://")
	switch {
	case strings.HasPrefix(text, "https://"):
	case strings.HasPrefix(text, "http://"):
		scheme = len("http://")
	default:
		return ""
	}
	link := text[:min(len(text), maxLink)]
	if n := strings.IndexAny(link, linkEnds); n >= 0 {
		link = link[:n]
	} else if len(link) == maxLink {
		return ""
	}
	for range maxAround {
		cut := strings.TrimRight(link, linkTrailing)
		for _, pair := range [...]string{"()", "[]", "{}"} { // of what stands around it
			if strings.HasSuffix(cut, pair[1:]) && strings.Count(cut, pair[1:]) > strings.Count(cut, pair[:1]) {
				cut = cut[:len(cut)-1]
			}
		}
		if cut != link {
			link = cut
			continue
		}
		if len(link) <= scheme || strings.ContainsAny(link[len(link)-1:], linkUnsure) {
			return ""
		}
		return link
	}
	return ""
}

// Lift takes the marks of the network out of a text, each with a space before it, and returns
// the views that they are of.
func (c *Marks) Lift(text string) (string, []View) {
	if c == nil || !strings.Contains(text, sign) {
		return text, nil
	}
	size := encoding.EncodedLen(tagSize + bodySize)
	var b strings.Builder
	var views []View
	for {
		at := strings.Index(text, sign)
		if at < 0 {
			break
		}
		from := at + len(sign)
		if len(text) >= from+size {
			if v, ok := c.open(text[from : from+size]); ok {
				b.WriteString(strings.TrimSuffix(text[:at], " "))
				text, views = text[from+size:], append(views, v)
				continue
			}
		}
		b.WriteString(text[:from])
		text = text[from:]
	}
	b.WriteString(text)
	return b.String(), views
}
