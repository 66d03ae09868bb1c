// A connector of a person's own file between real towers and a language model: assembled, asked, trained, written out, and refused where its
// code is not given or is another one.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { assemble } from '../../pipelines/assemble/assemble.ts';
import { checkModel } from '../../pipelines/check/check-model.ts';
import { listed } from '../../pipelines/compare/registry.ts';
import { sgd } from '../../pipelines/train/optimizers/sgd.ts';
import type { Recipe } from '../../pipelines/train/recipe/recipe.ts';
import { train } from '../../pipelines/train/train.ts';
import { writeTrained } from '../../pipelines/train/learned/write-trained.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import type { Image } from '../../runtime/image/image.ts';
import { withoutGpu } from '../gpu/compare.ts';
import { judgeFamily } from '../support/family-judge.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia own connector-'));
const encoders = join(import.meta.dirname, '../../examples/shapes/encoders');
const towers = ['shapes-s-8-64', 'convnext-shapes-s-res64'].map((name) => join(encoders, name));
const picture: Image = { width: 60, height: 40, rgb: new Uint8Array(60 * 40 * 3).map((_, i) => (i * 37) % 256) };

/** Queries that look at two maps side by side: what a person would try. `scale` is what an edit changes. */
function writeOwn(name: string, scale: number, more = ''): string {
  const sources = join(import.meta.dirname, '../..');
  const path = join(root, name);
  writeFileSync(
    path,
    `
import { attention, concat, layerNorm, linear, rearrange } from '${sources}/dsl/index.ts';
import { connector } from '${sources}/models/connectors/connector.ts';
import { queryTokens } from '${sources}/models/connectors/visual-tokens.ts';
const own = (name: string) => connector<{ readonly queries: number }>({
  name, title: 'Two-eyed queries', paper: 'none', year: 2026, source: 'here', mathematics: ['softmax(q kᵀ) v'],
  towers: 'many',
  presets: { usual: { config: { queries: 4 }, maps: [[8, 8, 48], [4, 4, 48]], width: 64 } },
  variants: (config) => [1, 2, 4, 8].map((queries) => ({ ...config, queries })),
  build: (p, maps, { queries }, { width = 64 }) => {
    const seen = concat(maps.map((map, k) => linear(p.at('maps', k), rearrange(map, 'b h w c -> b t=(h w) c'), 'd', { size: 32 })), 't');
    const q = p.get('queries', 'b q d', { b: 1, q: queries, d: 32 });
    const picked = attention(q, seen, seen, { key: 't', along: 'd' });
    return queryTokens(linear(p.at('out'), layerNorm(p.at('norm'), rearrange(picked, 'b q d -> b n=(q) d')).mul(${scale}), 'e', { size: width }));
  },
});
export const mine = own('two-eyed');
${more}`,
  );
  return path;
}
const connectorsOf = async (path: string): Promise<readonly AnyConnector[]> =>
  (await listed([path])).map(({ connector }) => connector);

