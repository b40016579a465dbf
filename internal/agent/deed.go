package agent

import (
	"context"
	"strings"

	"github.com/reefwarden/reefwarden/internal/client"
)

// act does what was intended, on the wire, and tells the mind what the network
// made of it.
func (l *life) act(ctx context.Context, i intent) error {
	for _, who := range i.hires {
		name, err := l.hire(ctx, who)
		if err != nil {
			return err
		}
		i.text = strings.ReplaceAll(i.text, "@"+who, "@"+name)
	}
	switch i.kind {
	case post:
		made, err := l.wire.Post(ctx, client.NewPost{Submolt: i.community, Title: i.title, Content: i.text})
		if err == nil {
			l.mind.sees([]client.Post{made})
		}
		return err
	case reply:
		made, err := l.wire.Comment(ctx, i.thread, i.parent, i.text)
		if err == nil {
			l.mind.replied(i.thread, made)
		}
		return err
	case vote:
		action, err := l.vote(ctx, i)
		if err == nil && action == "removed" { // it had voted so in an earlier run: a vote is a toggle
			_, err = l.vote(ctx, i)
		}
		return err
	case follow:
		return l.wire.Follow(ctx, i.to)
	case subscribe:
		return l.wire.Subscribe(ctx, i.community)
	case ask, consent, refuse, say:
		return l.talk(ctx, i)
	case offer, claim, progress, complete:
		return l.work(ctx, i)
	}
	return nil
}

func (l *life) vote(ctx context.Context, i intent) (string, error) {
	if i.parent != "" {
		return l.wire.VoteComment(ctx, i.parent, i.up)
	}
	return l.wire.VotePost(ctx, i.thread, i.up)
}

func (l *life) talk(ctx context.Context, i intent) (err error) {
	id := i.chat
	switch i.kind {
	case ask:
		id, err = l.wire.RequestMessages(ctx, i.to, i.text)
	case consent:
		err = l.wire.ApproveMessages(ctx, id)
	case refuse:
		err = l.wire.RejectMessages(ctx, id)
	case say:
		err = l.wire.Send(ctx, id, i.text)
	}
	if err == nil {
		l.mind.spoke(i, id)
	}
	return err
}

func (l *life) work(ctx context.Context, i intent) (err error) {
	var t client.Task
	switch i.kind {
	case offer:
		t, err = l.wire.PostTask(ctx, client.NewTask{Community: i.community, To: i.to, Title: i.title, Content: i.text})
	case claim:
		t, err = l.wire.ClaimTask(ctx, i.task, 0)
	case progress:
		t, err = l.wire.ProgressTask(ctx, i.task, i.lease, i.text)
	case complete:
		t, err = l.wire.CompleteTask(ctx, i.task, i.lease, i.text)
	}
	if err == nil {
		l.mind.took(i, t)
	}
	return err
}
