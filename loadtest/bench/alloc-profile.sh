#!/usr/bin/env bash
# Who holds the server's memory at its peak under a scenario:
#   loadtest/bench/alloc-profile.sh loadtest/bench/scenarios/1kib-128kib-max.toml [flags of `tidemark serve`]
# Builds the server with its allocator's profiler, runs the scenario against it, and prints the functions of Tidemark that
# allocated what was held when most was (sampled every 64 KiB). Needs perl and addr2line.
set -euo pipefail
scenario=$(realpath "${1:?a scenario}")
shift
cd "$(dirname "$0")/../.."
port=${PORT:-21492}
out=${OUT:-target/alloc-profile}
rm -rf "$out" && mkdir -p "$out"
out=$(realpath "$out")

cargo build --release -p tidemark -p tidemark-loadtest --features tidemark/alloc-profile
bin=target/release
_RJEM_MALLOC_CONF="prof:true,prof_gdump:true,lg_prof_sample:16,prof_prefix:$out/heap" \
  "$bin/tidemark" serve --node-data-dir "$out/data" --kafka-listen "127.0.0.1:$port" \
  --http-listen "127.0.0.1:$((port + 1))" --log-output-filter warn "$@" &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$out/data"' EXIT
until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 $server || exit 1; sleep 0.1; done
"$bin/tidemark-loadtest" run "$scenario" --kafka "127.0.0.1:$port" --http "127.0.0.1:$((port + 1))" --server-pid $server
kill $server && wait $server || true

# The profiler's own reader comes with the allocator's source, all but its version.
source=$(cargo metadata --format-version 1 | grep -o '[^"]*/tikv-jemalloc-sys-[^"/]*/Cargo.toml' | head -1)
sed 's/@jemalloc_version@/5/' "$(dirname "$source")/jemalloc/bin/jeprof.in" >"$out/jeprof"
# A dump is written whenever more memory is mapped than ever before; of those the one in which most is held.
peak=$(awk '/^  t[0-9]+:/ { held[FILENAME] += $3 } END { for (f in held) print held[f], f }' "$out"/heap.*.heap | sort -n | tail -1 | cut -d' ' -f2)
perl "$out/jeprof" --collapsed "$bin/tidemark" "$peak" >"$out/stacks.txt" 2>"$out/jeprof.log"
echo "MiB held at the peak, by the innermost functions of this workspace (all stacks: $out/stacks.txt, for inferno-flamegraph)"
awk '{
  held = $NF; frames = split($0, frame, ";"); named = 0; who = ""
  for (i = frames; i > 0 && named < 3; i--)
    if (frame[i] ~ /tidemark_/) { sub(/<[0-9a-f]+>.*/, "", frame[i]); who = who (named++ ? " < " : "") frame[i] }
  sum[who ? who : "elsewhere"] += held; all += held
} END {
  for (who in sum) printf "%8.1f  %s\n", sum[who] / 1048576, who
  printf "%8.1f  all\n", all / 1048576
}' "$out/stacks.txt" | sort -rn | head -25
