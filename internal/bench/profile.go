package bench

import (
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// profiled runs the governed side once more under a CPU profile and prints
// where the time went. Where a scenario makes several profiles, part tells their
// files apart.
func (r *runner) profiled(part string, run func(path string) error) error {
	path := r.profile
	if part != "" {
		ext := filepath.Ext(path)
		path = strings.TrimSuffix(path, ext) + "." + part + ext
	}
	path, err := filepath.Abs(path) // the side runs elsewhere
	if err != nil {
		return err
	}
	r.say("one more run for the profile %s", path)
	if err := run(path); err != nil {
		return err
	}
	p, err := readProfile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	p.print(r.diag, strings.TrimSpace("governed "+r.bench+" "+part))
	return nil
}

// profile is a CPU profile: stacks, innermost function first, with the time
// that was seen in each.
type profile struct {
	stacks []stack
	total  int64 // nanoseconds
}

type stack struct {
	functions []string
	time      int64
}

func readProfile(path string) (*profile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	return parseProfile(b)
}

// message is a decoded protocol buffer message: for each field number its
// integers, packed or not, and its bytes.
type message struct {
	ints map[uint64][]uint64
	subs map[uint64][][]byte
}

var errProfile = errors.New("not a profile")

// decode reads the wire types that profiles have: varints and bytes.
func decode(b []byte, packed ...uint64) (m message, err error) {
	m = message{make(map[uint64][]uint64), make(map[uint64][][]byte)}
	next := func(from *[]byte) (v uint64) {
		v, n := binary.Uvarint(*from)
		if n <= 0 {
			err, n = errProfile, len(*from)
		}
		*from = (*from)[n:]
		return v
	}
	for len(b) > 0 && err == nil {
		tag := next(&b)
		field, v := tag>>3, next(&b)
		switch {
		case tag&7 == 0:
			m.ints[field] = append(m.ints[field], v)
		case tag&7 != 2 || v > uint64(len(b)):
			err = errProfile
		case slices.Contains(packed, field):
			for sub := b[:v]; len(sub) > 0; {
				m.ints[field] = append(m.ints[field], next(&sub))
			}
			b = b[v:]
		default:
			m.subs[field] = append(m.subs[field], b[:v])
			b = b[v:]
		}
	}
	return m, err
}

func (m message) int(field uint64) uint64 {
	if len(m.ints[field]) == 0 {
		return 0
	}
	return m.ints[field][0]
}

// parseProfile reads github.com/google/pprof/proto/profile.proto.
func parseProfile(b []byte) (*profile, error) {
	const (
		samples, locations, functions, texts = 2, 4, 5, 6
		sampleLocations, sampleValues        = 1, 2
		id, functionText, locationLines      = 1, 2, 4
		lineFunction                         = 1
	)
	top, err := decode(b)
	if err != nil {
		return nil, err
	}
	each := func(m message, field uint64, do func(message), packed ...uint64) {
		for _, sub := range m.subs[field] {
			one, derr := decode(sub, packed...)
			err = errors.Join(err, derr)
			do(one)
		}
	}
	names := make(map[uint64]string)
	each(top, functions, func(f message) {
		if n := f.int(functionText); n < uint64(len(top.subs[texts])) {
			names[f.int(id)] = string(top.subs[texts][n])
		}
	})
	inlined := make(map[uint64][]string) // of a location, innermost first
	each(top, locations, func(l message) {
		each(l, locationLines, func(line message) {
			inlined[l.int(id)] = append(inlined[l.int(id)], names[line.int(lineFunction)])
		})
	})
	p := &profile{}
	each(top, samples, func(s message) {
		var st stack
		if v := s.ints[sampleValues]; len(v) > 0 {
			st.time = int64(v[len(v)-1])
		}
		for _, l := range s.ints[sampleLocations] {
			st.functions = append(st.functions, inlined[l]...)
		}
		p.stacks, p.total = append(p.stacks, st), p.total+st.time
	}, sampleLocations, sampleValues)
	if err == nil && p.total == 0 {
		err = errors.New("the profile is empty")
	}
	return p, err
}

// share is a name with its part of the time.
type share struct {
	name string
	time int64
}

// by adds up the time of all stacks under the names that visit gives for each.
func (p *profile) by(visit func(functions []string) []string) []share {
	times := make(map[string]int64)
	for _, s := range p.stacks {
		for _, name := range visit(s.functions) {
			times[name] += s.time
		}
	}
	list := make([]share, 0, len(times))
	for _, name := range slices.Sorted(maps.Keys(times)) {
		list = append(list, share{name, times[name]})
	}
	slices.SortStableFunc(list, func(a, b share) int { return cmp.Compare(b.time, a.time) })
	return list
}

// cumulative names every function that was on the stack, once.
func cumulative(functions []string) []string {
	list := make([]string, 0, len(functions))
	for _, f := range functions {
		if f = plainName(f); !strings.HasPrefix(f, "runtime.goexit") && !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	return list
}

// part names the part of the house, or of what it stands on, that the innermost
// known function belongs to.
func part(functions []string) []string {
	for _, f := range functions {
		if p := partOf(plainName(f)); p != "" {
			return []string{p}
		}
	}
	return []string{"Go runtime, scheduler mostly"}
}

const ours = "github.com/reefwarden/reefwarden/internal/"

// plainName takes type arguments and our own module's path out of a name.
func plainName(f string) string {
	if from, to := strings.IndexByte(f, '['), strings.LastIndexByte(f, ']'); from >= 0 && from < to {
		f = f[:from] + f[to+1:]
	}
	return strings.Replace(f, ours, "reef/", 1)
}

// partOf is "" for the Go runtime and small helpers, whose time is their
// caller's.
func partOf(function string) string {
	for _, p := range [][2]string{
		{"modernc.org/", "SQLite"},
		{"zombiezen.com/", "SQLite"},
		{"github.com/jackc/", "pgx"},
		{"github.com/cedar-policy/", "cedar"},
		{"github.com/maypok86/", "otter (caches)"},
		{"github.com/prometheus/", "prometheus"},
		{"net/http.", "net/http"},
		{"net.", "sockets"},
		{"internal/poll.", "sockets"},
		{"encoding/json", "encoding/json"},
		{"crypto/", "crypto"},
		{"runtime.gcBgMarkWorker", "garbage collection"},
		{"runtime.bgsweep", "garbage collection"},
		{"runtime.bgscavenge", "garbage collection"},
	} {
		if strings.HasPrefix(function, p[0]) {
			return p[1]
		}
	}
	rest, ok := strings.CutPrefix(function, "reef/")
	if !ok {
		return ""
	}
	end := strings.IndexAny(rest, ".") // no package of ours has a dot in its path
	return rest[:max(end, 0)]
}

const profileTop = 15

func (p *profile) print(w io.Writer, title string) {
	fmt.Fprintf(w, "\nWhere the time goes: %s (%.1f s of CPU in samples)\n\n", title, float64(p.total)/1e9)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, table := range []struct {
		head string
		list []share
	}{{"PART", p.by(part)}, {"FUNCTION, WITH WHAT IT CALLS", p.by(cumulative)}} {
		fmt.Fprintf(t, "SHARE\t%s\n", table.head)
		for _, s := range table.list[:min(profileTop, len(table.list))] {
			fmt.Fprintf(t, "%.1f %%\t%s\n", 100*float64(s.time)/float64(p.total), s.name)
		}
		fmt.Fprintln(t, "\t")
	}
	_ = t.Flush()
}
