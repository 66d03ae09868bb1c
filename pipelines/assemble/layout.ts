// What a directory is made of besides the parts that are copied.
import type { ConfigJson } from '../../models/configs/fields.ts';
import type { Shapes } from '../../models/configs/param-shapes.ts';

export interface Layout {
  /** Of the connector, for people. */
  readonly title: string;
  /** Visual tokens of a picture. */
  readonly tokens: number;
  readonly notes: readonly string[];
  /** Of each tower, below `towers/`. */
  readonly folders: readonly string[];
  /** `config.json`. */
  readonly json: ConfigJson;
  /** Parameters that no part has: freshly initialized. */
  readonly fresh: Shapes;
}
