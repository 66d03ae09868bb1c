// Norms, softmax and an activation with its bias and residual: bound by bytes.
import { gelu, layerNorm, softmax, trace } from '../../dsl/index.ts';
import { benchParams, uniform, type BenchCase, type Scale, type Work } from '../case.ts';

const source = benchParams();

function norm(scale: Scale): Work {
  const [n, c] = scale === 'full' ? [9216, 1024] : [33, 64];
  const graph = trace(source, (t) => ({ y: layerNorm(t.params.at('norm'), t.input('x', 'n c', { n, c })) }));
  return { graph, source, inputs: { x: uniform(n * c, 1, 2) }, plain: { op: 'layerNorm', rows: n, columns: c } };
}

function soft(scale: Scale): Work {
  const [n, c] = scale === 'full' ? [16 * 577, 577] : [32, 37];
  const graph = trace(source, (t) => ({ y: softmax(t.input('x', 'n c', { n, c }), 'c') }));
  return { graph, source, inputs: { x: uniform(n * c, 1, 4) }, plain: { op: 'softmax', rows: n, columns: c } };
}

/** r + gelu(x + b), exact. */
function activation(scale: Scale): Work {
  const [n, c] = scale === 'full' ? [2304, 4096] : [33, 64];
  const graph = trace(source, (t) => {
    const x = t.input('x', 'n c', { n, c });
    return { y: t.input('r', 'n c', { n, c }).add(gelu(x.add(t.params.get('bias', 'c', { c })), 'exact')) };
  });
  return {
    graph,
    source,
    inputs: { x: uniform(n * c, 1, 3), r: uniform(n * c, 2) },
    plain: { op: 'geluBiasResidual', rows: n, columns: c },
  };
}

export const rowCases: readonly BenchCase[] = [
  { name: 'layer-norm', about: 'layerNorm of 9216 rows of 1024', build: norm },
  { name: 'softmax', about: 'softmax of 9232 rows of 577: the scores of a ViT-L', build: soft },
  { name: 'gelu-bias-residual', about: 'r + gelu(x + b), exact, 2304 × 4096', build: activation },
];
