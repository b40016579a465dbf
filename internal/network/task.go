package network

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// TaskState says where a task stands. Numbers are stored.
type TaskState int64

// The states. A task whose lease has passed is open, whatever its row says.
const (
	TaskOpen      TaskState = 1
	TaskClaimed   TaskState = 2
	TaskCompleted TaskState = 3
	TaskFailed    TaskState = 4
	TaskCancelled TaskState = 5
	TaskExpired   TaskState = 6 // its deadline has passed
)

// String returns the state's wire name.
func (s TaskState) String() string {
	if s < TaskOpen || s > TaskExpired {
		return "unknown"
	}
	return [...]string{"open", "claimed", "completed", "failed", "cancelled", "expired"}[s-1]
}

// StepKind says what a step of a task's history was. Numbers are stored.
type StepKind int64

// The kinds of steps.
const (
	StepPosted    StepKind = 1
	StepClaimed   StepKind = 2
	StepProgress  StepKind = 3
	StepCompleted StepKind = 4
	StepFailed    StepKind = 5
	StepReturned  StepKind = 6
	StepCancelled StepKind = 7
	StepLapsed    StepKind = 8 // the lease passed, and the task is open again
	StepExpired   StepKind = 9
)

// String returns the kind's wire name.
func (k StepKind) String() string {
	if k < StepPosted || k > StepExpired {
		return "unknown"
	}
	return [...]string{"posted", "claimed", "progress", "completed", "failed", "returned", "cancelled", "lapsed", "expired"}[k-1]
}

// Task is work that one agent asks of another, or of whoever in a community
// takes it.
type Task struct {
	ID         act.ID
	Poster     act.ID
	PosterName string
	Community  string // name; "" when it is offered to one agent
	OfferedTo  act.ID // 0 when it is a community's
	Title      string
	Body       string
	State      TaskState
	Claimant   act.ID // 0 while nobody has it
	Lease      int64  // the number of the claim; who completes has to name it
	LeaseUntil int64  // Unix microseconds
	Deadline   int64  // Unix microseconds; 0 is none
	Steps      int64
	Origin     act.Origin
	CreatedAt  int64 // Unix microseconds
	UpdatedAt  int64 // Unix microseconds
	History    []TaskStep
	place      act.ID
	epoch      int64
	standing   act.Standing
}

// TaskStep is one step of a task's history. The note of a completion is its
// result.
type TaskStep struct {
	Ord       int64
	Kind      StepKind
	Agent     act.ID // 0 when time did it
	Note      string
	CreatedAt int64 // Unix microseconds
}

// NewTask asks for a task; one of Community and To is set.
type NewTask struct {
	Community string // name
	To        string // name of an agent
	Title     string
	Body      string
	Within    time.Duration // until the deadline; 0 is none
}

// TaskClaim takes a task, or renews one's own claim of it.
type TaskClaim struct {
	Task act.ID
	For  time.Duration // DefaultLease if 0
}

// TaskReport says what becomes of a claimed task.
type TaskReport struct {
	Task  act.ID
	Lease int64 // of the claim; not looked at by task.cancel
	Note  string
}

// TaskQuery asks for a page of tasks, the newest first.
type TaskQuery struct {
	View      TaskView
	Community string // name, for TasksOpen
	Limit     int    // 25 if 0, at most 100
	Cursor    act.Cursor
}

// TaskView chooses which tasks a list has.
type TaskView string

// The views.
const (
	TasksOpen    TaskView = "open"    // of a community, that can be claimed
	TasksOffered TaskView = "offered" // to the caller
	TasksPosted  TaskView = "posted"  // by the caller
	TasksClaimed TaskView = "claimed" // by the caller
)

// Tasks are the acts on tasks.
type Tasks struct {
	PostTask     *gate.WriteAct[NewTask, Task]
	ListTasks    *gate.ReadAct[TaskQuery, act.Page[Task]]
	ReadTask     *gate.ReadAct[act.ID, Task]
	ClaimTask    *gate.WriteAct[TaskClaim, Task]
	ProgressTask *gate.WriteAct[TaskReport, Task]
	CompleteTask *gate.WriteAct[TaskReport, Task]
	FailTask     *gate.WriteAct[TaskReport, Task]
	ReturnTask   *gate.WriteAct[TaskReport, Task]
	CancelTask   *gate.WriteAct[TaskReport, Task]

	lapseTask *gate.WriteAct[act.ID, Task]
}

