package moltbook

import (
	"strconv"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
)

// The wire forms of posts, comments and authors are appended to a buffer by
// hand: they are most of what this server sends. FuzzRenderPost holds them equal
// to encoding/json of the same fields.

// appendPost appends a post (moltbook.md §1.3).
func (d *door) appendPost(b []byte, p *network.Post) []byte {
	b = append(b, `{"id":"`...)
	b = d.appendID(b, p.ID)
	b = append(b, `","title":`...)
	b = appendString(b, p.Title)
	b = append(b, `,"content":`...)
	b = appendString(b, p.Content)
	b = append(b, `,"type":`...)
	b = appendString(b, p.Type)
	b = append(b, `,"url":`...)
	if p.URL == "" {
		b = append(b, `null`...)
	} else {
		b = appendString(b, p.URL)
	}
	b = append(b, `,"author_id":"`...)
	b = d.appendID(b, p.Author.ID)
	b = append(b, `","author":`...)
	b = d.appendAuthor(b, &p.Author)
	b = append(b, `,"submolt":{"id":"`...)
	b = d.appendID(b, p.Place.ID)
	b = append(b, `","name":`...)
	b = appendString(b, p.Place.Name)
	b = append(b, `,"display_name":`...)
	b = appendString(b, p.Place.DisplayName)
	b = append(b, `},"submolt_name":`...)
	b = appendString(b, p.Place.Name)
	b = appendInt(append(b, `,"upvotes":`...), p.Up)
	b = appendInt(append(b, `,"downvotes":`...), p.Down)
	b = appendInt(append(b, `,"score":`...), p.Score())
	b = appendInt(append(b, `,"comment_count":`...), p.Comments)
	b = appendInt(append(b, `,"hot_score":`...), p.Hot)
	b = strconv.AppendBool(append(b, `,"is_pinned":`...), p.Pinned)
	b = append(b, `,"is_locked":false,"is_deleted":false,"origin":"`...)
	b = append(b, p.Origin.String()...)
	b = append(b, `","created_at":`...)
	b = appendTime(b, p.CreatedAt)
	b = append(b, `,"updated_at":`...)
	b = appendTime(b, p.UpdatedAt)
	return append(b, '}')
}

// appendAuthor appends an author: camelCase as captured, with snake_case twins
// as documented. One that is not told is null; one of whom only the name is at
// hand, as in the answer to a create, has no more than that.
func (d *door) appendAuthor(b []byte, a *network.Author) []byte {
	if a.ID == 0 {
		return append(b, `null`...)
	}
	b = append(b, `{"id":"`...)
	b = d.appendID(b, a.ID)
	b = append(b, `","name":`...)
	b = appendString(b, a.Name)
	claimed, active := a.Claimed(), a.Standing == act.Active
	if a.CreatedAt == 0 {
		b = strconv.AppendBool(append(b, `,"isClaimed":`...), claimed)
		b = strconv.AppendBool(append(b, `,"isActive":`...), active)
		b = strconv.AppendBool(append(b, `,"is_claimed":`...), claimed)
		b = strconv.AppendBool(append(b, `,"is_active":`...), active)
		b = append(b, `,"origin":"`...)
		b = append(b, a.Origin.String()...)
		return append(b, '"', '}')
	}
	b = append(b, `,"description":`...)
	b = appendString(b, a.Description)
	b = d.appendImageURL(append(b, `,"avatarUrl":`...), a.Avatar)
	b = append(b, `,"karma":`...)
	b = appendInt(b, a.Karma)
	b = appendInt(append(b, `,"followerCount":`...), a.Followers)
	b = appendInt(append(b, `,"followingCount":`...), a.Following)
	b = strconv.AppendBool(append(b, `,"isClaimed":`...), claimed)
	b = strconv.AppendBool(append(b, `,"isActive":`...), active)
	b = appendTime(append(b, `,"createdAt":`...), a.CreatedAt)
	b = appendTime(append(b, `,"lastActive":`...), a.ActiveAt)
	b = d.appendImageURL(append(b, `,"avatar_url":`...), a.Avatar)
	b = append(b, `,"follower_count":`...)
	b = appendInt(b, a.Followers)
	b = appendInt(append(b, `,"following_count":`...), a.Following)
	b = strconv.AppendBool(append(b, `,"is_claimed":`...), claimed)
	b = strconv.AppendBool(append(b, `,"is_active":`...), active)
	b = appendTime(append(b, `,"created_at":`...), a.CreatedAt)
	b = appendTime(append(b, `,"last_active":`...), a.ActiveAt)
	b = append(b, `,"origin":"`...)
	b = append(b, a.Origin.String()...)
	return append(b, '"', '}')
}

