#!/bin/bash
# Two "machines" on one: network namespaces with host names of their own, joined by a cable (veth), and the two-machine lines of
# docs/distributed.md on them. Needs root and iproute2:    scripts/cluster/namespaces.sh  Prints what it checks; exit code 0 when all of
# it holds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/cluster/common.sh

machines=(kuea-a kuea-b)
remove() { for machine in "${machines[@]}"; do ip netns del "$machine" 2> /dev/null || true; done; }
remove
trap 'code=$?; remove; leave $code' EXIT
for machine in "${machines[@]}"; do
  ip netns add "$machine"
  ip -n "$machine" link set lo up
done
ip link add kuea-a netns kuea-a type veth peer name kuea-b netns kuea-b
ip -n kuea-a addr add 10.77.0.1/24 dev kuea-a
ip -n kuea-b addr add 10.77.0.2/24 dev kuea-b
ip -n kuea-a link set kuea-a up
ip -n kuea-b link set kuea-b up

# on MACHINE OUTPUT WORDS...: starts the program there, behind us.
on() {
  local machine=$1 output=$2
  shift 2
  ip netns exec "$machine" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$machine" "$program" "${options[@]}" "$@" > "$output" 2>&1 &
  background $!
}
# both NAME WORDS...: the two lines, which differ in --node-rank alone; their processes in a and b.
both() {
  local name=$1
  shift
  on kuea-a "$work/$name-a.log" --out "$work/$name" --nproc 2 --nnodes 2 --node-rank 0 --master-addr 10.77.0.1 "$@"
  a=$!
  on kuea-b "$work/$name-b.log" --out "$work/$name" --nproc 2 --nnodes 2 --node-rank 1 --master-addr 10.77.0.1 "$@"
  b=$!
}
# ended PROCESS: waits for it, its exit code in status.
ended() {
  status=0
  wait "$1" || status=$?
}
until_step() { until grep -q 'step 4/' "$work/$1-a.log"; do sleep 0.1; done; }

"$program" "${options[@]}" --steps 20 --out "$work/alone" > "$work/alone.log"

both two --steps 20
check "machine a ended well" wait "$a"
check "machine b ended well" wait "$b"
cat "$work/two-b.log"
tail -n 2 "$work/two-a.log"
check "four ranks on two machines came to the losses of one process" same_losses "$work/alone" "$work/two"
check "machine b has its own cache" test -d "$work/two/cache/node-1"

both stopped --steps 100000
until_step stopped
kill -INT "$b"
ended "$b"
check "Ctrl-C on machine b: it ends with 130" test "$status" = 130
ended "$a"
check "and machine a as after a signal" test "$status" = 143
check "all ranks finished the step, and it is saved" grep -q 'stopped and saved after step' "$work/stopped-a.log"

both cut --steps 100000 --watchdog 5
until_step cut
since=$SECONDS
ip -n kuea-b link set kuea-b down
ended "$a"
check "a cable that is pulled ends machine a" test "$status" = 1
ended "$b"
check "and machine b" test "$status" = 1
check "within 20 seconds" test $((SECONDS - since)) -le 20
tail -q -n 1 "$work/cut-a.log" "$work/cut-b.log"
ip -n kuea-b link set kuea-b up

on kuea-b "$work/lonely.log" --out "$work/lonely" --nproc 1 --nnodes 2 --node-rank 1 --master-addr 10.77.0.1 --join-timeout 5 --steps 20
ended $!
check "machine b alone gives up" test "$status" = 1
tail -n 1 "$work/lonely.log"
check "and says what it could not reach" grep -q 'cannot reach rank 0 at 10.77.0.1:29500' "$work/lonely.log"
