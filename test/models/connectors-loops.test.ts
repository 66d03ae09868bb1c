// Connectors without a golden file, against plain loops over numbers, written from what their papers and code say.
import { describe, test } from 'vitest';
import { deepseekOcr } from '../../models/connectors/space-to-depth/deepseek-ocr.ts';
import { fourierCompressor } from '../../models/connectors/pooling/fourier-compressor.ts';
import { cambrianS } from '../../models/connectors/pooling/cambrian-s.ts';
import { gemma3 } from '../../models/connectors/pooling/gemma-3.ts';
import { llavaVideo } from '../../models/connectors/pooling/llava-video.ts';
import { internvl } from '../../models/connectors/space-to-depth/internvl.ts';
import { internvlTiles } from '../../models/connectors/layout/internvl-tiles.ts';
import { llavaOneVision15 } from '../../models/connectors/space-to-depth/llava-onevision-1.5.ts';
import { mageVl } from '../../models/connectors/space-to-depth/mage-vl.ts';
import { moondream } from '../../models/connectors/pointwise/moondream.ts';
import { phi3v } from '../../models/connectors/space-to-depth/phi-3-v.ts';
import { step3 } from '../../models/connectors/space-to-depth/step3.ts';
import {
  grid,
  tokens,
  close,
  linear,
  geluTanh,
  mlp,
  layerNorm,
  squares,
  eachCell,
  strided,
  vector,
  bilinear,
  type Grid,
} from '../support/plain-mathematics.ts';

// ---- the connectors --------------------------------------------------------------------------------------------------

