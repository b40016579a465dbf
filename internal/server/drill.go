package server

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// drill is the chore of trying the controls on a canary. Without an interval there is none.
func (s *Server) drill() chore {
	every, started := s.Config.DrillEvery, s.DB.Clock()()
	return chore{name: "drill", every: time.Minute, limit: time.Minute, do: func(ctx context.Context) error {
		if every <= 0 {
			return nil
		}
		return s.Lifecycle.DrillDue(ctx, every, started)
	}}
}

// canary does an act of a canary's own.
func (s *Server) canary(ctx context.Context, p act.Principal, write bool) (err error) {
	if write {
		_, err = s.Network.ReadNotifications.Do(ctx, p, network.NotificationRead{}) // leaves nothing for others to see
	} else {
		_, err = s.Network.Me.Do(ctx, p, network.Nothing{})
	}
	return err
}

// drills is what scrapes read of them.
func (s *Server) drills() (list []telemetry.Drill) {
	for _, d := range s.Lifecycle.Drills() {
		list = append(list, telemetry.Drill{Control: d.Control, Held: d.Fault == "", Stop: d.Stop, Ack: d.Ack, At: act.FromMicros(d.At)})
	}
	return list
}
