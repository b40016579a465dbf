#!/usr/bin/env bash
# Makes sure that what the tests need is on this machine. Quiet and quick when
# it is. Installs Debian packages when it runs as root with apt-get; otherwise
# it says what to install and fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# PostgreSQL's server programs are not in PATH on Debian.
have_postgres() {
  have postgres && have initdb && return
  local bin
  for bin in /usr/lib/postgresql/*/bin; do
    [ -x "$bin/postgres" ] && [ -x "$bin/initdb" ] && return
  done
  return 1
}

# The system's own Python has Debian's modules; another may come before it in PATH.
have_readers() {
  local python
  for python in python3 /usr/bin/python3; do
    "$python" -c 'import networkx, prov.model' >/dev/null 2>&1 && return
  done
  return 1
}

# Sets missing to the Debian packages whose programs are not here.
look() {
  missing=()
  have_postgres || missing+=(postgresql)
  have_readers || missing+=(python3 python3-networkx python3-prov)
  local tool
  for tool in jq curl strace chromium; do
    have "$tool" || missing+=("$tool")
  done
}

look
if [ "${#missing[@]}" -gt 0 ] && [ "$(id -u)" -eq 0 ] && have apt-get; then
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    say "apt-get could not install them; its last lines are above"
    exit 1
  fi
  look
fi
if [ "${#missing[@]}" -gt 0 ]; then
  say "the tests need these Debian packages: ${missing[*]}"
  say "install them with: sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
  say "(elsewhere: the PostgreSQL 15 or newer server programs, jq, curl, strace, Chromium as chromium, and Python 3 with networkx and prov)"
  exit 1
fi

node_major=0
if have node && have npm; then
  node_major=$(node -p 'process.versions.node.split(".")[0]')
fi
if [ "$node_major" -lt 20 ]; then
  say "the third-party client and browser tests need Node.js 20.19 or newer with npm; install it and run this again"
  exit 1
fi

# The copy of the lock file in node_modules tells what was installed from.
install() {
  cmp -s "$1/package-lock.json" "$1/node_modules/.installed-lock" && return
  say "installing $2 (npm ci in $1)"
  (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2 </dev/null
  cp "$1/package-lock.json" "$1/node_modules/.installed-lock"
}
install test/thirdparty 'the third-party clients'
install test/browser 'what drives and judges the browser'
