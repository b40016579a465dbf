package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	maxParts    = 16       // of one multipart body
	maxField    = 16 << 10 // bytes of a part that is not the file
	maxBoundary = 70       // characters (RFC 2046 §5.1.1)

	// FormRoom is what a route that takes a file allows for the form around it,
	// in its MaxBody.
	FormRoom = 64 << 10
)

// File reads the call's body, multipart/form-data (RFC 7578) with one file of up
// to limit bytes under the name field, and returns the file's bytes and the
// other fields. What type a part declares is not looked at. The body has been
// read, unzipped and bounded by Route.MaxBody like every other; the copies made
// here count against the same budget and belong to the caller.
//
// It is as strict as [DecodeJSON]: a field or file that stands twice, a second
// file, text that is not UTF-8 and a body that ends before its last boundary are
// refused. Every failure is [act.Invalid], [act.TooLarge] or [act.Unavailable],
// with a hint.
func (c *Call) File(field string, limit int64) (data []byte, fields url.Values, err error) {
	if err := c.hold(int64(len(c.Body)), limit); err != nil {
		return nil, nil, err
	}
	return readForm(c.R.Header.Get("Content-Type"), c.Body, field, limit)
}

func badForm(rule, format string, args ...any) *act.Error {
	return act.Errorf(act.Invalid, format, args...).WithRule(rule)
}

func readForm(contentType string, body []byte, field string, limit int64) (data []byte, fields url.Values, err error) {
	again := "send multipart/form-data with the image's bytes in the field " + field
	media, params, err := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	if err != nil || media != "multipart/form-data" || boundary == "" || len(boundary) > maxBoundary {
		return nil, nil, badForm("http.multipart", "the body is not multipart/form-data with a boundary").
			WithHint(again + `; with curl: -F "` + field + `=@picture.png"`)
	}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	fields = url.Values{}
	found := false
	for parts := 0; ; parts++ {
		part, err := reader.NextRawPart()
		switch {
		case errors.Is(err, io.EOF) && !found:
			return nil, nil, badForm("http.multipart.file", "there is no file in the field %s", field).WithHint(again)
		case errors.Is(err, io.EOF):
			return data, fields, nil
		case err != nil:
			return nil, nil, badForm("http.multipart", "the form is not whole").WithHint(again)
		case parts == maxParts:
			return nil, nil, badForm("http.multipart", "the form has more than %d parts", maxParts).WithHint(again)
		}
		name := part.FormName()
		isFile := name == field
		switch {
		case !isFile && (part.FileName() != "" || name == ""):
			return nil, nil, badForm("http.multipart.file", "a part named %q is not expected", text(name, 64)).WithHint(again)
		case isFile && found, fields.Has(name):
			return nil, nil, badForm("http.multipart.twice", "the field %s stands twice", text(name, 64)).WithHint("send each field once")
		case !plainPart(part.Header.Get("Content-Transfer-Encoding")):
			return nil, nil, badForm("http.multipart.encoding", "a part has a Content-Transfer-Encoding").
				WithHint("send the bytes as they are (RFC 7578 §4.7)")
		}
		room := int64(maxField)
		if isFile {
			room = limit
		}
		value, err := io.ReadAll(io.LimitReader(part, room+1))
		switch {
		case err != nil:
			return nil, nil, badForm("http.multipart", "the form is not whole").WithHint(again)
		case int64(len(value)) > room:
			return nil, nil, act.Errorf(act.TooLarge, "the field %s is larger than %d bytes", text(name, 64), room).
				WithRule("http.multipart.size").WithHint("send less")
		case isFile:
			data, found = value, true
		case !utf8.Valid(value) || bytes.IndexByte(value, 0) >= 0 || !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0:
			return nil, nil, badForm("http.multipart.text", "a field is not UTF-8 text without NUL").WithHint("send text fields as UTF-8")
		default:
			fields.Set(name, string(value))
		}
	}
}

// plainPart reports whether a transfer encoding leaves the bytes as they are.
func plainPart(encoding string) bool {
	switch strings.ToLower(encoding) {
	case "", "binary", "8bit", "7bit":
		return true
	}
	return false
}
