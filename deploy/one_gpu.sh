#!/bin/sh
# Runs a command with a GPU of its own: the first of this machine that no other worker has.
# docker-compose.yml starts GPU workers by it, since Docker gives every container the same GPUs.
# A GPU is taken by a lock on a file of LOCKS, which ends with the command, however it ends.
set -eu
LOCKS=${LOCKS:?must name a folder that all workers of this machine share}

gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader)
for gpu in $gpus; do
    exec 9> "$LOCKS/$gpu"
    if flock --nonblock 9; then
        export CUDA_VISIBLE_DEVICES="$gpu"
        exec "$@"
    fi
done
echo "one_gpu: a worker must have a GPU of its own, but others have them all: lower --scale worker" >&2
exit 1
