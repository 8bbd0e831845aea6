#!/usr/bin/env bash
# Everything that needs a GPU, in calls of under ten minutes; call it again to go on where it was.
#
#     bash benchmarks/h100.sh [OUT]      # needs torch >= 2.11, numpy, safetensors, tqdm
#
# Writes benchmarks/*.json, src/dstcl/study/speeds.csv and what was printed into OUT (default: gpu-results).
# With data/ and results/paper/plan.json at hand (docs/engine.md: how to make them on any machine), it
# then trains the paper's 10-task figure on CIFAR-100, seed 0, published protocol first, until
# DSTCL_SECONDS (default 540) are over, into OUT/paper. Unfinished runs leave checkpoints there, from
# which the next call goes on.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-gpu-results}")
ends=$(($(date +%s) + ${DSTCL_SECONDS:-540}))
mkdir -p "$out"
export PYTHONPATH=$PWD/src PYTHONUNBUFFERED=1

left() { echo $((ends - $(date +%s))); }

# A step that has finished is not made again; one that fails is told and does not stop the others.
step() {
    local name=$1
    shift
    [ -e "$out/$name.done" ] && return
    if [ "$(left)" -lt 60 ]; then echo "$name: no time left"; return; fi
    echo "== $name: $*"
    if timeout "$(left)" "$@" 2>&1 | tee "$out/$name.txt"; then touch "$out/$name.done"; fi
    cp benchmarks/*-cuda.json src/dstcl/study/speeds.csv "$out" 2>/dev/null
}

nvidia-smi | tee "$out/nvidia-smi.txt"
step step_graph python benchmarks/step_graph.py
step engine python benchmarks/engine.py --network resnet18 --device cuda --images 10000 --rounds 2 \
    --at-once 1 2 4 8 --no-plain-loop
step ensemble python benchmarks/ensemble.py --device cuda --network resnet18 --networks 1 2 4 8
step speed python benchmarks/speed.py --device cuda --images 20000 --networks resnet18 resnet18-slim
step dst_step python benchmarks/dst_step.py --device cuda --rounds 9
step scaling python benchmarks/scaling.py --device cuda --network resnet18 --images 3000 --rounds 2
step memory python benchmarks/memory.py --device cuda --tasks 1 20 --widths
if [ -e results/paper/plan.json ] && [ -d data/prepared ]; then
    mkdir -p "$out/paper"
    cp results/paper/plan.json "$out/paper"
    # The three densities of the figure, not preset paper's fourth.
    for cells in {published,corrected}/resnet18/dst/{density0.[12],density0.05}; do
        seconds=$(left)
        [ "$seconds" -lt 30 ] && break
        timeout --signal TERM $((seconds - 20)) python -c 'from dstcl.cli import main; main()' \
            train-study "$out/paper" --at-once "${DSTCL_AT_ONCE:-8}" --threads 1 \
            --logs "$out/logs" --only "cifar100-10tasks/$cells/*/seed0-*" 2>&1 | tee -a "$out/paper.txt"
    done
fi
echo "left: $(left) s"
