package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

const (
	maxRedditLine  = 4 << 20 // bytes; the longest comment is 40,000 characters
	maxRedditNotes = 5       // bad lines that are named one by one
)

func (a *app) importReddit() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use: "reddit FILE…", Short: "Import comments of Reddit, one JSON object a line", Args: cobra.MinimumNArgs(1),
		Long: "Import comments as Reddit's API and its archives give them, a JSON object in each line\n" +
			"(id, author, body, created_utc, link_id, parent_id, link_title, link_author, subreddit).\n\n" +
			"Each link that they stand under becomes a post. A parent that no line holds becomes a\n" +
			"placeholder. What is there already is left alone, so an import can be repeated and resumed.",
	}
	a.outputFlag(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "read and count, send nothing")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		world, err := readReddit(args)
		if err != nil {
			return err
		}
		return a.bring(cmd.Context(), world, dry)
	}
	return c
}

// rawReddit is a comment as Reddit gives it. Fields nobody needs are left out.
type rawReddit struct {
	ID         string      `json:"id"`
	Author     string      `json:"author"`
	Body       string      `json:"body"`
	Created    json.Number `json:"created_utc"` // seconds, in some archives a text
	LinkID     string      `json:"link_id"`     // t3_…
	ParentID   string      `json:"parent_id"`   // t1_… a comment, t3_… the link
	LinkTitle  string      `json:"link_title"`
	LinkAuthor string      `json:"link_author"`
	LinkURL    string      `json:"link_url"`
	Score      int64       `json:"score"`
	Subreddit  string      `json:"subreddit"`
}

// readReddit reads files of comments.
func readReddit(paths []string) (*foreignWorld, error) {
	w := newForeignWorld("reddit")
	for _, path := range paths {
		if err := w.readComments(path); err != nil {
			return nil, badFile(path, err)
		}
	}
	if len(w.posts) > 0 {
		w.notes = append(w.notes, "the links' own times are not in the files; a post has the time of its first comment")
	}
	return w, nil
}

func (w *foreignWorld) readComments(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	w.files++
	lines := bufio.NewReaderSize(f, 1<<20)
	bad := 0
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && len(bytes.TrimSpace(line)) > 0 {
			err = w.comment(line)
		}
		if err != nil {
			if bad++; bad <= maxRedditNotes {
				w.notes = append(w.notes, fmt.Sprintf("line %d is left out: %v", n, err))
			}
		}
	}
	if bad > maxRedditNotes {
		w.notes = append(w.notes, fmt.Sprintf("%d more lines are left out", bad-maxRedditNotes))
	}
	if len(w.posts) == 0 {
		return errors.New("no line holds a comment")
	}
	return nil
}

// readLine returns the next line; one that is too long is skipped with an error.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, more, err := r.ReadLine()
		if err != nil {
			return nil, err
		}
		if long = long || len(line)+len(part) > maxRedditLine; !long {
			line = append(line, part...)
		}
		if !more {
			break
		}
	}
	if long {
		return nil, fmt.Errorf("longer than %d MiB", maxRedditLine>>20)
	}
	return line, nil
}

// comment takes a comment in, and the link it stands under.
func (w *foreignWorld) comment(line []byte) error {
	var in rawReddit
	d := json.NewDecoder(bytes.NewReader(line))
	if err := d.Decode(&in); err != nil {
		return errors.New("it is no JSON object of a comment")
	}
	seconds, err := in.Created.Float64()
	if err != nil || seconds <= 0 || seconds > 1e11 {
		return errors.New("created_utc is no time")
	}
	link, ok := strings.CutPrefix(in.LinkID, "t3_")
	if in.ID == "" || !ok || link == "" {
		return errors.New("id or link_id is missing")
	}
	created := time.Unix(int64(seconds), 0).UTC()
	x := w.posts[link]
	if x == nil {
		x = &client.ForeignPost{
			ID: link, Title: in.LinkTitle, URL: in.LinkURL, Type: "link", Author: redditor(in.LinkAuthor),
			Community: client.ForeignCommunity{ID: in.Subreddit, Name: in.Subreddit, DisplayName: in.Subreddit}, CreatedAt: created,
		}
		if x.URL == "" {
			x.Type = "text"
		}
		w.posts[link] = x
	}
	if created.Before(x.CreatedAt) {
		x.CreatedAt = created
	}
	if w.seen[in.ID] {
		return nil // the same comment in two files
	}
	w.seen[in.ID] = true
	c := client.ForeignComment{ID: in.ID, Content: in.Body, Author: redditor(in.Author), CreatedAt: created, Upvotes: max(in.Score, 0), Downvotes: max(-in.Score, 0)}
	if parent, ok := strings.CutPrefix(in.ParentID, "t1_"); ok {
		c.ParentID = parent
	}
	x.Tree = append(x.Tree, c)
	x.Comments = int64(len(x.Tree))
	return nil
}

// redditor is an author by name, which is all that the files tell; one whose
// account is gone is nobody.
func redditor(name string) client.ForeignAuthor {
	if name == "" || name == "[deleted]" {
		return client.ForeignAuthor{}
	}
	return client.ForeignAuthor{ID: name, Name: name}
}
