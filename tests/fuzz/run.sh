#!/usr/bin/env bash
# run.sh BUILD SECONDS - lets every fuzz target search for SECONDS, as many at once as there are
# cores.  Corpora are copied: what a run finds is no part of the tree until somebody wants it.
# An input that crashes, leaks or takes too long fails the run and stays in BUILD/crashes.
set -euo pipefail
build=$1 seconds=$2
here=$(cd "$(dirname "$0")" && pwd)

one() { # TARGET: prints one line
    local name=${1#fuzz_} work
    work=$(mktemp -d)
    mkdir "$work/corpus"
    cp -r "$here/corpus/$name/." "$work/corpus/" 2>/dev/null || true
    local dict=()
    [ -f "$here/$name.dict" ] && dict=("-dict=$here/$name.dict")
    if "$build/fuzz/run/$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$build/crashes/$name-" "${dict[@]}" \
        "$work/corpus" >"$work/log" 2>&1; then
        echo "ok   $1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log") inputs," \
            "$(find "$work/corpus" -type f | wc -l) in the corpus"
        rm -rf "$work"
    else
        tail -n 60 "$work/log"
        echo "FAIL $1: see $build/crashes"
        rm -rf "$work"
        return 1
    fi
}
export -f one
export build seconds here

mkdir -p "$build/crashes"
shopt -s nullglob
targets=("$here"/fuzz_*.c)
[ ${#targets[@]} -gt 0 ] || { echo "no fuzz target in $here" >&2; exit 1; }
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'one "$(basename "$1" .c)"' _ {}
