package native

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
)

func testCodec(t testing.TB) *act.Codec {
	t.Helper()
	c, err := act.NewCodec(bytes.Repeat([]byte{7}, act.CodecKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testID(kind act.Kind, n int) act.ID { return act.ID(n<<22 | int(kind)<<17) }

// What reads as a receipt is written again as it was, and no text but one that
// this network wrote reads as one.
func FuzzReceipt(f *testing.F) {
	codec := testCodec(f)
	good := wireReceipt(codec, network.Receipt{Seq: 17, ID: testID(act.KindDelivery, 5)})
	for _, text := range []string{
		good, "", ".", "17.", "." + codec.String(testID(act.KindDelivery, 5)), "0" + good, "+" + good, "-" + good, good + "0",
		"17." + codec.String(testID(act.KindPost, 5)), "99999999999999999999.x", strings.ToUpper(good), good + "." + good,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := readReceipt(codec, text)
		if err != nil {
			if act.CodeOf(err) != act.Invalid || act.AsError(err).Hint == "" || r != (network.Receipt{}) {
				t.Fatalf("%q: %+v, %v", text, r, err)
			}
			return
		}
		if r.Seq <= 0 || r.ID.Kind() != act.KindDelivery || !strings.EqualFold(wireReceipt(codec, r), text) {
			t.Fatalf("%q reads as %+v", text, r)
		}
	})
}

// Where a stream goes on is a number that was written as one, or the two words
// for the beginning and the end.
func FuzzLastEventID(f *testing.F) {
	for _, pair := range [][2]string{
		{"", ""}, {"7", ""}, {"", "7"}, {"7", "9"}, {"now", ""}, {"", "now"}, {"+7", ""}, {"-1", ""}, {" 7", ""}, {"7\n8", ""},
		{"9223372036854775807", ""}, {"9223372036854775808", ""}, {"0x7", ""}, {"1_0", ""}, {"007", ""},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, header, after string) {
		n, err := lastEventID(header, after)
		text := header
		if header == "" {
			text = after
		}
		digits := text != "" && strings.Trim(text, "0123456789") == ""
		switch {
		case err != nil:
			if act.CodeOf(err) != act.Invalid || act.AsError(err).Hint == "" {
				t.Fatalf("%q: %v", text, err)
			}
		case text == "":
			if n != 0 {
				t.Fatalf("nothing reads as %d", n)
			}
		case text == "now":
			if n != network.FromNow {
				t.Fatalf("now reads as %d", n)
			}
		case !digits || n < 0 || strconv.FormatInt(n, 10) != cutZeros(text):
			t.Fatalf("%q reads as %d", text, n)
		}
	})
}

func cutZeros(digits string) string {
	if short := strings.TrimLeft(digits, "0"); short != "" {
		return short
	}
	return "0"
}
