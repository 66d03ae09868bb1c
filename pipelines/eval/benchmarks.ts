// The benchmarks that are known: every file of `benchmarks/` that exports an adapter.
import { existsSync } from 'node:fs';
import { OpabiniaError } from '../../dsl/error.ts';
import { nameAdvice } from '../../dsl/text/near-names.ts';
import { importFolder } from '../folder.ts';
import { importOwn } from '../own-module.ts';
import type { Benchmark } from './benchmark.ts';

/** All adapters, by name. */
export async function allBenchmarks(): Promise<ReadonlyMap<string, Benchmark>> {
  const modules = await importFolder(new URL('./benchmarks/', import.meta.url));
  const found = modules.flatMap(({ exports }) => Object.values(exports).filter(isBenchmark));
  return new Map(found.map((benchmark) => [benchmark.name, benchmark]));
}

const moduleFile = /\.[cm]?[jt]s$/;

/** One of them, or the adapter that a module of your own exports. Throws `OpabiniaError`; for a name it names the nearest. */
export async function benchmarkNamed(name: string): Promise<Benchmark> {
  if (moduleFile.test(name)) return ownBenchmark(name);
  const all = await allBenchmarks();
  const found = all.get(name);
  if (found !== undefined) return found;
  throw new OpabiniaError(`there is no benchmark '${name}'`, {
    op: 'eval',
    advice: nameAdvice(name, [...all.keys()], '--list names all'),
  });
}

async function ownBenchmark(path: string): Promise<Benchmark> {
  if (!existsSync(path))
    throw new OpabiniaError(`there is no module ${path}`, { op: 'eval', advice: 'check the path before the colon' });
  const exports = await importOwn(path, 'eval');
  const found = Object.values(exports).find(isBenchmark);
  if (found !== undefined) return found;
  throw new OpabiniaError(`${path} exports no benchmark`, {
    op: 'eval',
    advice: 'export a constant of type Benchmark (opabinia/pipelines): columns, form, item, …',
  });
}

function isBenchmark(value: unknown): value is Benchmark {
  return typeof value === 'object' && value !== null && 'item' in value && 'columns' in value && 'form' in value;
}
