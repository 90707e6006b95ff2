#!/usr/bin/env bash
# What there is to measure on a machine with a GPU, in at most ten minutes:
#
#     benchmarks/gpu.sh OUT cifar10.npz [SECONDS]
#
# 1. a step of decoupling and of multiview, compiled and in bfloat16: time beside the bare backbone,
#    images a second, and the share of the card's rate. That is the operations which torch counts in
#    a step, by the step's time, against the rate of a matrix product measured in the same run;
# 2. where the time of a training goes, loader and augmentation among it (pretrain --profile);
# 3. methods at equal cost (equal_cost.py): a short table, then one of as many views as the time that
#    is left allows.
#
# It ends by itself after SECONDS (540). OUT has a .txt and a .json of each part as soon as it is
# done, and summary.txt; a part that fails or runs out of time does not stop the others. Called again
# with the same OUT it repeats 1 and 2 if they failed, and continues 3.
set -uo pipefail

out=${1:?usage: benchmarks/gpu.sh OUT cifar10.npz [SECONDS]}
data=${2:?usage: benchmarks/gpu.sh OUT cifar10.npz [SECONDS]}
budget_s=${3:-540}

PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-cuda}
PRECISION=${PRECISION:-bf16-mixed}
COMPILE=${COMPILE---compile} # empty: do not compile
BACKBONE=${BACKBONE:-resnet18}
SIDE=${SIDE:-32}
BATCH=${BATCH:-512}
INSTANCES=${INSTANCES:-50000}
ROUNDS=${ROUNDS:-9}
WORKERS=${WORKERS:-8}
LIMIT=${LIMIT:-50000}                # images of the trainings
VIEWS=${VIEWS:-200000}               # of each row of the short table
SPARE_PERCENT=${SPARE_PERCENT:-20}   # of the time for the long table, in case it takes longer
ROWS=${ROWS:-untrained;decoupling;RotNet;SimCLR;multiview}

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
IFS=';' read -ra rows <<<"$ROWS"
shared=(--device "$DEVICE" --precision "$PRECISION")

note() { echo "$(date -u +%H:%M:%S) $*" | tee -a "$out/summary.txt"; }

left() { echo $((budget_s - SECONDS)); }

# part NAME COMMAND...: runs it in what is left of the time; its output is NAME.txt, and its last
# line, if it is JSON, NAME.json.
part() {
    local name=$1 began=$SECONDS status
    shift
    if [[ -e $out/$name.done ]]; then
        note "$name: done before"
        return 0
    fi
    if (($(left) < 5)); then
        note "$name: not run, no time is left"
        return 1
    fi
    timeout --kill-after=10 "$(left)" "$@" >"$out/$name.txt" 2>"$out/$name.log"
    status=$?
    if ((status == 0)); then
        touch "$out/$name.done"
        if [[ $(tail -n 1 "$out/$name.txt") == "{"* ]]; then
            tail -n 1 "$out/$name.txt" >"$out/$name.json"
        fi
        note "$name: done in $((SECONDS - began)) s"
    elif ((status == 124 || status == 137)); then
        note "$name: stopped after $((SECONDS - began)) s, the time was over; call again to continue"
    else
        note "$name: failed with status $status after $((SECONDS - began)) s: $(tail -n 1 "$out/$name.log")"
    fi
    return "$status"
}

step=("$PYTHON" "$here/step.py" --backbone "$BACKBONE" --image-size "$SIDE" --rounds "$ROUNDS"
    --share "${shared[@]}" ${COMPILE:+"$COMPILE"})
part step-decoupling "${step[@]}" --batch-size "$BATCH" --instances "$INSTANCES"
part step-multiview "${step[@]}" --method multiview --batch-size "$BATCH" --instances 1000

if [[ ! -e $out/profile.done ]]; then
    rm -rf "$out/profile"
fi
part profile "$PYTHON" -m quarterturn pretrain "$data" --preset cifar10-resnet18 \
    --backbone "$BACKBONE" --limit "$LIMIT" --epochs 1 --batch-size "$BATCH" --no-diagnostics \
    --workers "$WORKERS" --profile --out "$out/profile" "${shared[@]}"
if [[ -e $out/profile.done ]]; then
    cp "$out/profile/profile.json" "$out/profile.json"
fi

table=("$PYTHON" "$here/equal_cost.py" "$data" --backbone "$BACKBONE" --limit "$LIMIT" --seeds 1
    --batch-views "$BATCH" --workers "$WORKERS" --rows "${rows[@]}" "${shared[@]}")
began=$SECONDS
if part table-short "${table[@]}" --views "$VIEWS" --out "$out/runs-short"; then
    took=$((SECONDS - began))
    if [[ ! -e $out/views ]] && ((took > 0)); then
        times=$(($(left) * (100 - SPARE_PERCENT) / 100 / took))
        if ((times >= 2)); then
            echo $((times * VIEWS)) >"$out/views"
        else
            note "table-long: not run, the time left is not twice that of the short one"
        fi
    fi
fi
if [[ -e $out/views ]]; then
    part table-long "${table[@]}" --views "$(cat "$out/views")" --out "$out/runs-long"
fi
note "$SECONDS of $budget_s s; figures in $out/*.json"
