// Attention of few query rows over many keys (a decode step) on GPUs: one workgroup per row. Every thread streams its own keys with a
// running maximum and sum of its own; at the end the threads' results are merged in workgroup memory (Flash-Decoding, Dao et al. 2023).
import { code, literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../group.ts';
import { add, constantIndex, divide, scale, type Index } from '../index-math.ts';
import { indexText } from '../index-text.ts';
import type { Kernel } from '../kernel.ts';
import { quad, typeOf, type Width } from '../lower.ts';
import { component, count, Frame, indexVariable, isQuartered, lineGrid, takeApart, throughChain, type Context } from './frame.ts';

const threads = 64;
const lowest = literal(-3.0e38, 'f32');

export function scheduleAttentionWorkgroup(group: Extract<Group, { template: 'attention' }>, context: Context): Kernel {
  const { attention, chain } = group;
  const { keys: [keyAxis], depth: [depthAxis], width: [widthAxis] } = attention;
  if (keyAxis === undefined || depthAxis === undefined || widthAxis === undefined) throw new TypeError('attention without its axes');
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const rowAxes = [...attention.batch, ...attention.rows];
  const rows = count(rowAxes);
  const line = lineGrid(rows, context.profile.maxGrid);
  const dw: Width = isQuartered(depthAxis) ? 4 : 1;
  const ow: Width = isQuartered(widthAxis) ? 4 : 1;
  const depthUnits = divide(count([depthAxis]), constantIndex(dw));
  const widthUnits = divide(count([widthAxis]), constantIndex(ow));
  const depthType = typeOf('f32', dw);
  const widthType = typeOf('f32', ow);
  const place = (unit: Index, width: Width): Index => (width === 4 ? add(scale(unit, 4), quad) : unit);
  const query = frame.share('query', depthType, depthUnits.most);
  const tops = frame.share('tops', 'f32', threads);
  const totals = frame.share('totals', 'f32', threads);
  const outs = frame.share('outs', widthType, threads);
  const item = frame.body.let('item', code(line.item, 'u32'));
  const own = (memory: string, type: Code['type'] = 'f32') => code(`${memory}[t]`, type);

  frame.body.when(line.exact ? 'true' : `${item.text} < ${indexText(rows)}`, (body) => {
    const index = takeApart(indexVariable(item.text, rows), rowAxes);
    const start = indexVariable('t', constantIndex(threads));
    body.loop('d', depthUnits, (inside, d) => {
      inside.assign(`${query}[${indexText(d)}]`, splat(lowering.value(inside, attention.query, new Map(index).set(depthAxis.name, place(d, dw)), dw), depthType));
    }, { from: start, step: threads });
    body.barrier();
    const result = body.array('result', widthType, widthUnits.most);
    body.loop('d', widthUnits, (inside, d) => inside.assign(`${result}[${indexText(d)}]`, splat(literal(0, 'f32'), widthType)));
    const top = body.var('top', lowest);
    const total = body.var('total', literal(0, 'f32'));
    body.loop('key', count([keyAxis]), (each, key) => {
      const at = new Map(index).set(keyAxis.name, key);
      const score = each.var('score', literal(0, 'f32'));
      each.loop('d', depthUnits, (inside, d) => {
        const k = splat(lowering.value(inside, attention.key, new Map(at).set(depthAxis.name, place(d, dw)), dw), depthType);
        const q = code(`${query}[${indexText(d)}]`, depthType);
        inside.assign(score.text, dw === 4 ? code(`${score.text} + dot(${q.text}, ${k.text})`, 'f32', k.needs) : wgsl`fma(${q}, ${k}, ${score})`);
      });
      lowering.held.set(attention.scores, () => score);
      const logit = each.let('logit', lowering.value(each, attention.logits, at, 1));
      const next = each.let('next', wgsl`max(${top}, ${logit})`);
      const decay = each.let('decay', code(`exp(${top.text} - ${next.text})`, 'f32'));
      const weight = each.let('weight', code(`exp(${logit.text} - ${next.text})`, 'f32'));
      each.assign(top.text, next);
      each.assign(total.text, wgsl`fma(${total}, ${decay}, ${weight})`);
      each.loop('d', widthUnits, (inside, d) => {
        const v = splat(lowering.value(inside, attention.value, new Map(at).set(widthAxis.name, place(d, ow)), ow), widthType);
        const o = code(`${result}[${indexText(d)}]`, widthType);
        inside.assign(o.text, wgsl`fma(${splat(weight, widthType)}, ${v}, (${o} * ${splat(decay, widthType)}))`);
      });
    }, { from: start, step: threads });

    // Merge: the largest maximum of all, then every thread's sum and result brought to it. A thread without keys has weight 0.
    body.assign(own(tops).text, top);
    body.barrier();
    const best = fold(body, tops, 'f32', (x, y) => `max(${x}, ${y})`);
    const share = body.let('share', code(`select(exp(${top.text} - ${best}), 0.0f, ${total.text} == 0.0f)`, 'f32'));
    body.assign(own(totals).text, wgsl`(${total} * ${share})`);
    body.barrier();
    const sum = fold(body, totals, 'f32', (x, y) => `${x} + ${y}`);
    body.loop('d', widthUnits, (each, d) => {
      each.assign(own(outs).text, wgsl`(${code(`${result}[${indexText(d)}]`, widthType)} * ${splat(share, widthType)})`);
      each.barrier();
      const merged = fold(each, outs, widthType, (x, y) => `${x} + ${y}`);
      each.when('t == 0u', (store) => {
        const value = store.let('value', code(`${merged} / ${sum}`, widthType));
        lowering.held.set(attention.product, (_b, at, width) => (width === ow ? value : component(value, at.get(widthAxis.name) ?? constantIndex(0))));
        const rootIndex = throughChain(chain, new Map(index).set(widthAxis.name, place(d, ow)));
        for (const root of group.roots) lowering.store(store, context.target(root), rootIndex, lowering.value(store, root, rootIndex, ow), ow);
      });
      each.barrier();
    });
  });
  return frame.finish('attention, one row a workgroup', threads, line.grid);
}

/** Folds workgroup memory to its first element by a tree and reads it. */
function fold(body: Frame['body'], memory: string, type: Code['type'], combine: (x: string, y: string) => string): string {
  for (let half = threads / 2; half >= 1; half /= 2) {
    body.when(`t < ${half}u`, (inside) => inside.assign(`${memory}[t]`, code(combine(`${memory}[t]`, `${memory}[t + ${half}u]`), type)));
    body.barrier();
  }
  return body.let('folded', code(`${memory}[0]`, type)).text;
}
