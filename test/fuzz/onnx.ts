// The second judge: the same graph, exported, on ONNX Runtime's CPU provider, held against the same bounds.
import { exportOnnx } from '../../compiler/export/onnx.ts';
import { runExported } from '../../pipelines/verify/onnx-runtime.ts';
import { OnnxRuntime } from '../../runtime/onnx/onnx-runtime.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { evaluateWithError } from '../../pipelines/testing/forward-error.ts';
import { expectWithin } from '../gpu/run-plan.ts';
import { asFeeds, type FuzzCase } from './case.ts';
import type { Outcome } from './judge.ts';

/** ONNX Runtime may round where we keep an f32: its bound is that of the interpreter times this. */
const slack = 8;

export class OnnxJudge {
  #runtime: OnnxRuntime | undefined;

  /** `refused`: the exporter says that it has no operators for the graph. */
  async run({ graph, feeds }: FuzzCase, plain: boolean): Promise<Outcome> {
    const given = asFeeds(feeds);
    let model: ReturnType<typeof exportOnnx>;
    try {
      model = exportOnnx(graph, { plain, weights: { read: (path, shape) => given.params(path, [...shape]) } });
    } catch (error) {
      return error instanceof OpabiniaError
        ? { kind: 'refused', what: error.message }
        : { kind: 'compile', what: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
    this.#runtime ??= new OnnxRuntime();
    const counts = { compared: 0, vacuous: 0 };
    try {
      const session = await this.#runtime.open(model.bytes);
      const got = await runExported(session, model, {
        inputs: feeds.inputs,
        states: feeds.states,
        symbols: feeds.symbols,
      });
      await session.close();
      const want = evaluateWithError(graph, given);
      for (const [name, values] of want.outputs)
        expectWithin(
          `ONNX Runtime's output '${name}'`,
          got.outputs.get(name) ?? [],
          { ...values, error: values.error.map((e) => slack * e) },
          counts,
        );
      for (const [name, values] of got.states) {
        const exact = want.states.get(name);
        if (exact !== undefined)
          expectWithin(
            `ONNX Runtime's state '${name}'`,
            values,
            { ...exact, error: exact.error.map((e) => slack * e) },
            counts,
          );
      }
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      if (/the process (ended|is gone)/.test(what)) this.close();
      return { kind: 'wrong', what };
    }
    return { kind: 'ok', templates: [], ...counts };
  }

  close(): void {
    this.#runtime?.close();
    this.#runtime = undefined;
  }
}
