// Package bench measures Reefwarden beside what it is compared with: `reef
// bench post`, `feed`, `votes`, `home`, `search`, `messages`, `backup`, `token`, `kill`,
// `gate`, `spawn`, `audit` and `start`. It hides how a measurement is kept fair.
//
// A scenario has sides: the governed server and its baselines. Every side is a
// process of its own on loopback, started for one repetition on its own copy of
// the same database, and stopped after it; where the data is large a side keeps
// its copy for all repetitions. The sides take turns, so that what else the
// machine does meets all of them. The load comes from this process, 64 connections
// that send prepared bytes and look at little of the answer. What a network holds
// came about by acts; beyond the first thousands posts and messages are rows of the
// same form, without event and leaf, so that a million are there in minutes.
//
// What the figures mean:
//   - value, min and max: median and range over the repetitions, unless metric
//     is a growth exponent;
//   - p50 and p99: latency in milliseconds as the load saw it, the median over
//     the repetitions of each one's percentile; n counts operations;
//   - ratio: governed to baseline, of the same repetition, 1 is as good;
//     baseline names the side, or is empty;
//   - scale multiplies the data of the scenario, data says what that was;
//   - growth: the exponent e of cost ~ rows^e over the scales, with the rows
//     that were really there, not the nominal ones.
//
// `reef bench why` and `blast` ask the influence graph here, in turns with recursive queries over
// the same showings; `exposure` measures what that record costs. `reef bench world` makes networks of any size, and `reef bench mix` measures daily life
// on one that was kept: reef serve in a process of its own, and here the agents of that
// world, who come at a rate and as herds. It has no baseline.
//
// `reef bench token` has no sides: it is done in this process, in turns with the
// signatures that nothing can do without; ratio_bare says how much of their rate is left.
// So are `kill`, `gate` and `spawn`; the engines that gate compares must decide alike.
//
// After each repetition the rows in the database are counted: a side that answered more
// than it stored fails the run. It stops by itself and removes what it made.
//
// Tables: none; the raw baselines write the rows of the acts they stand for.
// Entry point: [Command]. Read post.go, then contest.go, run.go and child.go; of the
// mix mix.go, crowd.go, arrive.go and herd.go; of decisions gate.go and law.go.
package bench
