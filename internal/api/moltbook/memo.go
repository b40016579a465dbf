package moltbook

import (
	"strconv"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
)

const (
	memoSets = 8192
	memoMax  = 4 << 10 // bytes of a rendered post; longer ones are not kept
)

// memo remembers how posts were rendered. It is a memo of a pure function: a
// rendering is used only for a post that equals, in every field, the one it was
// made of, so it cannot be out of date. Two posts with the same hash have a
// place each; of three the newest two stay, because they are on more pages.
// Memory is at most 2 × memoSets × memoMax bytes, and the posts.
type memo struct {
	sets [memoSets][2]atomic.Pointer[rendered]
}

type rendered struct {
	post network.Post
	wire []byte // never changed
}

func newMemo() *memo { return &memo{} }

func (*memo) set(post act.ID) uint64 { return uint64(post) * 0x9E3779B97F4A7C15 >> 51 }

// place returns where p's rendering is, or where it should go.
func (m *memo) place(p *network.Post) *atomic.Pointer[rendered] {
	set := &m.sets[m.set(p.ID)]
	first, second := set[0].Load(), set[1].Load()
	switch {
	case first == nil || first.post.ID == p.ID:
		return &set[0]
	case second == nil || second.post.ID == p.ID || second.post.ID < first.post.ID:
		return &set[1]
	}
	return &set[0]
}

// appendListedPost appends a post as it stands in lists: with what it is to the
// reader, which is no part of the memo.
func (d *door) appendListedPost(b []byte, p *network.Post) []byte {
	b = d.appendKnownPost(b, p)
	b = strconv.AppendBool(append(b[:len(b)-1], `,"you_follow_author":`...), p.YouFollow)
	return append(b, '}')
}

// forget drops the rendering of a post that has lost its text.
func (m *memo) forget(post act.ID) {
	for i := range m.sets[m.set(post)] {
		place := &m.sets[m.set(post)][i]
		if r := place.Load(); r != nil && r.post.ID == post {
			place.CompareAndSwap(r, nil)
		}
	}
}

// appendKnownPost appends a post as appendPost does.
func (d *door) appendKnownPost(b []byte, p *network.Post) []byte {
	post := *p
	post.YouFollow = false // differs between readers, and is not rendered here
	place := d.memo.place(p)
	if r := place.Load(); r != nil && r.post == post {
		return append(b, r.wire...)
	}
	from := len(b)
	b = d.appendPost(b, p)
	if len(b)-from <= memoMax {
		place.Store(&rendered{post: post, wire: append([]byte(nil), b[from:]...)})
	}
	return b
}
