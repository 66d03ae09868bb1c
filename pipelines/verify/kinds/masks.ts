// Golden kind of padding masks and region windows: masks are integers on the host; the windows are read through the graph's own view.
import { gather, rearrange, trace } from '../../../dsl/index.ts';
import {
  blockMask,
  blockPositions,
  crop,
  croppedPositions,
  gridMask,
  regionMask,
  selectQueries,
  type PictureSize,
} from '../../../models/sequence/masks.ts';
import { regionsOf } from '../../../models/sequence/regions.ts';
import type { ConfigReader } from '../../../models/configs/config-reader.ts';
import { OutputRecorder } from '../golden-file.ts';
import type { Kind } from '../kind.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';

interface MaskCase {
  readonly index: number;
  readonly picture: PictureSize;
  readonly side: number;
  readonly queries: number;
  /** Queries of the unpadded part. */
  readonly shown: readonly number[];
}

function readCase(one: ConfigReader): MaskCase {
  const picture = { width: one.number('width'), height: one.number('height') };
  const queries = one.number('query_side');
  return {
    index: one.number('index'),
    picture,
    side: one.number('aux_side'),
    queries,
    shown: croppedPositions(crop(picture, queries), queries),
  };
}

export const masks: Kind = (file) => {
  const cases = file.config.list('cases').map(readCase);
  const host = new Map<string, Numbers>();
  for (const { index, picture, side, queries, shown } of cases) {
    const mask = regionMask(picture, side, queries);
    const block = blockMask(picture, queries);
    host.set(`raw_mask_${index}`, gridMask(picture, side));
    host.set(`mask_${index}`, mask.attend);
    host.set(`mask_unpad_${index}`, selectQueries(mask, shown).attend);
    host.set(`train_token_mask_${index}`, block);
    host.set(`train_position_ids_${index}`, blockPositions(block));
    if (shown.length === 0) host.set(`order_unpad_${index}`, []);
  }
  const recorder = new OutputRecorder(file);
  const graph = trace(
    file.checkpoint,
    (t) => {
      for (const { index, side, queries, shown } of cases) {
        const numbered = t.input(`grid_${index}`, 'b h w c', { b: 1, h: side, w: side, c: 1 }, 'f32');
        const order = rearrange(regionsOf(numbered, queries), 'b q t c -> q t c=(b c)').at('c', 0);
        recorder.take(`order_${index}`, order);
        if (shown.length > 0)
          recorder.take(`order_unpad_${index}`, gather(order, t.constant(shown, 'r', { r: shown.length }, 'i32'), 'q'));
      }
      return recorder.tensors;
    },
    { unread: 'ignore' },
  );
  return {
    graph,
    inputs: new Map(
      cases.map(({ index, side }) => [`grid_${index}`, Float32Array.from({ length: side * side }, (_, i) => i)]),
    ),
    host,
  };
};
