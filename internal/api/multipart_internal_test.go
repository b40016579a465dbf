package api

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

// form builds a body with boundary X of pairs "header line" and content.
func form(parts ...string) []byte {
	var b bytes.Buffer
	for i := 0; i < len(parts); i += 2 {
		fmt.Fprintf(&b, "--X\r\n%s\r\n\r\n%s\r\n", parts[i], parts[i+1])
	}
	b.WriteString("--X--\r\n")
	return b.Bytes()
}

const (
	asFile  = `Content-Disposition: form-data; name="file"; filename="a.png"`
	asField = `Content-Disposition: form-data; name="type"`
)

// A form is read, or refused with a rule and a hint; no form is read in two ways.
func TestFormsAreReadStrictly(t *testing.T) {
	const media = "multipart/form-data; boundary=X"
	data, fields, err := readForm(media, form(asField, "avatar", asFile+"\r\nContent-Type: application/octet-stream", "\x00\x01--X\r"), "file", 100)
	if err != nil || string(data) != "\x00\x01--X\r" || fields.Get("type") != "avatar" || len(fields) != 1 {
		t.Fatalf("%q %v %v", data, fields, err)
	}
	many := make([]string, 0, 2*(maxParts+1))
	for i := range maxParts + 1 {
		many = append(many, fmt.Sprintf(`Content-Disposition: form-data; name="f%d"`, i), "v")
	}
	for name, c := range map[string]struct {
		media string
		body  []byte
		code  act.Code
	}{
		"json":            {"application/json", []byte(`{"avatar_url":"http://127.0.0.1/"}`), act.Invalid},
		"no type":         {"", form(asFile, "x"), act.Invalid},
		"no boundary":     {"multipart/form-data", form(asFile, "x"), act.Invalid},
		"long boundary":   {"multipart/form-data; boundary=" + strings.Repeat("x", 71), form(asFile, "x"), act.Invalid},
		"mixed":           {"multipart/mixed; boundary=X", form(asFile, "x"), act.Invalid},
		"empty":           {media, nil, act.Invalid},
		"no file":         {media, form(asField, "x"), act.Invalid},
		"file twice":      {media, form(asFile, "x", asFile, "x"), act.Invalid},
		"field twice":     {media, form(asField, "x", asField, "x", asFile, "x"), act.Invalid},
		"second file":     {media, form(asFile, "x", `Content-Disposition: form-data; name="b"; filename="b"`, "x"), act.Invalid},
		"part, no name":   {media, form(asFile, "x", `Content-Type: text/plain`, "x"), act.Invalid},
		"base64":          {media, form(asFile+"\r\nContent-Transfer-Encoding: base64", "eHg="), act.Invalid},
		"no end":          {media, bytes.TrimSuffix(form(asFile, "x"), []byte("--X--\r\n")), act.Invalid},
		"many parts":      {media, form(many...), act.Invalid},
		"NUL in a field":  {media, form(asField, "a\x00", asFile, "x"), act.Invalid},
		"bytes in field":  {media, form(asField, "\xff", asFile, "x"), act.Invalid},
		"file too large":  {media, form(asFile, strings.Repeat("x", 101)), act.TooLarge},
		"field too large": {media, form(asField, strings.Repeat("x", maxField+1), asFile, "x"), act.TooLarge},
	} {
		data, _, err := readForm(c.media, c.body, "file", 100)
		if e := act.AsError(err); err == nil || e.Code != c.code || e.Rule == "" || e.Hint == "" || data != nil {
			t.Errorf("%s: %v with %q", name, err, data)
		}
	}
}

// FuzzMultipart: any body is read within its bounds or refused with a hint, and
// what was read can be written as a form that reads the same.
func FuzzMultipart(f *testing.F) {
	f.Add("multipart/form-data; boundary=X", form(asField, "avatar", asFile, "GIF89a"))
	f.Add("multipart/form-data; boundary=X", []byte("--X\n"+asFile+"\n\nx\n--X--\n"))
	f.Add(`multipart/form-data; boundary="X y"; charset=utf-8`, form(asFile, "x"))
	f.Add("multipart/form-data; boundary=X", form(`Content-Disposition: form-data; name="file"; filename*=utf-8''%00`, "x"))
	f.Add("multipart/form-data; boundary=X", []byte("--X\r\n"+strings.Repeat("A: b\r\n", 2000)+"\r\nx\r\n--X--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		const limit = 64
		data, fields, err := readForm(contentType, body, "file", limit)
		if err != nil {
			if e := act.AsError(err); (e.Code != act.Invalid && e.Code != act.TooLarge) || e.Hint == "" || e.Rule == "" {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if len(data) > limit || len(data) > len(body) || len(fields) >= maxParts {
			t.Fatalf("%d bytes and %d fields of a body of %d", len(data), len(fields), len(body))
		}
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for name := range fields {
			if strings.ContainsAny(name, "\r\n") {
				return // a writer changes such a name
			}
			if err := w.WriteField(name, fields.Get(name)); err != nil {
				t.Fatal(err)
			}
		}
		part, err := w.CreateFormFile("file", "f")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(data)
		_ = w.Close()
		again, fieldsAgain, err := readForm(w.FormDataContentType(), b.Bytes(), "file", limit)
		if err != nil || !bytes.Equal(again, data) || len(fieldsAgain) != len(fields) {
			t.Fatalf("read again: %v, %q for %q", err, again, data)
		}
	})
}
