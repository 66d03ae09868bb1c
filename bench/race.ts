// One race: for each case the judge first, then every peer checked against it, then all of them timed in turn, A B A B.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { corner, type AnyCase, type Scale } from './case.ts';
import { PeerProcess } from './peers/client.ts';
import type { Judgement, Model, PeerFacts, PeerName, Prepared } from './peers/protocol.ts';
import type { CaseResult, Measured, PeerResult } from './results.ts';
import { deviationOf, spreadOf, worse, type Deviation } from './statistics.ts';

export interface RaceOptions {
  readonly scale: Scale;
  readonly peers: readonly PeerName[];
  /** Seconds of timed runs for a case and a peer; loading and the first run are not counted. */
  readonly budget: number;
  /** Seconds after which loading or a first run is given up. */
  readonly patience: number;
  /** For the child processes. */
  readonly environment: Readonly<Record<string, string>>;
  readonly report: (line: string) => void;
}

/** Relative error against f64 up to which a result counts as right. */
const bounds = { f32: 1e-4, f16: 1e-2 } as const;
const mostRounds = 9;
/** Runs that are shorter are repeated within their turn. */
const turnMilliseconds = 100;

/** One library in a case: what is known of it so far. */
interface Runner {
  readonly process: PeerProcess;
  readonly name: PeerName;
  readonly times: number[];
  readonly first: number;
  /** The last run before the race: what the next may take. */
  readonly warm: number;
  readonly prepared: Prepared;
  readonly error: Deviation;
  spent: number;
  peak: number | undefined;
  readonly settled: boolean;
}

type Missed = Exclude<PeerResult, Measured>;

export class Race {
  readonly #options: RaceOptions;
  readonly #judge: PeerProcess;
  readonly #peers: ReadonlyMap<PeerName, PeerProcess>;
  readonly #folder = mkdtempSync(join(tmpdir(), 'opabinia-bench-'));
  /** Why a peer takes no part. */
  readonly #out = new Map<PeerName, string>();
  /** Exported models of the present case, made when a peer asks for one. */
  readonly #models = new Map<string, Promise<Model>>();

  constructor(options: RaceOptions) {
    this.#options = options;
    this.#judge = new PeerProcess('judge');
    this.#peers = new Map(options.peers.map((name) => [name, new PeerProcess(name, options.environment)]));
  }

  /** Starts the peers; one that cannot start takes no part, and every case says why. */
  async open(): Promise<ReadonlyMap<PeerName, PeerFacts>> {
    const facts = new Map<PeerName, PeerFacts>();
    for (const [name, peer] of this.#peers) {
      try {
        facts.set(name, await peer.open());
      } catch (error) {
        this.#out.set(name, messageOf(error));
        this.#options.report(`${name}: ${messageOf(error)}`);
      }
    }
    return facts;
  }

  /** Why a peer takes no part. */
  absence(name: PeerName): string | undefined {
    return this.#out.get(name);
  }

