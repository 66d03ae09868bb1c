// Scenes from words: "large red square left of blue disc with bar, green triangle in a1".
import { OpabiniaError } from '../../../dsl/error.ts';
import { nameAdvice } from '../../../dsl/text/near-names.ts';
import { randomStream } from './random.ts';
import {
  cellsAcross,
  inDepth,
  placeObjects,
  presetNames,
  scenePresets,
  unit,
  type PresetName,
  type Scene,
  type SceneObject,
  type ScenePreset,
  type Wish,
} from './scene.ts';

type Relation = 'left' | 'right' | 'above' | 'below' | 'front' | 'behind';

interface Related {
  readonly first: number;
  readonly second: number;
  readonly relation: Relation;
}

export interface Description {
  readonly wishes: readonly Wish[];
  readonly relations: readonly Related[];
}

const fillers = new Set([
  'a',
  'an',
  'the',
  'and',
  'of',
  'is',
  'are',
  'there',
  'shape',
  'sign',
  'word',
  'cell',
  'on',
  'to',
]);
const relations: Readonly<Record<string, Relation>> = {
  left: 'left',
  right: 'right',
  above: 'above',
  below: 'below',
  under: 'below',
  over: 'above',
  front: 'front',
  nearer: 'front',
  behind: 'behind',
};

/** Throws `OpabiniaError` for a word that is not known (with the nearest), and a relation without its second object. */
export function readDescription(text: string, preset: ScenePreset): Description {
  const refuse = (what: string, advice: string) => new OpabiniaError(what, { op: 'draw', advice });
  const wishes: Wish[] = [];
  const related: Related[] = [];
  let pending: Relation | undefined;
  let open: Wish = {};
  const isEmpty = () => Object.keys(open).length === 0;
  const close = (): void => {
    if (isEmpty()) return;
    const known = wishes.findIndex(
      (wish) => wish.color === open.color && wish.kind === open.kind && open.kind !== undefined,
    );
    const at = known < 0 ? wishes.length : known;
    wishes[at] = { ...wishes[at], ...open };
    if (pending !== undefined) related.push({ first: last, second: at, relation: pending });
    pending = undefined;
    last = at;
    open = {};
  };
  let last = 0;
  const words = text.toLowerCase().match(/[a-z]+\d*|,|;/g) ?? [];
  for (const word of words) {
    if (word === ',' || word === ';' || word === 'and') {
      close();
      if (pending !== undefined) throw refuse(`'${pending}' has nothing behind it`, 'left of the blue disc');
      continue;
    }
    const color = preset.colors.find((one) => one === word);
    const kind = preset.kinds.find((one) => one === word);
    const sign = preset.signs.find((one) => one === word);
    const cell = /^([a-d])([1-4])$/.exec(word);
    const relation = Object.hasOwn(relations, word) ? relations[word] : undefined;
    if (color !== undefined) {
      if (open.color !== undefined || open.kind !== undefined) close();
      open = { ...open, color };
    } else if (kind !== undefined) {
      if (open.kind !== undefined) close();
      open = { ...open, kind };
    } else if (sign !== undefined) open = { ...open, sign };
    else if (word === 'small' || word === 'large' || word === 'big') {
      if (open.kind !== undefined) close();
      open = { ...open, size: word === 'small' ? 'small' : 'large' };
    } else if (cell !== null) open = { ...open, cell: [(cell[1] ?? 'a').charCodeAt(0) - 97, Number(cell[2]) - 1] };
    else if (relation !== undefined) {
      if (isEmpty() && wishes.length === 0)
        throw refuse(`'${word}' has nothing before it`, 'red square left of blue disc');
      close();
      pending = relation;
    } else if (!fillers.has(word) && word !== 'with' && word !== 'in') {
      const known = [...wordsOf(preset), ...Object.keys(relations), 'small', 'large'];
      const larger = presetNames.find((name) => wordsOf(scenePresets[name]).includes(word));
      throw refuse(
        `'${word}' is not known in scenes of preset ${preset.name}`,
        larger === undefined
          ? `${nameAdvice(word, known)}; cells are a1 to d${cellsAcross}`
          : `preset ${larger} has it: --preset ${larger}`,
      );
    }
  }
  close();
  if (pending !== undefined) throw refuse(`'${pending}' has nothing behind it`, 'left of the blue disc');
  if (wishes.length === 0) throw refuse('the description has no objects', 'red square left of blue disc');
  const most = preset.objects[1];
  if (wishes.length > most)
    throw refuse(`${wishes.length} objects are more than the ${most} of preset ${preset.name}`, 'leave some out');
  return { wishes, relations: related };
}

const wordsOf = ({ colors, kinds, signs }: ScenePreset): readonly string[] => [...colors, ...kinds, ...signs];

const attempts = 3000;

/** A scene of what is described and nothing else. Throws `OpabiniaError` as `readDescription`, and where lots did not fall so. */
export function describedScene(text: string, name: PresetName, seed: number): Scene {
  const preset = scenePresets[name];
  const { wishes, relations: related } = readDescription(text, preset);
  const random = randomStream(`described ${text}`, seed);
  for (let attempt = 0; attempt < attempts; attempt++) {
    const objects = placeObjects(preset, random, wishes);
    if (objects === undefined) continue;
    if (related.every(({ first, second, relation }) => holds(objects[first], objects[second], relation, preset)))
      return { preset: name, seed, objects: inDepth(objects) };
  }
  throw new OpabiniaError('no scene is found in which all of this holds', {
    op: 'draw',
    advice: 'two objects cannot share color and kind, or a cell; another --seed may help',
  });
}

/** With an eighth of the picture between them, as in the questions. */
function holds(
  a: SceneObject | undefined,
  b: SceneObject | undefined,
  relation: Relation,
  { side }: ScenePreset,
): boolean {
  if (a === undefined || b === undefined) return false;
  const apart = (side * unit) / 8;
  switch (relation) {
    case 'left':
      return b.x - a.x >= apart;
    case 'right':
      return a.x - b.x >= apart;
    case 'above':
      return b.y - a.y >= apart;
    case 'below':
      return a.y - b.y >= apart;
    case 'front':
      return a.radius > b.radius;
    case 'behind':
      return a.radius < b.radius;
    default:
      return relation satisfies never;
  }
}
