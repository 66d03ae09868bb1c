// Towers probed on drawn scenes: each entry, frozen or not, in one stage or two, under one budget with the same seeds and pictures.
import { join } from 'node:path';
import { compile } from '../../compiler/compile.ts';
import { OpabiniaError, randomParams, trace, type Trace } from '../../dsl/index.ts';
import { withPlacesOfErrors } from '../../dsl/origin.ts';
import { print } from '../../dsl/text/print.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import { lossesOf } from '../../models/sequence/added-losses.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import { load } from '../../runtime/program/program.ts';
import { countsOf, columns } from '../shapes/report/summary.ts';
import type { SceneMaps } from '../shapes/encoders/open-encoders.ts';
import { drawScene } from '../shapes/scene/draw.ts';
import { slices } from '../shapes/scene/questions.ts';
import { makeScene, scenePresets, type PresetName } from '../shapes/scene/scene.ts';
import { classes } from '../shapes/train/judge-variant.ts';
import { questionsPerPicture, trainPresets, type TrainPreset } from '../shapes/train/presets.ts';
import { keptMaps, type SceneRange } from '../shapes/train/scene-features.ts';
import { answersOf, firstTrained, openSplit, type Split } from '../shapes/train/task.ts';
import { openTrained, shapesStage, trainInFolder, trainVariant } from '../shapes/train/train-variant.ts';
import { oracle } from '../shapes/variants/controls.ts';
import { labelsShape } from '../shapes/variants/labels-map.ts';
import { fit } from '../shapes/variants/narrow.ts';
import { channelConcat } from './channel-concat.ts';
import { fileName, keptRun, keyOf, type KeptRun } from './keep-run.ts';
import { rowName, towerRate, type Probed, type ProbedRow, type Setting } from './probed.ts';
import {
  probeInputs,
  probeLogits,
  probeTrainable,
  towerRoot,
  type Beginning,
  type ShapesModel,
} from './shapes-model.ts';
import { openTowerWeights, type ProbeEntry, type ProbeTower } from './towers.ts';
import { sum } from '../statistics/sum.ts';
import { requireFields, requireList } from '../../dsl/graph/required.ts';
import { makeFolder } from '../../runtime/files/make-folder.ts';
import { plural } from '../../dsl/text/plural.ts';

export interface ShapesProbeOptions {
  readonly preset: PresetName;
  readonly settings: readonly Setting[];
  /** Default: `channelConcat`. */
  readonly connector?: AnyConnector | undefined;
  /** Visual tokens. */
  readonly tokens: number;
  readonly seeds: number;
  /** Of a row, both stages together; by default the preset's. */
  readonly steps?: number | undefined;
  readonly root: string;
  /** Smaller than the preset: for tests. */
  readonly sizes?: Partial<Pick<TrainPreset, 'train' | 'held' | 'batch'>> | undefined;
  readonly device: () => Promise<Device>;
  readonly stopped: () => boolean;
  readonly print: (line: string) => void;
}

/**
 * The blind decoder first, then every entry in every setting. Where a setting has two stages, all rows begin with a decoder that has learned
 * the questions from labels, which stage 1 holds while the connector learns. Throws `OpabiniaError` for a connector that fits no entry.
 * @example await probeShapes(readEntries('shapes:0,shapes:0+shapes:1', 'S'), options)
 */
