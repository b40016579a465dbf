package backup

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Format is the form that this program writes and reads.
const Format = "reef-backup/1"

const (
	manifestName = "manifest.json"
	macName      = "manifest.mac"

	maxManifest = 64 << 20 // bytes
	maxChunk    = 64 << 20 // bytes of a chunk, sealed or not
	chunkSize   = 1 << 20  // bytes of rows after which a chunk ends
)

// Manifest says what is in a backup. It stands in clear: how many rows each table
// has is known to whoever holds the file, what is in them is not.
type Manifest struct {
	Format   string    `json:"format"`
	ID       string    `json:"id"`       // random
	Network  string    `json:"network"`  // its name
	Key      string    `json:"key"`      // which key opens it: the check value of the network's
	Program  string    `json:"program"`  // version that wrote it
	Database string    `json:"database"` // that it was taken from; it can be restored into either
	Schema   int64     `json:"schema"`
	TakenAt  time.Time `json:"taken_at"` // what was acknowledged before is in it
	Seq      int64     `json:"seq"`      // last number of the event sequence
	Fence    int64     `json:"fence"`    // last fence
	Rows     int64     `json:"rows"`
	Tables   []Table   `json:"tables"`
	Files    []Entry   `json:"files"`
}

// Table is the rows of one table.
type Table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	Rows    int64    `json:"rows"`
	Chunks  []Entry  `json:"chunks"`
}

// Entry is one sealed entry of the archive.
type Entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`  // bytes, sealed
	Plain  int64  `json:"plain"` // bytes, opened and decompressed
	SHA256 string `json:"sha256"`
}

// Table returns the named table of the manifest; the zero value without one.
func (m Manifest) Table(name string) Table {
	for _, t := range m.Tables {
		if t.Name == name {
			return t
		}
	}
	return Table{}
}

// entries lists what the archive must hold before its manifest, in order.
func (m Manifest) entries() (list []Entry) {
	for _, t := range m.Tables {
		list = append(list, t.Chunks...)
	}
	return append(list, m.Files...)
}

// Key is the part of a network's key that backups need.
type Key struct {
	Secret []byte // 32 bytes
	Check  []byte // the check value of the network's key, which says nothing about it
}

func (k Key) name() string { return hex.EncodeToString(k.Check) }

// The names under which a backup's own keys are derived (RFC 5869 info). They are
// permanent.
const (
	infoRows     = "reefwarden/1/backup rows"
	infoManifest = "reefwarden/1/backup manifest"
)

// derive returns a key of one backup's own.
func (k Key) derive(id, info string) ([]byte, error) {
	return hkdf.Key(sha256.New, k.Secret, []byte(id), info, sha256.Size)
}

// mac returns the code of a manifest.
func (k Key) mac(id string, manifest []byte) (string, error) {
	key, err := k.derive(id, infoManifest)
	if err != nil {
		return "", err
	}
	m := hmac.New(sha256.New, key)
	m.Write(manifest)
	return hex.EncodeToString(m.Sum(nil)), nil
}

func parseManifest(raw []byte) (m Manifest, err error) {
	var head struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return m, broken("its manifest is no JSON")
	}
	if head.Format != Format {
		return m, act.Errorf(act.Invalid, "the backup has the form %.40q, this program reads %s", head.Format, Format).
			WithRule("backup.format").WithHint("use the version of reef that wrote it, or a later one")
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, broken("its manifest is not what this program writes")
	}
	return m, nil
}

// broken refuses a backup that is not what was written.
func broken(why string) *act.Error {
	return act.Errorf(act.Invalid, "the backup is not whole: %s", why).WithRule("backup.whole").
		WithHint("it was cut short or altered: use another copy of it, or an earlier backup")
}
