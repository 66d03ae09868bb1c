// Reductions, softmax and norms.
import {
  crossEntropy,
  exp,
  groupNorm,
  layerNorm,
  log,
  logSoftmax,
  rmsNorm,
  softmax,
  sqrt,
  standardize,
  stopGradient,
  type Tensor,
} from '../../../../dsl/index.ts';
import { axisAt, called, given, reducedOver, type Case, type OpOf, type T } from './case.ts';

const reduction =
  (by: 'sum' | 'mean' | 'max' | 'min'): OpOf =>
  ({ x, attrs }) =>
    reducedOver(x('x'), attrs.numbers('axes'), by, attrs.flag('keepdim', false));

/** Along the only axis of the attribute `axes`; the parameters that the case has. */
function norm(c: Case, f: (x: T, axis: string, params: Readonly<Record<string, T>>) => Tensor): Tensor {
  const x = c.x('x');
  const params = Object.fromEntries(['weight', 'bias'].filter((name) => c.has(name)).map((name) => [name, c.x(name)]));
  return f(x, axisAt(x, c.attrs.numbers('axes')[0] ?? -1), params);
}

export const reductions: Readonly<Record<string, OpOf>> = {
  sum: reduction('sum'),
  mean: reduction('mean'),
  max: reduction('max'),
  min: reduction('min'),
  var: ({ x, attrs }) => {
    const [values, axes] = [x('x'), attrs.numbers('axes')];
    const centred = values.sub(reducedOver(values, axes, 'mean'));
    const count = axes.reduce((product, axis) => product * Number(values.axes.at(axis)?.size ?? 1), 1);
    return reducedOver(centred.mul(centred), axes, 'sum', attrs.flag('keepdim', false)).mul(
      1 / (count - attrs.number('correction', 1)),
    );
  },
  logsumexp: ({ x, attrs }) => {
    const [values, axes] = [x('x'), attrs.numbers('axes')];
    const top = stopGradient(reducedOver(values, axes, 'max'));
    return top.add(log(reducedOver(exp(values.sub(top)), axes, 'sum')));
  },
  softmax: ({ x, attrs }) => softmax(x('x'), axisAt(x('x'), attrs.number('axis'))),
  log_softmax: ({ x, attrs }) => logSoftmax(x('x'), axisAt(x('x'), attrs.number('axis'))),
  layernorm: (c) =>
    norm(c, (x, axis, params) => {
      const eps = c.attrs.number('eps');
      return params['weight'] === undefined
        ? standardize(x, { axes: [axis], eps })
        : layerNorm(given(params), x, { eps, axis, bias: params['bias'] !== undefined });
    }),
  rmsnorm: (c) => norm(c, (x, axis, params) => rmsNorm(given(params), x, { eps: c.attrs.number('eps'), axis })),
  groupnorm: (c) => {
    const x = c.x('x');
    const axis = axisAt(x, c.attrs.number('channel_axis', 1));
    const params = given({ weight: c.x('weight'), bias: c.x('bias') });
    return groupNorm(params, x, { groups: c.attrs.number('groups'), axis, eps: c.attrs.number('eps') });
  },
  l2_normalize: ({ x, attrs }) => {
    const values = x('x');
    const length = sqrt(reducedOver(values.mul(values), attrs.numbers('axes'), 'sum'));
    return values.div(length.max(attrs.number('eps')));
  },
  cross_entropy: (c) =>
    crossEntropy(called(c.x('logits'), 'n v'), called(c.whole('labels'), 'n'), {
      axis: 'v',
      ignore: c.attrs.number('ignore_index', -100),
      smoothing: c.attrs.number('label_smoothing', 0),
      reduction: c.attrs.text('reduction', 'mean') === 'sum' ? 'sum' : 'mean',
    }),
};
