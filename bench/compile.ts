// `npm run bench:compile`: how long tracing and compiling take, cold and warm, for the graphs that the goals speak of. Needs no GPU.
import { order } from '../dsl/graph/walk.ts';
import { compile } from '../compiler/compile.ts';
import { desktopGpu, lavapipe } from '../compiler/profile.ts';
import { formatTable } from '../dsl/text/table.ts';
import { fullSize } from '../test/compiler/full-size.ts';

const rounds = 5;

function timed<T>(work: () => T): { readonly result: T; readonly milliseconds: number } {
  const start = performance.now();
  const result = work();
  return { result, milliseconds: performance.now() - start };
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
}

// The largest first: its first round is what a newcomer waits for, with no function compiled by the engine yet.
const rows = Object.entries(fullSize)
  .reverse()
  .flatMap(([name, build]) =>
    [lavapipe, desktopGpu].map((profile) => {
      const samples = Array.from({ length: rounds }, () => {
        const traced = timed(build);
        const compiled = timed(() => compile(traced.result, profile));
        return {
          trace: traced.milliseconds,
          compile: compiled.milliseconds,
          graph: traced.result,
          plan: compiled.result,
        };
      });
      const [first] = samples;
      const plan = first?.plan;
      const show = (x: number | undefined) => (x ?? NaN).toFixed(0);
      return [
        name,
        profile.name,
        show(first?.trace),
        show(first?.compile),
        show(median(samples.map((s) => s.trace))),
        show(median(samples.map((s) => s.compile))),
        String(first === undefined ? 0 : order(first.graph).length),
        String(plan?.dispatches.length ?? 0),
        String(plan?.kernels.length ?? 0),
      ];
    }),
  );

const numbers = ['trace, ms', 'compile, ms', 'trace again', 'compile again', 'nodes', 'dispatches', 'kernels'].map(
  (title) => ({ title, align: 'right' as const }),
);
console.log(formatTable([{ title: 'graph' }, { title: 'profile' }, ...numbers], rows));
