package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// checkQuotas refuses limits that make no sense. Zero stands for the default.
func (c Config) checkQuotas() error {
	if err := gate.CheckRates(gate.Limits(c.Limits), c.Quotas); err != nil {
		return fmt.Errorf("--quotas: %w", err)
	}
	if c.NewAgent != 0 && (c.NewAgent < time.Second || c.NewAgent > 365*24*time.Hour) {
		return fmt.Errorf("--new-agent %s is not between 1s and a year", c.NewAgent)
	}
	shortest := time.Minute
	if c.AutoClaim != "" {
		shortest = time.Millisecond // a demonstration, whose agents live fast
	}
	if c.Heartbeat != 0 && (c.Heartbeat < shortest || c.Heartbeat > 24*time.Hour) {
		return fmt.Errorf("--heartbeat %s is not between %s and 24h", c.Heartbeat, shortest)
	}
	if c.UnclaimedFor != 0 && c.UnclaimedFor < time.Minute {
		return fmt.Errorf("--unclaimed-for %s is under a minute", c.UnclaimedFor)
	}
	if c.MaxPerOwner < 0 || c.MaxPerSource < 0 || c.MaxAgents < 0 {
		return errors.New("--max-per-owner, --max-per-source and --max-agents are not negative; 0 is no bound")
	}
	return nil
}

// quotas is what scrapes read of the quotas, the network's own first.
func (s *Server) quotas() (out []telemetry.Quota) {
	ctx, cancel := context.WithTimeout(context.Background(), loopLimit) //arch:allow a scrape has no context
	defer cancel()
	var list []lifecycle.Quota
	if err := s.DB.View(ctx, func(v *store.View) (err error) { list, err = s.Lifecycle.Quotas(v); return err }); err != nil {
		s.log.WarnContext(ctx, "read the quotas", slog.Any("err", err))
		return nil
	}
	for _, q := range list {
		out = append(out, telemetry.Quota{Scope: q.On.Scope, Kind: q.On.Kind, Limit: q.Limit, Used: q.Used, Given: q.Given, Low: q.Low()})
	}
	slices.SortStableFunc(out, func(a, b telemetry.Quota) int { return rank(a) - rank(b) })
	return out
}

// rank orders the quotas of scrapes.
func rank(q telemetry.Quota) int {
	if q.Scope == lifecycle.QuotaNetwork {
		return 0
	}
	return 1
}
