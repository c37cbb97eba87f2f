#!/usr/bin/env bash
# How much of the decoders the committed seeds of the fuzz targets reach.
#
#   test/fuzz/coverage.sh
#
# Builds with gcc --coverage in build/coverage, runs each target over its seeds
# once, and prints lines executed for each decoder and for all of them together.
# Fails below 80 %.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. script/lib.sh

dir=build/coverage
least=80
targets=(ckpt dispatch frame import options reader scheduler wire)
# Whatever takes bytes apart that come from outside.
decoders=(src/base/opt.c src/net/frame.c src/plan/plan.c src/wire/run.c
    src/wire/wire.c src/ckpt/ckpt_header.c src/ckpt/ckpt_index.c
    src/ckpt/ckpt_json.c src/ckpt/ckpt_manifest.c src/ckpt/ckpt_state.c
    src/ckpt/original_meta.c src/ckpt/original_part.c
    src/ckpt/original_cursor.c examples/ctr/reader.c
    examples/ctr/reader_csv.c examples/ctr/reader_libfm.c)
# And whatever acts on them: shown, not counted.
machines=(src/cli/role.c src/scheduler/declare.c src/scheduler/member.c
    src/scheduler/plan_owner.c src/server/shard.c src/server/shard_admin.c
    src/server/shard_run.c src/server/window.c src/wire/wire_print.c)

# "PERCENT LINES" of one source, from the object that is compiled of it.
lines_of() {
    local data
    data=$(find "$dir" -name "${1##*/}.gcda" -o -name "*_${1##*/}.gcda" |
        grep -F "/$(basename "$(dirname "$1")")_${1##*/}.gcda
ctr_parts.a.p/${1##*/}.gcda" | head -n 1)
    [ -n "$data" ] || {
        echo 0 0
        return
    }
    gcov -n "$data" 2>/dev/null | awk -v name="${1##*/}'" '
        /^File/ { mine = substr($0, length($0) - length(name)) == "/" name }
        mine && /^Lines executed/ {
            sub("Lines executed:", ""); sub("%", ""); print $1, $3; exit }'
}

programs=()
for target in "${targets[@]}"; do
    programs+=("test/replay_$target")
done
build coverage "${programs[@]}" >/dev/null
find "$dir" -name '*.gcda' -delete
for target in "${targets[@]}"; do
    "$dir/test/replay_$target" "test/fuzz/seeds/$target" >/dev/null
done
for source in "${decoders[@]}" - "${machines[@]}"; do
    if [ "$source" = - ]; then
        printf -- '-\n'
    else
        printf '%s %s\n' "$source" "$(lines_of "$source")"
    fi
done | awk -v least="$least" '
    $1 == "-" {
        all = 100 * done / (lines ? lines : 1)
        printf "%-32s %6.1f %% of %4d lines\n", "decoders", all, lines
        next
    }
    { printf "%-32s %6.1f %% of %4d lines\n", $1, $2, $3
      done += $2 / 100 * $3; lines += $3 }
    END { exit all < least }'
