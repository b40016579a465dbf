package policy

import (
	"embed"
	"io/fs"
	"time"
)

//go:embed default/*.cedar
var defaultFiles embed.FS

// DefaultVersion is the version of the embedded bundle. It grows whenever a file
// in default/ changes, so that an update of the server is an update of a bundle
// that nobody has edited.
const DefaultVersion = 9

// Default returns the embedded bundle, unsigned: what a network starts with
// until an operator activates another.
func Default(created time.Time) (*Bundle, error) {
	b := &Bundle{Version: DefaultVersion, Schema: Schema, CreatedAt: created}
	names, err := fs.Glob(defaultFiles, "default/*.cedar")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := fs.ReadFile(defaultFiles, name)
		if err != nil {
			return nil, err
		}
		b.Files = append(b.Files, File{Name: name, Text: string(text)})
	}
	return b, nil
}
