#!/usr/bin/env bash
# Train with several processes on one machine, one a GPU; without a GPU they share the CPU.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]

Train with several processes on this machine, one a GPU; on a machine without a GPU they share the CPU (gloo).
train_dataloader.batch_size is that of one process: N processes make N times the batch, so raise the learning rate or
lower the batch size to match.

example: tools/dist_train.sh configs/ssd_cbam_vgg16_ctc.py 4 --amp --cfg-options data_root=data/ctc/

variables:
  PYTHON                   the Python to use (default: python)
  NNODES, NODE_RANK,       several machines: their number, this one's number from 0,
  MASTER_ADDR, MASTER_PORT   and the first one's address and a free port of it
HELP
}

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    usage
    exit 0
fi
if [ $# -lt 2 ]; then
    usage >&2
    exit 2
fi
config=$1 processes=$2
shift 2
if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
    echo "error: PROCESSES must be a whole number of at least 1. Received: $processes" >&2
    exit 2
fi
for name in NNODES NODE_RANK; do
    if ! [[ ${!name:-1} =~ ^[0-9]+$ ]] || { [ $name = NNODES ] && [ "${NNODES:-1}" -lt 1 ]; }; then
        echo "error: $name must be a whole number, NNODES at least 1 and NODE_RANK from 0. Received: ${!name}" >&2
        exit 2
    fi
done
# One thread each, unless told otherwise: processes that share cores are slower with more.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if [ "${NNODES:-1}" -gt 1 ]; then
    if [ -z "${MASTER_ADDR:-}" ]; then
        echo "error: NNODES is $NNODES: set MASTER_ADDR to the address of the first machine" >&2
        exit 2
    fi
    meeting=(--nnodes "$NNODES" --node-rank "${NODE_RANK:-0}" --master-addr "$MASTER_ADDR"
        --master-port "${MASTER_PORT:-29500}")
else
    meeting=(--standalone) # a free port of its own
fi
if [ ! -f "$config" ]; then # once, instead of once from every process
    echo "error: $config: no such config. The project's configs are under configs/." >&2
    exit 2
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${meeting[@]}" --nproc-per-node "$processes" \
    "$(dirname "${BASH_SOURCE[0]}")/train.py" "$config" --launcher pytorch "$@"