  async roofline(): Promise<{ readonly flopsPerSecond: number; readonly bytesPerSecond: number }> {
    const ours = this.#peers.get('ours');
    if (ours === undefined) throw new TypeError('the roofline is measured by our own side');
    return ours.roofline(this.#options.scale === 'quick');
  }

  async run(one: AnyCase): Promise<CaseResult> {
    const { name, about } = one;
    if ('generation' in one) return { name, about, flops: 0, bytes: 0, peers: await this.#generation() };
    const { scale, peers } = this.#options;
    let judgement: Judgement;
    try {
      judgement = await this.#judge.judge({ name, scale });
    } catch (error) {
      return { name, about, flops: 0, bytes: 0, absent: `the judge: ${messageOf(error)}`, peers: {} };
    }
    const results = new Map<PeerName, PeerResult>();
    const runners: Runner[] = [];
    for (const [peer, process] of this.#peers) {
      const ready = await this.#enter(peer, process, name, judgement);
      if ('status' in ready) results.set(peer, ready);
      else runners.push(ready);
      this.#options.report(
        `  ${peer}: ${'status' in ready ? `${ready.status}: ${ready.message.split('\n')[0] ?? ''}` : `right to ${ready.error.relative.toExponential(1)}, first run ${ready.first.toFixed(0)} ms`}`,
      );
    }
    for (const [peer, result] of await this.#takeTurns(runners)) results.set(peer, result);
    for (const process of this.#peers.values()) if (process.running) await process.drop().catch(() => process.stop());
    for (const { path } of await Promise.all(
      [...this.#models.values()].map((model) => model.catch(() => ({ path: '' }))),
    ))
      if (path !== '') rmSync(path, { force: true });
    this.#models.clear();
    return {
      name,
      about,
      flops: judgement.flops,
      bytes: judgement.bytes,
      peers: Object.fromEntries(
        peers.flatMap((peer) => (results.get(peer) === undefined ? [] : [[peer, results.get(peer)]])),
      ) as CaseResult['peers'],
    };
  }

  /** Whole answers of our own runtime; that their tokens are the interpreter's is what test/gpu/generate.test.ts holds. */
  async #generation(): Promise<CaseResult['peers']> {
    const { scale, peers, patience, report } = this.#options;
    const ours = this.#peers.get('ours');
    const others = peers
      .filter((peer) => peer !== 'ours')
      .map((peer) => [peer, { status: 'left', message: 'it has no loop over tokens and towers' }] as const);
    if (ours === undefined) return Object.fromEntries(others);
    try {
      if (!ours.running) await ours.open();
      const settled = await ours.settle();
      const { cold, whole, toFirst, perSecond, tokens, deviceBytes } = await ours.generate(
        scale === 'quick' ? 1 : 5,
        scale === 'quick' ? 4 : 32,
        2 * patience,
      );
      const peak = settled ? await ours.peak() : undefined;
      report(`  ours: first answer ${cold.toFixed(0)} ms`);
      const result: Measured = {
        status: 'measured',
        time: spreadOf(whole),
        first: cold,
        deviceBytes,
        ...(peak === undefined ? {} : { processPeak: peak }),
        rates: { 'ms to the first token': spreadOf(toFirst).median, 'tokens/s after it': spreadOf(perSecond).median },
        notes: [
          `${tokens} tokens`,
          'inputs from the host',
          "tokens against the interpreter's: test/gpu/generate.test.ts",
        ],
      };
      return Object.fromEntries([['ours', result], ...others]);
    } catch (error) {
      return Object.fromEntries([['ours', { status: 'failed', message: messageOf(error) }], ...others]);
    }
  }

  close(): void {
    this.#judge.stop();
    for (const peer of this.#peers.values()) peer.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** As composites first, which have fused kernels; where these fail, as plain operators. */
  async #enter(name: PeerName, process: PeerProcess, caseName: string, judgement: Judgement): Promise<Runner | Missed> {
    const out = this.#out.get(name);
    if (out !== undefined) return { status: 'left', message: out };
    if (!name.startsWith('ort')) return this.#try(name, process, caseName, judgement, undefined);
    const fused = await this.#try(name, process, caseName, judgement, 'fused');
    if (!('status' in fused)) return fused;
    const plain = await this.#try(name, process, caseName, judgement, 'plain');
    if ('status' in plain) return fused;
    return {
      ...plain,
      prepared: {
        ...plain.prepared,
        notes: [
          ...plain.prepared.notes,
          `as plain operators; fused ones: ${fused.status}: ${fused.message.split('\n')[0] ?? ''}`,
        ],
      },
    };
  }

  /** Loads the case, runs it once, compares the results. */
  async #try(
    name: PeerName,
    process: PeerProcess,
    caseName: string,
    judgement: Judgement,
    form: 'fused' | 'plain' | undefined,
  ): Promise<Runner | Missed> {
    const { scale, patience } = this.#options;
    try {
      const model = form === undefined ? undefined : await this.#model(caseName, form);
      // Also after a crash in the case before.
      if (!process.running) await process.open();
      const prepared = await process.prepare({ name: caseName, scale, model }, patience);
      const [run = NaN] = await process.time(1, patience);
      const error = errorOf(await process.outputs(patience), judgement, name);
      const bound = bounds[judgement.dtype];
      if (!(error.relative <= bound)) {
        await process.drop();
        return {
          status: 'wrong',
          message: `relative error ${error.relative.toExponential(1)} against f64, over ${bound}`,
        };
      }
      return {
        process,
        name,
        times: [],
        first: prepared.first ?? run,
        warm: run,
        prepared,
        error,
        spent: 0,
        peak: undefined,
        settled: await process.settle(),
      };
    } catch (error) {
      const message = messageOf(error);
      if (process.running) await process.drop().catch(() => process.stop());
      return { status: message.startsWith('not written for') ? 'left' : 'failed', message };
    }
  }

  #model(name: string, form: 'fused' | 'plain'): Promise<Model> {
    const known = this.#models.get(form);
    if (known !== undefined) return known;
    const made = this.#judge.export(
      { name, scale: this.#options.scale },
      join(this.#folder, `${name}-${form}.onnx`),
      form === 'plain',
    );
    this.#models.set(form, made);
    return made;
  }

  /** Rounds in which each peer has its turn, until its time is up. */
  async #takeTurns(runners: readonly Runner[]): Promise<ReadonlyMap<PeerName, PeerResult>> {
    const { scale, budget, patience } = this.#options;
    const results = new Map<PeerName, PeerResult>();
    const rounds = scale === 'quick' ? 2 : mostRounds;
    for (let round = 0; round < rounds; round++) {
      for (const runner of runners) {
        if (results.has(runner.name)) continue;
        const warm = runner.times.length > 0 ? spreadOf(runner.times).median : runner.warm;
        // The first round tells how long a warm run takes; then a run more is made only when it fits.
        if (round > 0 && (runner.spent + warm) / 1000 > budget) continue;
        const runs =
          scale === 'quick' || round === 0 ? 1 : Math.min(20, Math.max(1, Math.round(turnMilliseconds / warm)));
        try {
          const times = await runner.process.time(runs, patience);
          runner.times.push(...times);
          runner.spent += times.reduce((sum, time) => sum + time, 0);
          if (runner.settled) runner.peak = await runner.process.peak();
        } catch (error) {
          results.set(runner.name, { status: 'failed', message: messageOf(error) });
        }
      }
    }
    for (const runner of runners) if (!results.has(runner.name)) results.set(runner.name, measuredOf(runner));
    return results;
  }
}

function measuredOf({ times, first, prepared, error, peak }: Runner): Measured {
  const { dispatches, deviceBytes, notes } = prepared;
  return {
    status: 'measured',
    time: spreadOf(times),
    first,
    error,
    notes: [...notes],
    ...(dispatches === undefined ? {} : { dispatches }),
    ...(deviceBytes === undefined ? {} : { deviceBytes }),
    ...(peak === undefined ? {} : { processPeak: peak }),
  };
}

/** Of the corner that the judge worked out. */
function errorOf(outputs: Readonly<Record<string, Float32Array>>, judgement: Judgement, peer: PeerName): Deviation {
  return judgement.outputs
    .map(({ name, sizes, part, values }) => {
      const got = outputs[name];
      if (got === undefined) throw new Error(`${peer} gives no output '${name}'`);
      return deviationOf(corner(got, sizes, part), values);
    })
    .reduce(worse);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
