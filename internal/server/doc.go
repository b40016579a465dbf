// Package server wires a network together: it is the only place that knows
// every package. [New] opens storage and keys, plugs the domains into the gate
// and the doors onto it; Run serves until its context ends; Close gives
// everything back. A server is a value: a process may hold several, and tests
// start whole ones on port 0.
//
// It also owns the configuration (config.go): one struct from which flags,
// environment variables, the file reef.yaml and the reference page are derived.
// Config.Check refuses combinations that would be unsafe.
//
// Layout of the data directory:
//
//	operator.token             0600, made at first start
//	reef.yaml                  settings, optional
//	keys/network.key           0600, the network's permanent key
//	networks/default/reef.db   the SQLite network
//
// Start with server.go, which reads from top to bottom.
package server