export async function probeShapes(entries: readonly ProbeEntry[], options: ShapesProbeOptions): Promise<Probed> {
  requireList('probeShapes', entries, 'the entries', "readEntries('shapes:0', 'S')");
  requireFields(
    'probeShapes',
    options,
    { preset: 'string', settings: 'object', tokens: 'number', seeds: 'number', root: 'string', device: 'function' },
    "probeShapes(readEntries('shapes:0', 'S'), { preset: 'S', settings, tokens: 16, … })",
  );
  const { preset: name, settings, seeds, root, print } = options;
  const preset = { ...trainPresets[name], ...options.sizes };
  const steps = options.steps ?? preset.steps;
  if (steps < 2 && settings.some(({ stages }) => stages === 2))
    throw new OpabiniaError('two stages share at least 2 steps', { op: 'probe', advice: 'give more --steps' });
  makeFolder(root);
  const failed: { name: string; reason: string }[] = [];
  const rows = rowsOf(entries, settings);
  const models = new Map<Row, ShapesModel>();
  for (const row of rows)
    try {
      models.set(row, modelOf(row, preset, options));
    } catch (error) {
      if (!(error instanceof OpabiniaError)) throw error;
      failed.push({ name: rowName(row), reason: error.message });
    }
  if (models.size <= 1 && failed[0] !== undefined)
    throw new OpabiniaError(failed[0].reason, {
      op: 'probe',
      advice: 'take another --connector or number of --tokens',
    });
  const scenes = new Scenes(options, preset);
  const kept = new Map<Row, KeptRun[]>();
  let complete = true;
  for (let seed = 1; seed <= seeds && complete; seed++)
    for (const [row, model] of models) {
      const one = await oneRun(row, model, scenes, { seed, steps, preset, options });
      if (one === undefined) {
        complete = false;
        break;
      }
      kept.set(row, [...(kept.get(row) ?? []), one]);
      const all = one.run.counts['all'];
      const share = sum(all?.right ?? []) / Math.max(1, sum(all?.asked ?? []));
      print(`${rowName(row)}, seed ${seed}: ${share.toFixed(3)} of all questions, ${one.run.seconds.toFixed(0)} s`);
    }
  return {
    about: `shapes, preset ${name}, about ${options.tokens} visual tokens, ${plural(preset.train, 'picture')} to learn from, ${preset.held} held out`,
    slices,
    failed,
    complete,
    rows: [...kept].map(([row, runs]): ProbedRow => ({
      towers: row.towers,
      setting: row.setting,
      tokens: runs[0]?.tokens ?? 0,
      parameters: runs[0]?.parameters ?? 0,
      runs: runs.map(({ run }) => run),
    })),
  };
}

interface Row {
  readonly entry: ProbeEntry;
  readonly towers: readonly string[];
  readonly setting: Setting;
}

function rowsOf(entries: readonly ProbeEntry[], settings: readonly Setting[]): readonly Row[] {
  const blind: Row = { entry: { name: 'blind', towers: [] }, towers: [], setting: { frozen: true, stages: 1 } };
  return [
    blind,
    ...entries.flatMap((entry) =>
      settings.map((setting) => ({ entry, setting, towers: entry.towers.map((tower) => tower.name) })),
    ),
  ];
}

function modelOf({ entry, setting }: Row, { decoder, batch }: TrainPreset, options: ShapesProbeOptions): ShapesModel {
  const base = { entry, frozen: setting.frozen, decoder, batch };
  if (entry.towers.length === 0) return { ...base, used: undefined, config: {}, tokens: 0 };
  const connector = options.connector ?? (channelConcat as unknown as AnyConnector);
  if (connector.towers === 'one' && entry.towers.length > 1)
    throw new OpabiniaError(`'${connector.name}' reads one tower`, {
      op: 'probe',
      advice: 'take one that reads several',
    });
  const maps = entry.towers.map(({ part }) => part.map);
  const { used, config, tokens } = fit(connector, maps, { width: decoder.width, tokens: options.tokens });
  if (tokens > decoder.context)
    throw new OpabiniaError(`${tokens} visual tokens, and the decoder's context holds ${decoder.context}`, {
      op: 'probe',
      advice: 'ask for fewer with --tokens',
    });
  return { ...base, used, config, tokens };
}

/** Scenes with the maps of towers, which are computed once a tower. */
class Scenes {
  readonly #options: ShapesProbeOptions;
  readonly #preset: TrainPreset;
  readonly #maps = new Map<string, Promise<SceneMaps>>();
  readonly #plain = new Map<number, Split>();

  constructor(options: ShapesProbeOptions, preset: TrainPreset) {
    this.#options = options;
    this.#preset = preset;
  }

