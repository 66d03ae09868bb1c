// The benchmarks that are known: every file of `benchmarks/` that exports an adapter.
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import { importFolder } from '../folder.ts';
import type { Benchmark } from './benchmark.ts';

/** All adapters, by name. */
export async function allBenchmarks(): Promise<ReadonlyMap<string, Benchmark>> {
  const modules = await importFolder(new URL('./benchmarks/', import.meta.url));
  const found = modules.flatMap(({ exports }) => Object.values(exports).filter(isBenchmark));
  return new Map(found.map((benchmark) => [benchmark.name, benchmark]));
}

/** Throws `OpabiniaError` that names the nearest. */
export async function benchmarkNamed(name: string): Promise<Benchmark> {
  const all = await allBenchmarks();
  const found = all.get(name);
  if (found !== undefined) return found;
  throw new OpabiniaError(`there is no benchmark '${name}'`, {
    op: 'eval',
    advice: `the nearest are ${nearestNames(name, all.keys()).join(', ')}; --list names all`,
  });
}

function isBenchmark(value: unknown): value is Benchmark {
  return typeof value === 'object' && value !== null && 'item' in value && 'columns' in value && 'form' in value;
}
