// Where the names of a plot's marks stand: marks that nearly coincide share one block of names, and no block covers a mark, a name or a line.

export interface Mark {
  readonly name: string;
  readonly x: number;
  readonly y: number;
}

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

/** Marks at one place, and the block of their names in columns; `line` leads there from the marks. */
export interface Labelled<M extends Mark> {
  readonly names: readonly { readonly mark: M; readonly x: number; readonly y: number }[];
  readonly line: readonly [Point, Point];
}

type Point = { readonly x: number; readonly y: number };

/** Pixels. An average letter of an 11-pixel sans serif, generously. */
const letter = { width: 6.7, height: 14 };
/** Marks nearer than this are one place. */
const nearest = 9;
const radius = 6;
const mostRows = 9;

/** Names inside of `frame`. The largest blocks choose first; where all is taken, a block stands over others. */
export function labelled<M extends Mark>(marks: readonly M[], frame: Box): readonly Labelled<M>[] {
  const taken: Box[] = marks.map(({ x, y }) => ({ x: x - radius, y: y - radius, w: 2 * radius, h: 2 * radius }));
  const lines: (readonly [Point, Point])[] = [];
  return clusters(marks)
    .toSorted((a, b) => b.length - a.length)
    .map((own) => {
      const block = blockOf(own);
      const center = {
        x: own.reduce((sum, { x }) => sum + x, 0) / own.length,
        y: own.reduce((sum, { y }) => sum + y, 0) / own.length,
      };
      const isFree = (box: Box): boolean => {
        const line = leader(center, box);
        return (
          isInside(box, frame) &&
          taken.every((other) => !overlap(box, other)) &&
          lines.every(([a, b]) => !crosses(a, b, box)) &&
          // Its own marks lie where the line begins.
          taken.slice(marks.length).every((other) => !crosses(...line, other))
        );
      };
      const candidates = places(center, block);
      const box = candidates.find(isFree) ?? { x: center.x + 8, y: center.y, ...block };
      taken.push(box);
      const line = leader(center, box);
      lines.push(line);
      return {
        line,
        names: own.map((mark, i) => ({
          mark,
          x: box.x + (block.columns[Math.floor(i / block.rows)] ?? 0),
          y: box.y + letter.height * ((i % block.rows) + 1) - 3,
        })),
      };
    });
}

function clusters<M extends Mark>(marks: readonly M[]): readonly (readonly M[])[] {
  const found: M[][] = [];
  for (const mark of marks.toSorted((a, b) => a.name.localeCompare(b.name))) {
    const near = found.find((own) => own.some(({ x, y }) => Math.hypot(x - mark.x, y - mark.y) < nearest));
    if (near === undefined) found.push([mark]);
    else near.push(mark);
  }
  return found;
}

/** As many columns as make it no taller than `mostRows`; each as wide as its longest name. */
function blockOf(marks: readonly Mark[]): {
  readonly w: number;
  readonly h: number;
  readonly rows: number;
  readonly columns: readonly number[];
} {
  const count = Math.ceil(marks.length / mostRows);
  const rows = Math.ceil(marks.length / count);
  const columns: number[] = [];
  let w = 0;
  for (let column = 0; column < count; column++) {
    columns.push(w);
    const own = marks.slice(column * rows, (column + 1) * rows);
    w += letter.width * (Math.max(0, ...own.map(({ name }) => name.length)) + (column < count - 1 ? 1.5 : 0));
  }
  return { w, h: letter.height * rows, rows, columns };
}

/** Boxes around a point, the nearest first, right and left before above and below. */
function places({ x, y }: Point, { w, h }: { readonly w: number; readonly h: number }): readonly Box[] {
  const turns = [0, 8, 1, 15, 7, 9, 2, 14, 6, 10, 3, 13, 5, 11, 4, 12];
  return Array.from({ length: 70 }, (_, ring) => 10 + 7 * ring).flatMap((distance) =>
    turns.map((turn): Box => {
      const angle = (turn * Math.PI) / 8;
      const [dx, dy] = [Math.cos(angle), Math.sin(angle)];
      const left = Math.abs(dx) < 0.1 ? -w / 2 : dx < 0 ? -w : 0;
      return { x: x + distance * dx + left, y: y + distance * dy - (h / 2) * (1 - dy), w, h };
    }),
  );
}

/** From the marks to the nearest point of the block. */
function leader(from: Point, box: Box): readonly [Point, Point] {
  return [
    from,
    { x: Math.max(box.x, Math.min(from.x, box.x + box.w)), y: Math.max(box.y, Math.min(from.y, box.y + box.h)) },
  ];
}

function isInside(box: Box, frame: Box): boolean {
  return (
    box.x >= frame.x && box.y >= frame.y && box.x + box.w <= frame.x + frame.w && box.y + box.h <= frame.y + frame.h
  );
}

function overlap(a: Box, b: Box): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

/** Whether a line runs through a box: Liang and Barsky's clipping leaves something of it. */
function crosses(a: Point, b: Point, box: Box): boolean {
  let [from, to] = [0, 1];
  for (const [delta, low, high] of [
    [b.x - a.x, box.x - a.x, box.x + box.w - a.x],
    [b.y - a.y, box.y - a.y, box.y + box.h - a.y],
  ] as const) {
    if (delta === 0) {
      if (low > 0 || high < 0) return false;
      continue;
    }
    const [enter, leave] = [low / delta, high / delta].toSorted((p, q) => p - q);
    from = Math.max(from, enter ?? 0);
    to = Math.min(to, leave ?? 1);
  }
  return from < to;
}