  async split(which: 'train' | 'held', towers: readonly ProbeTower[]): Promise<Split> {
    const range = { from: which === 'train' ? firstTrained : 0, count: this.#preset[which] };
    const plain =
      this.#plain.get(range.from) ?? openSplit(this.#options.preset, range.from, { count: range.count, maps: [] });
    this.#plain.set(range.from, plain);
    const maps: Float16Array[] = [];
    for (const tower of towers) maps.push(...(await this.#mapsOf(tower, range)).maps);
    return { ...plain, maps: { count: range.count, maps } };
  }

  #mapsOf(tower: ProbeTower, range: SceneRange): Promise<SceneMaps> {
    const key = `${this.#options.preset}-${tower.key}`;
    const name = `${key}-${range.from}`;
    const known = this.#maps.get(name);
    if (known !== undefined) return known;
    const { root, print, device, preset } = this.#options;
    const made = keptMaps(
      { key, maps: [tower.part.map], range },
      async () => seen(tower, preset, range, await device()),
      { folder: join(root, 'features'), print: (line) => print(`${tower.name}: ${line}`) },
    );
    this.#maps.set(name, made);
    return made;
  }
}

/** Scenes of a run of a tower. */
const atOnce = 16;

async function seen(tower: ProbeTower, preset: PresetName, range: SceneRange, device: Device): Promise<SceneMaps> {
  const { part, make } = tower;
  const source = openTowerWeights(tower);
  const graph = trace(
    source,
    (t) => {
      const pixels = t.input('pixels', 'b h w c', { b: atOnce, h: part.side, w: part.side, c: 3 });
      return { map: part.tower.map(t.params, pixels).cast('f32') };
    },
    { unread: 'ignore' },
  );
  const size = part.map.reduce((product, one) => product * one, 1);
  const map = new Float16Array(size * range.count);
  try {
    const program = await load(compile(graph, deviceProfile(device)), device, source);
    try {
      const each = part.side ** 2 * 3;
      for (let start = 0; start < range.count; start += atOnce) {
        const pixels = new Float32Array(atOnce * each);
        for (let i = 0; i < atOnce; i++)
          pixels.set(make(drawScene(makeScene(scenePresets[preset], range.from + start + i))), i * each);
        const { map: made } = await program.run({ pixels });
        if (!(made?.data instanceof Float32Array))
          throw new OpabiniaError(`${tower.name} gave no map`, { op: 'probe' });
        map.set(made.data.subarray(0, Math.min(atOnce, range.count - start) * size), start * size);
      }
    } finally {
      program.dispose();
    }
  } finally {
    source.close();
  }
  return { count: range.count, maps: [map] };
}

interface RunOptions {
  readonly seed: number;
  readonly steps: number;
  readonly preset: TrainPreset;
  readonly options: ShapesProbeOptions;
}

/** What is learned, as text: a connector that was edited is another one, though its name and its config are the same. */
function textOfModel(model: ShapesModel): string {
  const outputs = (t: Trace) => {
    const { logits, visual } = probeLogits(t, t.params, model);
    return { logits, ...(visual === undefined ? {} : lossesOf(visual)) };
  };
  return print(withPlacesOfErrors(() => trace(randomParams(0), outputs, { unread: 'ignore' })));
}

async function oneRun(row: Row, model: ShapesModel, scenes: Scenes, run: RunOptions): Promise<KeptRun | undefined> {
  const { seed, steps, preset, options } = run;
  const name = `${fileName(rowName(row))}-seed-${seed}`;
  const begins = options.settings.some(({ stages }) => stages === 2);
  const about = [
    options.preset,
    row.entry.towers.map(({ key }) => key),
    options.connector?.name ?? channelConcat.name,
    textOfModel(model),
    model.config,
    row.setting,
    [preset.train, preset.held, preset.batch, steps, seed, begins, ...(row.setting.frozen ? [] : [towerRate])],
  ];
  return keptRun(join(options.root, name), about, async (key) => {
    if (options.stopped()) return undefined;
    const device = await options.device();
    const towers = row.setting.frozen ? [] : row.entry.towers.map(openTowerWeights);
    const opened: (Beginning & { readonly close: () => void })[] = [];
    const read = model.frozen ? row.entry.towers : [];
    try {
      const train = await scenes.split('train', read);
      if (begins) {
        const decoder = await learnedDecoder(train, run, device);
        if (decoder === undefined) return undefined;
        opened.push(decoder);
      }
      const first = row.setting.stages === 2 ? Math.floor(steps / 2) : 0;
      let [seconds, parameters] = [0, 0];
      for (const [i, own] of [first, steps - first].entries()) {
        if (own === 0) continue;
        const trainable = probeTrainable(model, train, { seed, beginnings: opened.toReversed(), towers });
        const plain = shapesStage(preset, own);
        const slow = model.frozen ? [] : [{ paths: [`${towerRoot('*')}.*`], lr: towerRate * preset.rate }];
        const groups = i === 0 ? [{ paths: ['connector.*'], lr: preset.rate }] : [...slow, ...plain.groups];
        const stage = { ...plain, groups };
        const trained = await trainInFolder(trainable, stage, `${name}/stage-${i + 1}`, {
          device,
          root: options.root,
          steps: own,
          key,
          count: preset.train,
          stopped: options.stopped,
          print: options.print,
        });
        if (trained === undefined) return undefined;
        seconds += trained.seconds;
        parameters = trained.parameters;
        opened.push(openTrained(trained));
      }
      const trainable = probeTrainable(model, train, { seed, beginnings: opened.toReversed(), towers });
      const right = await judged(model, await scenes.split('held', read), trainable.source as Source, device);
      return { tokens: model.tokens, parameters, run: { seed, steps, seconds, counts: await sliced(right, scenes) } };
    } finally {
      for (const one of [...towers, ...opened]) one.close();
    }
  });
}

/** The decoder of the oracle: it knows the questions, and sees labels instead of a tower's maps. */
async function learnedDecoder(
  train: Split,
  { seed, steps, options, preset }: RunOptions,
  device: Device,
): Promise<(Beginning & { readonly close: () => void }) | undefined> {
  const made = fit(oracle as unknown as AnyConnector, [labelsShape], {
    width: preset.decoder.width,
    tokens: labelsShape[0] ** 2,
  });
  const variant = { name: `decoder-${steps}`, ...made, reads: 'labels' as const, control: true };
  const task = { preset: options.preset, encoders: [], train, held: train };
  const { root, stopped, print } = options;
  const key = keyOf([options.preset, made.config, preset.train, preset.batch]);
  const trained = await trainVariant(variant, task, { device, root, seed, steps, key, stopped, print }, preset);
  if (trained === undefined) return undefined;
  const source = openTrained(trained);
  // Its connector is the labels'.
  const shape = (path: string) => (path.startsWith('connector.') ? undefined : source.shape(path));
  return { shape, read: (path, of) => source.read(path, of), close: () => source.close() };
}

/** Whether each question is answered rightly, picture by picture. */
async function judged(model: ShapesModel, held: Split, source: Source, device: Device): Promise<readonly (0 | 1)[]> {
  const count = held.scenes.length;
  const graph = trace(source, (t) => ({ logits: probeLogits(t, t.params, model).logits }), { unread: 'ignore' });
  const program = await load(compile(graph, deviceProfile(device)), device, source);
  const right: (0 | 1)[] = [];
  try {
    for (let start = 0; start < count; start += model.batch) {
      const indices = Array.from({ length: model.batch }, (_, i) => (start + i) % count);
      const kept = Math.min(model.batch, count - start) * questionsPerPicture;
      const labels = answersOf(held, indices).subarray(0, kept);
      const given = await classes(program, probeInputs(model, held, indices));
      labels.forEach((label, i) => right.push(label >= 0 && given[i] === label ? 1 : 0));
    }
  } finally {
    program.dispose();
  }
  return right;
}

async function sliced(right: readonly number[], scenes: Scenes) {
  const held = await scenes.split('held', []);
  return Object.fromEntries(columns.map((column) => [column, countsOf(right, { held }, column)]));
}
