#!/usr/bin/env bash
# What `make demo` does: trains CE+DSC and NACL side by side, evaluates both and CE+DSC with a temperature
# that is fitted on its validation cases, and compares the three.
#
# demo/run.sh DATASET [DATASET_DIR]: without a folder, "acdc" is a phantom and "hippocampus" the MRI in demo/.
set -euo pipefail
cd "$(dirname "$0")/.."
dataset=$1
folder=${2-}
out=runs/demo/$dataset
calibrator=temperature_union
size=
training="--max_epochs 10"
case $dataset:$folder in
  hippocampus:)
    folder=demo/Task04_Hippocampus
    training="--max_epochs 24 --batch_size 8 --split_proportions \"{'train': 22, 'val': 4, 'test': 10}\""
    ;;
  acdc:*)
    size='--spatial_size "[96, 96]"'
    training="--max_epochs 22 --batch_size 8"
    ;;
esac

if [ -d "$out" ]; then
  rm -rf "$out.previous"
  mv "$out" "$out.previous"
fi
mkdir -p "$out"
if [ "$dataset:$folder" = acdc: ]; then
  folder=runs/demo/phantom
  .venv/bin/nacl-monai phantom acdc "$folder" --cases 20
fi

# run LOSS TARGET …: one thread, since two trainings at once would wait for each other's threads.
run() {
  local loss=$1
  for target in "${@:2}"; do
    OMP_NUM_THREADS=1 make --no-print-directory "$target" DATASET="$dataset" DATASET_DIR="$folder" \
      LOSS="$loss" RUN="$out/$loss" CALIBRATOR="$calibrator" ARGS="$size$([ "$target" != train ] || echo " $training")"
  done
}

# In a process group of its own, so that whatever ends this script ends the training in it too.
set -m
run dice_ce train evaluate calibrate >"$out/dice_ce.log" 2>&1 &
set +m
beside=$!
trap 'kill -- -$beside 2>/dev/null || true' EXIT
echo "CE+DSC trains beside NACL; its output: $out/dice_ce.log"
run nacl train evaluate
if ! wait "$beside"; then
  tail -n 3 "$out/dice_ce.log" >&2
  exit 1
fi
.venv/bin/nacl-monai compare "$out/dice_ce" "$out/dice_ce/calibrated/$calibrator" "$out/nacl" \
  --names CE+DSC "CE+DSC, temperature" NACL --output "$out"
