package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// mailDir returns a sink that leaves each message as a file in a directory, from
// which a mail server picks it up. nil without a directory.
func mailDir(dir, from string, clock act.Clock) func(context.Context, lifecycle.Mail) error {
	if dir == "" {
		return nil
	}
	return func(_ context.Context, m lifecycle.Mail) error {
		var b bytes.Buffer
		for _, h := range [][2]string{
			{"From", (&mail.Address{Address: from}).String()},
			{"To", (&mail.Address{Address: m.To}).String()},
			{"Subject", mime.QEncoding.Encode("utf-8", m.Subject)},
			{"Date", clock().Format(time.RFC1123Z)},
			{"Message-Id", "<" + rand.Text() + "@reefwarden>"},
			{"MIME-Version", "1.0"},
			{"Content-Type", "text/plain; charset=utf-8"},
			{"Content-Transfer-Encoding", "quoted-printable"},
		} {
			b.WriteString(h[0] + ": " + h[1] + "\r\n")
		}
		b.WriteString("\r\n")
		w := quotedprintable.NewWriter(&b)
		if _, err := w.Write([]byte(m.Text)); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		// A reader of the directory sees whole messages only.
		name := rand.Text()
		draft := filepath.Join(dir, "."+name)
		if err := os.WriteFile(draft, b.Bytes(), 0o600); err != nil {
			return err
		}
		return os.Rename(draft, filepath.Join(dir, name+".eml"))
	}
}
