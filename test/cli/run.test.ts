// `opabinia run` as a person runs it: in a process of its own, with its exit codes and what goes to which stream.
import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openModel } from '../../pipelines/answer/open-model.ts';
import type { RunReport } from '../../cli/run.ts';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { makeLlava } from '../../examples/make-llava.ts';
import { decodeImage } from '../../runtime/image/image.ts';
import { judgedSteps, judgeLlava } from '../support/llava-judge.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = join(import.meta.dirname, '../..');
const photo = join(root, 'examples/photos/chelsea.png');
const folder = mkdtempSync(join(tmpdir(), 'opabinia-'));
let made = '';

beforeAll(() => {
  made = makeCheckpoint(join(folder, 'made')).directory;
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true }));

function run(...args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [join(root, 'cli/opabinia.ts'), 'run', ...args], {
    encoding: 'utf8',
    timeout: 240_000,
  });
}

test.each<[string, (made: string) => readonly string[], RegExp]>([
  ['no directory', () => [join(folder, 'nothing'), '--prompt', 'a'], /no directory/],
  ['a file that is not an image', (dir) => [dir, '--prompt', 'a', '--image', join(dir, 'config.json')], /config\.json/],
  ['no such image', (dir) => [dir, '--prompt', 'a', '--image', join(folder, 'no.png')], /no\.png/],
  ['a temperature that is none', (dir) => [dir, '--prompt', 'a', '--temperature', 'hot'], /--temperature is 'hot'/],
  ['no prompt', (dir) => [dir], /--prompt/],
  ['a share of what is not drawn', (dir) => [dir, '--prompt', 'a', '--top-p', '0.9'], /--top-p says nothing without/],
  ['tokens that are not drawn from', (dir) => [dir, '--prompt', 'a', '--top-k', '9'], /--top-k says nothing without/],
  ['half a seed', (dir) => [dir, '--prompt', 'a', '--temperature', '1', '--seed', '1.5'], /--seed is '1.5'/],
  ['an empty end', (dir) => [dir, '--prompt', 'a', '--stop', ''], /--stop is empty/],
])('%s: exit code 1, nothing on stdout', (_name, args, message) => {
  const { status, stdout, stderr } = run(...args(made));
  expect([status, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/\n\s+at .*\.ts:\d+:\d+/);
});

test('a config that is damaged is named', () => {
  const broken = join(folder, 'broken');
  makeCheckpoint(broken);
  writeFileSync(join(broken, 'config.json'), '{"model_type": "cambrian_lama"}');
  const { status, stderr } = run(broken, '--prompt', 'a');
  expect(status).toBe(1);
  expect(stderr).toMatch(/cambrian_lama[^]*cambrian_llama/);
});

test.each<[string, (made: string) => readonly string[], RegExp]>([
  ['no image', (dir) => [dir, '--prompt', 'What?'], /no image[^]*--image/],
  ['`<image>` typed by hand', (dir) => [dir, '--prompt', 'What <image>?', '--image', photo], /<image> at character 5/],
  [
    'a prompt over the context',
    (dir) => [dir, '--prompt', 'why '.repeat(600), '--image', photo, '--context', '300'],
    /prompt has \d+ tokens[^]*at most 299 fit/,
  ],
])('%s: refused before a device is opened', (_name, args, message) => {
  const { status, stdout, stderr } = run(...args(made));
  expect([status, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/compiling/);
});

/** Takes a user's turns, and raises on anybody else's. */
const strict =
  "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}<|user|>{{ message['content'] }}<|end|>{% endfor %}<|assistant|>";

test("a system message that a model's own template refuses: exit code 1 before a device is opened", () => {
  const { status, stdout, stderr } = run(
    makeLanguage(join(folder, 'strict'), 'llama', strict),
    '--prompt',
    'Hi',
    '--system',
    'Be brief.',
  );
  expect([status, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/with a system message[^]*System role not supported[^]*leave out --system/);
  expect(stderr).not.toMatch(/compiling/);
});

const penalised = (): string => {
  const directory = makeLanguage(join(folder, 'penalised'), 'llama');
  writeFileSync(join(directory, 'generation_config.json'), '{"repetition_penalty": 50, "top_k": 20, "num_beams": 4}');
  return directory;
};

test('what generation_config.json asks for, and whether it acts, is told before a device is opened', () => {
  const directory = penalised();
  const long = ['--prompt', 'why '.repeat(600)];
  const acts = /asks for repetition_penalty 50: it acts on every answer/;
  expect(run(directory, ...long).stderr).toMatch(acts);
  expect(run(directory, ...long).stderr).toMatch(/asks for num_beams 4: transformers' generate does that, and nothing/);
  expect(run(directory, ...long, '--repetition-penalty', '1').stderr).not.toMatch(acts);
});

describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1')('with a device', () => {
  test("the repetition penalty of generation_config.json acts, and a person's own goes before it", () => {
    const directory = penalised();
    const tokens = (...more: readonly string[]): readonly number[] =>
      (JSON.parse(run(directory, '--prompt', 'why', '--max-new-tokens', '12', '--json', ...more).stdout) as RunReport)
        .tokens;
    const [silent, same, without] = [[], ['50'], ['1']].map((penalty) =>
      tokens(...penalty.flatMap((value) => ['--repetition-penalty', value])),
    );
    expect(silent).toEqual(same);
    expect(new Set(silent).size).toBe(silent?.length);
    rmSync(join(directory, 'generation_config.json'));
    expect(without).toEqual(tokens());
    expect(without).not.toEqual(silent);
  });

  test('words on stdout, figures in the report, the same words both ways', () => {
    const args = [made, '--image', photo, '--prompt', 'What is this?', '--max-new-tokens', '8'] as const;
    const [plain, json] = [run(...args), run(...args, '--json')];
    expect([plain.status, json.status]).toEqual([0, 0]);
    const report = JSON.parse(json.stdout) as RunReport;
    expect(plain.stdout).toBe(`${report.answer}\n`);
    expect(report.tokens).toHaveLength(8);
    expect(report.reason).toBe('length');
    expect(report.peakBytes).toBeGreaterThan(20e6);
    expect(report.firstTokenSeconds).toBeGreaterThan(0);
    expect(plain.stderr).toMatch(/8 tokens .*the first after .* s, then .* tokens\/s; at most .* on the device/);
  }, 300_000);

  test("a LLaVA directory: the interpreter's tokens", async () => {
    const llava = makeLlava(join(folder, 'llava')).directory;
    const { status, stdout } = run(
      llava,
      '--image',
      photo,
      '--prompt',
      'What is this?',
      '--max-new-tokens',
      String(judgedSteps),
      '--context',
      '128',
      '--json',
    );
    expect(status).toBe(0);
    const model = await openModel(llava);
    try {
      const { tokens, leads } = judgeLlava(model, 'What is this?', [await decodeImage(photo)]);
      expect(Math.min(...leads)).toBeGreaterThan(1e-3);
      expect((JSON.parse(stdout) as RunReport).tokens).toEqual(tokens);
    } finally {
      model.close();
    }
  }, 300_000);

  test('a language model by its own template, which says something else than the hand-written one', () => {
    const reports = [makeLanguage(join(folder, 'own'), 'phi3', strict), makeLanguage(join(folder, 'none'), 'phi3')].map(
      (directory) => {
        const { status, stdout } = run(
          directory,
          '--prompt',
          'Hi',
          '--max-new-tokens',
          '6',
          '--context',
          '64',
          '--json',
        );
        expect(status).toBe(0);
        return JSON.parse(stdout) as RunReport;
      },
    );
    expect(reports[0]?.tokens).not.toEqual(reports[1]?.tokens);
  }, 300_000);

  test('Ctrl-C while it answers: exit code 130 within a second', async () => {
    const child = spawn(
      process.execPath,
      [join(root, 'cli/opabinia.ts'), 'run', made, '--image', photo, '--prompt', 'What is this?'],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    await new Promise<void>((resolve, reject) => {
      let said = '';
      child.stderr.on('data', (text: Buffer) => {
        if ((said += text.toString()).includes('the driver compiles')) resolve();
      });
      child.once('exit', () => reject(new Error(said)));
    });
    const asked = performance.now();
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(performance.now() - asked).toBeLessThan(1000);
  }, 120_000);
});
