#!/usr/bin/env bash
# Runs every fuzz target of every package for FUZZTIME (default 60s) and fails
# with the first that finds something. The input it found stays in the
# package's testdata/fuzz: commit it with the fix.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

targets=$(go test -list '^Fuzz' ./... | awk '
  /^Fuzz/ { names[++n] = $1 }
  /^ok/   { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }')
if [ -z "$targets" ]; then
  echo 'fuzz: no package has a fuzz target' >&2
  exit 1
fi

count=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
while read -r package name; do
  printf '\n== %s %s\n' "$package" "$name"
  # At the end of its time a busy machine's go test can report only that the time
  # is over ("context deadline exceeded"), which is no finding: a finding names
  # the input that it wrote.
  if ! go test -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-60s}" "$package" </dev/null 2>&1 | tee "$log"; then
    if grep -q 'Failing input written' "$log" || ! grep -q 'context deadline exceeded' "$log"; then
      exit 1
    fi
  fi
  count=$((count + 1))
done <<<"$targets"
printf '\nfuzz: %d targets, %s each, nothing found\n' "$count" "${FUZZTIME:-60s}"