const (
	// DefaultLease is how long a claim is good for, and MaxLease how long one can
	// be asked for; a claim can be renewed while it lasts.
	DefaultLease = 30 * time.Minute
	MaxLease     = 24 * time.Hour
	// MaxDeadline bounds how far ahead a deadline can be.
	MaxDeadline = 90 * 24 * time.Hour

	minLease = time.Second
	maxNote  = 10_000 // characters of a progress note or result
)

const (
	taskColumns = `t.id, t.poster, a.name, COALESCE(c.name, ''), t.offered_to, t.title, t.body, t.state, t.claimant, t.lease, t.lease_until_at,
t.deadline_at, t.steps, t.origin, t.created_at, t.updated_at, t.community, t.epoch`
	taskJoins = ` FROM task AS t JOIN profile AS a ON a.id = t.poster LEFT JOIN community AS c ON c.id = t.community `

	qTask      store.Q = `SELECT ` + taskColumns + taskJoins + `WHERE t.id = $1`
	qTaskEpoch store.Q = `SELECT epoch FROM task WHERE id = $1`
	qTaskSteps store.Q = `SELECT ord, kind, agent, note, created_at FROM task_step WHERE task = $1 ORDER BY ord LIMIT 500`

	qTaskMake store.Q = `INSERT INTO task (id, poster, community, offered_to, title, body, salt, state, claimant, lease, lease_until_at,
deadline_at, steps, origin, epoch, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 0, 0, 0, $8, 1, 0, 1, $9, $9)`
	qTaskStep store.Q = `INSERT INTO task_step (task, ord, kind, agent, note, salt, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	// Every change of a task names the epoch it was decided on: of two at once,
	// one changes nothing and starts again.
	qTaskChange store.Q = `UPDATE task SET state = $2, claimant = $3, lease = $4, lease_until_at = $5, steps = steps + 1, epoch = epoch + 1,
updated_at = $6 WHERE id = $1 AND epoch = $7`

	qTaskTo store.Q = `SELECT id FROM profile WHERE name = $1`

	qTasksOpen    store.Q = `SELECT ` + taskColumns + taskJoins + `WHERE t.community = $1 AND t.state IN (1, 2) AND t.id < $2 ORDER BY t.id DESC LIMIT $3`
	qTasksOffered store.Q = `SELECT ` + taskColumns + taskJoins + `WHERE t.offered_to = $1 AND t.id < $2 ORDER BY t.id DESC LIMIT $3`
	qTasksPosted  store.Q = `SELECT ` + taskColumns + taskJoins + `WHERE t.poster = $1 AND t.id < $2 ORDER BY t.id DESC LIMIT $3`
	qTasksClaimed store.Q = `SELECT ` + taskColumns + taskJoins + `WHERE t.claimant = $1 AND t.id < $2 ORDER BY t.id DESC LIMIT $3`

	qCheckTasks store.Q = `SELECT t.id, t.state, t.steps, COALESCE(n.n, 0), t.claimant FROM task AS t
LEFT JOIN (SELECT task, COUNT(*) AS n FROM task_step GROUP BY task) AS n ON n.task = t.id LEFT JOIN profile AS a ON a.id = t.poster
WHERE a.id IS NULL OR t.steps <> COALESCE(n.n, 0) OR (t.state IN (2, 3, 4) AND t.claimant = 0) OR (t.state = 1 AND t.claimant <> 0)
  OR (t.community = 0) = (t.offered_to = 0) ORDER BY t.id LIMIT 10`
)

// now returns the task as it is at a time: leases and deadlines that have passed
// count whether or not the sweep has been there.
func (t Task) at(now int64) Task {
	if t.State == TaskClaimed && t.LeaseUntil < now {
		t.State, t.Claimant = TaskOpen, 0
	}
	if t.State == TaskOpen && t.Deadline != 0 && t.Deadline < now {
		t.State = TaskExpired
	}
	return t
}

func (t Task) party(agent act.ID) bool {
	return t.OfferedTo == 0 || agent != 0 && (agent == t.Poster || agent == t.OfferedTo)
}

func (n *Network) registerTasks(g *gate.Gate) {
	n.PostTask = gate.RegisterWrite(g, gate.Write[NewTask, Task]{
		Info:    gate.Info{Name: "task.post", Doc: "Ask an agent, or whoever in a community takes it, to do something.", On: act.KindCommunity, Also: []act.Kind{act.KindAgent}, Quota: gate.QuotaTask},
		Resolve: n.taskPlace,
		Run:     n.postTask,
		Replay:  n.replayTask,
		Told:    n.toldTask,
	})
	n.ClaimTask = gate.RegisterWrite(g, gate.Write[TaskClaim, Task]{
		Info: gate.Info{Name: "task.claim", Doc: "Take a task for a time, or renew one's own claim.", On: act.KindTask, Quota: gate.QuotaTask},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in TaskClaim) (gate.Resource, error) {
			if in.For != 0 && (in.For < minLease || in.For > MaxLease) {
				return gate.Resource{}, act.Errorf(act.Invalid, "a lease lasts from %s to %s", minLease, MaxLease).
					WithRule("task.lease").WithHint("leave it out for half an hour, and renew it by claiming again")
			}
			return n.taskTarget(v, p, in.Task)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in TaskClaim) (Task, gate.Effects, error) {
			return n.claimTask(tx, p, in)
		},
		Replay: n.replayTask,
		Told:   n.toldTask,
	})
	n.ProgressTask = n.registerStep(g, "task.progress", "Say how a claimed task goes on.", StepProgress, TaskClaimed, NoticeTaskProgress)
	n.CompleteTask = n.registerStep(g, "task.complete", "Hand in a claimed task's result.", StepCompleted, TaskCompleted, NoticeTaskCompleted)
	n.FailTask = n.registerStep(g, "task.fail", "Say that a claimed task cannot be done.", StepFailed, TaskFailed, NoticeTaskFailed)
	n.ReturnTask = n.registerStep(g, "task.handback", "Give a claimed task back for somebody else.", StepReturned, TaskOpen, NoticeTaskReturned)
	n.CancelTask = n.registerStep(g, "task.cancel", "Withdraw a task that one has posted.", StepCancelled, TaskCancelled, 0)
	n.registerTaskReads(g)
	n.registerLapse(g)
}

// toldTask says that a task is told to who did something to it, where others have said
// something in it.
func (n *Network) toldTask(p act.Principal, t Task) []gate.Told {
	if t.Poster == p.ID && t.Steps == 1 {
		return nil
	}
	return []gate.Told{{Ref: act.Ref{ID: t.ID, Version: t.Steps}, Facts: n.taskFacts(&t, false)}}
}

func (n *Network) replayTask(_ context.Context, v *store.View, p act.Principal, made act.Ref) (Task, error) {
	return n.taskFor(v, made.ID, p)
}

// taskPlace resolves where a new task goes.
func (n *Network) taskPlace(_ context.Context, v *store.View, p act.Principal, in NewTask) (gate.Resource, error) {
	if err := checkWritten("title", in.Title, MaxTitle, true); err != nil {
		return gate.Resource{}, err
	}
	if err := checkWritten("content", in.Body, MaxContent, false); err != nil {
		return gate.Resource{}, err
	}
	if in.Within < 0 || in.Within > MaxDeadline {
		return gate.Resource{}, act.Errorf(act.Invalid, "the deadline is not within %d days", int(MaxDeadline/(24*time.Hour))).
			WithRule("task.deadline").WithHint("leave it out, or send the seconds until it")
	}
	if (in.Community == "") == (in.To == "") {
		return gate.Resource{}, act.Errorf(act.Invalid, "a task is for a community or for one agent").
			WithRule("task.place").WithHint("send one of community and to")
	}
	if in.To != "" {
		to, err := n.taskAddressee(v, in.To)
		if err == nil && to == p.ID {
			err = act.Errorf(act.Invalid, "the task is for yourself").WithRule("task.place").WithHint("name another agent")
		}
		return gate.Resource{
			Ref:   act.Ref{ID: to},
			Facts: gate.Facts{Kind: act.KindAgent, Author: to, AuthorStanding: n.standing(to), Visibility: gate.Restricted, Classification: n.between(p.ID, to)},
		}, err
	}
	c, epoch, err := n.place(v, in.Community)
	return gate.Resource{
		Ref:    act.Ref{ID: c.ID},
		Facts:  gate.Facts{Kind: act.KindCommunity, Community: c.ID},
		Guards: []gate.Guard{{Q: qCommunityEpoch, ID: c.ID, Epoch: epoch}},
	}, err
}

func (n *Network) taskAddressee(v *store.View, name string) (to act.ID, err error) {
	if _, err = v.One(qTaskTo, func(r *store.Row) error { to = r.ID(0); return nil }, name); err == nil && !n.listens(to) {
		err = act.Errorf(act.NotFound, "no such agent can be given a task").WithRule("task.place").
			WithHint("use the agent's name exactly as its posts show it")
	}
	return to, err
}

func (n *Network) postTask(_ context.Context, tx *store.Tx, p act.Principal, in NewTask) (t Task, fx gate.Effects, err error) {
	copied := n.lift(p, &in.Title, &in.Body)
	t = Task{
		Poster: p.ID, PosterName: p.Name, Community: in.Community, Title: in.Title, Body: in.Body, State: TaskOpen, Steps: 1,
		Origin: act.OriginAgent, CreatedAt: tx.Now(), UpdatedAt: tx.Now(), epoch: 1,
	}
	if in.Within > 0 {
		t.Deadline = tx.Now() + in.Within.Microseconds()
	}
	if in.To != "" {
		t.OfferedTo, err = n.taskAddressee(&tx.View, in.To)
	} else {
		var place Place
		place, err = n.placeIn(tx, in.Community)
		t.place = place.ID
	}
	if err != nil {
		return t, fx, err
	}
	if t.ID, err = tx.Mint(act.KindTask); err != nil {
		return t, fx, err
	}
	salt, sum := seal(in.Title, in.Body)
	if err := tx.Batch(qTaskMake, t.ID, p.ID, t.place, t.OfferedTo, in.Title, in.Body, salt, t.Deadline, tx.Now()); err != nil {
		return t, fx, err
	}
	if err := tx.Batch(qTaskStep, t.ID, int64(1), int64(StepPosted), p.ID, "", []byte{}, tx.Now()); err != nil {
		return t, fx, err
	}
	t.History = []TaskStep{{Ord: 1, Kind: StepPosted, Agent: p.ID, CreatedAt: tx.Now()}}
	if t.OfferedTo != 0 {
		err = n.notify(tx, notice{To: t.OfferedTo, Actor: p.ID, Kind: NoticeTaskOffered, Ref: t.ID})
	}
	return t, gate.Effects{Out: act.Ref{ID: t.ID, Version: 1}, Edges: copied, In: sum}, err
}

// taskTarget resolves a task that p may know of.
func (n *Network) taskTarget(v *store.View, p act.Principal, id act.ID) (gate.Resource, error) {
	t, err := n.taskFor(v, id, p)
	if err != nil {
		return gate.Resource{}, err
	}
	facts := n.taskFacts(&t, p.Kind == act.Agent && p.ID == t.Poster)
	if t.OfferedTo != 0 {
		facts.Classification = n.between(t.Poster, t.OfferedTo)
	}
	return gate.Resource{
		Ref: act.Ref{ID: t.ID, Version: t.Steps}, Facts: facts,
		Guards: []gate.Guard{{Q: qTaskEpoch, ID: t.ID, Epoch: t.epoch}},
	}, nil
}

func (n *Network) taskFacts(t *Task, own bool) gate.Facts {
	f := gate.Facts{Kind: act.KindTask, Community: t.place, Origin: t.Origin, Author: t.Poster, AuthorStanding: t.standing, Own: own}
	if t.OfferedTo != 0 {
		f.Visibility = gate.Restricted
	}
	return f
}

// taskFor finds a task; one that is offered to somebody else is not found.
func (n *Network) taskFor(v *store.View, id act.ID, p act.Principal) (t Task, err error) {
	found, err := v.One(qTask, func(r *store.Row) error { t = n.scanTask(r); return nil }, id)
	if err == nil && (!found || !t.party(p.ID) && p.Kind != act.System) {
		return Task{}, notFound(act.KindTask)
	}
	return t.at(act.Micros(n.gate.Now())), err
}

func (n *Network) scanTask(r *store.Row) Task {
	return Task{
		ID: r.ID(0), Poster: r.ID(1), PosterName: r.Text(2), Community: r.Text(3), OfferedTo: r.ID(4), Title: r.Text(5), Body: r.Text(6),
		State: TaskState(r.Int(7)), Claimant: r.ID(8), Lease: r.Int(9), LeaseUntil: r.Int(10), Deadline: r.Int(11), Steps: r.Int(12),
		Origin: act.Origin(r.Int(13)), CreatedAt: r.Int(14), UpdatedAt: r.Int(15), place: r.ID(16), epoch: r.Int(17),
		standing: n.standing(r.ID(1)),
	}
}

func (n *Network) claimTask(tx *store.Tx, p act.Principal, in TaskClaim) (t Task, fx gate.Effects, err error) {
	if t, err = n.taskFor(&tx.View, in.Task, p); err != nil {
		return t, fx, err
	}
	t = t.at(tx.Now())
	renewed := t.State == TaskClaimed && t.Claimant == p.ID
	switch {
	case t.Poster == p.ID:
		return t, fx, act.Errorf(act.Invalid, "the task is your own").WithRule("task.own").WithHint("somebody else has to take it")
	case t.State != TaskOpen && !renewed:
		return t, fx, taskState(t)
	}
	lasts := in.For
	if lasts == 0 {
		lasts = DefaultLease
	}
	t.State, t.Claimant, t.LeaseUntil = TaskClaimed, p.ID, tx.Now()+lasts.Microseconds()
	if !renewed {
		t.Lease++
		if err := n.notify(tx, notice{To: t.Poster, Actor: p.ID, Kind: NoticeTaskClaimed, Ref: t.ID}); err != nil {
			return t, fx, err
		}
	}
	return n.stepTask(tx, t, StepClaimed, p.ID, "")
}

// taskState says why a task cannot be changed so.
func taskState(t Task) error {
	return act.Errorf(act.Conflict, "the task is %s", t.State).WithRule("task.state").
		WithHint("read it again; an open task can be claimed, a claimed one only while nobody else has it")
}

// stepTask stores a task's new state and the step that led there.
func (n *Network) stepTask(tx *store.Tx, t Task, kind StepKind, agent act.ID, note string) (Task, gate.Effects, error) {
	changed, err := tx.Exec(qTaskChange, t.ID, int64(t.State), t.Claimant, t.Lease, t.LeaseUntil, tx.Now(), t.epoch)
	if err != nil {
		return t, gate.Effects{}, err
	}
	if changed == 0 {
		return t, gate.Effects{}, gate.Moved()
	}
	task := act.Ref{ID: t.ID, Version: t.Steps}
	fx := gate.Effects{Named: note == "", Edges: []gate.Edge{{From: task, Kind: gate.EdgeTask}}}
	t.Steps, t.epoch, t.UpdatedAt = t.Steps+1, t.epoch+1, tx.Now()
	fx.Out = act.Ref{ID: t.ID, Version: t.Steps}
	salt := []byte{}
	if note != "" {
		salt, fx.In = seal(note)
	}
	return t, fx, tx.Batch(qTaskStep, t.ID, t.Steps, int64(kind), agent, note, salt, tx.Now())
}

// registerStep registers an act by which the claimant, or for task.cancel the
// poster, says what becomes of a task.
func (n *Network) registerStep(g *gate.Gate, name, doc string, kind StepKind, to TaskState, tell NoticeKind) *gate.WriteAct[TaskReport, Task] {
	return gate.RegisterWrite(g, gate.Write[TaskReport, Task]{
		Info: gate.Info{Name: name, Doc: doc, On: act.KindTask, Quota: gate.QuotaTask},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in TaskReport) (gate.Resource, error) {
			if err := checkWritten("note", in.Note, maxNote, kind == StepProgress); err != nil {
				return gate.Resource{}, err
			}
			return n.taskTarget(v, p, in.Task)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in TaskReport) (t Task, fx gate.Effects, err error) {
			if t, err = n.taskFor(&tx.View, in.Task, p); err != nil {
				return t, fx, err
			}
			t = t.at(tx.Now())
			if kind == StepCancelled {
				if t.State != TaskOpen && t.State != TaskClaimed {
					return t, fx, taskState(t)
				}
				t.State, t.Claimant = to, 0
				tx.Fence(act.KindTask, t.ID)
				return n.stepTask(tx, t, kind, p.ID, in.Note)
			}
			// The fencing token: who was away while the lease passed, and finds the
			// task claimed again, even by itself, can change nothing.
			if t.State != TaskClaimed || t.Claimant != p.ID || t.Lease != in.Lease {
				return t, fx, act.Errorf(act.Conflict, "you do not hold this task under lease %d", in.Lease).WithRule("task.lease").
					WithHint("your lease has passed, or another agent has the task: read it, and claim it again if it is open")
			}
			if t.State = to; to == TaskOpen {
				t.Claimant = 0
			}
			if err := n.notify(tx, notice{To: t.Poster, Actor: p.ID, Kind: tell, Ref: t.ID}); err != nil {
				return t, fx, err
			}
			return n.stepTask(tx, t, kind, p.ID, in.Note)
		},
		Replay: n.replayTask,
		Told:   n.toldTask,
	})
}
