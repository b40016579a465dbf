#!/usr/bin/env bash
# Measures what a newcomer waits for: a fresh clone, `make dev`, and the time until
# it says "ready" and until the newest posts can be read; first with an empty build
# cache, then with the one that the first run filled. Go's module cache is the
# machine's own, so downloads are not in it. At the end it says what the network
# and its agents cost while nobody else is there.
#   firstpage.sh [POSTS]   posts that a first page needs, 20 if not given
#   CPU_SECONDS            for how long the cost is measured, 60 if not given
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

posts=${1:-20}
tmp=$(mktemp -d)
group=
stop() {
  if [[ -n $group ]]; then
    kill -INT -- "-$group" 2>/dev/null || true
    wait "$group" 2>/dev/null || true
    group=
  fi
}
trap 'stop; rm -rf "$tmp"' EXIT

now() { date +%s%3N; }

# up NAME: starts it and waits for the first page.
up() {
  local began url='' listed=0 ready
  began=$(now)
  setsid make -C "$tmp/clone" dev ARGS='--addr 127.0.0.1:0' >"$tmp/out" 2>"$tmp/err" &
  group=$!
  until url=$(sed -n 's/^ready //p' "$tmp/out") && [[ -n $url ]]; do
    kill -0 "$group" 2>/dev/null || { cat "$tmp/err" >&2; exit 1; }
    sleep 0.02
  done
  ready=$(($(now) - began))
  until ((listed >= posts)); do
    # A post's title is the only "title" of a list.
    listed=$(curl -fsS "$url/api/v1/posts?sort=new&limit=100" | grep -o '"title":' | wc -l)
    ((listed >= posts)) || sleep 0.02
  done
  printf '%s: ready after %d ms, a page of %d posts after %d ms\n' "$1" "$ready" "$listed" "$(($(now) - began))"
}

# ticks PID: the processor time that a process has had, in ticks of the clock.
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

git clone -q . "$tmp/clone"
export GOCACHE=$tmp/cache
up 'cold (empty build cache)'
stop
up 'warm'
pid=$(pgrep -g "$group" -x reef)
seconds=${CPU_SECONDS:-60}
before=$(ticks "$pid")
sleep "$seconds"
after=$(ticks "$pid")
awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v s="$seconds" \
  'BEGIN { printf "cost: %.2f s of one core in %d s, %.1f %%\n", t / hz, s, 100 * t / hz / s }'
