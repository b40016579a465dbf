package lifecycle_test

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

func TestParseAnswer(t *testing.T) {
	for text, want := range map[string]int64{
		"42": 4200, " 42.00\n": 4200, "42.5": 4250, "+42.5": 4250, "-3.25": -325, "0": 0, "7.": 700, "1.999": 200, "0.004": 0, "007": 700,
	} {
		if got, err := lifecycle.ParseAnswer(text); err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", " ", ".", ".5", "-", "+", "--1", "1e3", "1,5", "0x10", "NaN", "1 2", "4２", strings.Repeat("1", 13), strings.Repeat("0", 40)} {
		if got, err := lifecycle.ParseAnswer(text); err == nil {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}

// What is taken as an answer is the number that everybody reads, to a hundredth.
func FuzzParseAnswer(f *testing.F) {
	for _, s := range []string{"42", "-3.25", "+1.999", "7.", "", "1e9", "999999999999.99", "-0.005", " 1 ", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := lifecycle.ParseAnswer(text)
		if err != nil {
			return
		}
		want, err := strconv.ParseFloat(strings.Trim(text, " \t\r\n"), 64)
		if err != nil {
			t.Fatalf("%q is taken as %d and is no number", text, got)
		}
		if math.Abs(want*100-float64(got)) > 0.51+math.Abs(want)*1e-12 {
			t.Fatalf("%q is taken as %d hundredths", text, got)
		}
	})
}
