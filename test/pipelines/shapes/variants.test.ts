// What is compared by training, without training it: configurations, grids, graphs, and what is refused.
import { describe, expect, test } from 'vitest';
import { randomParams, trace } from '../../../dsl/index.ts';
import type { AnyConnector } from '../../../models/connectors/connector.ts';
import { sva } from '../../../models/connectors/regions/sva.ts';
import { zoo } from '../../../pipelines/compare/registry.ts';
import { encoderPair, encoderShapes } from '../../../pipelines/shapes/encoders/pair.ts';
import { attributes, pretextLabels } from '../../../pipelines/shapes/encoders/pretext.ts';
import { openEncoders } from '../../../pipelines/shapes/encoders/open-encoders.ts';
import { drawScene } from '../../../pipelines/shapes/scene/draw.ts';
import { questionsOf, answers } from '../../../pipelines/shapes/scene/questions.ts';
import { makeScene, presetNames, scenePresets } from '../../../pipelines/shapes/scene/scene.ts';
import { averagePooling, oracle, plainResampler } from '../../../pipelines/shapes/variants/controls.ts';
import { readGrid, readsOf, variantAt } from '../../../pipelines/shapes/variants/grid.ts';
import { labelsShape } from '../../../pipelines/shapes/variants/labels-map.ts';
import { questionWidth, writeQuestion } from '../../../pipelines/shapes/train/question-codes.ts';
import { trainPresets } from '../../../pipelines/shapes/train/presets.ts';
import { mapsRead, variantLogits, type Variant } from '../../../pipelines/shapes/variants/variant.ts';

const encoders = encoderPair('S').map(({ map }) => map);
const { decoder } = trainPresets.S;
const around = {
  width: decoder.width,
  layers: decoder.layers,
  tokens: 16,
  maps: (reads: Variant['reads']) => mapsRead(reads, encoders, labelsShape),
};
const any = (connector: unknown) => connector as AnyConnector;

function logitsOf(variant: Variant): readonly unknown[] {
  const graph = trace(
    randomParams(1),
    (t) => ({
      logits: variantLogits(t, t.params, variant, { batch: 2, questions: 8, encoders, labels: labelsShape, decoder })
        .logits,
    }),
    { unread: 'ignore' },
  );
  return graph.outputs.get('logits')?.type.axes.map(({ size }) => size) ?? [];
}

