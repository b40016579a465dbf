#!/usr/bin/env bash
# Builds the real Vault core for tests (test/vault) into bin/vaultpeer and prints its
# path. It takes minutes, three gigabytes of memory and as much disk the first time,
# and nothing when bin/vaultpeer was built from what is there now.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

want=$(cat test/vault/go.mod test/vault/go.sum test/vault/*.go | sha256sum)
if [ ! -x bin/vaultpeer ] || [ "$(cat bin/vaultpeer.sum 2>/dev/null)" != "$want" ]; then
  echo 'building the Vault core for tests, which takes minutes the first time' >&2
  mkdir -p bin
  go -C test/vault build -mod=mod -o ../../bin/vaultpeer . >&2
  echo "$want" >bin/vaultpeer.sum
fi
echo "$PWD/bin/vaultpeer"
