#!/usr/bin/env bash
# Runs a plan through a real Slurm of one node, and checks that every cell has its record and the report is there.
#
#     crates/pelt-grid/slurm-test.sh --model DIR --data DIR [--suite smoke] [other options of `pelt-grid run`]
#
# For a machine of one's own, as root: it installs Debian's slurm-wlm and munge where they are missing, starts them with a configuration in
# a temporary folder, and stops them at the end. Needs release builds of `pelt` and `pelt-grid`, or PELT_GRID naming the latter.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
grid="${PELT_GRID:-$root/target/release/pelt-grid}"
[ "$(id -u)" = 0 ] || { echo "slurm-test: must run as root, to start munged, slurmctld and slurmd" >&2; exit 1; }
[ -x "$grid" ] || { echo "slurm-test: $grid is not there; cargo build --release -p pelt-cli -p pelt-grid" >&2; exit 1; }
for program in slurmctld slurmd munged; do
    command -v "$program" >/dev/null && continue
    echo "slurm-test: installing slurm-wlm and munge"
    apt-get install -y --no-install-recommends slurm-wlm munge >/dev/null
    break
done

work="$(mktemp -d)"
stop() {
    set +e
    for name in slurmd slurmctld; do [ -f "$work/$name.pid" ] && kill "$(cat "$work/$name.pid")"; done
    [ -n "${munge_started:-}" ] && kill "$(cat /run/munge/munged.pid)"
    sleep 1
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap stop EXIT

mkdir -p /run/munge "$work/state" "$work/spool"
chown munge: /run/munge
if ! munge -n >/dev/null 2>&1; then
    runuser -u munge -- /usr/sbin/munged
    munge_started=yes
fi
host="$(hostname -s)"
memory="$(awk '/MemTotal/ {print int($2 / 1024) - 500}' /proc/meminfo)"
cat >"$work/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=2000
ReturnToService=2
MpiDefault=none
MinJobAge=3600
NodeName=$host CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$work/slurm.conf"
slurmctld
slurmd
for _ in $(seq 30); do
    sinfo -h -o %T 2>/dev/null | grep -qx idle && break
    sleep 1
done
sinfo -h -o %T | grep -qx idle || { echo "slurm-test: the node did not come up" >&2; cat "$work"/*.log >&2; exit 1; }

case " $* " in *" --suite "*) suite=() ;; *) suite=(--suite smoke) ;; esac
"$grid" run "${suite[@]}" --launcher slurm --jobs "$(nproc)" --wait --out "$work/results" "$@"
cells="$(find "$work/results/cells" -name record.json | wc -l)"
for job in $(squeue -h -o %i); do echo "slurm-test: job $job is left" >&2; exit 1; done
failed="$(find "$work/results/cells" -name failed.json | wc -l)"
if [ "$failed" != 0 ] || [ "$cells" = 0 ] || [ ! -s "$work/results/report.html" ]; then
    echo "slurm-test: $cells cells with a record, $failed failed" >&2
    tail -n 5 "$work"/results/slurm/*.txt >&2
    exit 1
fi
# The same cells run here: nothing is left to do, so that every record is what the plan asks for.
"$grid" run "${suite[@]}" --out "$work/results" "$@"
echo "slurm-test: $cells cells and the report came back from Slurm"