describe('a variant', () => {
  test.each([any(averagePooling), any(plainResampler), any(oracle), any(sva)])(
    '$name gives logits of every answer',
    (connector) => {
      const reads = connector.name === 'oracle' ? 'labels' : readsOf(connector);
      const { used, config, tokens } = variantAt(connector, [], {
        ...around,
        maps: () => mapsRead(reads, encoders, labelsShape),
      });
      expect(logitsOf({ name: connector.name, used, config, tokens, reads, control: false })).toEqual([
        2,
        8,
        answers.length,
      ]);
    },
  );

  test('is blind where it has no connector', () => {
    expect(
      logitsOf({ name: 'blind', used: undefined, config: {}, tokens: 0, reads: 'nothing', control: true }),
    ).toEqual([2, 8, answers.length]);
  });

  test('of the zoo fits for most connectors, and is refused in words for the others', async () => {
    const fits = (await zoo()).map(({ connector }) => {
      try {
        const made = variantAt(connector, [], around);
        logitsOf(made);
        return 'fits';
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
    });
    expect(fits.filter((text) => text === 'fits').length).toBeGreaterThanOrEqual(30);
    expect(fits.filter((text) => /undefined|is not a function|Cannot read/.test(text))).toEqual([]);
  }, 60_000);
});

describe('a grid', () => {
  test('makes all combinations', () => {
    const points = readGrid(['D=1,2 G=1,2']);
    expect(points).toHaveLength(4);
    const made = points.map((point) => variantAt(any(sva), point, around));
    expect(made.map(({ name }) => name)).toEqual(['sva D=1 G=1', 'sva D=1 G=2', 'sva D=2 G=1', 'sva D=2 G=2']);
    expect(made[3]?.config).toMatchObject({ depth: 2, groups: [4, 4] });
  });

  test('is not made smaller with what it stands in', () => {
    const made = readGrid(['D=1,2,3,5']).map((point) => variantAt(any(sva), point, around));
    expect(made.map(({ config }) => (config as { readonly depth?: number }).depth)).toEqual([1, 2, 3, 5]);
    const [wide] = readGrid(['width=320']).map((point) => variantAt(any(sva), point, around));
    expect(wide?.config).toMatchObject({ width: 320 });
  });

  test('turns layers inside the decoder on, and encoders off', () => {
    const [off, on] = readGrid(['inside=0,1']).map((point) => variantAt(any(sva), point, around));
    expect(off?.used?.inject?.after(2)).toEqual([]);
    expect(on?.used?.inject?.after(2)).toEqual([0]);
    expect(
      logitsOf(on ?? { name: '', used: undefined, config: {}, tokens: 0, reads: 'nothing', control: false }),
    ).toHaveLength(3);
    const [one] = readGrid(['encoders=1']).map((point) => variantAt(any(sva), point, around));
    expect(one?.reads).toBe('coarse');
  });

  test.each([
    [['D'], 'is '],
    [['D=0'], 'whole numbers'],
    [['nothing=1'], 'no setting'],
    [['encoders=3'], 'there are two'],
    [['frozen=0,1'], 'probe --towers shapes:0+shapes:1 --connector sva --train frozen,unfrozen'],
    [['stages=1,2'], '--stages 1,2'],
  ])('refuses %j', (texts, message) => {
    expect(() => readGrid(texts).map((point) => variantAt(any(sva), point, around))).toThrow(message);
  });

  test('a value that no connector can have is refused before there are variants', () => {
    for (const [text, message] of [
      ['D=1,x', /--grid D=x\n[^]*whole numbers from 1 to 16/],
      ['G=17', /--grid G=17/],
      ['inside=no', /--grid inside=no\n[^]*0 or 1/],
      ['encoders=1,3', /--grid encoders=3/],
    ] as const)
      expect(() => readGrid([text])).toThrow(message);
  });
});

test('the row of a question names its parts, and no two questions of a scene have the same', () => {
  for (let seed = 0; seed < 50; seed++) {
    const rows = questionsOf(makeScene(scenePresets.S, seed), 8).map((question) => {
      const row = new Float32Array(questionWidth);
      writeQuestion(row, question);
      return row.join('');
    });
    expect(new Set(rows).size).toBe(rows.length);
  }
});

test('labels of the pretext are classes, or not learned from', () => {
  const scene = makeScene(scenePresets.S, 3);
  const drawn = drawScene(scene);
  encoderPair('S').forEach(({ map: [grid] }, k) => {
    const own = attributes[k] ?? [];
    pretextLabels(scene, drawn, grid, own).forEach((labels, a) => {
      const classes = own[a]?.classes({ preset: 'S' }, grid) ?? 0;
      expect(labels).toHaveLength(grid * grid);
      expect(labels.every((label) => label === -100 || (label >= 0 && label < classes))).toBe(true);
      expect(new Set(labels).size).toBeGreaterThan(1);
    });
  });
});

test('encoders that are not there are told with the command that makes them', () => {
  expect(() => openEncoders('S', '/nowhere')).toThrow('shapes encoders --preset S');
});

test('the encoders that lie here fit their configs, those of all presets in under 2 MB', () => {
  let bytes = 0;
  for (const preset of presetNames) {
    const opened = openEncoders(preset);
    opened.pair.forEach((encoder, k) => {
      for (const [path, shape] of encoderShapes(encoder)) {
        expect(opened.source.shape(`encoder_${k}.${path}`)).toEqual(shape);
        bytes += 2 * shape.reduce((product, size) => product * size, 1);
      }
    });
    opened.close();
  }
  expect(bytes).toBeLessThan(2e6);
});
