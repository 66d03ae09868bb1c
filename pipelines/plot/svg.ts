// SVG without a library: text that is escaped, colors that are told apart, the page around both.
const palette = [
  '#1b6ca8',
  '#c8553d',
  '#2a9d6f',
  '#7b4fa3',
  '#b08900',
  '#d1477f',
  '#4a7c8c',
  '#6b6b6b',
  '#8f5a2b',
  '#3d5a1e',
];

/** The color of the i-th thing. */
export function plotColor(i: number): string {
  return palette[i % palette.length] ?? '#000';
}

export function escapeMarkup(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** `more`: attributes. */
export function svgText(x: number, y: number, content: string, more = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escapeMarkup(content)}</text>`;
}

/** A white page. */
export function svgPage(width: number, height: number, fontSize: number, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="${fontSize}">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    ...parts,
    '</svg>',
  ].join('\n');
}
