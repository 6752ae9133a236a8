#!/usr/bin/env bash
# mask-pool.sh [-H 'NAME: VALUE']... URL MODEL OUTPUT ROWS LOW HIGH >pool.jsonl
#
# Asks the model server at URL for ROWS answers to random inputs: the pool of the filter `mask` with
# `method: rank_swap`.  Each input has the type and shape that the model's metadata say and numbers
# uniform in [LOW, HIGH]; of each answer the row of OUTPUT is printed, one JSON array a line.  -H
# adds a header, as curl's.  URL is the server's own, http://HOST:PORT: a gate in front of it would
# hand out what it has masked.  Needs curl and jq.
set -euo pipefail
export LC_ALL=C

fail() {
    echo "mask-pool: $*" >&2
    exit 1
}

usage() {
    sed -n 's/^# \(mask-pool.sh .*\)/usage: \1/p' "$0" >&2
    exit 2
}

headers=()
while getopts H: option; do
    case $option in
    H) headers+=(-H "$OPTARG") ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# = 6 ] || usage
url=${1%/}/v2/models/$2 output=$3 rows=$4 low=$5 high=$6
number='^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$'
[[ $rows =~ ^[1-9][0-9]{0,6}$ ]] || fail "ROWS: expected 1 to 9999999, not '$rows'"
for n in "$low" "$high"; do [[ $n =~ $number ]] || fail "expected a number, not '$n'"; done
awk "BEGIN { exit !($low < $high) }" </dev/null || fail "LOW has to be less than HIGH"
for tool in curl jq awk od; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

ask() {
    curl --fail-with-body -sS --max-time 60 "${headers[@]}" "$@" ||
        fail "$url does not answer as it should"
}

# The names, types and shapes of the inputs, one a line; the batch's dimension first, where there is
# one (-1), as 0 or 1.
ask "$url" >"$folder/metadata"
jq -r '.inputs[] | .shape as $s | [(if $s[0] == -1 then 1 else 0 end), .datatype,
    ((if $s[0] == -1 then $s[1:] else $s end) | map(tostring) | join(",")), .name] | @tsv' \
    <"$folder/metadata" >"$folder/inputs" 2>/dev/null || fail "the model's metadata name no inputs"
[ -s "$folder/inputs" ] || fail "the model has no inputs"
batched=1
while IFS=$'\t' read -r batch type shape name; do
    case $type in
    FP16 | FP32 | FP64 | INT8 | INT16 | INT32 | INT64 | UINT8 | UINT16 | UINT32 | UINT64) ;;
    *) fail "input '$name': no random numbers for datatype $type" ;;
    esac
    [[ $shape != *-* ]] || fail "input '$name': its shape [$shape] leaves a size open"
    [ "$batch" = 1 ] || batched=0
done < <(sed 's/\t\t/\t \t/' "$folder/inputs")

# $1 numbers of type $2, with commas between them.
numbers() {
    od -An -v -tu4 -w4 -N $((4 * $1)) /dev/urandom | awk -v low="$low" -v high="$high" -v type="$2" '
        { u = ($1 + 0.5) / 4294967296; v = low + u * (high - low) }
        type !~ /^FP/ { v = low + u * (high - low + 1); v = v < int(v) ? int(v) - 1 : int(v) }
        { printf("%s" (type ~ /^FP/ ? "%.9g" : "%d"), (NR > 1 ? "," : ""), v) }'
}

# The request for $1 rows.
request() {
    local batch type shape name count size first=1
    printf '{"inputs":['
    while IFS=$'\t' read -r batch type shape name; do
        shape=${shape// /} count=1
        for size in ${shape//,/ }; do count=$((count * size)); done
        [ "$batch" = 0 ] || { count=$((count * $1)) && shape=$1${shape:+,$shape}; }
        [ "$first" = 1 ] || printf ','
        first=0
        printf '{"name":%s,"datatype":"%s","shape":[%s],"data":[' "$(jq -n --arg n "$name" '$n')" \
            "$type" "$shape"
        numbers "$count" "$type"
        printf ']}'
    done < <(sed 's/\t\t/\t \t/' "$folder/inputs")
    printf '],"outputs":[{"name":%s}]}' "$(jq -n --arg n "$output" '$n')"
}

for ((done = 0; done < rows; done += step)); do
    step=$((batched == 0 ? 1 : rows - done < 64 ? rows - done : 64))
    request "$step" >"$folder/request"
    ask -H 'Content-Type: application/json' --data-binary "@$folder/request" "$url/infer" \
        >"$folder/answer"
    jq -ce --arg name "$output" --argjson rows "$step" \
        '[.outputs[] | select(.name == $name)][0].data | flatten
        | if length % $rows != 0 or length == 0 then error("rows") else . end
        | (length / $rows) as $n | range($rows) as $i | .[$i * $n:($i + 1) * $n]' \
        <"$folder/answer" 2>/dev/null || fail "the answer has no output '$output' of $step rows"
done
