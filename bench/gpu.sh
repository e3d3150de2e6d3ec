#!/usr/bin/env bash
# All that docs/engine.md tells of a GPU, in one go, for a machine that is lent by the minute: the cheapest and most
# valuable steps first, every result on disk as soon as it is there, whatever cuts the run off.
#
#   bench/gpu.sh OUT [SECONDS]
#
# PYTHON        has TensorRT, cuda-python, onnx, pytest and what rhythmd needs    (python3)
# TORCH_PYTHON  has PyTorch, to compare with                                      (none)
# DATA          folder of annotated WFDB records; needs wfdb                      (the shipped recording)
# LARGE         the large reference network, .onnx with its manifest beside it    (none)
set -u
out=$(realpath -m "$1"); limit=${2:-600}; began=$SECONDS
python=${PYTHON:-python3}; root=$(dirname "$(dirname "$(realpath "$0")")")
mkdir -p "$out"; cd "$root"; export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} XDG_CACHE_HOME=$out/cache
engine=("$python" -m rhythmd engine)
data=(); [ -n "${DATA:-}" ] && data=(--data "$DATA" --windows 50)
torch=(); [ -n "${TORCH_PYTHON:-}" ] && torch=(--torch-python "$TORCH_PYTHON" --compile-s 40)

step() { # NAME MOST_SECONDS COMMAND...
  local name=$1 most=$2 left=$((limit - SECONDS + began)) start=$SECONDS; shift 2
  if [ "$left" -lt 10 ]; then echo "$name: no time left" | tee -a "$out/steps"; return; fi
  timeout -k 5 $((most < left ? most : left)) "$@" > "$out/$name.txt" 2> "$out/$name.err"
  echo "$name: exit $?, $((SECONDS - start)) s" | tee -a "$out/steps"
}

shipped_and_tests() { # one after the other on the GPU, for what is timed must not share it
  step info 20 "${engine[@]}" info
  step fp16 90 "${engine[@]}" build --precision fp16 "${data[@]}"
  step bench-fp16 40 "${engine[@]}" bench --precisions fp16 --calls 5000 --pause-s 0.2 --output "$out/bench-fp16.json"
  step int8 90 "${engine[@]}" build --precision int8 "${data[@]}"
  step fp32 90 "${engine[@]}" build --precision fp32 "${data[@]}"
  step bench 120 "${engine[@]}" bench --calls 5000 --pause-s 0.2 "${torch[@]}" --output "$out/bench.json"
}

tests() { # side by side: they measure nothing
  for name in backends engine_commands engine_service; do
    step "tests-$name" 240 "$python" -m pytest -m gpu -p no:cacheprovider -v "tests/test_$name.py" &
  done
  wait
}

large() {
  for precision in fp16 int8 fp32; do
    step "large-$precision" 180 "${engine[@]}" build --model "$LARGE" --precision "$precision"
  done
  step large-bench 180 "${engine[@]}" bench --model "$LARGE" --calls 2000 --pause-s 0.2 "${torch[@]}" --output "$out/large.json"
}

shipped_and_tests
tests
[ -n "${LARGE:-}" ] && large
cat "$out/steps"
