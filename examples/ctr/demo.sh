#!/bin/sh
# The demo: a cluster of ps-plus learns which flights will be late.
#
# usage: demo.sh BUILD_DIRECTORY
#
# Gets the flights that left New York City in 2013 (or makes a click log where
# no package index can be reached), starts one scheduler, two servers and two
# workers on this machine, trains, kills a server in the middle of it, saves
# the model, has three servers take it up, and shows each time how good it is
# on data that it has not seen. Stops everything at the end. Takes well under
# three minutes on two cores.
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

work=$(mktemp -d "${TMPDIR:-/tmp}/ps-plus-demo-XXXXXX")
store=file://$work/store
place=$work/checkpoints
running=

# Whatever is still there when the demo ends, in order or not.
end_all() {
    for pid in $running; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    running=
}
trap 'end_all; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# start NAME COMMAND...: in the background; what it says goes to a log.
start() {
    name=$1
    shift
    : >>"$work/$name.log"
    "$@" </dev/null >>"$work/$name.log" 2>&1 &
    started=$!
    running="$running $started"
}

# fail TEXT: with the ends of the logs.
fail() {
    echo "demo.sh: $1" >&2
    tail -n 12 "$work"/*.log >&2
    exit 1
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    left=$(($1 * 10))
    what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -ge 0 ] || fail "not in time: $what"
        sleep 0.1
    done
}

start_server() {
    echo "\$ ps-plus -r server -sp STORE -si $1 --shards 1 &"
    start "server-$1" "$ps_plus" -r server -sp "$store" -si "$1" --shards 1
    last_server=$started
}

are_serving() {
    "$ps_plus" status -sp "$store" --wait 1 >"$work/status" 2>&1 &&
        [ "$(grep -c 'serving$' "$work/status")" = "$1" ]
}

# start_cluster SERVERS
start_cluster() {
    echo "\$ ps-plus -r scheduler -sp STORE -sn $1 -cp CHECKPOINTS &"
    start scheduler "$ps_plus" -r scheduler -sp "$store" -sn "$1" -cp "$place"
    i=0
    while [ "$i" -lt "$1" ]; do
        start_server "$i"
        i=$((i + 1))
    done
    wait_for 60 "the cluster serves" are_serving "$1"
}

# run_ctr WORKER OF OPTION...: a worker of the model "demo".
run_ctr() {
    worker=$1
    workers=$2
    shift 2
    PS_SCHEDULER_KV_PATH=$store PS_WORKER_ID=$worker PS_WORKER_NUM=$workers \
        exec "$ctr" --name demo --model fm --k 10 "$@"
}

has_line() {
    grep -q "$2" "$work/$1.log"
}

# From a log, without times and names of threads.
show_log() {
    grep -e "$2" "$work/$1.log" | sed 's/^[0-9TZ:.-]* [A-Z] /    /' || true
}

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
    test=$data/flights-test.csv
    set -- --train "$data/flights-train.csv" --test "$test" \
        --csv "$formula" --lr 0.003 --epochs 8
else
    echo "No flights here (see above), so a click log is generated."
    test=$data/generated-test.libfm
    "$ctr_gen" --rows 250000 --test-rows 50000 --ids-per-field 300 \
        --exponent 1.0 --out-train "$data/generated-train.libfm" \
        --out-test "$test"
    set -- --train "$data/generated-train.libfm" --test "$test" \
        --lr 0.03 --epochs 8
fi

echo
echo "== 2. A cluster: 1 scheduler, 2 servers =="
echo
start_cluster 2

echo
echo "== 3. Training with 2 workers; a server is killed in the middle =="
echo
echo "A factorization machine. The workers keep no parameters: they pull the"
echo "rows of each batch and push the gradients. Held-out means not trained on."
echo "While they train, a checkpoint is saved after every 250 steps."
echo
start worker-1 run_ctr 1 2 "$@"
worker_1=$started
start worker-0 run_ctr 0 2 --save-every 250 "$@"
worker_0=$started
# What worker 0 says goes on below while the rest happens.
tail -n +1 -f "$work/worker-0.log" &
shown=$!
running="$running $shown"
wait_for 120 "the first epoch" has_line worker-0 '^epoch  1/'
kill -KILL "$last_server"
echo "\$ kill -KILL $last_server        (server 1: half of the rows are gone)"
start_server 1
wait "$worker_0" || fail "worker 0 has failed"
wait "$worker_1" || fail "worker 1 has failed"
sleep 0.2
kill "$shown" 2>/dev/null || true
wait "$shown" 2>/dev/null || true
show_log worker-1 '^worker 1:'
echo
echo "What happened, in the words of the scheduler and of the new server 1:"
show_log scheduler 'is silent'
show_log server-1 'held by another process'
show_log server-1 'loaded ckpt'

echo
echo "== 4. The cluster afterwards, and a checkpoint of it =="
echo
echo "\$ ps-plus status -sp STORE"
"$ps_plus" status -sp "$store"
echo
echo "\$ ps-plus save -sp STORE trained"
"$ps_plus" save -sp "$store" trained 2>/dev/null || fail "the save has failed"

echo
echo "== 5. All of it ends, store and all; three servers take it up =="
echo
end_all
rm -rf "$work/store"
echo "\$ ps-plus checkpoints CHECKPOINTS"
"$ps_plus" checkpoints "$place"
echo
start_cluster 3
show_log scheduler 'begins with checkpoint'
echo
echo "\$ ctr --eval-only --test ...     (the AUC of before, from three servers)"
(run_ctr 0 1 "$@" --eval-only)
echo
"$ps_plus" status -sp "$store" | sed -n '/^server/,/^$/p'

echo "== 6. Done: the cluster has stopped =="
