// Options that one use of a command reads and another does not: typed for the other, they are refused by name, before anything is opened. And
// what a command reads it does not write over.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { storageOf } from '../../cli/weights-options.ts';
import { makeLlava } from '../../examples/make-llava.ts';
import { balance } from '../../pipelines/data/balance.ts';
import { readMix } from '../../pipelines/data/read-mix.ts';
import { failure } from '../support/command-failure.ts';
import { shippedEncoders } from '../../pipelines/shapes/encoders/open-encoders.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-idle-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

test.each<[string, RegExp]>([
  ['plan made --length 64', /^plan: --length says nothing without --train/],
  ['plan made --unfreeze-towers', /^plan: --unfreeze-towers says nothing without --train/],
  ['plan made --train 1 --weights q4', /^plan: --weights says nothing with --train/],
  ['plan made --train 1 --context 512', /^plan: --context says nothing with --train/],
  ['plan cambrian-8b --tower clip', /^plan: --tower says nothing of a released model/],
  ['tune cambrian-8b --connectors ./mine.ts', /^tune: --connectors says nothing of a released model/],
  ['run made --prompt a --keep *head*', /^--keep says nothing without --weights q4 or q8/],
  ['run made --prompt a --device cpu --keep *head*', /^--keep says nothing without --weights q4 or q8/],
  ['serve made --quantize *mlp*', /^--quantize says nothing without --weights q4 or q8/],
  ['check made --weights f16 --quantize *mlp*', /^--quantize says nothing without --weights q4 or q8/],
  [
    'compare llava --document no/page.md --llm yi-34b',
    /^compare: --llm says nothing on the page that --document writes/,
  ],
  ['runs --dtype f16', /^runs: --dtype is of what --out writes/],
  ['data check lines.jsonl --length 64', /^check: --length says nothing without --model/],
  ['run made --prompt a --dtype f16 --weights f32', /^--dtype f16 and --weights f32 are both the storage/],
  ['run made --prompt a --dtype f16 --weights f32 --device cpu', /^--dtype f16 and --weights f32 are both the storage/],
  ['serve made --dtype f32 --weights f16', /^--dtype f32 and --weights f16 are both the storage/],
  ['eval made --bench a:b --dtype f32 --weights f16', /^--dtype f32 and --weights f16 are both the storage/],
  ['check made --dtype f32 --weights f16', /^--dtype f32 and --weights f16 are both the storage/],
  ['plan made --dtype f16 --weights f32', /^--dtype f16 and --weights f32 are both the storage/],
  ['tune cambrian-8b --dtype f16 --weights f32', /^--dtype f16 and --weights f32 are both the storage/],
  ['run made --prompt a --seed 3', /^run: --seed says nothing without a temperature/],
  ['plan cambrian-8b --context 512 --prompt 512', /^plan: --prompt 512 leaves no room for an answer in --context 512/],
  ['eval --list --bench a:b', /^eval: --bench says nothing with --list/],
  [
    'probe --towers clip --data d --llm m --preset M',
    /^probe: --preset says nothing where neither scenes nor their encoders are used/,
  ],
  ['train recipe.ts --sanity --resume', /'--sanity' cannot be used with option '--resume'/],
  ['eval compare a b --limit 5', /^eval: --limit says nothing to this subcommand/],
  ['eval study a --bench x:y', /^eval: --bench says nothing to this subcommand/],
  ['export mine.ts --onnx out.onnx --batch 2', /^export: --batch says nothing of a file of graphs/],
  ['export made --onnx out.onnx --batch two', /^--batch is 'two'/],
  [
    'probe --towers shapes:0 --shapes-encoders nowhere',
    /no encoders for preset S[^]*opabinia shapes encoders --preset S/,
  ],
])('%s', async (words, message) => {
  expect(await failure(words.split(' '))).toMatch(message);
});

test('--image-position of a model without layers that look for the image', async () => {
  makeLlava(at('llava'));
  expect(await failure(['run', at('llava'), '--prompt', 'a', '--image-position', 'true'])).toMatch(
    /^run: --image-position says nothing of a model without SVA layers/,
  );
});

test('--context of a tower, which answers nothing', async () => {
  const [tower = ''] = readdirSync(shippedEncoders());
  expect(
    await failure(['export', join(shippedEncoders(), tower), '--onnx', at('tower.onnx'), '--context', '64']),
  ).toMatch(/^export: --context says nothing of a tower/);
});

test('what is the same said twice is said once', () => {
  expect(storageOf({ dtype: 'f16', weights: 'f16' }, 'f32')).toEqual({ dtype: 'f16', weights: 'floats' });
  expect(storageOf({ dtype: 'f32', weights: 'q4' }, 'f16')).toMatchObject({ dtype: 'f32', weights: { format: 'q4' } });
});

test('--images and --by where a mixture says where its pictures are and what its sources', async () => {
  const sample = {
    conversations: [
      { from: 'human', value: 'a' },
      { from: 'gpt', value: 'b' },
    ],
  };
  writeFileSync(at('lines.jsonl'), JSON.stringify(sample));
  writeFileSync(at('mix.json'), JSON.stringify({ mixture: [{ file: 'lines.jsonl', images: '.' }] }));
  expect(await failure(['data', 'prompts', at('mix.json'), '--images', 'elsewhere'])).toMatch(
    /so does --images elsewhere/,
  );
  expect(await failure(['data', 'prompts', at('mix.json'), '--by', 'origin'])).toMatch(/so does --by origin/);
});

test('an index is not written over the mixture, nor tiles over what says what a model is', async () => {
  const mix = readFileSync(at('mix.json'), 'utf8');
  expect(await failure(['data', 'balance', at('mix.json'), '--out', at('mix.json')])).toMatch(/ends in \.safetensors/);
  expect(() => balance(readMix(at('mix.json')), { out: at('mix.json') })).toThrow(/mix\.json is read to make it/);
  expect(readFileSync(at('mix.json'), 'utf8')).toBe(mix);
  const config = readFileSync(at('llava/config.json'), 'utf8');
  expect(await failure(['tune', at('llava'), '--out', at('llava/config.json')])).toMatch(
    /config\.json is read to make it/,
  );
  expect(await failure(['tune', at('llava'), '--out', at('llava/tiles')])).toMatch(/ends in \.json/);
  expect(readFileSync(at('llava/config.json'), 'utf8')).toBe(config);
});
