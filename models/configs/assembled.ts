// Directories that `opabinia assemble` writes (model type `opabinia`): any towers, any connector, any language model.
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/index.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { readInnerDecoder } from './decoders.ts';
import { asObject, checkConfig, dtypes, name, pixels, type ConfigJson } from './fields.ts';

export interface AssembledConfig {
  readonly language: LanguageModel;
  readonly towers: readonly {
    /** Its directory below `towers/`. */
    readonly folder: string;
    /** Side of its pictures. */
    readonly pixels: number;
  }[];
  readonly connector: {
    /** Of `models/connectors`, or of a person's own file. */
    readonly name: string;
    /** One of that connector's own; who opens it sees to that. */
    readonly config: unknown;
    /** Of a person's own connector: what the file is called, and a hash of what it computed when it was assembled. */
    readonly own?: { readonly file: string; readonly hash: string } | undefined;
  };
}

const schema = z.looseObject({
  text_config: z.looseObject({}),
  towers: z
    .array(z.looseObject({ folder: z.string().regex(/^\w[\w.-]{0,99}$/), pixels }))
    .min(1)
    .max(16),
  connector: z.strictObject({
    name,
    config: z.unknown(),
    own: z.strictObject({ file: z.string().min(1).max(200), hash: z.string().regex(/^[0-9a-f]{64}$/) }).optional(),
  }),
  ...dtypes,
});

/** Throws `OpabiniaError`. */
export function readAssembled(json: ConfigJson, where: string): AssembledConfig {
  const { text_config: text, towers, connector } = checkConfig(schema, json, where);
  if (new Set(towers.map(({ folder }) => folder)).size < towers.length)
    throw new OpabiniaError(`${where} names a tower's folder twice`, { op: 'config', advice: 'one folder a tower' });
  return {
    language: readInnerDecoder(json, asObject(text, `${where}, field 'text_config'`), where),
    towers: towers.map(({ folder, pixels: side }) => ({ folder, pixels: side })),
    connector: { name: connector.name, config: connector.config, own: connector.own },
  };
}
