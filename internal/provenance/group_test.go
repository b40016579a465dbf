package provenance

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
)

// pagesIn returns the pages of a group.
func pagesIn(b []byte, n int64) (list []Exposure, err error) {
	err = decodeGroup(b, n, Exposure{Pos: 7, AfterSeq: 5, At: 9}, func(x Exposure) error {
		list = append(list, x)
		return nil
	})
	return list, err
}

// drawPage draws a page as it may be recorded.
func drawPage(t *rapid.T) Exposure {
	x := Exposure{
		Reader: act.ID(rapid.Int64Range(0, 1<<62).Draw(t, "reader")), Channel: rapid.SampledFrom([]string{"feed.read", "post.read", "", "a longer name"}).Draw(t, "channel"),
		Again: rapid.Bool().Draw(t, "again"), Count: 1,
	}
	if x.Again {
		x.Count = rapid.Int64Range(1, 1<<40).Draw(t, "count")
	}
	if rapid.Bool().Draw(t, "traced") {
		x.Trace = rapid.StringMatching(`[0-9a-f]{32}`).Draw(t, "trace")
	}
	x.Items = drawItems(t)
	return x
}

func drawItems(t *rapid.T) (items []act.Ref) {
	for range rapid.IntRange(0, 30).Draw(t, "items") {
		items = append(items, act.Ref{ID: act.ID(rapid.Int64().Draw(t, "id")), Version: rapid.Int64().Draw(t, "version")})
	}
	return items
}

func TestGroupsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sheets []*sheet
		for range rapid.IntRange(1, 3).Draw(t, "sheets") {
			sheets = append(sheets, newSheet(0, drawItems(t)))
		}
		var g group
		for range 2 { // a group that is used again is as good as a new one
			g.reset()
			var want []Exposure
			for ord := range rapid.IntRange(1, 20).Draw(t, "pages") {
				x := drawPage(t)
				x.Pos, x.AfterSeq, x.At, x.Ord = 7, 5, 9, int64(ord)
				e := entry{reader: x.Reader, channel: x.Channel, again: x.Again, count: x.Count, trace: x.Trace, items: AppendItems(nil, x.Items)}
				if rapid.Bool().Draw(t, "shared") {
					e.sheet = rapid.SampledFrom(sheets).Draw(t, "sheet")
					e.items, x.Items = e.sheet.coded, e.sheet.items
				}
				g.add(e)
				want = append(want, x)
			}
			got, err := pagesIn(g.coded, int64(g.n))
			if err != nil || len(got) != len(want) {
				t.Fatalf("%d pages, %v, want %d", len(got), err, len(want))
			}
			for i := range got {
				if !slices.Equal(got[i].Items, want[i].Items) {
					t.Fatalf("page %d: items %v, want %v", i, got[i].Items, want[i].Items)
				}
				got[i].Items, want[i].Items = nil, nil
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Fatalf("page %d is %+v, want %+v", i, got[i], want[i])
				}
			}
		}
	})
}

// A page that many readers are shown together is stored once.
func TestGroupsShareItems(t *testing.T) {
	s := newSheet(0, span(1<<50, 25))
	var g group
	for reader := range 60 {
		g.add(entry{reader: act.ID(reader+1) << 22, channel: "feed.read", count: 1, trace: strings.Repeat("0f", 16), items: s.coded, sheet: s})
	}
	if each := (len(g.coded) - len(s.coded)) / 60; each > 9+1+traceSize+2 {
		t.Errorf("%d bytes for a page that stands there already", each)
	}
}

func FuzzDecodeGroup(f *testing.F) {
	var g group
	s := newSheet(0, refs(1, 2, 3))
	for i := range 3 {
		g.add(entry{reader: 5, channel: fmt.Sprint("c", i%2), again: i == 1, count: 3, trace: strings.Repeat("0f", 16), items: s.coded, sheet: s})
	}
	f.Add(slices.Clone(g.coded), int64(g.n))
	f.Add(slices.Clone(g.coded[:20]), int64(g.n))
	f.Add([]byte{1, 0, 0, 1, 0}, int64(1))
	f.Fuzz(func(t *testing.T, b []byte, n int64) {
		got, err := pagesIn(b, n)
		if err != nil {
			return
		}
		// What decodes means what it says: it comes back from its own coding.
		var again group
		for _, x := range got {
			again.add(entry{reader: x.Reader, channel: x.Channel, again: x.Again, count: x.Count, trace: x.Trace, items: AppendItems(nil, x.Items)})
		}
		back, err := pagesIn(again.coded, int64(again.n))
		if err != nil || !reflect.DeepEqual(back, got) {
			t.Fatalf("%x decodes to %+v, which comes back as %+v, %v", b, got, back, err)
		}
	})
}
