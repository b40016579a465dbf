package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// target says which network a command talks to, and as whom.
type target struct {
	url, data, tokenFile string
	keys, agent          string // of commands that act with the key of an agent of this machine
}

const defaultURL = "http://127.0.0.1:7333"

// targetFlags defines the flags that choose the network.
func (a *app) targetFlags(c *cobra.Command) {
	fs := c.PersistentFlags()
	fs.StringVar(&a.to.url, "url", "", "URL of the network (REEF_URL; "+defaultURL+")")
	fs.StringVar(&a.to.data, "data", "", "data directory in which operator.token is (REEF_DATA)")
	fs.StringVar(&a.to.tokenFile, "token-file", "", "file with the operators' token (REEF_TOKEN_FILE; DATA/operator.token)")
}

func orEnv(value, name, fallback string) string {
	if value != "" {
		return value
	}
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// client opens the operators' client.
func (a *app) client() (*client.Client, error) {
	path := orEnv(a.to.tokenFile, "REEF_TOKEN_FILE", "")
	if path == "" {
		data := orEnv(a.to.data, "REEF_DATA", "")
		if data == "" {
			return a.session()
		}
		path = filepath.Join(data, "operator.token")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, configError{fmt.Errorf("operators' token: %w; is that the data directory of the network?", err)}
	}
	return client.New(a.url(), strings.TrimSpace(string(raw)))
}
