package network

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// canaries mark the links in what agents are shown, each view with a mark of its own: a
// fragment, which no server is sent. A text that has one was copied from that view, whoever
// writes it and by whatever way it came (T31). Nothing is stored of a view: the mark says,
// sealed under a key of the network, who was shown what and when. Nil marks nothing.
type canaries struct {
	block cipher.Block
	mac   []byte
}

// view is one showing of a thing to an agent.
type view struct {
	reader act.ID
	item   act.Ref
	hour   uint32 // since 1970
}

const (
	canarySign  = "#reef."
	canaryTag   = 8             // bytes that prove a mark, and the start of its cipher
	canaryBody  = 8 + 8 + 4 + 4 // reader, item, version, hour
	maxCanaries = 16            // edges of one act

	linkEnds     = " \t\r\n<>\"`\\"
	linkTrailing = ".,;:!?'"
	linkUnsure   = "*_~" // part of the link, or of what stands around it
)

var canaryText = base64.RawURLEncoding

// newCanaries takes a key of 64 bytes; none marks nothing.
func newCanaries(key []byte) *canaries {
	if len(key) == 0 {
		return nil
	}
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		panic(err) // a programmer's error: the key has another size
	}
	return &canaries{block: block, mac: key[32:]}
}

func (c *canaries) tag(body []byte) []byte {
	h := hmac.New(sha256.New, c.mac)
	_, _ = h.Write(body) // never fails
	return h.Sum(nil)[:canaryTag]
}

// crypt seals or opens a body under its tag.
func (c *canaries) crypt(tag, body []byte) {
	iv := make([]byte, aes.BlockSize)
	copy(iv, tag)
	cipher.NewCTR(c.block, iv).XORKeyStream(body, body)
}

// mark is the fragment of a view. It is the same for an hour, so that who reads a thing
// twice sees no change.
func (c *canaries) mark(v view) string {
	all := make([]byte, canaryTag, canaryTag+canaryBody)
	all = binary.BigEndian.AppendUint64(all, uint64(v.reader))
	all = binary.BigEndian.AppendUint64(all, uint64(v.item.ID))
	all = binary.BigEndian.AppendUint32(all, uint32(v.item.Version)) //nolint:gosec // versions are few
	all = binary.BigEndian.AppendUint32(all, v.hour)
	tag := c.tag(all[canaryTag:])
	copy(all, tag)
	c.crypt(tag, all[canaryTag:])
	return canarySign + canaryText.EncodeToString(all)
}

// open reads what mark writes, without the sign. What the network has not made is nothing.
func (c *canaries) open(text string) (v view, ok bool) {
	all, err := canaryText.DecodeString(text)
	if err != nil || len(all) != canaryTag+canaryBody {
		return v, false
	}
	tag, body := all[:canaryTag], all[canaryTag:]
	c.crypt(tag, body)
	if subtle.ConstantTimeCompare(tag, c.tag(body)) != 1 {
		return v, false
	}
	v.reader, v.item.ID = act.ID(binary.BigEndian.Uint64(body)), act.ID(binary.BigEndian.Uint64(body[8:])) //nolint:gosec // as mark wrote it
	v.item.Version, v.hour = int64(binary.BigEndian.Uint32(body[16:])), binary.BigEndian.Uint32(body[20:])
	return v, true
}

// links returns a text with a fragment at each link that has none. What a fragment could
// harm stays as it is: links in code, and those of which nobody can tell where they end.
// fragment is asked for where there is a link.
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

// linkAt returns the link with which a text begins, "" where it begins with none.
func linkAt(text string) string {
	host := strings.TrimPrefix(strings.TrimPrefix(text, "https://"), "http://")
	scheme := len(text) - len(host)
	link := text
	if n := strings.IndexAny(text, linkEnds); n >= 0 {
		link = text[:n]
	}
	for {
		cut := strings.TrimRight(link, linkTrailing)
		for _, pair := range [...]string{"()", "[]", "{}"} { // of what stands around it
			if strings.HasSuffix(cut, pair[1:]) && strings.Count(cut, pair[1:]) > strings.Count(cut, pair[:1]) {
				cut = cut[:len(cut)-1]
			}
		}
		if cut == link {
			break
		}
		link = cut
	}
	if scheme == 0 || len(link) <= scheme || strings.ContainsAny(link[len(link)-1:], linkUnsure) {
		return ""
	}
	return link
}

// lift takes the marks of the network out of a text and returns the views that they are of.
func (c *canaries) lift(text string) (string, []view) {
	if c == nil || !strings.Contains(text, canarySign) {
		return text, nil
	}
	size := canaryText.EncodedLen(canaryTag + canaryBody)
	var b strings.Builder
	var views []view
	for {
		at := strings.Index(text, canarySign)
		if at < 0 {
			break
		}
		from := at + len(canarySign)
		if len(text) >= from+size {
			if v, ok := c.open(text[from : from+size]); ok {
				b.WriteString(text[:at])
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

// stamp marks the texts of a thing for one who is about to be shown it.
func (n *Network) stamp(p act.Principal, item act.Ref, texts ...*string) {
	if n.canaries == nil || p.Kind != act.Agent {
		return
	}
	mark := sync.OnceValue(func() string {
		return n.canaries.mark(view{p.ID, item, uint32(n.gate.Now().Unix() / int64(time.Hour/time.Second))}) //nolint:gosec // until the year 490,000
	})
	for _, text := range texts {
		*text = links(*text, mark)
	}
}

// lift takes marks out of what an agent writes, so that they do not travel on, and returns
// what they prove: that it was copied from what somebody was shown, and from whom it came
// where that was another.
func (n *Network) lift(p act.Principal, texts ...*string) (edges []gate.Edge) {
	for _, text := range texts {
		clean, views := n.canaries.lift(*text)
		*text = clean
		for _, v := range views {
			from := []act.Ref{v.item, {ID: v.reader}}
			if v.reader == p.ID {
				from = from[:1]
			}
			for _, ref := range from {
				e := gate.Edge{From: ref, Kind: gate.EdgeCopied}
				if len(edges) < maxCanaries && !slices.Contains(edges, e) {
					edges = append(edges, e)
				}
			}
		}
	}
	return edges
}

// lifted is a text as it is stored.
func (n *Network) lifted(text string) string {
	clean, _ := n.canaries.lift(text)
	return clean
}
