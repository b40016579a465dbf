package agent

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/client"
)

const (
	feedSize    = 25
	commentSize = 100 // roots of a thread that are read
	newsSize    = 3   // threads with news that are looked up
	manyUnread  = 20  // notifications after which they are marked as read
)

// look is what an agent perceives in a beat: what is new for it, what is new for
// everybody, what is said to it in private, and how its tasks stand. It returns
// an error when the beat must not go on.
func (l *life) look(ctx, request context.Context) error {
	l.beats++
	news, err := l.lookIn(request)
	if err != nil {
		return err
	}
	if l.beats == 1 && l.returned {
		if err := l.recall(request); err != nil {
			return err
		}
	}
	feed, err := l.wire.Feed(request, client.ListQuery{Sort: "new", Limit: feedSize})
	if err != nil {
		return err
	}
	l.mind.pages(feed.Posts)
	for _, look := range []func(context.Context) error{
		func(request context.Context) error { return l.threads(ctx, request) },
		func(request context.Context) error { return l.messages(request, news) },
		l.tasks,
	} {
		if err := look(request); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// news is what waits for an agent.
type news struct{ requests, messages int64 }

// lookIn asks home what is new when it is time to, and only for messages when it
// is not: in the rounds, and after a beat that failed.
func (l *life) lookIn(ctx context.Context) (news, error) {
	if l.clock().Before(l.next) {
		inbox, err := l.wire.CheckInbox(ctx)
		return news{inbox.Requests.Count, inbox.Messages.Unread}, passing(err)
	}
	home, err := l.wire.Home(ctx)
	if err != nil {
		return news{}, err
	}
	l.next = home.NextCheck
	for n, about := range home.Activity {
		if n == newsSize || l.mind.thread(about.PostID) != nil {
			continue // the feed tells of its comments
		}
		p, err := l.wire.ReadPost(ctx, about.PostID)
		if fatal(err) {
			return news{}, err
		}
		if err == nil {
			l.mind.sees([]client.Post{p})
		}
	}
	if home.Account.Unread >= manyUnread {
		if err := passing(l.wire.ReadAll(ctx)); err != nil {
			return news{}, err
		}
	}
	return news{home.Messages.Requests, home.Messages.Unread}, nil
}

// passing keeps the errors that end a beat.
func passing(err error) error {
	if fatal(err) {
		return err
	}
	return nil
}

// recall reads what the agent left when it lived before: what it has posted, and
// with whom it talked.
func (l *life) recall(ctx context.Context) error {
	const most = 100
	own, err := l.wire.Feed(ctx, client.ListQuery{Sort: "new", Author: l.name, Limit: most})
	if err == nil {
		l.mind.remembers(own.Posts)
	}
	if err := passing(err); err != nil {
		return err
	}
	for _, view := range []string{"posted", "claimed"} {
		list, err := l.wire.Tasks(ctx, client.TaskQuery{View: view, Limit: taskPage})
		if err := passing(err); err != nil {
			return err
		}
		if view == "claimed" {
			l.mind.held(list)
		} else {
			l.mind.tasked(list)
		}
	}
	return l.conversations(ctx)
}

// threads reads what was said under the posts.
func (l *life) threads(ctx, request context.Context) error {
	for _, id := range l.mind.unread() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		tree, err := l.wire.Comments(request, id, client.ListQuery{Sort: "old", Limit: commentSize})
		switch {
		case err == nil:
			l.mind.hears(id, tree.Comments)
		case fatal(err):
			return err
		default:
			l.mind.gone(id) // deleted meanwhile, or not ours to read
		}
	}
	return nil
}

// messages reads what was said to the agent in private.
func (l *life) messages(ctx context.Context, waits news) error {
	if waits.requests > 0 {
		list, err := l.wire.MessageRequests(ctx, client.ListQuery{Limit: chatPage})
		if err := passing(err); err != nil {
			return err
		}
		l.mind.asked(list)
	}
	if waits.messages > 0 || l.mind.awaits() && l.beats%2 == 0 {
		return l.conversations(ctx)
	}
	return nil
}

func (l *life) conversations(ctx context.Context) error {
	list, err := l.wire.Conversations(ctx, client.ListQuery{Limit: chatPage})
	if err := passing(err); err != nil {
		return err
	}
	for _, id := range l.mind.listed(list) {
		c, said, err := l.wire.Conversation(ctx, id, client.ListQuery{Limit: maxLines})
		if err := passing(err); err != nil {
			return err
		}
		if err == nil {
			l.mind.heard(c, said)
		}
	}
	return nil
}

// tasks looks, every other beat, for work that the agent may take, and how what
// it handed over stands. Who was made for a task looks in every beat.
func (l *life) tasks(ctx context.Context) error {
	if l.beats%2 != 0 && !l.mind.self.Part {
		return nil
	}
	queries := l.mind.enquiries()
	for _, q := range queries {
		list, err := l.wire.Tasks(ctx, q)
		if err := passing(err); err != nil {
			return err
		}
		for _, id := range l.mind.tasked(list) {
			t, err := l.wire.ReadTask(ctx, id)
			if err := passing(err); err != nil {
				return err
			}
			if err == nil {
				l.mind.reported(t)
			}
		}
	}
	return nil
}