describe.skipIf(withoutGpu)('a connector of a file of one’s own', { timeout: 300_000 }, () => {
  const out = join(root, 'model');
  let device: Device;
  let file = '';
  beforeAll(async () => {
    device = await openDevice();
    file = writeOwn('mine.ts', 1);
    const language = makeLanguage(join(root, 'llama'), 'llama');
    const assembled = await assemble({ towers, connector: file, language, out, tokens: 4 });
    expect([assembled.connector, assembled.tokens]).toEqual(['Two-eyed queries', 4]);
  }, 120_000);
  afterAll(() => {
    device.close();
    rmSync(root, { recursive: true });
  });

  test('answers as the interpreter does', async () => {
    const model = await openModel(out, { connectors: await connectorsOf(file) });
    const question = { text: 'What is it?', images: [picture] };
    const { tokens, leads } = await judgeFamily(model, question, 3);
    expect(Math.min(...leads)).toBeGreaterThan(1e-4);
    const session = await Session.open(model, device, { context: 64, images: 1 });
    const answers = session.answer(question, { maxNewTokens: 3 });
    let next = await answers.next();
    while (next.done !== true) next = await answers.next();
    expect(next.value.tokens).toEqual(tokens);
    session.dispose();
    model.close();
  });

  test('is not run out of the model’s directory: its file is asked for', async () => {
    await expect(openModel(out)).rejects.toThrow(/'two-eyed', which is not of the zoo[^]*assembled with mine\.ts/);
    const { problems } = await checkModel(out);
    expect(problems.map(({ what }) => what)).toEqual([expect.stringMatching(/'two-eyed'/)]);
    expect((await checkModel(out, { connectors: await connectorsOf(file) })).problems).toEqual([]);
  });

  test('that was edited since is told apart', async () => {
    const edited = await connectorsOf(writeOwn('edited.ts', 2));
    await expect(openModel(out, { connectors: edited })).rejects.toThrow(/computes something else than when/);
  });

  test('of several in a file is named', async () => {
    const several = writeOwn('several.ts', 1, "export const other = own('other-eyed');");
    const language = join(root, 'llama');
    const married = (connector: string, name: string) =>
      assemble({ towers, connector, language, out: join(root, name), tokens: 4 });
    await expect(married(several, 'several')).rejects.toThrow(/exports several connectors[^]*several\.ts#/);
    await married(`${several}#other-eyed`, 'other');
    const config = JSON.parse(readFileSync(join(root, 'other', 'config.json'), 'utf8')) as { connector: object };
    expect(config.connector).toMatchObject({ name: 'other-eyed', own: { file: 'several.ts' } });
    await expect(married(`${several}#none`, 'none')).rejects.toThrow(/exports no connector 'none'/);
    await expect(married('./not-there.ts', 'none')).rejects.toThrow(/there is no file/);
  });

  test('called like one of the zoo is refused', async () => {
    const named = writeOwn('named.ts', 1, "export const other = own('llava');");
    const model = assemble({
      towers,
      connector: `${named}#llava`,
      language: join(root, 'llama'),
      out: join(root, 'no'),
    });
    await expect(model).rejects.toThrow(/'llava' is called like one of the zoo/);
  });

  test('learns in a recipe that has it by its value, and what it has learned opens again', async () => {
    mkdirSync(join(root, 'images'));
    const red = sharp({ create: { width: 12, height: 12, channels: 3, background: '#f00' } });
    writeFileSync(join(root, 'images/red.png'), await red.png().toBuffer());
    const conversations = [
      { from: 'human', value: '<image>\nWhat is it?' },
      { from: 'gpt', value: 'yes' },
    ];
    writeFileSync(join(root, 'train.jsonl'), `${JSON.stringify({ image: 'red.png', conversations })}\n`);
    const connectors = await connectorsOf(file);
    const recipe: Recipe = {
      name: 'own',
      model: out,
      connectors,
      seed: 1,
      stages: [
        {
          name: 'align',
          data: { file: join(root, 'train.jsonl'), images: join(root, 'images') },
          groups: [{ paths: ['*mm_projector*'], lr: 1e-2 }],
          optimizer: sgd({ momentum: 0.9 }),
          schedule: { shape: 'constant' },
          batch: 1,
          steps: 4,
          length: 128,
          logEvery: 1,
        },
      ],
    };
    const losses: number[] = [];
    const report = await train(recipe, device, {
      root: join(root, 'runs'),
      stopped: () => false,
      print: () => undefined,
    });
    for (const line of readFileSync(join(report.folder, 'metrics.jsonl'), 'utf8').trim().split('\n'))
      losses.push((JSON.parse(line) as { loss: number }).loss);
    expect(losses.at(-1)).toBeLessThan(losses[0] ?? 0);
    expect(readFileSync(join(report.folder, 'config.json'), 'utf8')).toContain('"two-eyed"');
    await writeTrained(report.folder, { out: join(root, 'trained') });
    (await openModel(join(root, 'trained'), { connectors, towers })).close();
    await expect(
      train({ ...recipe, name: 'without', connectors: undefined }, device, {
        root: join(root, 'runs'),
        stopped: () => false,
        print: () => undefined,
      }),
    ).rejects.toThrow(/'two-eyed', which is not of the zoo/);
  });
});