describe('against plain loops', () => {
  const projector = ['mm_projector.0', 'mm_projector.2'] as const;

  test('Fourier Compressor: the transform by its sums, cut, and the inverse by its sums', () => {
    const [map, k, n, c] = [grid(5, 5, 3), 3, 5, 3];
    const scaleOf = (f: number, size: number) => Math.sqrt((f === 0 ? 1 : 2) / size);
    const wave = (f: number, at: number, size: number) =>
      scaleOf(f, size) * Math.cos((Math.PI * f * (at + 0.5)) / size);
    const spectrum = (u: number, v: number, e: number) => {
      let sum = 0;
      for (let y = 0; y < n; y++)
        for (let x = 0; x < n; x++) sum += wave(u, y, n) * wave(v, x, n) * (map[y]?.[x]?.[e] ?? NaN);
      return sum;
    };
    const small: Grid = Array.from({ length: k }, (_, y) =>
      Array.from({ length: k }, (_column, x) =>
        Array.from({ length: c }, (_channel, e) => {
          let sum = 0;
          for (let u = 0; u < k; u++)
            for (let v = 0; v < k; v++) sum += wave(u, y, k) * wave(v, x, k) * spectrum(u, v, e);
          return sum;
        }),
      ),
    );
    close(tokens(fourierCompressor, { side: k }, [map], 4), eachCell(small, (x) => mlp(projector, x, 4, 4)).flat());
  });

  test('all frequencies of a grid are the grid', () => {
    const map = grid(4, 4, 3);
    close(tokens(fourierCompressor, { side: 4 }, [map], 4), eachCell(map, (x) => mlp(projector, x, 4, 4)).flat());
  });

  test('Gemma 3: means over whole squares of a grid that they do not fill, RMSNorm by 1 + weight, a matrix from the right', () => {
    const [map, c, e] = [grid(7, 7, 3), 3, 5];
    const [scale, matrix] = [vector('mm_soft_emb_norm.weight', [c]), vector('mm_input_projection_weight', [c, e])];
    const want = Array.from({ length: 9 }, (_, n) => {
      const [y, x] = [2 * Math.floor(n / 3), 2 * (n % 3)];
      const mean = Array.from({ length: c }, (_channel, i) => {
        const at = (row: number, column: number) => map[row]?.[column]?.[i] ?? NaN;
        return (at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1)) / 4;
      });
      const size = Math.sqrt(mean.reduce((sum, v) => sum + v * v, 0) / c + 1e-6);
      const normed = mean.map((v, i) => (v / size) * (1 + (scale[i] ?? NaN)));
      return Array.from({ length: e }, (_out, o) =>
        normed.reduce((sum, v, i) => sum + v * (matrix[i * e + o] ?? NaN), 0),
      );
    });
    close(tokens(gemma3, { side: 3, eps: 1e-6 }, [map], e), want);
  });

  test('Cambrian-S: an MLP, bilinear samples, a newline behind each row', () => {
    const map = grid(5, 5, 3);
    const rows = bilinear(
      eachCell(map, (x) => mlp(projector, x, 4, 4)),
      3,
      3,
    );
    const newline = vector('image_newline', [4]);
    close(
      tokens(cambrianS, { side: 3, newline: true }, [map], 4),
      rows.flatMap((row) => [...row, newline]),
    );
  });

  test('LLaVA-OneVision frames: an MLP, bilinear samples of half the grid rounded up', () => {
    const map = grid(5, 7, 3);
    const small = bilinear(
      eachCell(map, (x) => mlp(projector, x, 4, 4)),
      3,
      4,
    );
    close(tokens(llavaVideo, { mode: 'bilinear', stride: 2 }, [map], 4), small.flat());
  });

  test('LLaVA-OneVision-1.5 and 2: norm, squares, MLP as wide as the square', () => {
    for (const merge of [2, 3]) {
      const map = grid(6, 12, 3);
      const merged = squares(
        eachCell(map, (x) => layerNorm('ln_q', x, 1e-5)),
        merge,
      );
      const want = eachCell(merged, (x) => mlp(['mlp.0', 'mlp.2'], x, x.length, 5)).flat();
      close(tokens(llavaOneVision15, { merge, eps: 1e-5 }, [map], 5), want);
    }
  });

  test("Mage-VL: Qwen's merger, and rows and columns of positions", () => {
    const map = grid(4, 6, 3);
    const merged = squares(
      eachCell(map, (x) => layerNorm('ln_q', x, 1e-6)),
      2,
    );
    const [rows, columns] = [vector('row_embed.weight', [7, 5]), vector('col_embed.weight', [7, 5])];
    const want = eachCell(merged, (x, row, column) =>
      mlp(['mlp.0', 'mlp.2'], x, x.length, 5).map(
        (v, e) => v + (rows[row * 5 + e] ?? 0) + (columns[column * 5 + e] ?? 0),
      ),
    );
    close(tokens(mageVl, { merge: 2, eps: 1e-6, positions: 7 }, [map], 5), want.flat());
  });

  test('Step3: strided convolutions, each doubling the channels, and a map', () => {
    const map = grid(7, 5, 2);
    const down = strided('vit_downsampler2', strided('vit_downsampler1', map, 4, true), 8, true);
    const want = eachCell(down, (x) => linear('vit_large_projector', x, 3, false)).flat();
    close(tokens(step3, { steps: 2 }, [map], 3), want);
  });

  test('Phi-3-Vision: tiles with separators, one between, the whole; an MLP over all', () => {
    const [whole, tiles] = [grid(4, 4, 2), grid(4, 8, 2, 1)];
    const [row, between] = [vector('sub_GN', [1, 1, 1, 8]), vector('glb_GN', [1, 1, 8])];
    const lined = (map: Grid) => squares(map, 2).flatMap((line) => [...line, row]);
    const all = [...lined(tiles), between, ...lined(whole)];
    close(
      tokens(phi3v, { merge: 2 }, [whole, tiles], 5),
      all.map((x) => mlp(['img_projection.0', 'img_projection.2'], x, 5, 5)),
    );
  });

  test('DeepSeek-OCR: CLIP beside the compressed map of SAM, newlines, a separator', () => {
    const [clip, sam] = [grid(2, 2, 3), grid(8, 8, 2, 1)];
    const small = strided('sam_model.net_3', strided('sam_model.net_2', sam, 4, false), 6, false);
    const rows = eachCell(clip, (x, i, j) => linear('projector.layers', [...x, ...(small[i]?.[j] ?? [])], 5));
    const want = [...rows.flatMap((line) => [...line, vector('image_newline', [5])]), vector('view_seperator', [5])];
    close(tokens(deepseekOcr, { channels: [4, 6] }, [clip, sam], 5), want);
  });

  test('Moondream: the whole beside its crops, pooled over uneven bins', () => {
    const [whole, crops] = [grid(3, 3, 2), grid(5, 4, 2, 1)];
    const bins = (size: number, at: number) => [Math.floor((at * size) / 3), Math.ceil(((at + 1) * size) / 3)] as const;
    const want = eachCell(whole, (x, i, j) => {
      const [[top, bottom], [left, right]] = [bins(5, i), bins(4, j)];
      const mean = x.map((_v, e) => {
        let sum = 0;
        for (let y = top; y < bottom; y++) for (let z = left; z < right; z++) sum += crops[y]?.[z]?.[e] ?? NaN;
        return sum / ((bottom - top) * (right - left));
      });
      return mlp(['proj_mlp.fc1', 'proj_mlp.fc2'], [...x, ...mean], 6, 5, geluTanh);
    });
    close(tokens(moondream, { hidden: 6 }, [whole, crops], 5), want.flat());
  });

  test('InternVL tiles: each view by itself, one after the other', () => {
    const config = { merge: 2, version: 'v2', names: 'mlp1', eps: 1e-5 } as const;
    const views = [grid(4, 4, 2), grid(4, 4, 2, 1), grid(4, 4, 2, 2)];
    const want = views.flatMap((view) => tokens(internvl, config, [view], 5));
    close(tokens(internvlTiles, config, views, 5), want);
  });
});
