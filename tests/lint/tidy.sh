#!/usr/bin/env bash
# tidy.sh COMPILER-FLAGS FILE... - clang-tidy over the files, as many at once as there are cores.
# .clang-tidy in the root says which checks.
set -euo pipefail
export flags=$1
shift
one() {
    local out
    # shellcheck disable=SC2086 -- flags are many words
    if out=$(clang-tidy --quiet --warnings-as-errors='*' "$1" -- -DQG_VERSION='""' $flags 2>&1); then return 0; fi
    grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter' <<<"$out"
    return 1
}
export -f one
printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -I{} bash -c 'one "$1"' _ {}
