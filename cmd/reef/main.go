// Command reef is Reefwarden: the network, its operators' tools and its
// measurements in one binary.
package main

import (
	"os"

	"github.com/reefwarden/reefwarden/internal/bench"
	"github.com/reefwarden/reefwarden/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, bench.Command))
}
