package gain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestWhatATextSays(t *testing.T) {
	b := NewBackground(1 << 20)
	for i := range 200 {
		b.Add(Of(fmt.Sprintf("the weather of day %d is fine and the market is calm", i)))
	}
	shown := Of("The zebrafish protocol needs 7749 steps, see https://lab.example/zf-12.")
	for _, c := range []struct {
		name, made, before string
		more               bool
	}{
		{"a quote", "as they say: the zebrafish protocol needs 7749 steps", "", true},
		{"an address", "look at https://lab.example/zf-12!", "", true},
		{"what everybody says", "the weather of the day is fine", "", false},
		{"what the author had said", "the zebrafish protocol needs 7749 steps", "the zebrafish protocol needs 7749 steps", false},
		{"nothing", "", "", false},
	} {
		got := b.Score(Of(c.made), shown, Of(c.before))
		if (got > 5) != c.more {
			t.Errorf("%s is worth %.1f bits", c.name, got)
		}
	}
}

func TestBackgroundIsBounded(t *testing.T) {
	b := NewBackground(1000)
	for i := range 5000 {
		b.Add(Of(fmt.Sprintf("common words and one%d of its kind%d", i, i)))
	}
	if len(b.features) > 1000 {
		t.Errorf("%d features", len(b.features))
	}
	if common, rare := b.bits(feature(kindWord, "common")), b.bits(feature(kindWord, "never")); common > 1 || rare < 5 {
		t.Errorf("a common word is worth %.1f bits, one that was never met %.1f", common, rare)
	}
}

// Where nothing was taken over, nothing counts, however many texts there are.
func TestPoolOfNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a reproducible world
	p := NewPool(1000, 0.05)
	for range 1000 {
		p.Add(r.ExpFloat64()*10, r.ExpFloat64()*10)
	}
	if v := p.Verdict(); v.Threshold > 0 {
		t.Errorf("chance counts: %+v", v)
	}
}

// world is texts with a known cause. Topics are common to all, agents like some of them.
type world struct {
	r     *rand.Rand
	rare  int
	topic [12][]string
}

func newWorld(seed uint64) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 31))} //nolint:gosec // a reproducible world
	for i := range w.topic {
		for j := range 60 {
			w.topic[i] = append(w.topic[i], fmt.Sprintf("topic%dword%d", i, j))
		}
	}
	return w
}

// say makes a text of a topic with a few facts of its own.
func (w *world) say(topic int) string {
	var words []string
	for range 30 {
		words = append(words, w.topic[topic][w.r.IntN(60)])
	}
	for range 4 {
		w.rare++
		words = slices.Insert(words, w.r.IntN(len(words)), fmt.Sprintf("fact%d", w.rare))
	}
	return strings.Join(words, " ")
}

// retell takes over what a text says, and says a share of it in other words.
func (w *world) retell(from string, paraphrase float64, topic int) string {
	words := strings.Fields(w.say(topic))[:12]
	for _, s := range strings.Fields(from) {
		if w.r.Float64() < paraphrase {
			s = w.topic[topic][w.r.IntN(60)]
		}
		if w.r.Float64() < 0.7 {
			words = append(words, s)
		}
	}
	return strings.Join(words, " ")
}

// T31: in a world with homophily, common topics and paraphrase, what counts is right, and
// the error that is printed holds; naming the like of the same topic is right rarely.
func TestT31_GainIsRight(t *testing.T) {
	for _, paraphrase := range []float64{0, 0.2, 0.4} {
		t.Run(fmt.Sprint(paraphrase), func(t *testing.T) {
			w := newWorld(uint64(paraphrase*10) + 7)
			b, p := NewBackground(1<<20), NewPool(4000, 0.05)
			type judged struct {
				best float64
				hit  bool // the best of what was shown is the cause
				told bool // there is a cause
			}
			var all []judged
			sameTopic := 0 // of the correlation baseline: the last of the topic is the cause
			told := 0
			for range 1500 {
				topic := w.r.IntN(len(w.topic))
				var shown, decoys []string
				for range 20 { // homophily: who reads is shown their topic
					at := topic
					if w.r.IntN(3) == 0 {
						at = w.r.IntN(len(w.topic))
					}
					shown, decoys = append(shown, w.say(at)), append(decoys, w.say(at))
				}
				j := judged{told: w.r.IntN(2) == 0}
				made, cause := w.say(topic), w.r.IntN(len(shown))
				if j.told {
					told++
					made = w.retell(shown[cause], paraphrase, topic)
					if cause == len(shown)-1 {
						sameTopic++
					}
				}
				of := Of(made)
				for _, s := range append(slices.Clone(shown), decoys...) { // before either is judged
					b.Add(Of(s))
				}
				scores := func(of Text, texts []string) (list []float64) {
					for _, s := range texts {
						list = append(list, b.Score(of, Of(s), nil))
					}
					return list
				}
				var at int
				j.best, at = Best(scores(of, shown))
				decoy, _ := Best(scores(of, decoys))
				j.hit = j.told && at == cause
				p.Add(j.best, decoy)
				all = append(all, j)
			}
			v := p.Verdict()
			right, wrong := 0, 0
			for _, j := range all {
				switch {
				case !v.Counts(j.best):
				case j.hit:
					right++
				default:
					wrong++
				}
			}
			precision, recall := float64(right)/float64(right+wrong), float64(right)/float64(told)
			t.Logf("paraphrase %.0f %%: precision %.3f, recall %.3f; printed error %.3f, real %.3f; the last one shown is the cause in %.3f",
				100*paraphrase, precision, recall, v.Rate, 1-precision, float64(sameTopic)/float64(told))
			if precision < 0.90 || recall < 0.80 {
				t.Errorf("precision %.3f (bar 0.90), recall %.3f (bar 0.80)", precision, recall)
			}
			if 1-precision > v.Rate || v.Rate > 0.05 {
				t.Errorf("%.3f are wrong, printed is %.3f (bar 0.05)", 1-precision, v.Rate)
			}
		})
	}
}

func FuzzOf(f *testing.F) {
	f.Add("plain words", "\xff\xfe ://", "a://b ://")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		x, y, z := Of(a), Of(b), Of(c)
		g := NewBackground(100)
		g.Add(x)
		if g.Score(x, y, z) < 0 || g.Score(x, y, z) > g.Score(x, y, nil) || !slices.IsSorted(x.Join(y)) {
			t.Fatalf("%q %q %q", a, b, c)
		}
	})
}
