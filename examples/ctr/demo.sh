#!/bin/sh
# The demo: a cluster of ps-plus learns which flights will be late.
#
# usage: demo.sh BUILD_DIRECTORY
#
# Gets the flights that left New York City in 2013 (or makes a click log where
# no package index can be reached), starts one scheduler, two servers and two
# workers on this machine, trains, shows how good the model is on data it has
# not seen, and stops everything. Takes well under three minutes on two cores.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo "usage: demo.sh BUILD_DIRECTORY" >&2
    exit 2
fi
build=$(cd "$1" && pwd)
data=$build/demo-data
mkdir -p "$data"

# Programs are wherever the build put them.
find_program() {
    found=$(find "$build" -type f -name "$1" -perm -u+x | head -n 1)
    if [ -z "$found" ]; then
        echo "demo.sh: no program $1 under $build: build it first" >&2
        exit 1
    fi
    echo "$found"
}
ps_plus=$(find_program ps-plus)
ctr=$(find_program ctr)
ctr_gen=$(find_program ctr-gen)

echo
echo "== 1. Data =="
echo
if python3 "$here/flights.py" "$data"; then
    echo "Will a flight arrive 15 minutes late or more? All that is known"
    echo "is the schedule (carrier, aircraft, route, weekday, hour) and crosses"
    echo "of it. There is no weather in it, so the AUC cannot go far above 0.6."
    formula='late~carrier+tailnum+flight+origin+dest+weekday+hour'
    formula="$formula+carrier:dest+origin:hour+dest:hour+carrier:origin"
    formula="$formula+flight:weekday+weekday:hour"
    set -- --train "$data/flights-train.csv" \
        --test "$data/flights-test.csv" --csv "$formula" \
        --lr 0.003 --epochs 8
else
    echo "No flights here (see above), so a click log is generated."
    "$ctr_gen" --rows 250000 --test-rows 50000 --ids-per-field 300 \
        --exponent 1.0 --out-train "$data/generated-train.libfm" \
        --out-test "$data/generated-test.libfm"
    set -- --train "$data/generated-train.libfm" \
        --test "$data/generated-test.libfm" --lr 0.03 --epochs 8
fi

echo
echo "== 2. Training: 1 scheduler, 2 servers, 2 workers =="
echo
echo "A factorization machine. The workers keep no parameters: they pull the"
echo "rows of each batch and push the gradients. Held-out means not trained on."
echo

# Worker 0 ends last, because it waits for all others before its last look at
# the held-out rows. So it shows the state of the cluster, which is still up.
# shellcheck disable=SC2016 # the worker's shell expands these
"$ps_plus" local --servers 2 --shards 1 --workers 2 -- sh -c '
    ps_plus=$1
    shift
    "$@" || exit 1
    if [ "$PS_WORKER_ID" = 0 ]; then
        echo
        echo "== 3. The cluster afterwards: ps-plus status =="
        echo
        "$ps_plus" status -sp "$PS_SCHEDULER_KV_PATH"
    fi
' worker "$ps_plus" "$ctr" --name demo --model fm --k 10 "$@"

echo
echo "== 4. Done: the cluster has stopped =="
