package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/server"
)

// network is the family of commands on the networks of a data directory.
func (a *app) network() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use: "network", Short: "Make and list the networks of a data directory",
		Long: "One process serves a default network and any number of named ones. Each has a database,\n" +
			"keys, an operators' token and an audit log of its own; nothing is shared between them.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVar(&data, "data", os.Getenv(server.EnvPrefix+"DATA"), "directory that holds the networks")
	c.AddCommand(a.networkCreate(&data), a.networkList(&data))
	return c
}

func needData(data string) error {
	if data == "" {
		return usageError{errors.New("--data is required: the directory that reef serve uses")}
	}
	return nil
}

func (a *app) networkCreate(data *string) *cobra.Command {
	var host string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a network", Args: cobra.ExactArgs(1),
		Long: "Make a network's directory and key. A process that serves the data directory opens it\n" +
			"within seconds, below /n/NAME/ and under --host if that is given. Its settings are in\n" +
			"DIR/networks/NAME/network.yaml, its operators' token is beside it once it is open.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&host, "host", "", "host name by which the network is reached")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if err := needData(*data); err != nil {
			return err
		}
		made, err := server.CreateNetwork(*data, args[0], host)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.diag, "a process that serves %s opens it below /n/%s/; its operators' token will be in %s\n",
			*data, made.Name, server.Config{Data: *data, Network: made.Name}.TokenFile())
		return a.print(networkTable([]server.NetworkInfo{made}, made))
	}
	return c
}

func (a *app) networkList(data *string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the networks", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		if err := needData(*data); err != nil {
			return err
		}
		list, err := server.ListNetworks(*data)
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