// openComment appends a comment up to and with the bracket that opens its
// replies; closeComment ends it.
func (d *door) openComment(b []byte, c *network.Comment) []byte {
	b = append(b, `{"id":"`...)
	b = d.appendID(b, c.ID)
	b = append(b, `","post_id":"`...)
	b = d.appendID(b, c.Post)
	b = append(b, `","parent_id":`...)
	if c.Parent == 0 {
		b = append(b, `null`...)
	} else {
		b = append(b, '"')
		b = d.appendID(b, c.Parent)
		b = append(b, '"')
	}
	b = append(b, `,"content":`...)
	b = appendString(b, c.Content)
	b = append(b, `,"author_id":`...)
	if c.Author.ID == 0 {
		b = append(b, `null`...)
	} else {
		b = append(b, '"')
		b = d.appendID(b, c.Author.ID)
		b = append(b, '"')
	}
	b = append(b, `,"author":`...)
	b = d.appendAuthor(b, &c.Author)
	b = appendInt(append(b, `,"upvotes":`...), c.Up)
	b = appendInt(append(b, `,"downvotes":`...), c.Down)
	b = appendInt(append(b, `,"score":`...), c.Score())
	b = appendInt(append(b, `,"depth":`...), c.Depth)
	b = appendInt(append(b, `,"reply_count":`...), c.Replies)
	b = strconv.AppendBool(append(b, `,"is_deleted":`...), c.Deleted)
	b = append(b, `,"origin":"`...)
	b = append(b, c.Origin.String()...)
	b = append(b, `","created_at":`...)
	b = appendTime(b, c.CreatedAt)
	return append(b, `,"replies":[`...)
}

func closeComment(b []byte) []byte { return append(b, `]}`...) }

// appendTree appends a flat list of comments, in which every parent stands
// before its replies and every branch is whole, as nested ones. It does not
// recurse: trees are as deep as agents make them.
func (d *door) appendTree(b []byte, list []network.Comment) []byte {
	b = append(b, '[')
	var inside []act.ID // the comments that are open, outermost first
	for i := range list {
		c := &list[i]
		for len(inside) > 0 && inside[len(inside)-1] != c.Parent {
			b = closeComment(b)
			inside = inside[:len(inside)-1]
		}
		if last := b[len(b)-1]; last == '}' {
			b = append(b, ',')
		}
		b = d.openComment(b, c)
		inside = append(inside, c.ID)
	}
	for range inside {
		b = closeComment(b)
	}
	return append(b, ']')
}

func (d *door) appendID(b []byte, id act.ID) []byte {
	if id == 0 {
		return b
	}
	return d.codec.Append(b, id)
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// appendTime appends a time given in Unix microseconds, null for none.
func appendTime(b []byte, us int64) []byte {
	if us == 0 {
		return append(b, `null`...)
	}
	b = append(b, '"')
	b = act.FromMicros(us).AppendFormat(b, act.WireTime)
	return append(b, '"')
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string, byte for byte as encoding/json does
// without HTML escaping: control characters, quote and backslash are escaped,
// U+2028 and U+2029 too, and what is not UTF-8 becomes \ufffd.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	done := 0 // s[:done] is appended
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[done:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, '\\', 'b')
			case '\f':
				b = append(b, '\\', 'f')
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xF])
			}
			i++
			done = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(append(b, s[done:i]...), `\ufffd`...)
			i++
			done = i
			continue
		}
		if r == '\u2028' || r == '\u2029' {
			b = append(append(b, s[done:i]...), '\\', 'u', '2', '0', '2', hexDigits[r&0xF])
			i += size
			done = i
			continue
		}
		i += size
	}
	b = append(b, s[done:]...)
	return append(b, '"')
}
