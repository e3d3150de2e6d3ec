#!/usr/bin/env bash
# All that docs/engine.md tells of a GPU, for a machine that is lent by the minute: every result on disk as soon as it is
# there, whatever cuts the run off. A second run on the same machine finds the plans and timings of the first.
#
#   bench/gpu.sh OUT SECONDS [PART ...]     parts: compact layouts tests large candidates brief; default: compact tests large
#
# PYTHON        has TensorRT, cuda-python, onnx, pytest and what rhythmd needs    (python3)
# TORCH_PYTHON  has PyTorch, to compare with                                      (none)
# DATA          folder of annotated WFDB records; needs wfdb                      (the shipped recording)
# COMPACT       the network that ships, .onnx with manifest and scales beside it  (engines/models/ecg1.onnx)
# LARGE         the large reference network, likewise                             (none)
# LEVEL         of optimisation                                                   (3)
# CANDIDATES    layouts of bench/layouts.py with random weights                   (the large ones)
set -u
out=$(realpath -m "$1"); limit=$2; began=$SECONDS; shift 2
python=${PYTHON:-python3}; root=$(dirname "$(dirname "$(realpath "$0")")")
mkdir -p "$out"; cd "$root"; export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} XDG_CACHE_HOME=$out/cache
engine=("$python" -m rhythmd engine)
data=(); [ -n "${DATA:-}" ] && data=(--data "$DATA" --windows 50)
torch=(); [ -n "${TORCH_PYTHON:-}" ] && torch=(--torch-python "$TORCH_PYTHON")

step() { # NAME MOST_SECONDS COMMAND...
  local name=$1 most=$2 left=$((limit - SECONDS + began)) start=$SECONDS; shift 2
  if [ "$left" -lt 10 ]; then echo "$name: no time left" | tee -a "$out/steps"; return; fi
  timeout -k 5 $((most < left ? most : left)) "$@" > "$out/$name.txt" 2> "$out/$name.err"
  echo "$name: exit $?, $((SECONDS - start)) s" | tee -a "$out/steps"
}

bench() { # NAME MODEL MORE...
  local name=$1 model=$2; shift 2
  step "$name" 240 "${engine[@]}" bench --model "$model" --pause-s 0.2 --output "$out/$name.json" "$@"
}

built_and_timed() { # NAME MODEL CALLS: plans with verdicts, then all ways to run them
  for precision in fp16 int8 fp32; do
    step "$1-build-$precision" 240 "${engine[@]}" build --model "$2" --precision "$precision" --level "${LEVEL:-3}" "${data[@]}"
  done
  bench "$1" "$2" --calls "$3" "${torch[@]}" --compile-s 60
}

compact() { built_and_timed compact "${COMPACT:-engines/models/ecg1.onnx}" 5000; }

large() { built_and_timed large "$LARGE" 2000; }

layouts() { # is a shorter compact network quicker?
  step layouts-written 60 "$python" -m bench.layouts "$out/layouts" compact8 compact7 compact6
  bench shipped-fp16 engines/models/ecg1.onnx --calls 5000 --precisions fp16
  for name in compact8 compact7 compact6; do
    bench "$name" "$out/layouts/$name.onnx" --calls 5000 --precisions fp16
  done
}

candidates() { # and which large network is one that TensorRT runs well?
  for name in ${CANDIDATES:-bottleneck50k9 bottleneck91k5 separable bottleneck70k3}; do
    step "$name-written" 60 "$python" -m bench.layouts "$out/layouts" "$name"
    bench "$name" "$out/layouts/$name.onnx" --calls 2000 --precisions int8 fp16 "${torch[@]}" --compile-s 1
  done
}

brief() { # FP16 alone, in minutes: the network that ships, verified, and a large one against PyTorch
  step candidate-written 60 "$python" -m bench.layouts "$out/layouts" "${CANDIDATES:-bottleneck50k9}" &
  local compact=${COMPACT:-engines/models/ecg1.onnx} writing=$!
  step brief-build 100 "${engine[@]}" build --model "$compact" --precision fp16 --level "${LEVEL:-3}" "${data[@]}"
  bench brief "$compact" --calls 3000 --precisions fp16 --pause-s 0
  wait "$writing"
  bench brief-large "$out/layouts/${CANDIDATES:-bottleneck50k9}.onnx" --calls 1000 --precisions fp16 --pause-s 0 \
    --level 2 "${torch[@]}" --compile-s 1
}

tests() { # side by side, for they measure nothing; but one counts the GPU's free memory, and is alone
  local all="$python -m pytest -m gpu -p no:cacheprovider -v" alone=frees_all_gpu_memory
  for name in backends engine_commands engine_service; do
    step "tests-$name" 300 $all -k "not $alone" "tests/test_$name.py" &
  done
  wait
  step tests-memory 120 $all -k $alone tests/test_backends.py
}

step info 20 "${engine[@]}" info
[ $# -gt 0 ] || set -- compact tests ${LARGE:+large}
for part in "$@"; do "$part"; done
cat "$out/steps"
