package api

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
)

// File is a stranger's file that was checked when it came.
type File struct {
	Name, Media string
	Tag         string // names the bytes: other bytes, another tag
	Origin      act.Origin
	Data        []byte
}

// SendFile sends a file such that no browser takes its bytes for anything but
// what they were found to be, or runs them: no sniffing (the kernel's header), no
// scripts, no framing. Who has it already is told so and nothing more.
func (c *Call) SendFile(f File) {
	tag := `"` + f.Tag + `"`
	head := c.W.Header()
	head["Content-Security-Policy"] = []string{"default-src 'none'; frame-ancestors 'none'; sandbox"}
	head["Content-Disposition"] = []string{`inline; filename="` + f.Name + `"`}
	head["Etag"] = []string{tag}
	head["X-Reef-Origin"] = []string{f.Origin.String()}
	if sameTag(c.R.Header.Get("If-None-Match"), tag) {
		c.Send(http.StatusNotModified, nil, nil)
		return
	}
	c.Send(http.StatusOK, []string{f.Media}, f.Data)
}

// sameTag reports whether an If-None-Match header names the tag (RFC 9110
// §13.1.2).
func sameTag(header, tag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == tag || one == "*" {
			return true
		}
	}
	return false
}

// Raw returns the call's body as it is, for routes that take a file without a
// form around it. The bytes belong to the caller, and the copy counts against
// the same budget as the body. No body is refused. What type it declares is not
// looked at.
func (c *Call) Raw() ([]byte, error) {
	if len(c.Body) == 0 {
		return nil, act.Errorf(act.Invalid, "the body is empty").WithRule("http.body").WithHint("send the file's bytes as the body; with curl: -T picture.png")
	}
	if err := c.hold(int64(len(c.Body)), c.Route.MaxBody); err != nil {
		return nil, err
	}
	return bytes.Clone(c.Body), nil
}

// hold counts size bytes more against what the call holds, until its end.
func (c *Call) hold(size, limit int64) error {
	if c.kernel.held.Add(size) > c.kernel.BodyMemory {
		c.kernel.held.Add(-size)
		return bodyError(errBudget, limit)
	}
	c.held += size // given back with the body
	return nil
}
