package native

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// queueRoutes are the operations on durable queues.
func (d *door) queueRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/queues", Act: "queue.list", Handle: d.queues, Gives: list[queue]{}, Query: []string{"owner", "cursor"}},
		{Method: post, Path: "/queues", Act: "queue.create", Handle: d.newQueue, Takes: newQueue{}, Gives: queue{}},
		{Method: get, Path: "/queues/{name}", Act: "queue.show", Handle: d.queue, Gives: shownQueue{}, Query: []string{"owner"}},
		{Method: http.MethodPatch, Path: "/queues/{name}", Act: "queue.update", Handle: d.changeQueue, Takes: queueChange{}, Gives: queue{}},
		{Method: http.MethodDelete, Path: "/queues/{name}", Act: "queue.delete", Handle: d.deleteQueue, Gives: gone{}},
		{Method: post, Path: "/queues/{name}/receive", Act: "queue.receive", Waits: waitsForItems, Handle: d.receive, Gives: list[item]{}, Query: []string{"max", "visibility", "wait"}},
		{Method: post, Path: "/queues/{name}/ack", Act: "queue.ack", Handle: d.ack, Takes: newAck{}, Gives: settled{}},
		{Method: post, Path: "/queues/{name}/extend", Act: "queue.extend", Handle: d.extend, Takes: newExtension{}, Gives: settled{}},
		{Method: get, Path: "/queues/{name}/dead", Act: "queue.dead", Handle: d.deadItems, Gives: list[item]{}, Query: []string{"after", "limit"}},
		{Method: post, Path: "/queues/{name}/redrive", Act: "queue.redrive", Handle: d.redrive, Takes: newRedrive{}, Gives: redriven{}},
	}
}

func waitsForItems(r *http.Request) bool { return r.URL.Query().Get("wait") != "" }

type queue struct {
	ID          string   `json:"id"`
	Owner       string   `json:"owner"`
	Name        string   `json:"name"`
	Acts        []string `json:"acts"`
	Subjects    []string `json:"subjects"`
	Seq         int64    `json:"seq"`        // events up to here have been taken from the sequence
	Visibility  int64    `json:"visibility"` // seconds
	MaxReceives int64    `json:"max_receives"`
	Dead        int64    `json:"dead"`
	CreatedAt   *string  `json:"created_at"`
	UpdatedAt   *string  `json:"updated_at"`
}

func (d *door) wireQueue(q network.Queue) queue {
	out := queue{
		ID: d.codec.String(q.ID), Owner: d.codec.String(q.Owner), Name: q.Name, Acts: append([]string{}, q.Filter.Acts...), Subjects: []string{},
		Seq: q.Seq, Visibility: int64(q.Visibility / time.Second), MaxReceives: q.MaxReceives, Dead: q.Dead,
		CreatedAt: wireTime(q.CreatedAt), UpdatedAt: wireTime(q.UpdatedAt),
	}
	for _, id := range q.Filter.Subjects {
		out.Subjects = append(out.Subjects, d.codec.String(id))
	}
	return out
}

const queueList = "queues"

// ownerOf reads the agent whose queues an operator asks for.
func (d *door) ownerOf(c *api.Call) (act.ID, error) {
	text := c.R.URL.Query().Get("owner")
	if text == "" {
		return 0, nil
	}
	id, err := d.codec.ParseKind(text, act.KindAgent)
	if err != nil {
		return 0, act.Errorf(act.NotFound, "there is no such agent").WithRule("agent.id").WithHint("GET /v1/agents lists them")
	}
	return id, nil
}

// GET /queues?owner&cursor: one's own; for operators everybody's, or an agent's.
func (d *door) queues(ctx context.Context, c *api.Call) error {
	in := network.QueueQuery{}
	var err error
	if in.Owner, err = d.ownerOf(c); err != nil {
		return err
	}
	cur, err := d.codec.OpenCursor(queueList, c.R.URL.Query().Get("cursor"))
	if err != nil {
		return err
	}
	if !cur.IsZero() {
		in.After = act.ID(cur.Keys[0])
	}
	page, err := d.network.ListQueues.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[queue]{Items: make([]queue, 0, len(page.Items))}
	for _, q := range page.Items {
		out.Items = append(out.Items, d.wireQueue(q))
	}
	if page.More {
		out.Next = d.next(act.Cursor{List: queueList, Keys: []int64{int64(page.Items[len(page.Items)-1].ID)}})
	}
	return d.send(c, http.StatusOK, out)
}

