package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/reefwarden/reefwarden/internal/gate"
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
