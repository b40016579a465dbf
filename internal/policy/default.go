package policy

import (
	"embed"
	"io/fs"
	"time"
)

//go:embed default/*.cedar default/*.yaml
var defaultFiles embed.FS

// DefaultVersion is the version of the embedded defaults. It grows whenever a file
// in default/ changes: a server that brings newer ones composes the bundle anew, with
// the operators' files as they are.
const DefaultVersion = 14

// Default returns the embedded policies with their tests, unsigned: what a network
// starts with until an operator activates a bundle of their own.
func Default(created time.Time) (*Bundle, error) {
	return Compose(Draft{}, DefaultVersion, created)
}

// defaults returns the embedded files: the policies, and the tests that come with them.
func defaults() (policies, tests []File, err error) {
	read := func(pattern string) (list []File, err error) {
		names, err := fs.Glob(defaultFiles, pattern)
		for _, name := range names {
			text, err := fs.ReadFile(defaultFiles, name)
			if err != nil {
				return nil, err
			}
			list = append(list, File{Name: name, Text: string(text)})
		}
		return list, err
	}
	if policies, err = read("default/*.cedar"); err == nil {
		tests, err = read("default/*.yaml")
	}
	return policies, tests, err
}
