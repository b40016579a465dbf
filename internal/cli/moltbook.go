package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/client"
)

const maxImportFile = 256 << 20 // bytes of one file

// foreignWorld is what a set of files says of another network, each post once
// with the richest of its captures.
type foreignWorld struct {
	source      string // the network's name
	files       int
	notes       []string
	posts       map[string]*client.ForeignPost
	authors     map[string]client.ForeignAuthor
	communities map[string]client.ForeignCommunity
	seen        map[string]bool // comments, where files repeat them
}

func newForeignWorld(source string) *foreignWorld {
	return &foreignWorld{
		source: source, posts: make(map[string]*client.ForeignPost), authors: make(map[string]client.ForeignAuthor),
		communities: make(map[string]client.ForeignCommunity), seen: make(map[string]bool),
	}
}

// The shapes of the captured wire (moltbook.md §1.3). Fields nobody needs are
// left out; unknown ones are ignored.
type (
	rawFile struct {
		Posts    []rawPost    `json:"posts"`
		Post     *rawPost     `json:"post"`
		Comments []rawComment `json:"comments"`
		Agents   []rawAuthor  `json:"agents"`
		Submolts []rawSubmolt `json:"submolts"`
	}
	rawAuthor struct {
		ID             string `json:"id"`
		Name           string `json:"name"`
		Description    string `json:"description"`
		Karma          int64  `json:"karma"`
		FollowerCount  int64  `json:"follower_count"`
		FollowingCount int64  `json:"following_count"`
	}
	rawSubmolt struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		DisplayName string `json:"display_name"`
		Description string `json:"description"`
	}
	rawPost struct {
		ID           string      `json:"id"`
		Title        string      `json:"title"`
		Content      string      `json:"content"`
		URL          string      `json:"url"`
		Type         string      `json:"type"`
		Upvotes      int64       `json:"upvotes"`
		Downvotes    int64       `json:"downvotes"`
		CommentCount int64       `json:"comment_count"`
		CreatedAt    time.Time   `json:"created_at"`
		Author       *rawAuthor  `json:"author"`
		Submolt      *rawSubmolt `json:"submolt"`
	}
	rawComment struct {
		ID        string       `json:"id"`
		Content   string       `json:"content"`
		ParentID  string       `json:"parent_id"`
		Upvotes   int64        `json:"upvotes"`
		Downvotes int64        `json:"downvotes"`
		CreatedAt time.Time    `json:"created_at"`
		Author    *rawAuthor   `json:"author"`
		Replies   []rawComment `json:"replies"`
	}
)

// readMoltbook reads files and folders of captured responses.
func readMoltbook(paths []string) (*foreignWorld, error) {
	w := newForeignWorld("moltbook")
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, badFile(path, err)
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		found, _ := filepath.Glob(filepath.Join(path, "*.json"))
		if len(found) == 0 {
			return nil, badFile(path, fmt.Errorf("no *.json in this folder"))
		}
		files = append(files, found...)
	}
	for _, path := range files {
		if err := w.read(path); err != nil {
			return nil, badFile(path, err)
		}
	}
	w.enrich()
	return w, nil
}

func (w *foreignWorld) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	raw, err := io.ReadAll(io.LimitReader(f, maxImportFile+1))
	if err != nil {
		return err
	}
	if len(raw) > maxImportFile {
		return fmt.Errorf("larger than %d MiB", maxImportFile>>20)
	}
	var in rawFile
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	w.files++
	if in.Posts == nil && in.Post == nil && in.Agents == nil && in.Submolts == nil {
		w.notes = append(w.notes, filepath.Base(path)+" holds no posts, agents or communities")
	}
	for _, x := range in.Agents {
		w.author(&x)
	}
	for _, x := range in.Submolts {
		w.community(&x)
	}
	for _, x := range in.Posts {
		if err := w.post(x, nil); err != nil {
			return err
		}
	}
	if in.Post != nil {
		return w.post(*in.Post, in.Comments)
	}
	return nil
}