type newQueue struct {
	Name        string   `json:"name"`
	Acts        []string `json:"acts"`
	Subjects    []string `json:"subjects"`
	After       *int64   `json:"after"`      // from now on without it
	Visibility  int64    `json:"visibility"` // seconds
	MaxReceives int64    `json:"max_receives"`
}

// POST /queues
func (d *door) newQueue(ctx context.Context, c *api.Call) error {
	var in newQueue
	if err := c.Decode(&in); err != nil {
		return err
	}
	filter, err := d.filter(in.Acts, in.Subjects)
	if err != nil {
		return err
	}
	after, err := since(in.After)
	if err != nil {
		return err
	}
	q, err := d.network.CreateQueue.DoOnce(ctx, c.Principal, c.Key, network.NewQueue{
		Name: in.Name, Filter: filter, After: after, Visibility: seconds(in.Visibility), MaxReceives: in.MaxReceives,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.wireQueue(q))
}

// seconds is a time of so many; what is out of every bound stays so.
func seconds(n int64) time.Duration {
	const most = int64(network.MaxVisible/time.Second) + 1
	return time.Duration(min(max(n, -1), most)) * time.Second
}

// queue and how it stands.
type shownQueue struct {
	queue
	Waiting  int64 `json:"waiting"`   // taken from the sequence and not acknowledged
	InFlight int64 `json:"in_flight"` // of which somebody has so many now
	Ready    bool  `json:"ready"`     // a receive would bring something
}

// GET /queues/{name}?owner
func (d *door) queue(ctx context.Context, c *api.Call) error {
	owner, err := d.ownerOf(c)
	if err != nil {
		return err
	}
	q, err := d.network.ShowQueue.Do(ctx, c.Principal, network.QueueName{Owner: owner, Name: c.R.PathValue("name")})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, shownQueue{d.wireQueue(q), q.Waiting, q.InFlight, q.Ready})
}

type queueChange struct {
	Acts        []string `json:"acts"`
	Subjects    []string `json:"subjects"`
	After       *int64   `json:"after"`
	Visibility  *int64   `json:"visibility"`
	MaxReceives *int64   `json:"max_receives"`
}

// PATCH /queues/{name}: only what is sent changes.
func (d *door) changeQueue(ctx context.Context, c *api.Call) error {
	var in queueChange
	if err := c.Decode(&in); err != nil {
		return err
	}
	change := network.QueueChange{Name: c.R.PathValue("name"), MaxReceives: in.MaxReceives}
	if in.Acts != nil || in.Subjects != nil { // the two are one filter
		filter, err := d.filter(in.Acts, in.Subjects)
		if err != nil {
			return err
		}
		change.Filter = &filter
	}
	if in.After != nil {
		if _, err := since(in.After); err != nil {
			return err
		}
		change.After = in.After
	}
	if in.Visibility != nil {
		visibility := seconds(*in.Visibility)
		change.Visibility = &visibility
	}
	q, err := d.network.UpdateQueue.DoOnce(ctx, c.Principal, c.Key, change)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.wireQueue(q))
}

// DELETE /queues/{name}
func (d *door) deleteQueue(ctx context.Context, c *api.Call) error {
	ref, err := d.network.DeleteQueue.DoOnce(ctx, c.Principal, c.Key, c.R.PathValue("name"))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, gone{d.codec.String(ref.ID)})
}

// item is an event that was given to a receiver.
type item struct {
	Receipt  string  `json:"receipt,omitempty"`
	Receives int64   `json:"receives"` // how often it has been given, this time included
	Until    *string `json:"until,omitempty"`
	DeadAt   *string `json:"dead_at,omitempty"`
	Event    event   `json:"event"`
}

func (d *door) item(i network.Item) item {
	out := item{Receives: i.Receives, Until: wireTime(i.Until), DeadAt: wireTime(i.DeadAt), Event: d.event(i.Event)}
	if i.Receipt.ID != 0 {
		out.Receipt = wireReceipt(d.codec, i.Receipt)
	}
	return out
}

// wireReceipt is a receipt as receivers hold it: the place of the item and the id
// of the giving, which nobody can make but this network.
func wireReceipt(codec *act.Codec, r network.Receipt) string {
	return strconv.FormatInt(r.Seq, 10) + "." + codec.String(r.ID)
}

func readReceipt(codec *act.Codec, text string) (r network.Receipt, err error) {
	seq, id, _ := strings.Cut(text, ".")
	if r.Seq, err = strconv.ParseInt(seq, 10, 64); err == nil && (r.Seq <= 0 || strconv.FormatInt(r.Seq, 10) != seq) {
		err = strconv.ErrSyntax
	}
	if err == nil {
		r.ID, err = codec.ParseKind(id, act.KindDelivery)
	}
	if err != nil {
		return network.Receipt{}, act.Errorf(act.Invalid, "that is no receipt").WithRule("queue.receipt").
			WithHint("send the receipts that receive gave with the items, as they are")
	}
	return r, nil
}

