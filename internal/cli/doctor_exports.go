package cli

import (
	"fmt"
	"os"

	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp"
)

// examineExports says what is sent out of the network and where to, and whether that can
// work. It sends nothing.
func examineExports(cfg server.Config, add func(check, result, detail, fix string)) {
	plan, err := cfg.Telemetry(os.Getenv)
	switch {
	case err != nil:
		add("telemetry", "fail", err.Error(), "see docs/observability.md")
	case !plan.On():
		add("telemetry", "ok", "nothing is sent by OTLP", "")
	default:
		add("telemetry", "ok", fmt.Sprintf("traces go to %s, metrics to %s, logs to %s",
			plan.Where(otlp.Traces, os.Getenv), plan.Where(otlp.Metrics, os.Getenv), plan.Where(otlp.Logs, os.Getenv)), "")
	}
	if n := len(cfg.OCSF); n > 0 { // cfg.Check has looked at each
		add("ocsf", "ok", fmt.Sprintf("events go to %d sinks; reef_export_behind says how many wait", n), "")
	}
	for _, w := range plan.Warnings {
		add("telemetry", "warn", w, "")
	}
}