// author remembers an author; the capture that says more wins.
func (w *foreignWorld) author(a *rawAuthor) client.ForeignAuthor {
	if a == nil || a.ID == "" {
		return client.ForeignAuthor{}
	}
	x := client.ForeignAuthor{
		ID: a.ID, Name: a.Name, Description: a.Description,
		Karma: a.Karma, Followers: a.FollowerCount, Following: a.FollowingCount,
	}
	old := w.authors[a.ID]
	x.Description = cmp.Or(x.Description, old.Description)
	x.Karma, x.Followers, x.Following = max(x.Karma, old.Karma), max(x.Followers, old.Followers), max(x.Following, old.Following)
	w.authors[a.ID] = x
	return x
}

func (w *foreignWorld) community(s *rawSubmolt) client.ForeignCommunity {
	if s == nil || s.Name == "" {
		return client.ForeignCommunity{}
	}
	x := client.ForeignCommunity{ID: s.ID, Name: s.Name, DisplayName: s.DisplayName, Description: s.Description}
	x.Description = cmp.Or(x.Description, w.communities[s.Name].Description)
	w.communities[s.Name] = x
	return x
}

func (w *foreignWorld) post(p rawPost, comments []rawComment) error {
	if p.ID == "" {
		return fmt.Errorf("a post has no id")
	}
	if p.CreatedAt.IsZero() {
		return fmt.Errorf("post %s has no created_at", p.ID)
	}
	x := w.posts[p.ID]
	if x == nil {
		x = &client.ForeignPost{ID: p.ID}
		w.posts[p.ID] = x
	}
	x.Title, x.Content, x.URL, x.Type = p.Title, p.Content, p.URL, p.Type
	x.Author, x.Community = w.author(p.Author), w.community(p.Submolt)
	x.Upvotes, x.Downvotes = max(x.Upvotes, p.Upvotes), max(x.Downvotes, p.Downvotes)
	x.Comments, x.CreatedAt = max(x.Comments, p.CommentCount), p.CreatedAt
	seen := make(map[string]bool, len(x.Tree))
	for _, c := range x.Tree {
		seen[c.ID] = true
	}
	type branch struct {
		parent string
		list   []rawComment
	}
	for todo := []branch{{"", comments}}; len(todo) > 0; {
		b := todo[0]
		todo = todo[1:]
		for _, c := range b.list {
			if c.ID == "" || c.CreatedAt.IsZero() {
				return fmt.Errorf("a comment of post %s has no id or created_at", p.ID)
			}
			if !seen[c.ID] {
				seen[c.ID] = true
				x.Tree = append(x.Tree, client.ForeignComment{
					ID: c.ID, ParentID: cmp.Or(c.ParentID, b.parent), Content: c.Content, Author: w.author(c.Author),
					Upvotes: c.Upvotes, Downvotes: c.Downvotes, CreatedAt: c.CreatedAt,
				})
			}
			todo = append(todo, branch{c.ID, c.Replies})
		}
	}
	return nil
}

// enrich gives every item the most that any capture said of its author and
// community.
func (w *foreignWorld) enrich() {
	for _, p := range w.posts {
		if a, ok := w.authors[p.Author.ID]; ok {
			p.Author = a
		}
		if c, ok := w.communities[p.Community.Name]; ok {
			p.Community = c
		}
		for i := range p.Tree {
			if a, ok := w.authors[p.Tree[i].Author.ID]; ok {
				p.Tree[i].Author = a
			}
		}
	}
}

// ordered lists the posts in the order in which they were written.
func (w *foreignWorld) ordered() []client.ForeignPost {
	list := make([]client.ForeignPost, 0, len(w.posts))
	for _, id := range slices.Sorted(maps.Keys(w.posts)) {
		list = append(list, *w.posts[id])
	}
	slices.SortStableFunc(list, func(a, b client.ForeignPost) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return list
}

func (w *foreignWorld) comments() (n int) {
	for _, p := range w.posts {
		n += len(p.Tree)
	}
	return n
}

// absent counts the parents that no file holds.
func (w *foreignWorld) absent() int {
	here, missing := make(map[string]bool), make(map[string]bool)
	for _, p := range w.posts {
		for _, c := range p.Tree {
			here[c.ID] = true
		}
	}
	for _, p := range w.posts {
		for _, c := range p.Tree {
			if c.ParentID != "" && !here[c.ParentID] {
				missing[c.ParentID] = true
			}
		}
	}
	return len(missing)
}
