// Which tokens of a square grid show the picture and which its padding: plain integers, from the size of the original picture.
import { nearestMultiples } from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';

/** Size of a picture in pixels before it was padded to a square. */
export interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/** Sides of the grids on which regions are masked: those of the query groups, and the final one where the language model looks again. */
export function maskGrids({
  connector,
  schedule,
}: {
  readonly connector: { readonly groups: readonly number[]; readonly side: number };
  readonly schedule?: unknown;
}): readonly number[] {
  return [...new Set([...connector.groups, ...(schedule === undefined ? [] : [connector.side])])];
}

/** Lines of padding at each end of one axis of a square grid; 0 when nothing is padded. */
export interface Padding {
  readonly along: 'rows' | 'columns';
  readonly lines: number;
}

/** The part of a grid that shows the picture. */
export interface Crop {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** For every query of a grid, which tokens of its region it may attend to: `queries × tokens`, row-major, 1 = attend. */
export interface RegionMask {
  readonly queries: number;
  readonly tokens: number;
  readonly attend: Uint8Array;
}

/**
 * Padding of a `side × side` grid. The order of the divisions is Cambrian's own and matters: 352 × 220 on 24 gives 5 lines,
 * `(h * side) / w` would give 4. Throws `OpabiniaError` for a size that is not a picture's.
 */
export function padding(picture: PictureSize, side: number): Padding {
  const { width, height } = picture;
  if (![width, height, side].every((n) => Number.isSafeInteger(n) && n > 0)) {
    throw new OpabiniaError(`a picture of ${width} × ${height} on a grid of side ${side} is not of whole sizes`, {
      op: 'padding',
      advice: 'give positive whole numbers',
    });
  }
  const wide = width / height > 1;
  const shown = Math.trunc(wide ? height * (side / width) : width * (side / height));
  return { along: wide ? 'rows' : 'columns', lines: Math.floor((side - shown) / 2) };
}

/** The unpadded part of a grid; of extreme pictures it is empty. */
export function crop(picture: PictureSize, side: number): Crop {
  const { along, lines } = padding(picture, side);
  const kept = side - 2 * lines;
  return along === 'rows'
    ? { top: lines, left: 0, height: kept, width: side }
    : { top: 0, left: lines, height: side, width: kept };
}

/** Row-major positions of a crop in its grid. */
export function croppedPositions(area: Crop, side: number): readonly number[] {
  return Array.from(
    { length: area.height * area.width },
    (_, i) => (area.top + Math.floor(i / area.width)) * side + area.left + (i % area.width),
  );
}

/** `side × side`, 1 where the token shows the picture. */
export function gridMask(picture: PictureSize, side: number): Uint8Array {
  const mask = new Uint8Array(side * side);
  for (const position of croppedPositions(crop(picture, side), side)) mask[position] = 1;
  return mask;
}

/** Side of the region that one query of a `queries × queries` grid sees on a `side × side` grid. Throws when it does not come out. */
export function regionSide(side: number, queries: number): number {
  if (!Number.isInteger(queries) || queries < 1)
    throw new OpabiniaError(`${queries} × ${queries} queries are no grid`, {
      op: 'regionSide',
      advice: 'give how many there are along a side',
    });
  if (side % queries !== 0) {
    throw new OpabiniaError(`a grid of side ${side} does not divide into ${queries} × ${queries} regions`, {
      op: 'regionSide',
      advice: `the nearest grids that do are ${nearestMultiples(side, queries)
        .map((near) => `${near}×${near}`)
        .join(' and ')}: resize the map, or take a query grid whose side divides ${side}`,
    });
  }
  return side / queries;
}

/** Positions in a `side × side` grid, region by region: query (i, j) sees rows i·r…, columns j·r…, row-major inside. */
export function regionOrder(side: number, queries: number): readonly number[] {
  const r = regionSide(side, queries);
  return Array.from({ length: side * side }, (_, at) => {
    const [query, token] = [Math.floor(at / (r * r)), at % (r * r)];
    const row = Math.floor(query / queries) * r + Math.floor(token / r);
    return row * side + (query % queries) * r + (token % r);
  });
}

/**
 * Mask of one encoder for one query grid. A query whose whole region is padding attends to all of it: otherwise its softmax
 * could be empty.
 * @example const { attend } = regionMask({ width: 640, height: 480 }, 24, 8)
 */
export function regionMask(picture: PictureSize, side: number, queries: number): RegionMask {
  const r = regionSide(side, queries);
  const mask = gridMask(picture, side);
  const attend = Uint8Array.from(regionOrder(side, queries), (position) => mask[position] ?? 0);
  return withFallback({ queries: queries * queries, tokens: r * r, attend });
}

function withFallback(mask: RegionMask): RegionMask {
  const attend = mask.attend.slice();
  for (let at = 0; at < attend.length; at += mask.tokens) {
    const region = attend.subarray(at, at + mask.tokens);
    if (!region.includes(1)) region.fill(1);
  }
  return { ...mask, attend };
}

/** The rows of a mask that belong to some queries, in their order. */
export function selectQueries(mask: RegionMask, queries: readonly number[]): RegionMask {
  const attend = new Uint8Array(queries.length * mask.tokens);
  queries.forEach((query, i) =>
    attend.set(mask.attend.subarray(query * mask.tokens, (query + 1) * mask.tokens), i * mask.tokens),
  );
  return { queries: queries.length, tokens: mask.tokens, attend };
}

/**
 * What Cambrian's training code uses for a query group of another grid than the final one: the buffer of the final grid's mask,
 * seen with other sizes. Its rows then do not follow the regions. Only to reproduce models trained so; by default masks are
 * built on each group's own grid.
 */
export function trainingQuirkMask(picture: PictureSize, side: number, queries: number, finalSide: number): RegionMask {
  const r = regionSide(side, queries);
  return { queries: queries * queries, tokens: r * r, attend: regionMask(picture, side, finalSide).attend };
}

export interface MaskLayout {
  /** Side of each encoder's grid. */
  readonly sides: readonly number[];
  /** Side of the grid of tokens handed to the LLM. */
  readonly finalSide: number;
  /** Reproduce `trainingQuirkMask`; by default masks are spatially correct. */
  readonly trainingQuirk?: boolean;
}

/** Masks of a batch for one query grid, one per encoder: `images · queries × tokens`. */
export function batchMasks(
  pictures: readonly PictureSize[],
  queries: number,
  layout: MaskLayout,
): readonly RegionMask[] {
  return layout.sides.map((side) => {
    const masks = pictures.map((picture) =>
      layout.trainingQuirk === true && queries !== layout.finalSide
        ? trainingQuirkMask(picture, side, queries, layout.finalSide)
        : regionMask(picture, side, queries),
    );
    return {
      queries: queries * queries * pictures.length,
      tokens: regionSide(side, queries) ** 2,
      attend: joined(masks.map((mask) => mask.attend)),
    };
  });
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/**
 * Training layout: the image block is always side·(side+1) tokens, the last of each row a newline. Padded rows are masked with
 * their newline; of padded columns the newline stays.
 */
export function blockMask(picture: PictureSize, side: number): Uint8Array {
  const mask = new Uint8Array(side * (side + 1));
  const area = crop(picture, side);
  for (let row = area.top; row < area.top + area.height; row++) {
    const start = row * (side + 1);
    mask.fill(1, start + area.left, start + area.left + area.width);
    mask[start + side] = 1;
  }
  return mask;
}

/** Positions inside a masked block: each token counts the attended ones before it; leading masked ones get -1. */
export function blockPositions(mask: Uint8Array): Int32Array {
  let seen = -1;
  return Int32Array.from(mask, (attended) => (seen += attended));
}
