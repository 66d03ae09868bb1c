// PyTorch on the CPU, where a Python with torch is found: steps of training, in a process of its own (`steps.py`).
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inputFacts } from '../case.ts';
import { runnableCase } from '../cases/index.ts';
import { learningRate } from '../cases/training.ts';
import type { Job, Peer, Prepared } from './protocol.ts';
import { serve } from './serve.ts';

/** A Python of one's choice is named by the environment variable OPABINIA_PYTHON. */
function findPython(): string {
  const named = process.env['OPABINIA_PYTHON'];
  const candidates = named === undefined ? ['python3', 'python'] : [named];
  for (const command of candidates)
    if (spawnSync(command, ['-c', 'import torch, numpy'], { stdio: 'ignore', timeout: 60_000 }).status === 0)
      return command;
  throw new Error(
    `no Python with torch: ${candidates.join(', ')} ${named === undefined ? '(OPABINIA_PYTHON names another)' : ''}`.trim(),
  );
}

type Answer = Readonly<Record<string, unknown>>;

class PyTorch implements Peer {
  #child: ChildProcess | undefined;
  #waiting: ((answer: Answer) => void)[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), 'opabinia-pytorch-'));

  async open() {
    const child = spawn(findPython(), [join(import.meta.dirname, 'steps.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child = child;
    process.on('exit', () => {
      child.kill();
      rmSync(this.#folder, { recursive: true, force: true });
    });
    child.on('exit', () => {
      for (const answer of this.#waiting.splice(0)) answer({ error: 'the Python process ended' });
    });
    if (child.stdout !== null)
      createInterface({ input: child.stdout }).on('line', (line) =>
        this.#waiting.shift()?.(JSON.parse(line) as Answer),
      );
    const { version, threads } = await this.#ask({ kind: 'open' });
    return { version: `${String(version)}, ${String(threads)} threads`, adapter: 'CPU' };
  }

  async prepare({ name, scale }: Job): Promise<Prepared> {
    const { graph, source, inputs, step, learned = [] } = runnableCase(name).build(scale);
    if (step === undefined) throw new Error('not written for PyTorch: only steps of training are');
    const write = (file: string, values: ArrayBufferView): void =>
      writeFileSync(
        join(this.#folder, `${file}.bin`),
        new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      );
    learned.forEach(({ path, shape }, i) => write(`p${i}`, source.read(path, shape)));
    const given = inputFacts(graph).flatMap(({ name: input, dtype, axes }) => {
      const values = inputs[input];
      return values === undefined ? [] : [{ name: input, dtype, shape: axes.map((axis) => axis.size), values }];
    });
    given.forEach(({ values }, i) => write(`x${i}`, values));
    await this.#ask({
      kind: 'prepare',
      folder: this.#folder,
      plain: step,
      learned,
      inputs: given.map(({ name: input, dtype, shape }) => ({ name: input, dtype, shape })),
      rate: learningRate,
    });
    return { notes: ['on the CPU'] };
  }

  async run() {
    await this.#ask({ kind: 'run' });
  }

  async outputs() {
    const { squares } = await this.#ask({ kind: 'outputs' });
    return { squares: Float32Array.from(squares as readonly number[]) };
  }

  async drop() {
    await this.#ask({ kind: 'drop' });
  }

  async #ask(command: Answer): Promise<Answer> {
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#waiting.push(resolve);
    if (this.#child?.exitCode !== null) throw new Error('PyTorch is not open');
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    const answer = await promise;
    if (typeof answer['error'] === 'string') throw new Error(answer['error']);
    return answer;
  }
}

serve(new PyTorch());
