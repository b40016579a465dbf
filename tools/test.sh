#!/usr/bin/env bash
# Sets the machine up, checks the sources, runs every test and makes sure that
# the PostgreSQL, third-party client and browser tests were among them.
#   TEST_TIMEOUT  how long one package's tests may take (default 20m)
#   REEF_SOAK=1   full counts instead of small ones
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; }

tools/setup.sh

step 'go vet'
go vet ./...

step 'staticcheck'
go tool -modfile=tools/go.mod staticcheck ./...

step 'go test (tools)'
go -C tools test ./...

step 'a witness'
REEF_WITNESS_PEER=$(tools/peer.sh witness)
export REEF_WITNESS_PEER

step 'go test'
# A test that lacks something it needs fails instead of skipping.
export REEF_REQUIRE_ALL=1
go -C tools build -o ../bin/testreport ./testreport
go test -json -vet=off -count=1 -timeout "${TEST_TIMEOUT:-20m}" ./... |
  bin/testreport -ran '/postgres(/|$)' -ran 'ThirdParty' -ran '^TestBrowser'
