// Our own side of the race: compile, load, run; outputs stay on the device.
import { compile } from '../../compiler/compile.ts';
import { passes } from '../../compiler/passes/index.ts';
import type { Device } from '../../runtime/device/device.ts';
import { deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import { load, type Program } from '../../runtime/program/program.ts';
import type { InitialStates } from '../../runtime/program/upload.ts';
import type { Work } from '../case.ts';
import { runnableCase } from '../cases/index.ts';
import { measureGeneration } from '../generation.ts';
import { measureRoofline } from '../roofline.ts';
import { serve, type Served } from './serve.ts';

class Ours implements Served {
  #device: Device | undefined;
  #program: Program | undefined;

  get #open(): { readonly device: Device; readonly program: Program } {
    if (this.#device === undefined || this.#program === undefined) throw new Error('nothing is prepared');
    return { device: this.#device, program: this.#program };
  }

  async open() {
    // As ONNX Runtime in this race: calls are not checked.
    this.#device = await openDevice({ validation: false });
    const { name, driver, software } = this.#device.facts;
    return { version: 'this commit', adapter: name, driver: driver === '' ? 'unknown' : driver, software };
  }

  async prepare({ name, scale }: { readonly name: string; readonly scale: 'full' | 'quick' }) {
    const device = this.#device;
    if (device === undefined) throw new Error('the device is not open');
    const work = runnableCase(name).build(scale);
    const before = device.memory.now;
    const plan = compile(work.graph, deviceProfile(device), {
      passes: passes.filter((pass) => work.without?.includes(pass.name) !== true),
    });
    const source: Source = work.packed ?? work.source;
    const read: Source['read'] = (path, shape) => {
      const input = path.startsWith(inputPrefix) ? work.inputs[path.slice(inputPrefix.length)] : undefined;
      return input === undefined ? source.read(path, shape) : Float32Array.from(input);
    };
    const { part: _, ...whole } = source;
    this.#program = await load(withInputsOnDevice(plan), device, { ...whole, read }, { states: statesOf(work) });
    return { dispatches: plan.dispatches.length, deviceBytes: device.memory.now - before, notes: [] };
  }

  async run() {
    await this.#open.program.run({}, { outputs: [] });
  }

  async outputs() {
    const outputs = await this.#open.program.run({});
    return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, Float32Array.from(data)]));
  }

  async drop() {
    this.#program?.dispose();
    this.#program = undefined;
    await this.#device?.flush(10_000);
  }

  async generate(answers: number, tokens: number) {
    if (this.#device === undefined) throw new Error('the device is not open');
    return measureGeneration(this.#device, answers, tokens);
  }

  async roofline(quick: boolean) {
    if (this.#device === undefined) throw new Error('the device is not open');
    return measureRoofline(this.#device, quick);
  }
}

/** What learns begins with the source's values, moments with zeros. */
function statesOf({ source, learned = [] }: Work): InitialStates {
  const known = new Set(learned.map(({ path }) => path));
  return { has: (name) => known.has(name), read: (path, shape) => source.read(path, shape) };
}

const inputPrefix = 'input: ';

/** Inputs uploaded once, like parameters: the peers have theirs on the device too. */
function withInputsOnDevice(plan: Plan): Plan {
  const asParameters = plan.inputs.map((input) => ({ ...input, name: `${inputPrefix}${input.name}` }));
  return {
    ...plan,
    inputs: [],
    parameters: [...plan.parameters, ...asParameters],
    buffers: plan.buffers.map((buffer) => (buffer.role === 'input' ? { ...buffer, role: 'parameter' } : buffer)),
  };
}

serve(new Ours());
