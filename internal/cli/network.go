package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/server"
)

// network is the family of commands on the networks of a data directory.
func (a *app) network() *cobra.Command {
	c := &cobra.Command{
		Use: "network", Short: "Make and list networks; show, and confirm after a restore, how one stands",
		Long: "One process serves a default network and any number of named ones. Each has a database,\n" +
			"keys, an operators' token and an audit log of its own; nothing is shared between them.\n\n" +
			"create and list work on a data directory, the other commands on a network that is served.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.networkCreate(), a.networkList(), a.networkShow(), a.networkKills(), a.networkConfirm(), a.networkNote())
	return c
}

func (a *app) dataDir() (string, error) {
	data := orEnv(a.to.data, server.EnvPrefix+"DATA", "")
	if data == "" {
		return "", usageError{errors.New("--data is required: the directory that reef serve uses")}
	}
	return data, nil
}

func (a *app) networkCreate() *cobra.Command {
	var host string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a network", Args: cobra.ExactArgs(1),
		Long: "Make a network's directory. A process that serves the data directory opens it and makes\n" +
			"its key within seconds, below /n/NAME/ and under --host if that is given. Its settings are in\n" +
			"DIR/networks/NAME/network.yaml, its operators' token is beside it once it is open.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&host, "host", "", "host name by which the network is reached")
	c.RunE = func(_ *cobra.Command, args []string) error {
		data, err := a.dataDir()
		if err != nil {
			return err
		}
		made, err := server.CreateNetwork(data, args[0], host)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.diag, "a process that serves %s opens it below /n/%s/; its operators' token will be in %s\n",
			data, made.Name, server.Config{Data: data, Network: made.Name}.TokenFile())
		return a.print(networkTable([]server.NetworkInfo{made}, made))
	}
	return c
}

func (a *app) networkList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the networks", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		data, err := a.dataDir()
		if err != nil {
			return err
		}
		list, err := server.ListNetworks(data)
		if err != nil {
			return err
		}
		return a.print(networkTable(list, list))
	}
	return c
}

func networkTable(list []server.NetworkInfo, whole any) table {
	t := table{header: []string{"NAME", "HOST", "DIRECTORY"}, whole: whole}
	for _, n := range list {
		t.rows = append(t.rows, []string{n.Name, n.Host, n.Dir})
		t.names = append(t.names, n.Name)
		t.items = append(t.items, n)
	}
	return t
}
