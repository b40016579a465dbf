package oauth

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
)

// The bounds of a form that a stranger sends.
const (
	maxForm       = 32 << 10 // bytes
	maxParameters = 48
	maxRepeats    = 8 // of a parameter that may stand more than once
)

const ruleForm = "oauth.form"

func badForm(message, hint string) error {
	return act.Errorf(act.Invalid, "%s", message).WithRule(ruleForm).WithHint(hint)
}

// repeated are the parameters that may stand more than once (RFC 8693 §2.1, RFC
// 8707 §2).
var repeated = []string{"resource", "audience"}

// form reads the body of a request to an endpoint. Parameters are for the body
// alone: what stands in an address stands in logs too.
func form(c *api.Call) (url.Values, error) {
	media, _, _ := strings.Cut(c.R.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
		return nil, badForm("the body is no form", "send the parameters as application/x-www-form-urlencoded in the body")
	}
	if c.R.URL.RawQuery != "" {
		return nil, badForm("there are parameters in the address", "send all of them in the body")
	}
	return parse(string(c.Body))
}

// parse reads parameters, those of a query too. One without a value counts as
// omitted, and one that stands twice is refused (RFC 6749 §3.1, §3.2).
func parse(text string) (url.Values, error) {
	if strings.Count(text, "&") >= maxParameters || len(text) > maxForm {
		return nil, badForm("there are too many parameters", "send those that the request needs")
	}
	sent, err := url.ParseQuery(text)
	if err != nil {
		return nil, badForm("the parameters cannot be read", "percent-encode them")
	}
	for name, values := range sent {
		values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		for _, v := range values {
			if !utf8.ValidString(v) || strings.IndexFunc(v, control) >= 0 {
				return nil, badForm("a parameter holds a character that none may hold", "send visible characters")
			}
		}
		switch may := slices.Contains(repeated, name); {
		case len(values) == 0:
			delete(sent, name)
			continue
		case len(values) > 1 && !may:
			return nil, badForm("a parameter stands twice", "send each parameter once")
		case len(values) > maxRepeats:
			return nil, badForm("a parameter stands too often", "ask for less at once")
		}
		sent[name] = values
	}
	return sent, nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }
