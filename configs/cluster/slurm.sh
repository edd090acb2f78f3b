#!/usr/bin/env bash
# One run on several machines under Slurm: sbatch configs/cluster/slurm.sh [options of launch.cluster]
#SBATCH --job-name=async_rl
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
# Two minutes before the end the run saves itself; submitted again it goes on (--resume auto).
# Needs a folder that all machines see, with async_rl installed in .venv: pip install '.[cluster]'.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?run me with sbatch}"
. .venv/bin/activate

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(getent ahostsv4 "$head" | awk '{print $1; exit}')
port=$((20000 + SLURM_JOB_ID % 10000))
# Whoever reaches the ports of a Ray cluster can run code there, so this one has a token that only this job knows.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_USAGE_STATS_ENABLED=0
export RAY_worker_niceness=0 # else all other programs are served first
export RAY_health_check_failure_threshold=20 # a network that is cut for half a minute costs no machine
workers=$((SLURM_CPUS_PER_TASK - 1)) # one core for the exchange

start() { # machines, options of ray start
    srun --overlap --nodes="$1" --ntasks="$1" "${@:2}" &
}
wait_for_machines() { # how many; to import Ray from a cold disk can take minutes
    for _ in {1..100}; do
        joined=$(ray status --address="$address:$port" 2>/dev/null | grep -c ' node_') || true
        if ((joined >= $1)); then return; fi
        sleep 3
    done
    echo "error: $joined of $1 machines have joined the cluster within five minutes" >&2
    exit 1
}
start 1 --nodelist="$head" ray start --head --node-ip-address="$address" --port="$port" \
    --num-cpus="$workers" --include-dashboard=false --block
wait_for_machines 1
if ((SLURM_JOB_NUM_NODES > 1)); then
    start $((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" ray start --address="$address:$port" \
        --num-cpus="$workers" --block
    wait_for_machines "$SLURM_JOB_NUM_NODES"
fi

python -m launch.cluster --address "$address:$port" --islands "$SLURM_JOB_NUM_NODES" --workers "$workers" \
    --resume auto "$@" &
run=$!
trap 'kill -TERM "$run"' TERM
wait "$run" || wait "$run" # the first is cut short by the signal
