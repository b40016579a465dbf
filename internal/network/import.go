package network

import (
	"context"
	"crypto/sha256"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Batch is a piece of another network to take over: whole posts with the
// comments that came with them. Importing a batch twice changes nothing.
type Batch struct {
	Source  string // where it comes from: "moltbook"
	Authors []ForeignAuthor
	Places  []ForeignPlace
	Posts   []ForeignPost
}

// ForeignAuthor is an author as the other network showed it; an empty ID stands
// for "not told".
type ForeignAuthor struct {
	ID, Name, Description       string
	Karma, Followers, Following int64
}

// ForeignPlace is a community as the other network showed it.
type ForeignPlace struct {
	ID, Name, DisplayName, Description string
}

// ForeignPost is a post with its counters at the time of the capture.
type ForeignPost struct {
	ID, Title, Content, URL, Type string
	Author                        ForeignAuthor
	Place                         ForeignPlace
	Up, Down, Comments            int64
	CreatedAt                     time.Time
	Tree                          []ForeignComment
}

// ForeignComment is a comment; Parent is "" for a root. A comment whose parent
// is nowhere in the batch or the database gets a placeholder for it.
type ForeignComment struct {
	ID, Parent, Content string
	Author              ForeignAuthor
	Up, Down            int64
	CreatedAt           time.Time
}

// Imported counts what a batch did.
type Imported struct {
	Posts, Comments, Authors, Communities int // new here
	Known                                 int // there already
	Filled                                int // placeholders whose comment has now come
	Placeholders                          int // absent parents
}

// Limits of one batch.
const (
	MaxBatch      = 100  // posts, authors or communities
	MaxBatchNodes = 5000 // comments
)

const (
	qImportProfile store.Q = `INSERT INTO profile (id, name, description, metadata, karma, post_count, comment_count,
legacy_karma, legacy_followers, legacy_following, origin, created_at, updated_at)
VALUES ($1, $2, $3, '{}', 0, 0, 0, $4, $5, $6, $7, $8, $8) ON CONFLICT (name) DO NOTHING`
	qImportPost store.Q = `INSERT INTO post (id, community, author, type, title, content, url, salt, up, down, comment_count,
legacy_up, legacy_down, legacy_comments, origin, version, epoch, created_at, updated_at, deleted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, $9, $10, $11, $12, 1, 1, $13, $13, 0)`
	qImportComment store.Q = `INSERT INTO comment (id, post, parent, root, author, depth, content, salt, up, down, reply_count,
legacy_up, legacy_down, origin, version, epoch, created_at, updated_at, deleted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, $9, $10, $11, 1, 1, $12, $12, $13)`
	qImportFill store.Q = `UPDATE comment SET author = $2, content = $3, salt = $4, legacy_up = $5, legacy_down = $6,
version = version + 1, epoch = epoch + 1, created_at = $7, updated_at = $7, deleted_at = 0 WHERE id = $1 AND deleted_at = $8`

	// What the source counted and did not send stays a legacy count.
	qImportMissing store.Q = `UPDATE post SET legacy_comments = CASE WHEN $2 > comment_count + $3 THEN $2 - comment_count - $3 ELSE 0 END
WHERE id = $1 AND origin = 2`

	// placeholderAt marks a comment that stands for an absent parent: no real
	// deletion happened at the first microsecond of 1970.
	placeholderAt = 1
)

func (n *Network) registerImport(g *gate.Gate) {
	n.Import = gate.RegisterWrite(g, gate.Write[Batch, Imported]{
		Info: gate.Info{Name: "import.write", Doc: "Take over posts and comments from another network.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in Batch) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork, Origin: act.OriginImported}}, checkBatch(in)
		},
		Run:   n.importBatch,
		Apply: func(act.Principal, Imported) { n.imported.Store(true) },
	})
}

func checkBatch(in Batch) error {
	nodes := 0
	for _, p := range in.Posts {
		nodes += len(p.Tree)
	}
	if in.Source == "" || len(in.Source) > maxOriginal || max(len(in.Posts), len(in.Authors), len(in.Places)) > MaxBatch || nodes > MaxBatchNodes {
		return act.Errorf(act.Invalid, "a batch names its source and holds up to %d posts, authors and communities, and %d comments", MaxBatch, MaxBatchNodes).
			WithRule("import.batch").WithHint("send source, and fewer items")
	}
	check := func(id, field, text string, limit int) error {
		if id == "" || len(id) > maxOriginal {
			return act.Errorf(act.Invalid, "an item has no id, or one longer than %d bytes", maxOriginal).WithRule("import.id")
		}
		if err := checkText(field, text, limit, false); err != nil {
			return act.Errorf(act.Invalid, "item %s: %s", id, act.AsError(err).Message).WithRule("import.text")
		}
		return nil
	}
	const foreign = 4 * MaxContent // other networks have other limits; keep what they kept
	for _, a := range in.Authors {
		if err := check(a.ID, "author", a.Name+"\n"+a.Description, foreign); err != nil {
			return err
		}
	}
	for _, p := range in.Places {
		if err := check(p.Name, "community", p.DisplayName+"\n"+p.Description, foreign); err != nil {
			return err
		}
	}
	for _, p := range in.Posts {
		for _, text := range []string{p.Title, p.Content, p.URL, p.Author.Name, p.Author.Description, p.Place.Name, p.Place.DisplayName, p.Place.Description} {
			if err := check(p.ID, "text", text, foreign); err != nil {
				return err
			}
		}
		for _, c := range p.Tree {
			for _, text := range []string{c.Content, c.Author.Name, c.Author.Description} {
				if err := check(c.ID, "text", text, foreign); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// importer runs one batch in one transaction.
type importer struct {
	n      *Network
	tx     *store.Tx
	source string
	done   Imported
}

func (n *Network) importBatch(_ context.Context, tx *store.Tx, _ act.Principal, in Batch) (Imported, gate.Effects, error) {
	tx.Touch(store.TouchAll)
	im := importer{n: n, tx: tx, source: in.Source}
	id, err := tx.Mint(act.KindImport)
	if err != nil {
		return Imported{}, gate.Effects{}, err
	}
	for _, a := range in.Authors {
		if _, err := im.author(a, tx.Now()); err != nil {
			return Imported{}, gate.Effects{}, err
		}
	}
	for _, p := range in.Places {
		if _, err := im.place(p); err != nil {
			return Imported{}, gate.Effects{}, err
		}
	}
	digest := sha256.New()
	for _, p := range in.Posts {
		if err := im.post(p); err != nil {
			return Imported{}, gate.Effects{}, err
		}
		digest.Write([]byte(p.ID))
		digest.Write([]byte{0})
	}
	fx := gate.Effects{Out: act.Ref{ID: id}}
	digest.Sum(fx.In[:0])
	return im.done, fx, nil
}

// known finds what an original id stands for. Authors, communities and items
// have name spaces of their own.
func (im *importer) known(space, original string) (id act.ID, found bool, err error) {
	found, err = im.tx.One(qAliasFind, func(r *store.Row) error { id = r.ID(0); return nil }, im.space(space), original)
	return id, found, err
}

func (im *importer) space(space string) string {
	if space == "" {
		return im.source
	}
	return im.source + "/" + space
}

func (im *importer) alias(space, original string, id act.ID) error {
	_, err := im.tx.Exec(qAliasMake, im.space(space), original, id)
	return err
}

func (im *importer) author(a ForeignAuthor, seen int64) (act.ID, error) {
	if a.ID == "" {
		a = ForeignAuthor{ID: "unknown", Name: "unknown"}
	}
	id, found, err := im.known("author", a.ID)
	if err != nil || found {
		return id, err
	}
	if id, err = im.tx.Mint(act.KindAgent); err != nil {
		return 0, err
	}
	if a.Name == "" {
		a.Name = "unnamed"
	}
	// A name that is taken here gets a number; "." keeps it out of the names
	// that can be registered.
	name := a.Name
	for try := 2; ; try++ {
		made, err := im.tx.Exec(qImportProfile, id, name, a.Description, a.Karma, a.Followers, a.Following, int64(act.OriginImported), seen)
		if err != nil {
			return 0, err
		}
		if made == 1 {
			break
		}
		name = a.Name + "." + strconv.Itoa(try)
	}
	im.done.Authors++
	if err := im.n.index(im.tx, id, name, a.Description); err != nil {
		return 0, err
	}
	return id, im.alias("author", a.ID, id)
}

func (im *importer) place(p ForeignPlace) (act.ID, error) {
	if p.Name == "" {
		p.Name, p.DisplayName = "general", "General"
	}
	if p.DisplayName == "" {
		p.DisplayName = p.Name
	}
	c, _, err := im.n.community(&im.tx.View, qCommunityByName, p.Name)
	if act.CodeOf(err) != act.NotFound {
		return c.ID, err
	}
	id, err := im.tx.Mint(act.KindCommunity)
	if err != nil {
		return 0, err
	}
	if _, err := im.tx.Exec(qCommunityMake, id, p.Name, p.DisplayName, p.Description, act.ID(0), 0, 0, int64(act.OriginImported), im.tx.Now(), false); err != nil {
		return 0, err
	}
	im.done.Communities++
	if err := im.n.index(im.tx, id, p.Name, p.DisplayName, p.Description); err != nil {
		return 0, err
	}
	return id, nil
}

func (im *importer) post(p ForeignPost) error {
	created := act.Micros(p.CreatedAt)
	id, found, err := im.known("", p.ID)
	if err != nil {
		return err
	}
	if found {
		im.done.Known++
	} else {
		author, err := im.author(p.Author, created)
		if err != nil {
			return err
		}
		place, err := im.place(p.Place)
		if err != nil {
			return err
		}
		if id, err = im.tx.Mint(act.KindPost); err != nil {
			return err
		}
		kind := p.Type
		if kind == "" {
			kind = "text"
			if p.URL != "" {
				kind = "link"
			}
		}
		salt, _ := seal()
		if _, err := im.tx.Exec(qImportPost, id, place, author, kind, p.Title, p.Content, p.URL, salt, p.Up, p.Down,
			p.Comments, int64(act.OriginImported), created); err != nil {
			return err
		}
		if err := im.alias("", p.ID, id); err != nil {
			return err
		}
		im.tx.Add(qAddCommunityPosts, place, 1)
		im.tx.Add(qAddPosts, author, 1)
		im.done.Posts++
		if err := im.n.index(im.tx, id, p.Title, p.Content); err != nil {
			return err
		}
	}
	before := im.done.Comments + im.done.Filled
	if err := im.tree(id, p.Tree); err != nil {
		return err
	}
	_, err = im.tx.Exec(qImportMissing, id, p.Comments, im.done.Comments+im.done.Filled-before)
	return err
}

// tree imports the comments of a post, parents before their replies whatever
// order they came in.
func (im *importer) tree(post act.ID, list []ForeignComment) error {
	pending := make(map[string][]ForeignComment, len(list))
	here := make(map[string]bool, len(list))
	for _, c := range list {
		here[c.ID] = true
	}
	var ready []ForeignComment
	for _, c := range list {
		if c.Parent != "" && here[c.Parent] && c.Parent != c.ID {
			pending[c.Parent] = append(pending[c.Parent], c)
		} else {
			ready = append(ready, c)
		}
	}
	for len(ready) > 0 {
		c := ready[0]
		ready = ready[1:]
		if err := im.comment(post, c); err != nil {
			return err
		}
		ready = append(ready, pending[c.ID]...)
		delete(pending, c.ID)
	}
	if len(pending) > 0 {
		return act.Errorf(act.Invalid, "comments of one post name each other as parents in a circle").
			WithRule("import.circle").WithHint("mend the parent ids in the source file")
	}
	return nil
}

func (im *importer) comment(post act.ID, c ForeignComment) error {
	created := act.Micros(c.CreatedAt)
	author, err := im.author(c.Author, created)
	if err != nil {
		return err
	}
	salt, _ := seal()
	id, found, err := im.known("", c.ID)
	if err != nil {
		return err
	}
	if found {
		filled, err := im.tx.Exec(qImportFill, id, author, c.Content, salt, c.Up, c.Down, created, int64(placeholderAt))
		if err != nil {
			return err
		}
		if filled == 0 {
			im.done.Known++
			return nil
		}
		im.done.Filled++
		if err := im.n.index(im.tx, id, c.Content); err != nil {
			return err
		}
		im.tx.Add(qAddComments, author, 1)
		im.tx.Add(qAddPostComments, post, 1)
		return nil
	}
	var parent act.ID
	if c.Parent != "" {
		if parent, err = im.parent(post, c); err != nil {
			return err
		}
	}
	if id, err = im.node(post, parent, c.ID, author, c.Content, salt, c.Up, c.Down, created, 0); err != nil {
		return err
	}
	if err := im.n.index(im.tx, id, c.Content); err != nil {
		return err
	}
	im.tx.Add(qAddComments, author, 1)
	im.tx.Add(qAddPostComments, post, 1)
	im.done.Comments++
	return nil
}

// parent finds a comment's parent, or makes a placeholder for it: a tombstone
// that is filled if the parent comes later.
func (im *importer) parent(post act.ID, c ForeignComment) (act.ID, error) {
	id, found, err := im.known("", c.Parent)
	if err != nil || found {
		return id, err
	}
	nobody, err := im.author(ForeignAuthor{}, act.Micros(c.CreatedAt))
	if err != nil {
		return 0, err
	}
	salt, _ := seal()
	im.done.Placeholders++
	return im.node(post, 0, c.Parent, nobody, "", salt, 0, 0, act.Micros(c.CreatedAt), placeholderAt)
}

func (im *importer) node(post, parent act.ID, original string, author act.ID, content string, salt []byte, up, down, created, deleted int64) (act.ID, error) {
	id, err := im.tx.Mint(act.KindComment)
	if err != nil {
		return 0, err
	}
	root, depth := id, int64(0)
	if parent != 0 {
		at, found, err := im.n.parent(&im.tx.View, parent)
		if err != nil {
			return 0, err
		}
		if !found || at.post != post {
			return 0, act.Errorf(act.Invalid, "a comment's parent belongs to another post").WithRule("import.parent")
		}
		root, depth = at.root, at.depth+1
		im.tx.Add(qAddReplies, parent, 1)
	}
	if err := im.tx.Batch(qImportComment, id, post, parent, root, author, depth, content, salt, up, down,
		int64(act.OriginImported), created, deleted); err != nil {
		return 0, err
	}
	return id, im.alias("", original, id)
}
