#!/usr/bin/env bash
# Builds a program that tests and benches are held against, from its module in test/, into
# bin/ and prints its path: tools/peer.sh vault is the real Vault core, for tests (three
# gigabytes of memory and as much disk the first time); tools/peer.sh opa is Open Policy
# Agent, for `reef bench gate`. It takes minutes the first time, and nothing when the
# program was built from what is there now.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=${1:-}
if [ ! -f "test/$name/go.mod" ] || [ -z "$name" ]; then
  echo 'usage: tools/peer.sh vault|opa' >&2
  exit 64
fi
peer=bin/${name}peer
want=$(cat "test/$name"/go.mod "test/$name"/go.sum "test/$name"/*.go | sha256sum)
if [ ! -x "$peer" ] || [ "$(cat "$peer.sum" 2>/dev/null)" != "$want" ]; then
  echo "building $peer, which takes minutes the first time" >&2
  mkdir -p bin
  go -C "test/$name" build -mod=mod -o "../../$peer" . >&2
  echo "$want" >"$peer.sum"
fi
echo "$PWD/$peer"
