#!/bin/bash
# A Slurm of one node that lives in a temporary folder, and scripts/slurm/align.sbatch on it. Needs root and Debian's packages:
#
#   apt-get install -y slurm-wlm munge && scripts/cluster/slurm.sh
#
# Prints what it checks; exit code 0 when all of it holds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/cluster/common.sh

node=$(hostname -s)
dd if=/dev/urandom of="$work/munge.key" bs=128 count=8 status=none
chmod 400 "$work/munge.key"
cat > "$work/slurm.conf" <<CONF
ClusterName=kuea
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldPort=26817
SlurmdPort=26818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=30
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
mkdir "$work/state" "$work/spool"
export SLURM_CONF=$work/slurm.conf

# In the foreground and behind us, so that each ends with this script.
munged --foreground --force --key-file="$work/munge.key" --socket="$work/munge.socket" \
  --pid-file="$work/munged.pid" --log-file="$work/munged.log" --seed-file="$work/munged.seed" > "$work/munged.out" 2>&1 &
background $!
until [ -S "$work/munge.socket" ]; do sleep 0.1; done
slurmctld -D -i > "$work/slurmctld.log" 2>&1 &
background $!
slurmd -D -N "$node" > "$work/slurmd.log" 2>&1 &
background $!
for _ in $(seq 100); do
  sinfo -h -o %T 2> /dev/null | grep -q idle && break
  sleep 0.2
done
sinfo

export KUEA_ALIGN=$program
submit() { sbatch --parsable --output="$work/%j.log" "$@"; }

"$program" "${options[@]}" --steps 20 --out "$work/alone" > "$work/alone.log"

job=$(submit scripts/slurm/align.sbatch "${options[@]}" --steps 20 --out "$work/slurm")
finished "$job"
cat "$work/$job.log"
check "the sbatch file trained on 2 ranks" grep -q 'steps of 8 on 2 ranks' "$work/$job.log"
check "to the losses of one process" same_losses "$work/alone" "$work/slurm"

job=$(submit scripts/slurm/align.sbatch "${options[@]}" --steps 100000 --out "$work/stopped")
until grep -q 'step 4/' "$work/$job.log" 2> /dev/null; do sleep 0.2; done
# What --signal does when the time is nearly over.
scancel --signal=TERM "$job"
finished "$job"
tail -n 2 "$work/$job.log"
check "SIGTERM to the job: every rank finished the step, and it is saved" grep -q 'stopped and saved after step' "$work/$job.log"

job=$(submit scripts/slurm/align.sbatch "${options[@]}" --steps 100000 --out "$work/killed")
until grep -q 'step 4/' "$work/$job.log" 2> /dev/null; do sleep 0.2; done
kill -9 "$(rank_process 1)"
finished "$job"
tail -n 4 "$work/$job.log"
check "a rank that is killed ends the job" grep -q 'task 1: Killed' "$work/$job.log"

# In the batch script itself, and in a step of one task, nothing is distributed.
srun -n 1 "$program" "${options[@]}" --steps 20 --out "$work/one" --dry-run > "$work/one.log"
check "a step of one task trains alone" sh -c "! grep -q '^ranks' '$work/one.log'"
