#!/usr/bin/env bash
# Builds a program that tests and benches are held against, from its module in test/, into
# bin/ and prints its path: tools/peer.sh vault is the real Vault core, for tests (three
# gigabytes of memory and as much disk the first time); tools/peer.sh opa is Open Policy
# Agent, for `reef bench gate`; tools/peer.sh witness is litewitness, a witness of
# transparency logs, for tests (half a minute). It takes minutes the first time, and nothing
# when the program was built from what is there now.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=${1:-}
if [ ! -f "test/$name/go.mod" ] || [ -z "$name" ]; then
  echo 'usage: tools/peer.sh vault|opa|witness' >&2
  exit 64
fi
peer=bin/${name}peer
what=$(sed -n 's/^tool //p' "test/$name/go.mod") # a program of another module, or the module's own
want=$(find "test/$name" -maxdepth 1 \( -name 'go.*' -o -name '*.go' \) | sort | xargs cat | sha256sum)
if [ ! -x "$peer" ] || [ "$(cat "$peer.sum" 2>/dev/null)" != "$want" ]; then
  echo "building $peer, which takes minutes the first time" >&2
  mkdir -p bin
  go -C "test/$name" build -mod=mod -o "../../$peer" "${what:-.}" >&2
  echo "$want" >"$peer.sum"
fi
echo "$PWD/$peer"
