package provenance

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
)

// The join of origins does not depend on order, grouping or repetition, loses nobody, and
// is the same after it has been stored.
func TestT29_OriginsJoin(t *testing.T) {
	ids := rapid.SliceOfN(rapid.Map(rapid.Int64Range(1, 200), func(n int64) act.ID { return act.ID(n << 22) }), 0, 60)
	rapid.Check(t, func(t *rapid.T) {
		var sets [3][]act.ID
		var o [3]Origins
		for i := range o {
			sets[i] = ids.Draw(t, "set")
			o[i] = OriginsOf(sets[i]...)
		}
		same := func(what string, a, b Origins) {
			t.Helper()
			if !slices.Equal(a.few, b.few) || !reflect.DeepEqual(a.filter, b.filter) {
				t.Errorf("%s: %v and %v", what, a, b)
			}
		}
		all := o[0].Join(o[1]).Join(o[2])
		same("grouping", all, o[0].Join(o[1].Join(o[2])))
		same("order", all, o[2].Join(o[0]).Join(o[1]))
		same("repetition", all, all.Join(all).Join(o[1]))
		same("at once", all, OriginsOf(slices.Concat(sets[0], sets[1], sets[2])...))
		same("storage", all, parseOrigins(all.bytes()))
		for i := range o {
			if !o[i].within(all) {
				t.Errorf("%v is not within what it has gone into", o[i])
			}
			for _, id := range sets[i] {
				if !all.Could(id) {
					t.Errorf("%d is lost", id)
				}
			}
		}
		if few, ok := all.Few(); ok && (all.Error() != 0 || len(few) > maxOrigins) {
			t.Errorf("%d are kept as they are, wrong in %f", len(few), all.Error())
		}
	})
}

// What is printed of a filter's error is what is measured.
func TestT29_OriginsErrorIsTrue(t *testing.T) {
	r := rand.New(rand.NewPCG(29, 1)) //nolint:gosec // a reproducible choice
	for _, n := range []int{33, 100, 200, 400, 800} {
		var in []act.ID
		for range n {
			in = append(in, act.ID(r.Int64N(1<<62)))
		}
		o := OriginsOf(in...)
		const asked = 200_000
		wrong := 0
		for range asked {
			if o.Could(act.ID(r.Int64N(1 << 62))) {
				wrong++
			}
		}
		measured, said := float64(wrong)/asked, o.Error()
		t.Logf("%d origins: %.5f of the answers are wrong, %.5f is said", n, measured, said)
		if d := measured - said; d > 0.1*said+0.0005 || d < -0.1*said-0.0005 {
			t.Errorf("%d origins: %.5f of the answers are wrong, %.5f is said", n, measured, said)
		}
	}
	if all := parseOrigins(nil); all.Error() != 1 || !all.Could(7) {
		t.Error("what nobody has kept is somebody in particular")
	}
}

func FuzzOrigins(f *testing.F) {
	few, many := OriginsOf(3, 1, 2), anyOrigin()
	f.Add([]byte{})
	f.Add(few.bytes())
	f.Add(many.bytes())
	f.Add([]byte{originsFew, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		o := parseOrigins(b)
		if again := parseOrigins(o.bytes()); !again.within(o) || !o.within(again) {
			t.Errorf("%x is read as another", b)
		}
	})
}

// BenchmarkOrigins is what a page of 25 labelled items costs whose origins are known.
func BenchmarkOrigins(b *testing.B) {
	for name, n := range map[string]int{"few": 20, "filter": 200} {
		b.Run(name, func(b *testing.B) {
			var in []act.ID
			for i := range n {
				in = append(in, act.ID(i+1)<<22)
			}
			have, item := OriginsOf(in...), OriginsOf(in[:10]...)
			b.ReportAllocs()
			for b.Loop() {
				for range 25 {
					if !have.Could(in[3]) || !item.within(have) {
						b.Fatal("not known")
					}
				}
			}
		})
	}
}
