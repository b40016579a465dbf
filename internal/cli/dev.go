package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/server"
)

func (a *app) dev() *cobra.Command {
	var addr string
	c := &cobra.Command{Use: "dev", Short: "Start a throw-away network", Args: cobra.NoArgs}
	c.Flags().StringVar(&addr, "addr", "127.0.0.1:7333", "address to listen on")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := os.MkdirTemp("", "reef-dev-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
		cfg, err := server.Load(map[string]any{"data": dir, "addr": addr, "registration": "open", "limits": "open", "anonymous-api": true})
		if err != nil {
			return err
		}
		cfg.AutoClaim = "dev"
		return a.run(cmd.Context(), cfg, nil)
	}
	return c
}
