// Attention as one streaming kernel without subgroups: a thread holds one query row and walks the keys. Neighbouring threads read the same
// keys at the same time, which a cache serves once.
import { code, literal, splat, wgsl } from '../../dsl/wgsl.ts';
import type { Group } from '../group.ts';
import { add, constantIndex, divide, scale, type Index } from '../index-math.ts';
import { indexText } from '../index-text.ts';
import type { Kernel } from '../kernel.ts';
import { quad, typeOf, type Width } from '../lower.ts';
import { component, count, Frame, isQuartered, takeApart, threadItems, throughChain, type Context } from './frame.ts';

const threads = 64;
const lowest = literal(-3.0e38, 'f32');

export function scheduleAttentionThread(group: Extract<Group, { template: 'attention' }>, context: Context): Kernel {
  const { attention, chain } = group;
  const { keys: [keyAxis], depth: [depthAxis], width: [widthAxis] } = attention;
  if (keyAxis === undefined || depthAxis === undefined || widthAxis === undefined) throw new TypeError('attention without its axes');
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const rowAxes = [...attention.batch, ...attention.rows];
  const dw: Width = isQuartered(depthAxis) ? 4 : 1;
  const ow: Width = isQuartered(widthAxis) ? 4 : 1;
  const depthUnits = divide(count([depthAxis]), constantIndex(dw));
  const widthUnits = divide(count([widthAxis]), constantIndex(ow));
  const depthType = typeOf('f32', dw);
  const widthType = typeOf('f32', ow);
  const place = (unit: Index, width: Width): Index => (width === 4 ? add(scale(unit, 4), quad) : unit);
  const { grid, item, test } = threadItems(frame.body, count(rowAxes), threads, context.profile.maxGrid);
  frame.body.when(test, (body) => {
    const index = takeApart(item, rowAxes);
    const query = body.array('query', depthType, depthUnits.most);
    const result = body.array('result', widthType, widthUnits.most);
    body.loop('d', depthUnits, (inside, d) => {
      inside.assign(`${query}[${indexText(d)}]`, splat(lowering.value(inside, attention.query, new Map(index).set(depthAxis.name, place(d, dw)), dw), depthType));
    });
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
    });
    body.loop('d', widthUnits, (inside, d) => {
      const value = inside.let('value', code(`${result}[${indexText(d)}] / ${total.text}`, widthType));
      lowering.held.set(attention.product, (_b, at, width) => (width === ow ? value : component(value, at.get(widthAxis.name) ?? constantIndex(0))));
      const rootIndex = throughChain(chain, new Map(index).set(widthAxis.name, place(d, ow)));
      for (const root of group.roots) lowering.store(inside, context.target(root), rootIndex, lowering.value(inside, root, rootIndex, ow), ow);
    });
  });
  return frame.finish('attention, one row a thread', threads, grid);
}
