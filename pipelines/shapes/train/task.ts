// The task of a comparison in memory: scenes, their maps, their questions; batches of them as inputs of a graph.
import type { MapShape } from '../../../models/connectors/connector.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import type { OpenEncoders, SceneMaps } from '../encoders/open-encoders.ts';
import { makeScene, scenePresets, type PresetName, type Scene } from '../scene/scene.ts';
import { questionsOf, type Question } from '../scene/questions.ts';
import { labelsShape, writeLabels } from '../variants/labels-map.ts';
import { questionsPerPicture } from './presets.ts';
import { answerClass, questionWidth, writeQuestion } from './question-codes.ts';
import type { Variant } from '../variants/variant.ts';

/** Scenes of training begin here; those that are held out stand before. */
export const firstTrained = 1_000_000;

export interface Split {
  readonly scenes: readonly Scene[];
  readonly questions: readonly (readonly Question[])[];
  readonly maps: SceneMaps;
}

export interface Task {
  readonly preset: PresetName;
  readonly encoders: readonly MapShape[];
  readonly train: Split;
  readonly held: Split;
}

export function openSplit(preset: PresetName, from: number, maps: SceneMaps): Split {
  const scenes = Array.from({ length: maps.count }, (_, i) => makeScene(scenePresets[preset], from + i));
  return { scenes, maps, questions: scenes.map((scene) => questionsOf(scene, questionsPerPicture)) };
}

export function taskOf(encoders: OpenEncoders, train: Split, held: Split): Task {
  return { preset: encoders.preset, encoders: encoders.pair.map(({ map }) => map), train, held };
}

/** Inputs for pictures `indices` of a split; `maps`: other pictures' maps instead, for the shuffled control. */
export function inputsOf(
  { reads }: Pick<Variant, 'reads'>,
  split: Split,
  indices: readonly number[],
  maps: readonly number[] = indices,
): Map<string, Numbers> {
  const inputs = new Map<string, Numbers>();
  const rows = new Float32Array(indices.length * questionsPerPicture * questionWidth);
  indices.forEach((index, i) => {
    (split.questions[index] ?? []).forEach((question, q) => {
      const at = (i * questionsPerPicture + q) * questionWidth;
      writeQuestion(rows.subarray(at, at + questionWidth), question);
    });
  });
  inputs.set('questions', rows);
  const [h, w, c] = labelsShape;
  if (reads === 'labels') {
    const labels = new Float32Array(maps.length * h * w * c);
    maps.forEach((index, i) => {
      const scene = split.scenes[index];
      if (scene !== undefined) writeLabels(labels.subarray(i * h * w * c, (i + 1) * h * w * c), scene);
    });
    inputs.set('labels_map', labels);
    return inputs;
  }
  split.maps.maps.forEach((all, k) => {
    if (reads === 'nothing' || (reads === 'coarse' && k > 0) || (reads === 'fine' && k === 0)) return;
    const size = all.length / split.maps.count;
    const values = new Float32Array(maps.length * size);
    maps.forEach((index, i) => values.set(all.subarray(index * size, (index + 1) * size), i * size));
    inputs.set(`map_${k}`, values);
  });
  return inputs;
}

/** Classes of the answers, −100 where a picture has fewer questions than the others. */
export function answersOf(split: Split, indices: readonly number[]): Int32Array {
  const classes = new Int32Array(indices.length * questionsPerPicture).fill(-100);
  indices.forEach((index, i) =>
    (split.questions[index] ?? []).forEach((question, q) => {
      classes[i * questionsPerPicture + q] = answerClass(question);
    }),
  );
  return classes;
}
