package egress

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

const unixPrefix = "unix:"

// Listen opens the place where programs on this machine reach a proxy: a loopback
// address, or unix:PATH with the mode that says who may connect. Anything that other
// machines could reach is refused.
func Listen(ctx context.Context, at string, mode fs.FileMode) (net.Listener, error) {
	var open net.ListenConfig
	file, ok := strings.CutPrefix(at, unixPrefix)
	if !ok {
		if !client.Loopback(at) {
			return nil, refuse(act.Invalid, "proxy.listen", "a proxy listens on this machine only", "use 127.0.0.1:PORT, [::1]:PORT or unix:PATH")
		}
		l, err := open.Listen(ctx, "tcp", at)
		return l, taken(at, err)
	}
	if mode&^0o660 != 0 || mode&0o600 != 0o600 {
		return nil, refuse(act.Invalid, "proxy.mode", "the socket is the owner's and at the most a group's", "use a mode like 0600 or 0660")
	}
	if err := clearSocket(ctx, file); err != nil {
		return nil, err
	}
	// Made where nobody else comes in, given its mode, then moved to its place: at no
	// time could somebody connect whom the mode keeps out.
	room, err := os.MkdirTemp(filepath.Dir(file), ".reef-") // mode 0700
	if err != nil {
		return nil, taken(at, err)
	}
	defer os.RemoveAll(room) //nolint:errcheck // it is empty
	made := filepath.Join(room, "s")
	l, err := open.Listen(ctx, "unix", made)
	if err != nil {
		return nil, taken(at, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:forcetypeassert // it listens on a Unix socket
	if err = os.Chmod(made, mode); err == nil {
		err = os.Rename(made, file)
	}
	if err != nil {
		_ = l.Close() // it has not served anybody
		return nil, taken(at, err)
	}
	return &socket{l, file}, nil
}

// socket is a listener that takes its file with it.
type socket struct {
	net.Listener
	file string
}

func (s *socket) Close() error {
	err := s.Listener.Close()
	if gone := os.Remove(s.file); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// clearSocket takes away a socket that a proxy left behind when it was killed.
func clearSocket(ctx context.Context, file string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return nil // nothing there, or nothing to be seen: listening will tell
	}
	if info.Mode().Type() != fs.ModeSocket {
		return refuse(act.Conflict, "proxy.listen", "there is a file in the socket's place", "remove "+file+" or choose another path")
	}
	var dial net.Dialer
	conn, err := dial.DialContext(ctx, "unix", file)
	if err == nil {
		_ = conn.Close() // it was only a question
		return taken(file, syscall.EADDRINUSE)
	}
	return os.Remove(file)
}

func taken(at string, err error) error {
	if err == nil {
		return nil
	}
	return act.Errorf(act.Conflict, "nothing can listen on %s: %w", at, err).WithRule("proxy.listen").
		WithHint("is a proxy running already? choose another place with --listen")
}
