// What a config.json says about packed weights: by whom, how many bits, how long the groups are, and which modules differ.
import { OpabiniaError } from '../../../dsl/error.ts';
import { awq } from './awq.ts';
import { compressedTensors } from './compressed-tensors.ts';
import { gptq } from './gptq.ts';
import { mlx } from './mlx.ts';
import { checkPackedKeys } from './packed-keys.ts';
import type { PackedLayout, Packing } from './packed-tensor.ts';

export interface PackedConfig {
  readonly method: string;
  readonly layout: PackedLayout;
  /** How a module is packed, if it is: only its tensors tell. */
  packing(module: string): Packing;
}

type Json = Readonly<Record<string, unknown>>;

const layouts = { mlx, metal: mlx, 'compressed-tensors': compressedTensors, awq, gptq } as const satisfies Record<
  string,
  PackedLayout
>;

const object = (value: unknown): Json | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;

/** Undefined for a config of plain weights. Throws `OpabiniaError` for a method, or a form of one, that is not read. */
export function packedConfig(json: Json, where: string): PackedConfig | undefined {
  const stated = object(json['quantization_config']) ?? object(json['quantization']);
  if (stated === undefined) return undefined;
  // MLX names no method, and writes its fields under both keys.
  const method = stated['quant_method'] ?? (stated['group_size'] === undefined ? undefined : 'mlx');
  if (typeof method !== 'string' || !Object.hasOwn(layouts, method))
    throw refuse(where, `is quantized by ${JSON.stringify(method) ?? 'an unnamed method'}`, known());
  const plain = (fields: Json, zeroOffset: 0 | 1): Packing => ({
    bits: whole(fields, 'bits', where),
    group: whole(fields, 'group_size', where),
    zeroOffset,
  });
  const kind = method as keyof typeof layouts;
  checkPackedKeys(
    kind,
    withoutDense(stated),
    where,
    (value) => kind === 'mlx' && (value === true || object(value) !== undefined),
  );
  const layout = layouts[kind];
  switch (kind) {
    case 'mlx': {
      if ((stated['mode'] ?? 'affine') !== 'affine')
        throw refuse(where, `has MLX's mode ${JSON.stringify(stated['mode'])}`, "mode 'affine' is read");
      const all = plain(stated, 0);
      return { method, layout, packing: (module) => override(stated[module], all, where) };
    }
    case 'metal': {
      const all = plain(stated, 0);
      return { method, layout, packing: () => all };
    }
    case 'compressed-tensors': {
      const all = groupOfAll(stated, where);
      return { method, layout, packing: () => all };
    }
    case 'awq': {
      const version = formatOf(stated, ['format', 'version'], where) ?? 'gemm';
      if (version !== 'gemm')
        throw refuse(
          where,
          `is AWQ of version ${JSON.stringify(version)}`,
          "version 'gemm' is read; the others order their words otherwise",
        );
      if (stated['backend'] === 'llm-awq')
        throw refuse(where, "is AWQ of the backend 'llm-awq'", 'that one orders its words otherwise; AutoAWQ is read');
      const all = plain(stated, 0);
      return { method, layout, packing: () => all };
    }
    case 'gptq': {
      const format = formatOf(stated, ['format', 'checkpoint_format'], where) ?? 'gptq';
      if (format !== 'gptq' && format !== 'gptq_v2')
        throw refuse(
          where,
          `is GPTQ in the format ${JSON.stringify(format)}`,
          'gptq and gptq_v2 are read; Marlin and others are repacked for one kernel',
        );
      const all = plain(stated, format === 'gptq' ? 1 : 0);
      return { method, layout, packing: () => all };
    }
    default:
      return kind satisfies never;
  }
}

/** compressed-tensors may say of weights that are not sparse that they are not. */
function withoutDense({ sparsity_config: sparsity, ...others }: Json): Json {
  return object(sparsity)?.['format'] === 'dense' ? others : { ...others, sparsity_config: sparsity ?? null };
}

/** The format by its key of today or its key of old, in lower case. Throws `OpabiniaError` where the two differ. */
function formatOf(
  stated: Json,
  [today, old]: readonly [today: string, old: string],
  where: string,
): string | undefined {
  const [named, legacy] = [stated[today] ?? undefined, stated[old] ?? undefined].map((value) =>
    value === undefined ? undefined : String(value).toLowerCase(),
  );
  if (named === undefined || legacy === undefined || named === legacy) return named ?? legacy;
  throw refuse(
    where,
    `has the ${today} '${named.slice(0, 40)}' and the ${old} '${legacy.slice(0, 40)}'`,
    'both name one thing; keep the one that the weights are in',
  );
}

function known(): string {
  return `one of ${Object.keys(layouts).join(', ')}, or weights that are not quantized`;
}

function refuse(where: string, what: string, advice: string): OpabiniaError {
  return new OpabiniaError(`${where} ${what}`, { op: 'openPacked', advice });
}

function whole(fields: Json, key: string, where: string): number {
  const value = fields[key];
  if (typeof value === 'number' && Number.isInteger(value)) return value;
  throw refuse(where, `has ${JSON.stringify(value) ?? 'no'} ${key} in its quantization`, 'give a whole number');
}

/** MLX gives a module numbers of its own, or false where it is not packed; its tensors say that as well. */
function override(own: unknown, all: Packing, where: string): Packing {
  const fields = object(own);
  if (fields === undefined) return all;
  return {
    ...all,
    bits: fields['bits'] === undefined ? all.bits : whole(fields, 'bits', where),
    group: fields['group_size'] === undefined ? all.group : whole(fields, 'group_size', where),
  };
}

function groupOfAll(stated: Json, where: string): Packing {
  if ((stated['format'] ?? 'pack-quantized') !== 'pack-quantized')
    throw refuse(
      where,
      `has compressed-tensors of the format ${JSON.stringify(stated['format'])}`,
      "'pack-quantized' is read",
    );
  const groups = Object.values(object(stated['config_groups']) ?? {});
  const found = groups.map((group): Packing => {
    const weights = object(object(group)?.['weights']) ?? {};
    checkPackedKeys('group', object(group) ?? {}, where);
    checkPackedKeys('weights', weights, where);
    const strategy = weights['strategy'] ?? 'group';
    if ((weights['type'] ?? 'int') !== 'int' || (strategy !== 'group' && strategy !== 'channel'))
      throw refuse(
        where,
        `has compressed-tensors of ${JSON.stringify(weights['type'])} by ${JSON.stringify(strategy)}`,
        'integers by group or by channel are read',
      );
    const actorder = weights['actorder'] ?? null;
    if (actorder !== null && !['group', 'dynamic', 'weight', 'static'].includes(String(actorder).toLowerCase()))
      throw refuse(
        where,
        `has compressed-tensors with actorder ${JSON.stringify(actorder)}`,
        "'group' and 'weight' are read",
      );
    return {
      bits: whole(weights, 'num_bits', where),
      group: strategy === 'channel' ? -1 : whole(weights, 'group_size', where),
      zeroOffset: 0,
      symmetric: weights['symmetric'] !== false,
    };
  });
  const [first] = found;
  if (
    first === undefined ||
    found.some((one) => one.bits !== first.bits || one.group !== first.group || one.symmetric !== first.symmetric)
  )
    throw refuse(
      where,
      `has ${found.length === 0 ? 'no config_groups' : 'config_groups that differ'}`,
      'one way of packing for all modules is read',
    );
  return first;
}
