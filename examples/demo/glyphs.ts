// Letters as SVG strokes, because a bare machine has no fonts and would draw captions as empty boxes.

// Each letter stands in a box 4 wide and 6 high, y downwards, as SVG path commands.
const strokes: { readonly [letter: string]: string } = {
  A: 'M0 6L2 0L4 6M.7 4H3.3',
  B: 'M0 0V6H2.4C4.5 6 4.5 3 2.4 3H0M0 0H2.2C4 0 4 3 2.2 3',
  C: 'M4 1.1C2.8 -.6 0 -.2 0 3S2.8 6.6 4 4.9',
  D: 'M0 0V6H1.6C4.9 6 4.9 0 1.6 0Z',
  E: 'M3.6 0H0V6H3.6M0 3H3',
  F: 'M3.6 0H0V6M0 3H3',
  G: 'M4 1.1C2.8 -.6 0 -.2 0 3S3 6.8 4 5V3.3H2.3',
  H: 'M0 0V6M4 0V6M0 3H4',
  I: 'M2 0V6M1 0H3M1 6H3',
  J: 'M3.4 0V4.4C3.4 6.6 .4 6.4 .3 4.4',
  K: 'M0 0V6M3.9 0L0 3.6M1.4 2.4L4 6',
  L: 'M0 0V6H3.6',
  M: 'M0 6V0L2 3.4L4 0V6',
  N: 'M0 6V0L4 6V0',
  O: 'M2 0C-.7 0 -.7 6 2 6S4.7 0 2 0Z',
  P: 'M0 6V0H2.3C4.5 0 4.5 3.3 2.3 3.3H0',
  Q: 'M2 0C-.7 0 -.7 6 2 6S4.7 0 2 0ZM2.6 4.4L4.1 6.3',
  R: 'M0 6V0H2.3C4.4 0 4.4 3.2 2.3 3.2H0M2 3.2L4 6',
  S: 'M3.8 .9C3 -.4 .3 -.3 .3 1.5C.3 3.5 4 2.5 4 4.5C4 6.4 .8 6.4 0 5',
  T: 'M0 0H4M2 0V6',
  U: 'M0 0V4C0 6.7 4 6.7 4 4V0',
  V: 'M0 0L2 6L4 0',
  W: 'M0 0L1 6L2 2L3 6L4 0',
  X: 'M0 0L4 6M4 0L0 6',
  Y: 'M0 0L2 3L4 0M2 3V6',
  Z: 'M0 0H4L0 6H4',
  0: 'M2 0C-.5 0 -.5 6 2 6S4.5 0 2 0Z',
  1: 'M.8 1.2L2.2 0V6M.8 6H3.6',
  2: 'M.2 1.5C.4 -.5 3.8 -.5 3.8 1.6C3.8 3 1.5 4.2 .2 6H4',
  3: 'M.2 .8C1.4 -.6 3.8 -.1 3.6 1.5C3.5 2.6 2.6 2.9 1.5 2.9C2.9 2.9 4 3.4 4 4.5C4 6.4 1 6.5 0 5.1',
  4: 'M3 6V0L0 4.2H4',
  5: 'M3.6 0H.6L.3 2.7C1.5 2 4 2.1 4 4.1C4 6.4 1 6.5 0 5.2',
  6: 'M3.5 .6C1.8 -.7 0 1 0 3.6C0 6.8 4 6.8 4 4.1C4 1.6 .8 1.7 .1 3.8',
  7: 'M0 0H4L1.4 6',
  8: 'M2 2.8C-.2 2.8 -.2 0 2 0S4.2 2.8 2 2.8C-.6 2.8 -.6 6 2 6S4.6 2.8 2 2.8Z',
  9: 'M.5 5.4C2.2 6.7 4 5 4 2.4C4 -.8 0 -.8 0 1.9C0 4.4 3.2 4.3 3.9 2.2',
  '.': 'M.9 6H1.1',
  ';': 'M.9 2.2H1.1M1.2 5.6L.8 6.9',
  ',': 'M1.2 5.6L.8 6.9',
  ':': 'M.9 2.2H1.1M.9 6H1.1',
  '-': 'M.5 3.4H3.5',
  '+': 'M.3 3.4H3.7M2 1.7V5.1',
  '×': 'M.6 2L3.4 4.8M3.4 2L.6 4.8',
  '/': 'M3.8 -.5L.2 6.5',
  '(': 'M1.8 -.6C.3 1.6 .3 4.6 1.8 6.8',
  ')': 'M.2 -.6C1.7 1.6 1.7 4.6 .2 6.8',
  '%': 'M3.8 0L.2 6M.9 .2C-.1 .2 -.1 2.2 .9 2.2S1.9 .2 .9 .2ZM3.1 3.8C2.1 3.8 2.1 5.8 3.1 5.8S4.1 3.8 3.1 3.8Z',
  '=': 'M.4 2.4H3.6M.4 4.4H3.6',
  '·': 'M.9 3.3H1.1',
  '<': 'M3.6 1L.4 3.4L3.6 5.8',
  '>': 'M.4 1L3.6 3.4L.4 5.8',
};

const narrow = new Set('.,:;()·');
const advanceOf = (letter: string): number =>
  letter === ' ' ? 3.4 : narrow.has(letter) ? 3.2 : letter === 'I' ? 4.6 : 5.7;

export interface TextStyle {
  /** Height of a capital, in pixels. */
  readonly size: number;
  readonly colour: string;
  readonly anchor?: 'start' | 'end';
  readonly bold?: boolean;
}

/** Width in pixels of a caption with capitals `size` pixels high. */
export function textWidth(text: string, size: number): number {
  return ([...text.toUpperCase()].reduce((sum, letter) => sum + advanceOf(letter), 0) - 1.7) * (size / 6);
}

/** A caption as an SVG group, its capitals standing on the baseline `y`; lower case is drawn as capitals, an unknown letter as a gap. */
export function text(caption: string, x: number, y: number, style: TextStyle): string {
  const scale = style.size / 6;
  const left = style.anchor === 'end' ? x - textWidth(caption, style.size) : x;
  let pen = 0;
  const letters = [...caption.toUpperCase()].map((letter) => {
    const at = pen;
    pen += advanceOf(letter);
    const path = strokes[letter];
    return path === undefined ? '' : `<path transform="translate(${at.toFixed(1)} 0)" d="${path}"/>`;
  });
  return `<g transform="translate(${left.toFixed(1)} ${(y - style.size).toFixed(1)}) scale(${scale.toFixed(4)})" fill="none" stroke="${style.colour}" stroke-width="${style.bold === true ? 1.05 : 0.72}" stroke-linecap="round" stroke-linejoin="round">${letters.join('')}</g>`;
}
