#!/usr/bin/env bash
# kcat through the scenario of ../README.md. It commits what it read when it ends; a group member is a process.
set -euo pipefail
bootstrap=$1 topic=$2 group=$3
per_codec=100
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

fail() { echo "$*" >&2; exit 1; }

produce() { # codec label
  for i in $(seq 0 $((per_codec - 1))); do echo "key-$i:$2-$i"; done |
    "$KCAT" -P -b "$bootstrap" -t "$topic" -K : -z "$1" -H "codec=$2" -X enable.idempotence=true
}

member() { # name
  "$KCAT" -b "$bootstrap" -G "$group" -u -f '%s\n' -X auto.offset.reset=earliest \
    -X auto.commit.interval.ms=100 "$topic" >"$work/$1.out" 2>"$work/$1.err" &
}

until_lines() { # count files...
  local want=$1; shift
  for _ in $(seq 600); do
    [ "$(cat "$@" | wc -l)" -ge "$want" ] && return
    sleep 0.1
  done
  fail "read $(cat "$@" | wc -l) of $want: $(cat "$work"/*.err)"
}

# kcat tells of a rebalance on standard error.
until_assigned() { # name
  for _ in $(seq 600); do
    grep -q "assigned: .*$topic" "$work/$1.err" && return
    sleep 0.1
  done
  fail "$1 was assigned nothing: $(cat "$work/$1.err")"
}

leave() { for pid in "$@"; do kill -TERM "$pid"; wait "$pid" || true; done; }

exactly() { # expected-file seen-files...
  local want=$1; shift
  diff <(sort "$want") <(cat "$@" | sort) >"$work/diff" || fail "not exactly once: $(head -5 "$work/diff")"
}

codecs=(none gzip snappy lz4 zstd)
member first; first=$!
produce none none
until_lines $per_codec "$work/first.out"
member second; second=$!
until_assigned second
for codec in "${codecs[@]:1}"; do produce "$codec" "$codec"; done
until_lines $((per_codec * ${#codecs[@]})) "$work/first.out" "$work/second.out"
[ -s "$work/second.out" ] || fail "the second member read nothing: no rebalance"
leave $first $second
for codec in "${codecs[@]}"; do for i in $(seq 0 $((per_codec - 1))); do echo "$codec-$i"; done; done >"$work/want"
exactly "$work/want" "$work/first.out" "$work/second.out"

echo restart
read -r _
produce none again
member third; third=$!
until_lines $per_codec "$work/third.out"
leave $third
for i in $(seq 0 $((per_codec - 1))); do echo "again-$i"; done >"$work/want"
exactly "$work/want" "$work/third.out"
echo "ok $((per_codec * (${#codecs[@]} + 1)))"
