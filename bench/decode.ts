// Tokens of a released model at full size, its weights made up: what a device makes of decoding, beside what its own memory could give.
// `node bench/decode.ts [MODEL] [--weights q4|q8|f16] [--past 512] [--tokens 64] [--layers N] [--profile] [--json FILE]`; MODEL as `opabinia plan`
// names them, `--layers` its first ones alone, `--profile` the time of each dispatch.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { compile } from '../compiler/compile.ts';
import { randomParams } from '../dsl/index.ts';
import { shapedParams } from '../models/configs/param-shapes.ts';
import { decodeGraph } from '../models/decoders/generation-graphs.ts';
import { cambrianModelShapes } from '../models/multimodal/cambrian-model.ts';
import { releasedModel } from '../pipelines/plan/plan-model.ts';
import type { BlockRows } from '../runtime/checkpoint/packed/block-rows.ts';
import { planeSource } from '../runtime/checkpoint/packed/plane-source.ts';
import { quantizedPaths, weightFormats } from '../runtime/checkpoint/packed/quantized-source.ts';
import type { Source } from '../runtime/checkpoint/joined-source.ts';
import { deviceProfile, openDevice } from '../runtime/device/dawn.ts';
import { profileTable } from '../runtime/device/kernel-times.ts';
import { load } from '../runtime/program/program.ts';
import { measureRoofline } from './roofline.ts';
import { spreadOf } from './statistics.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    weights: { type: 'string', default: 'q4' },
    past: { type: 'string', default: '512' },
    tokens: { type: 'string', default: '64' },
    layers: { type: 'string' },
    profile: { type: 'boolean' },
    json: { type: 'string' },
  },
});
const [wanted = 'cambrian-8b'] = positionals;
const [past, tokens] = [Number(values.past), Number(values.tokens)];
const { name, model } = releasedModel(wanted);
const { language } = model.config;
const layers = Number(values.layers ?? language.config.layers);
const decoder = { ...language, config: { ...language.config, layers } };
const shapes = cambrianModelShapes(model);
const plain: Source = shapedParams(shapes, noise());
const format = values.weights === 'q4' || values.weights === 'q8' ? weightFormats[values.weights] : undefined;
const isPacked = quantizedPaths({});
let blocks = new Uint8Array();
const source =
  format === undefined
    ? plain
    : planeSource(plain, (path) => {
        const shape = shapes.get(path);
        return shape !== undefined && isPacked(path, shape) ? madeUpBlocks(format, shape) : undefined;
      });

/** Tokens that are on the device at once, as where answers are made: the queue never drains while one is read. */
const ahead = 8;

const device = await openDevice({ validation: false });
const roofline = await measureRoofline(device, false);
const sizes = { batch: 1, capacity: past + tokens + 1, promptLimit: past, draw: 'greedy' } as const;
const plan = compile(decodeGraph(source, decoder, sizes), deviceProfile(device));
const loading = performance.now();
const program = await load(plan, device, source, { atOnce: ahead });
const loaded = (performance.now() - loading) / 1000;
const step = (at: number) => program.run({}, { symbols: { past: at }, outputs: ['token'] });
// The driver compiles in the first run, and clocks rise.
for (let i = 0; i < 3; i++) await step(past);
const times: number[] = [];
let last = performance.now();
const arrived = (): void => {
  const now = performance.now();
  times.push(now - last);
  last = now;
};
const began = performance.now();
const waiting: Promise<void>[] = [];
for (let i = 0; i < tokens; i++) {
  if (waiting.length >= ahead) await waiting.shift();
  waiting.push(step(past + i).then(arrived));
}
await Promise.all(waiting);
const mean = (performance.now() - began) / tokens;
const { median, least } = spreadOf(times);
/** All weights once: what a token must read, at what a copy reads and writes together. */
const bytes = plan.memory.parameters + plan.memory.loaded;
const result = {
  model: name,
  weights: values.weights,
  adapter: device.facts.name,
  driver: device.facts.driver,
  dispatches: plan.dispatches.length,
  kernels: plan.kernels.length,
  secondsToLoad: loaded,
  past,
  layers,
  millisecondsPerToken: { mean, median, least },
  weightBytes: bytes,
  copyBytesPerSecond: roofline.bytesPerSecond,
  shareOfBandwidth: bytes / (mean / 1000) / roofline.bytesPerSecond,
};
console.log(
  `${name}, ${values.weights}, on ${device.facts.name}: ${(1000 / mean).toFixed(1)} tokens a second behind ${past} (${mean.toFixed(2)} ms each), ${plan.dispatches.length} dispatches; ${(bytes / 1e9).toFixed(2)} GB of weights a token, ${(100 * result.shareOfBandwidth).toFixed(0)} % of what a copy moves`,
);
if (values.profile === true) console.log(profileTable(await program.profile({}, { symbols: { past } })));
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
program.dispose();
device.close();

/** Small numbers that repeat: to make them takes no time beside what it takes to upload them. */
function noise(): ReturnType<typeof randomParams> {
  const some = Float32Array.from({ length: 2 ** 20 }, (_, i) => Math.sin(12.9898 * (i + 1)) / 64);
  const random = randomParams(0, { dtype: 'f16' });
  const filled = (count: number): Float32Array => {
    const out = new Float32Array(count);
    for (let at = 0; at < count; at += some.length) out.set(some.subarray(0, Math.min(some.length, count - at)), at);
    return out;
  };
  return { ...random, read: (_path, shape) => filled(shape.reduce((product, size) => product * size, 1)) };
}

/** Blocks of a format, the same ones again and again. */
function madeUpBlocks(
  format: (typeof weightFormats)[keyof typeof weightFormats],
  [, inner = 1]: readonly number[],
): BlockRows {
  const row = Math.ceil(inner / format.block) * format.bytes;
  return {
    format,
    read: (_first, rows) => {
      const wanted = rows * row;
      while (blocks.length < wanted) blocks = Uint8Array.from({ length: 2 * wanted }, (_, i) => byteOf(format, i));
      return blocks.subarray(0, wanted);
    },
  };
}

/** Half precision around 1/256 in front, then codes. */
function byteOf({ bytes }: { readonly bytes: number }, i: number): number {
  const within = i % bytes;
  return within === 0 ? 0 : within === 1 ? 0x1c : (i * 101 + Math.floor(i / bytes) * 37) & 0xff;
}
