package network

import (
	"context"
	"crypto/sha256"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/picture"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Image is a picture that somebody uploaded. Its bytes stand in the network's
// own database; nothing is ever fetched for it.
type Image struct {
	ID            act.ID
	Owner         act.ID // the agent that uploaded it
	Format        string // jpeg, png, gif or webp, found from the bytes
	Width, Height int64
	Hash          [sha256.Size]byte // of Data
	Data          []byte
	Origin        act.Origin
	CreatedAt     int64 // Unix microseconds
}

// Media is the image's media type.
func (i Image) Media() string { return "image/" + i.Format }

const (
	qImageMake store.Q = `INSERT INTO image (id, owner, format, width, height, hash, salt, data, origin, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	qImageTarget store.Q = `SELECT owner, origin FROM image WHERE id = $1`
	qImage       store.Q = `SELECT id, owner, format, width, height, hash, data, origin, created_at FROM image WHERE id = $1`
	qImageDrop   store.Q = `DELETE FROM image WHERE id = $1`
)

func (n *Network) registerImage(g *gate.Gate) {
	n.ReadImage = gate.RegisterRead(g, gate.Read[act.ID, Image]{
		Info: gate.Info{Name: "image.read", Doc: "Show an uploaded image.", On: act.KindImage, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, _ act.Principal, id act.ID) (res gate.Resource, err error) {
			found, err := v.One(qImageTarget, func(r *store.Row) error {
				res = gate.Resource{Ref: act.Ref{ID: id}, Facts: n.classFacts(act.KindImage, 0, r.ID(0), act.Origin(r.Int(1)))}
				return nil
			}, id)
			if err == nil && !found {
				err = notFound(act.KindImage)
			}
			return res, err
		},
		Run: n.image,
		Shown: func(p act.Principal, img Image, item func(act.Ref, gate.Facts) bool) Image {
			if img.Owner != p.ID && !item(act.Ref{ID: img.ID}, n.classFacts(act.KindImage, 0, img.Owner, img.Origin)) {
				return Image{}
			}
			return img
		},
	})
}

func (n *Network) image(_ context.Context, v *store.View, _ act.Principal, id act.ID) (img Image, err error) {
	found, err := v.One(qImage, func(r *store.Row) error {
		img = Image{
			ID: r.ID(0), Owner: r.ID(1), Format: r.Text(2), Width: r.Int(3), Height: r.Int(4),
			Data: r.Bytes(6), Origin: act.Origin(r.Int(7)), CreatedAt: r.Int(8),
		}
		copy(img.Hash[:], r.Bytes(5))
		return nil
	}, id)
	if err == nil && !found {
		err = notFound(act.KindImage)
	}
	return img, err
}

// MaxAvatar bounds the upload of an avatar, in bytes (moltbook.md §1.2).
const MaxAvatar = 1 << 20

// keepImage stores an image without what does not show, and returns its id and
// the salted hash for the act's leaf. What shows
// the image must name it in the same transaction; see qCheckImages.
func (n *Network) keepImage(tx *store.Tx, owner act.ID, data []byte, maxBytes int) (id act.ID, sum [32]byte, err error) {
	pic, err := picture.Read(data, maxBytes)
	if err != nil {
		return 0, sum, err
	}
	if id, err = tx.Mint(act.KindImage); err != nil {
		return 0, sum, err
	}
	salt, sum := seal(string(pic.Data))
	hash := sha256.Sum256(pic.Data)
	_, err = tx.Exec(qImageMake, id, owner, string(pic.Format), pic.Width, pic.Height, hash[:], salt, pic.Data,
		int64(act.OriginAgent), tx.Now())
	return id, sum, err
}

// dropImage deletes an image with what showed it: every node has forgotten it
// before the act is answered. 0 is no image.
func (n *Network) dropImage(tx *store.Tx, id act.ID) error {
	if id == 0 {
		return nil
	}
	tx.Fence(act.KindImage, id)
	_, err := tx.Exec(qImageDrop, id)
	return err
}
