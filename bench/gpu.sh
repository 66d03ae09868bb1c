#!/usr/bin/env bash
# All that a card can tell in nine minutes: facts, the goldens and the templates judged on it, the race, decoding at full size.
#   bash bench/gpu.sh [FOLDER]      from the project's root, after npm ci; results as JSON and logs in FOLDER (out/gpu)
# Each step has its own limit; one that fails or is cut off is told, and the next one runs. Exit code: how many failed.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-out/gpu}
mkdir -p "$out"
node=node_modules/.bin/node
[[ -x $node ]] || node=node
: >"$out/steps.jsonl"
failed=0

# step NAME SECONDS COMMAND…
step() {
  local name=$1 limit=$2 began=$SECONDS
  shift 2
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1
  local status=$?
  [[ $status == 0 ]] || failed=$((failed + 1))
  printf '{"step":"%s","status":%d,"seconds":%d,"limit":%d}\n' "$name" "$status" $((SECONDS - began)) "$limit" >>"$out/steps.jsonl"
  echo "$name: $([[ $status == 0 ]] && echo done || echo "FAILED ($status)"), $((SECONDS - began)) s"
}

step facts 20 bash -c '"$0" cli/opabinia.ts doctor --json >"$1/facts.json"' "$node" "$out"
step probe 45 "$node" bench/probe/run.ts --json "$out/probe.json"
# A process for some files each: the interpreter is one thread, and a card's machine has several.
step goldens 100 bash -c 'find test/golden -name "*.safetensors" ! -path "*/whole/*" -print0 | sort -z | xargs -0 -n 12 -P "$(nproc)" "$0" cli/opabinia.ts verify' "$node"
if [[ -e node_modules/vitest/vitest.mjs ]]; then
  # Those for GPUs: templates by shuffles are for software drivers, and a card's own profile never takes them.
  step templates 110 "$node" node_modules/vitest/vitest.mjs run --config test/vitest.config.ts \
    -t 'matrix units|in workgroup memory|of few rows|of four rows|by threads|by workgroups' \
    test/gpu/contract-templates.test.ts test/gpu/matrix-units.test.ts test/gpu/templates.test.ts
else
  echo 'templates: left out, vitest is not installed'
fi
# Roofline, products, attention, a block of each kind, and a training step, beside the peers that are installed.
step race 160 "$node" bench/run.ts --budget 1 --patience 40 --peer ort-webgpu --json "$out/race.json" --only \
  matmul-4096-f16 gemv-f16 q4-gemv-14336 clip-l-336 matmul-1024-f16 matmul-577x1024x4096-f16 attention-full-f16 \
  attention-causal-gqa-f16 vit-l-block decoder-prefill-640 decoder-decode sva-layer train-decoder
step decode-q4 90 "$node" bench/decode.ts cambrian-8b --weights q4 --profile --json "$out/decode-q4.json"

cat "$out/steps.jsonl"
exit "$failed"
