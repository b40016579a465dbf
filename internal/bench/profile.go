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
	"slices"
	"strings"
	"text/tabwriter"
)

// profile is a CPU profile: stacks, innermost function first, with the time
// that was seen in each (github.com/google/pprof/proto/profile.proto).
type profile struct {
	stacks []stack
	total  int64
}

type stack struct {
	functions []string
	time      int64
}

const profileTop = 15

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

// Field numbers of profile.proto.
const (
	profileSample, profileLocation, profileFunction, profileString = 2, 4, 5, 6
	sampleLocation, sampleValue                                    = 1, 2
	locationID, locationLine, lineFunction                         = 1, 4, 1
	functionID, functionName                                       = 1, 2
)

func parseProfile(b []byte) (*profile, error) {
	type sample struct {
		locations []uint64
		values    []uint64
	}
	var samples []sample
	var texts []string
	lines := make(map[uint64][]uint64) // location to functions, innermost first
	names := make(map[uint64]uint64)   // function to text
	err := fields(b, func(field int, v uint64, sub []byte) error {
		switch field {
		case profileString:
			texts = append(texts, string(sub))
		case profileSample:
			var s sample
			samples = append(samples, s)
			last := &samples[len(samples)-1]
			return fields(sub, func(field int, v uint64, packed []byte) error {
				switch field {
				case sampleLocation:
					return numbers(&last.locations, v, packed)
				case sampleValue:
					return numbers(&last.values, v, packed)
				}
				return nil
			})
		case profileLocation:
			var id uint64
			var functions []uint64
			err := fields(sub, func(field int, v uint64, line []byte) error {
				switch field {
				case locationID:
					id = v
				case locationLine:
					return fields(line, func(field int, v uint64, _ []byte) error {
						if field == lineFunction {
							functions = append(functions, v)
						}
						return nil
					})
				}
				return nil
			})
			lines[id] = functions
			return err
		case profileFunction:
			var id, name uint64
			err := fields(sub, func(field int, v uint64, _ []byte) error {
				switch field {
				case functionID:
					id = v
				case functionName:
					name = v
				}
				return nil
			})
			names[id] = name
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := &profile{}
	for _, s := range samples {
		if len(s.values) == 0 {
			continue
		}
		st := stack{time: int64(s.values[len(s.values)-1])}
		for _, l := range s.locations {
			for _, f := range lines[l] {
				if n := names[f]; n < uint64(len(texts)) {
					st.functions = append(st.functions, texts[n])
				}
			}
		}
		p.stacks = append(p.stacks, st)
		p.total += st.time
	}
	if p.total == 0 {
		return nil, errors.New("the profile is empty")
	}
	return p, nil
}

var errProfile = errors.New("not a profile")

// fields calls fn with each field of a protocol buffer message: v of a varint,
// sub of a length-delimited one.
func fields(b []byte, fn func(field int, v uint64, sub []byte) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return errProfile
		}
		b = b[n:]
		var v uint64
		var sub []byte
		switch tag & 7 {
		case 0:
			if v, n = binary.Uvarint(b); n <= 0 {
				return errProfile
			}
			b = b[n:]
		case 1, 5:
			size := 8
			if tag&7 == 5 {
				size = 4
			}
			if len(b) < size {
				return errProfile
			}
			b = b[size:]
		case 2:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errProfile
			}
			sub, b = b[n:n+int(size)], b[n+int(size):]
		default:
			return errProfile
		}
		if err := fn(int(tag>>3), v, sub); err != nil {
			return err
		}
	}
	return nil
}

// numbers appends a repeated integer, packed or not.
func numbers(list *[]uint64, v uint64, packed []byte) error {
	if packed == nil {
		*list = append(*list, v)
		return nil
	}
	for len(packed) > 0 {
		v, n := binary.Uvarint(packed)
		if n <= 0 {
			return errProfile
		}
		*list, packed = append(*list, v), packed[n:]
	}
	return nil
}

// share is a name with its part of the time.
type share struct {
	name string
	time int64
}

// cumulative returns the functions by the time in which they were on the stack.
func (p *profile) cumulative() []share {
	return p.by(func(s stack, count func(string)) {
		seen := make(map[string]bool, len(s.functions))
		for _, f := range s.functions {
			if !seen[f] && !strings.HasPrefix(f, "runtime.goexit") && !strings.HasPrefix(f, "runtime.mcall") {
				seen[f] = true
				count(f)
			}
		}
	})
}

// flat returns the functions by the time spent in themselves.
func (p *profile) flat() []share {
	return p.by(func(s stack, count func(string)) {
		if len(s.functions) > 0 {
			count(s.functions[0])
		}
	})
}

// parts returns the parts of the house, and what it stands on, by the time of
// the stacks whose innermost known function is theirs.
func (p *profile) parts() []share {
	return p.by(func(s stack, count func(string)) {
		for _, f := range s.functions {
			if part := partOf(f); part != "" {
				count(part)
				return
			}
		}
		count("Go runtime: scheduler and the rest")
	})
}

func (p *profile) by(visit func(s stack, count func(string))) []share {
	times := make(map[string]int64)
	for _, s := range p.stacks {
		visit(s, func(name string) { times[name] += s.time })
	}
	list := make([]share, 0, len(times))
	for _, name := range slices.Sorted(maps.Keys(times)) {
		list = append(list, share{name, times[name]})
	}
	slices.SortStableFunc(list, func(a, b share) int { return cmp.Compare(b.time, a.time) })
	return list
}

const ours = "github.com/reefwarden/reefwarden/internal/"

// partOf says which part a function belongs to, "" for the Go runtime and small
// helpers, whose time is their caller's.
func partOf(function string) string {
	if rest, ok := strings.CutPrefix(function, ours); ok {
		// "api/moltbook.(*door).posts": the dot after the last slash ends the package.
		slash := strings.LastIndexByte(rest, '/') + 1
		if paren := strings.IndexByte(rest, '('); paren >= 0 {
			slash = strings.LastIndexByte(rest[:paren], '/') + 1
		}
		if dot := strings.IndexByte(rest[slash:], '.'); dot >= 0 {
			return rest[:slash+dot]
		}
		return rest
	}
	for _, p := range []struct{ prefix, part string }{
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
		if strings.HasPrefix(function, p.prefix) {
			return p.part
		}
	}
	return ""
}

// print writes where the time went.
func (p *profile) print(w io.Writer, title string) {
	fmt.Fprintf(w, "\nWhere the time goes: %s (%.1f s of CPU in samples)\n\n", title, float64(p.total)/1e9)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, table := range []struct {
		head string
		list []share
	}{{"part", p.parts()}, {"function, with what it calls", p.cumulative()}, {"function alone", p.flat()}} {
		fmt.Fprintf(t, "SHARE\t%s\n", strings.ToUpper(table.head))
		for _, s := range table.list[:min(profileTop, len(table.list))] {
			fmt.Fprintf(t, "%.1f %%\t%s\n", 100*float64(s.time)/float64(p.total), s.name)
		}
		fmt.Fprintln(t, "\t")
	}
	_ = t.Flush()
}