// POST /queues/{name}/receive?max&visibility&wait
func (d *door) receive(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := network.Receive{Queue: c.R.PathValue("name")}
	var err error
	if in.Max, err = api.Number("max", q.Get("max"), 1, network.MaxReceive); err != nil {
		return err
	}
	visible, err := api.Number("visibility", q.Get("visibility"), 1, int(network.MaxVisible/time.Second))
	if err != nil {
		return err
	}
	in.Visibility = seconds(int64(visible))
	if in.Wait, err = waitTime(c.R); err != nil {
		return err
	}
	items, err := d.network.Receive(ctx, c.Principal, in, c.Ending())
	if err != nil {
		return err
	}
	out := list[item]{Items: make([]item, 0, len(items))}
	for _, i := range items {
		out.Items = append(out.Items, d.item(i))
	}
	return d.send(c, http.StatusOK, out)
}

func (d *door) receipts(c *api.Call, texts []string) (in network.Receipts, err error) {
	in.Queue = c.R.PathValue("name")
	for _, text := range texts {
		r, err := readReceipt(d.codec, text)
		if err != nil {
			return in, err
		}
		in.List = append(in.List, r)
	}
	return in, nil
}

type refusal struct {
	Receipt string `json:"receipt"`
	Code    string `json:"code"`
	Rule    string `json:"rule"`
	Detail  string `json:"detail"`
	Hint    string `json:"hint"`
}

// settled says what became of receipts.
type settled struct {
	Done    int64     `json:"done"`
	Refused []refusal `json:"refused"`
}

// settle answers for receipts: when all are refused, with the error of the first.
func (d *door) settle(c *api.Call, s network.Settled, err error) error {
	if err != nil {
		return err
	}
	out := settled{s.Done, make([]refusal, 0, len(s.Refused))}
	for _, r := range s.Refused {
		out.Refused = append(out.Refused, refusal{wireReceipt(d.codec, r.Receipt), r.Why.Code.String(), r.Why.Rule, r.Why.Message, r.Why.Hint})
	}
	return d.send(c, http.StatusOK, out)
}

type newAck struct {
	Receipts []string `json:"receipts"`
}

// POST /queues/{name}/ack
func (d *door) ack(ctx context.Context, c *api.Call) error {
	var in newAck
	if err := c.Decode(&in); err != nil {
		return err
	}
	list, err := d.receipts(c, in.Receipts)
	if err != nil {
		return err
	}
	done, err := d.network.AckItems.DoOnce(ctx, c.Principal, c.Key, list)
	return d.settle(c, done, err)
}

type newExtension struct {
	Receipts   []string `json:"receipts"`
	Visibility int64    `json:"visibility"` // seconds from now; 0 gives the items back
}

// POST /queues/{name}/extend
func (d *door) extend(ctx context.Context, c *api.Call) error {
	var in newExtension
	if err := c.Decode(&in); err != nil {
		return err
	}
	list, err := d.receipts(c, in.Receipts)
	if err != nil {
		return err
	}
	list.For = seconds(in.Visibility)
	done, err := d.network.ExtendItems.DoOnce(ctx, c.Principal, c.Key, list)
	return d.settle(c, done, err)
}

// GET /queues/{name}/dead?after&limit
func (d *door) deadItems(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := network.DeadQuery{Queue: c.R.PathValue("name")}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, 200); err != nil {
		return err
	}
	if in.After, err = lastEventID("", q.Get("after")); err != nil {
		return err
	}
	page, err := d.network.DeadItems.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[item]{Items: make([]item, 0, len(page.Items))}
	for _, i := range page.Items {
		out.Items = append(out.Items, d.item(i))
	}
	if page.Next != 0 {
		next := strconv.FormatInt(page.Next, 10)
		out.Next = &next
	}
	return d.send(c, http.StatusOK, out)
}

type redriven struct {
	Redriven int64 `json:"redriven"`
}

type newRedrive struct {
	Seqs []int64 `json:"seqs"` // all without it, as many as the queue holds
}

// POST /queues/{name}/redrive
func (d *door) redrive(ctx context.Context, c *api.Call) error {
	var in newRedrive
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	done, err := d.network.RedriveQueue.DoOnce(ctx, c.Principal, c.Key, network.Redrive{Queue: c.R.PathValue("name"), Seqs: in.Seqs})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, redriven{done})
}
