#!/usr/bin/env bash
# Builds Open Policy Agent as a peer for `reef bench gate` (test/opa) into bin/opapeer and
# prints its path. It takes minutes the first time, and nothing when bin/opapeer was built
# from what is there now.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

want=$(cat test/opa/go.mod test/opa/go.sum test/opa/*.go | sha256sum)
if [ ! -x bin/opapeer ] || [ "$(cat bin/opapeer.sum 2>/dev/null)" != "$want" ]; then
  echo 'building Open Policy Agent as a peer, which takes minutes the first time' >&2
  mkdir -p bin
  go -C test/opa build -mod=mod -o ../../bin/opapeer . >&2
  echo "$want" >bin/opapeer.sum
fi
echo "$PWD/bin/opapeer"
