#!/bin/sh
# A SLURM cluster of one node, this machine, for tests: its own munge key, ports, state and logs, nothing of the system's.
#   export SLURM_CONF=$(scripts/slurm_test_cluster.sh up)      then sbatch, squeue, python -m ladder … work
#   scripts/slurm_test_cluster.sh down                         ends the cluster that SLURM_CONF names
# Needs root and the packages slurm-wlm and munge (Debian and Ubuntu: apt-get install slurm-wlm munge).
set -eu

fail() {
    echo "error: $1" >&2
    exit 2
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

up() {
    [ "$(id -u)" = 0 ] || fail "needs root: slurmd starts jobs and munged runs as user munge"
    for command in munged slurmctld slurmd sbatch; do
        command -v "$command" >/dev/null || fail "$command is not here; apt-get install slurm-wlm munge"
    done
    dir=$(mktemp -d)
    chmod 755 "$dir"
    mkdir "$dir/munge" "$dir/state" "$dir/spool"
    dd if=/dev/urandom of="$dir/munge/munge.key" bs=1024 count=1 2>/dev/null
    chmod 400 "$dir/munge/munge.key"
    chown -R munge:munge "$dir/munge"
    setpriv --reuid=munge --regid=munge --clear-groups munged --key-file="$dir/munge/munge.key" \
        --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" \
        --seed-file="$dir/munge/seed" >&2 || fail "munged did not start, see $dir/munge/log"
    host=$(hostname -s)
    cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CryptoType=crypto/munge
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=60
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(env -u OMP_NUM_THREADS nproc)
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    slurmctld -f "$dir/slurm.conf" >&2 || fail "slurmctld did not start, see $dir/slurmctld.log"
    slurmd -f "$dir/slurm.conf" >&2 || fail "slurmd did not start, see $dir/slurmd.log"
    for _ in $(seq 100); do
        if [ "$(SLURM_CONF="$dir/slurm.conf" sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then
            echo "$dir/slurm.conf"
            return
        fi
        sleep 0.2
    done
    fail "the node did not become idle, see $dir/slurmctld.log and $dir/slurmd.log"
}

down() {
    [ -f "${SLURM_CONF:-}" ] || fail "SLURM_CONF does not name a cluster that \"up\" made"
    dir=$(dirname "$SLURM_CONF")
    [ -f "$dir/munge/munge.key" ] || fail "$SLURM_CONF was not made by this script"
    scancel --user=root 2>/dev/null || true
    for _ in $(seq 100); do
        [ -z "$(squeue --noheader 2>/dev/null)" ] && break
        sleep 0.2
    done
    for file in slurmd.pid slurmctld.pid munge/pid; do
        [ ! -f "$dir/$file" ] || kill "$(cat "$dir/$file")" || true
    done
    sleep 1
    rm -rf "$dir"
}

case ${1:-} in
up) up ;;
down) down ;;
*) fail "usage: scripts/slurm_test_cluster.sh up|down" ;;
esac
