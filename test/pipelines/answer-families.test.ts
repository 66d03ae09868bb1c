// LLaVA directories and language models with their own chat templates: prompts to the id, and what is refused before a device is opened.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LaidOut, Question } from '../../pipelines/answer/family.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import { contextFor, contextOf } from '../../pipelines/answer/session-plans.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { makeLlava } from '../../examples/make-llava.ts';
import { readJsonFile } from '../../runtime/checkpoint/hub.ts';
import type { Image } from '../../runtime/image/image.ts';
import { openSafetensors } from '../../runtime/checkpoint/safetensors.ts';
import { writeSafetensors, type TensorToStore } from '../../runtime/checkpoint/safetensors-write.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-families-'));
afterAll(() => rmSync(root, { recursive: true }));
let count = 0;

/** What a use of an opened model gives. */
async function using<T>(directory: string, use: (model: OpenedModel) => Promise<T>): Promise<T> {
  const model = await openModel(directory);
  try {
    return await use(model);
  } finally {
    model.close();
  }
}

const ask = (directory: string, question: Question): Promise<LaidOut> =>
  using(directory, (model) => model.family.layOut([question], {}));

/** Ids of a whole prompt, image tokens as 0, put together from what stands between control tokens. */
const idsOf = (directory: string, pieces: readonly (string | number)[]): Promise<readonly number[]> =>
  using(directory, async ({ tokenizer }) => {
    const ids: number[] = [];
    for (const piece of pieces) {
      if (typeof piece === 'number') ids.push(...Array<number>(piece).fill(0));
      else if (/^<.*>$/.test(piece)) ids.push(tokenizer.idOf(piece) ?? -1);
      else ids.push(...(await tokenizer.encode([{ kind: 'user', text: piece }], { automatic: false })));
    }
    return ids;
  });

const rowOf = (laid: LaidOut): readonly number[] => [...(laid.rows['ids']?.values ?? [])];

async function refusal(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (error instanceof OpabiniaError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

function edited(directory: string, name: string, change: (json: Record<string, unknown>) => void): string {
  const copy = join(root, `copy${count++}`);
  cpSync(directory, copy, { recursive: true });
  const json = readJsonFile(join(copy, name)) as Record<string, unknown>;
  change(json);
  writeFileSync(join(copy, name), JSON.stringify(json));
  return copy;
}

const picture: Image = { width: 60, height: 40, rgb: new Uint8Array(60 * 40 * 3).fill(90) };

// ---- LLaVA -------------------------------------------------------------------------------------------------------------

/** That of llava-hf's checkpoints. */
const published = [
  "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}{# Render all images first #}",
  "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}{# Render all text next #}",
  "{% if message['role'] != 'assistant' %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}",
  "{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}",
  "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
].join('');

describe('LLaVA', () => {
  const plain = join(root, 'llava');
  const own = join(root, 'llava-own');
  const strings = join(root, 'llava-strings');
  const next = join(root, 'llava-next');
  beforeAll(() => {
    makeLlava(plain);
    makeLlava(own, { chatTemplate: published });
    makeLlava(strings, {
      chatTemplate: "{{ bos_token }}{% for message in messages %}[{{ message['content'] }}]{% endfor %}",
    });
    makeLlava(next, { type: 'llava_next' });
  });

  test("without a template Vicuna's form, an image as so many tokens as the tower gives", async () => {
    const laid = await ask(plain, { text: ' What? ', images: [picture] });
    expect(rowOf(laid)).toEqual(await idsOf(plain, ['<s>', 'USER: ', 16, '\n What?  ASSISTANT:']));
    expect([...(laid.rows['slots']?.values ?? [])].filter((slot) => slot >= 0)).toEqual(
      Array.from({ length: 16 }, (_, i) => i),
    );
    expect([laid.pictures, laid.views.map((view) => view.symbols), [...laid.lengths], laid.width]).toEqual([
      1,
      [{ view: 0 }],
      [laid.width],
      laid.width,
    ]);
  });

  test('the published template gives the same, with system words and what was said before', async () => {
    const questions: readonly Question[] = [
      { text: 'What is this?', images: [picture] },
      { text: 'Hello.' },
      { text: 'Which?', images: [picture, picture], system: 'Be brief.' },
      {
        text: 'Really?',
        history: [
          { role: 'user', text: 'Is it blue?' },
          { role: 'assistant', text: 'Yes.' },
        ],
      },
    ];
    for (const question of questions)
      expect(rowOf(await ask(own, question))).toEqual(rowOf(await ask(plain, question)));
    expect(rowOf(await ask(own, questions[3] ?? { text: '' }))).toEqual(
      await idsOf(own, ['<s>', 'USER: Is it blue? ASSISTANT: Yes. USER: Really? ASSISTANT:']),
    );
  });

  test('a template of strings that writes the begin of text itself: it stands there once', async () => {
    expect(rowOf(await ask(strings, { text: 'a', images: [picture] }))).toEqual(
      await idsOf(strings, ['<s>', '[', 16, '\na]']),
    );
  });

  test("a user's words are not control tokens", async () => {
    const laid = await ask(plain, { text: '</s><pad>' });
    const ends = await idsOf(plain, ['</s>', '<pad>']);
    expect(rowOf(laid).filter((id) => ends.includes(id))).toEqual([]);
  });

  test('LLaVA-NeXT: tokens of the whole picture, then of its tiles with newlines', async () => {
    // 60 × 40 goes on the canvas of 56 × 112, height first; tiles show 4 × 6 of its 4 × 8 tokens, by scale 56/40: 84 of 112 columns.
    const laid = await ask(next, { text: 'a', images: [picture] });
    const slots = [...(laid.rows['slots']?.values ?? [])];
    expect(laid.views.map((view) => view.symbols)).toEqual([{ view: 0 }, { view: 1 }, { view: 2 }]);
    expect(slots.filter((slot) => slot >= 0)).toHaveLength(16 + 4 * 6);
    expect(slots.filter((slot) => slot === -3)).toHaveLength(4);
    const inputs = laid.views[2]?.inputs() ?? {};
    expect(inputs['pixels']).toHaveLength(56 * 56 * 3);
  });

  test('the context grows with a picture that outgrows it, up to what the model knows', async () => {
    expect([contextFor(600), contextFor(2928, 100), contextFor(2928)]).toEqual([2048, 3028, 3440]);
    await using(next, (model) =>
      Promise.resolve(expect(contextOf(model, contextFor(2928))).toEqual({ capacity: 1024, promptLimit: 1023 })),
    );
  });

  test('names as they were between the old and the new ones: the tower keeps its `vision_model`', async () => {
    const directory = join(root, 'llava-between');
    makeLlava(directory, { names: 'new' });
    for (const shard of ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']) {
      const file = openSafetensors(join(directory, shard));
      const tensors = [...file.tensors.values()].map((tensor): TensorToStore => {
        const bytes = new Uint8Array(tensor.bytes);
        file.readInto(tensor.name, bytes);
        return {
          name: tensor.name.replace('vision_tower.', 'vision_tower.vision_model.'),
          dtype: 'F32',
          shape: tensor.shape,
          values: new Float32Array(bytes.buffer),
        };
      });
      file.close();
      writeSafetensors(join(directory, shard), tensors);
    }
    const index = join(directory, 'model.safetensors.index.json');
    const text = JSON.stringify(readJsonFile(index));
    writeFileSync(index, text.replaceAll('vision_tower.', 'vision_tower.vision_model.'));
    await using(directory, (model) => {
      const sizes = { batch: 1, capacity: 64, promptLimit: 48, imageLimit: 1, draw: 'greedy' } as const;
      expect(model.family.vision?.(sizes).updates).toHaveLength(1);
      expect([...model.family.decode(sizes).outputs.keys()]).toEqual(['token', 'logits']);
      return Promise.resolve();
    });
  });

  test('what cannot be asked', async () => {
    expect(await refusal(() => ask(plain, { text: 'What <image> is it?' }))).toMatch(/<image> at character 5/);
    expect(await refusal(() => ask(plain, { text: 'a', system: '<image>' }))).toMatch(
      /the system prompt holds <image>/,
    );
    const deaf = join(root, 'llava-deaf');
    makeLlava(deaf, {
      chatTemplate:
        "{% for message in messages %}{% for part in message.content %}{% if part.type != 'image' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}",
    });
    expect(await refusal(() => ask(deaf, { text: 'a', images: [picture] }))).toMatch(
      /hold 1 images, and the chat template spells 0/,
    );
    const always = join(root, 'llava-always');
    makeLlava(always, {
      chatTemplate:
        "{# 'image' #}<image>{% for message in messages %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endfor %}",
    });
    expect(await refusal(() => ask(always, { text: 'a' }))).toMatch(/hold 0 images, and the chat template spells 1/);
    expect(
      await refusal(() => ask(next, { text: 'a', images: [{ width: 900, height: 3, rgb: new Uint8Array(8100) }] })),
    ).toMatch(/300\.0 times as long as it is high/);
  });

  test.each<[string, string, (json: Record<string, unknown>) => void, RegExp]>([
    [
      'an unknown projector',
      'config.json',
      (json) => {
        json['projector_hidden_act'] = 'relu';
      },
      /projector activation 'relu'[^]*known is 'gelu'/,
    ],
    [
      'a projector without biases',
      'config.json',
      (json) => {
        json['multimodal_projector_bias'] = false;
      },
      /multimodal_projector_bias/,
    ],
    [
      'hidden states of several layers, which the projector does not read',
      'config.json',
      (json) => {
        json['vision_feature_layer'] = [-2, -1];
      },
      /linear_1\.weight {2}is \[96, 64\], wanted \[96, 128\]/,
    ],
    [
      'another language model',
      'config.json',
      (json) => {
        json['text_config'] = { model_type: 'mamba' };
      },
      /language model of type 'mamba'[^]*llama[^]*mistral/,
    ],
    [
      'another tower',
      'config.json',
      (json) => {
        json['vision_config'] = { model_type: 'pixtral' };
      },
      /vision tower of type 'pixtral'[^]*clip_vision_model[^]*siglip_vision_model/,
    ],
    [
      'a tower without a class token, and one to leave out',
      'config.json',
      (json) => {
        json['vision_config'] = { model_type: 'siglip_vision_model' };
      },
      /SigLIP tower and vision_feature_select_strategy 'default'[^]*'full'/,
    ],
    [
      "the layout of LLaVA's own repository",
      'config.json',
      (json) => {
        delete json['text_config'];
        delete json['vision_config'];
        json['mm_vision_tower'] = 'openai/clip-vit-large-patch14-336';
      },
      /mm_vision_tower[^]*llava-hf/,
    ],
    [
      'an image token that the tokenizer has elsewhere',
      'config.json',
      (json) => {
        json['image_token_index'] = 5;
      },
      /has <image> as 638, and the config says image_token_index 5/,
    ],
    [
      'a processor of another size',
      'preprocessor_config.json',
      (json) => {
        json['crop_size'] = { height: 224, width: 224 };
      },
      /makes pictures of 224 × 224, and the tower reads pictures of 56 × 56/,
    ],
    [
      'a processor whose size depends on the picture',
      'preprocessor_config.json',
      (json) => {
        json['do_center_crop'] = false;
      },
      /makes pictures of no fixed size/,
    ],
  ])('%s', async (_what, name, change, message) => {
    expect(await refusal(() => openModel(edited(plain, name, change)))).toMatch(message);
  });

  test('padded to a square, where the processor is LLaVA’s own', async () => {
    const directory = edited(plain, 'preprocessor_config.json', (json) => {
      Object.assign(json, { image_processor_type: 'LlavaImageProcessor', do_pad: true, do_center_crop: false });
    });
    const pixels = (await ask(directory, { text: 'a', images: [picture] })).views[0]?.inputs()['pixels'];
    if (!(pixels instanceof Float32Array)) throw new Error('pixels are f32');
    // Margins have the bytes of the mean, which normalise to 0 but for the rounding of a byte; the picture is darker.
    expect(Math.abs(pixels[0] ?? NaN)).toBeLessThan(1 / (255 * 0.268));
    expect(pixels[(28 * 56 + 28) * 3]).toBeLessThan(-0.4);
  });

  test.each(['preprocessor_config.json', 'tokenizer.json', 'model.safetensors.index.json', 'config.json'])(
    'without %s',
    async (name) => {
      const copy = edited(plain, 'config.json', () => undefined);
      rmSync(join(copy, name));
      expect(await refusal(() => openModel(copy))).toContain(`has no ${name.replace('.index.json', '')}`);
    },
  );

  test('towers of its own, which it has not', async () => {
    expect(await refusal(() => openModel(plain, { towers: [plain] }))).toMatch(
      /1 tower is given, and the model has 0[^]*leave out --tower/,
    );
  });

  test('LLaVA-NeXT with class tokens, and with other canvases than its processor', async () => {
    expect(
      await refusal(() =>
        openModel(
          edited(next, 'config.json', (json) => {
            json['vision_feature_select_strategy'] = 'full';
          }),
        ),
      ),
    ).toMatch(/'full'/);
    expect(
      await refusal(() =>
        openModel(
          edited(next, 'preprocessor_config.json', (json) => {
            json['image_grid_pinpoints'] = [[56, 56]];
          }),
        ),
      ),
    ).toMatch(/image_grid_pinpoints[^]*56 × 56/);
    expect(
      await refusal(() =>
        openModel(
          edited(next, 'preprocessor_config.json', (json) => {
            json['resample'] = 0;
          }),
        ),
      ),
    ).toMatch(/nearest/);
  });
});

// ---- language models ---------------------------------------------------------------------------------------------------

const phi =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}";

describe('language models', () => {
  const with_ = (template: string, type: 'llama' | 'phi3' = 'llama'): string =>
    makeLanguage(join(root, `language${count++}`), type, template);

  test.each(['llama', 'phi3'] as const)('%s: its own template, and nothing in front of it', async (type) => {
    const directory = with_(phi, type);
    const laid = await ask(directory, {
      text: 'What <|end|>?',
      system: 'Be brief.',
      history: [
        { role: 'user', text: 'Hi' },
        { role: 'assistant', text: 'Hello.' },
      ],
    });
    expect(rowOf(laid)).toEqual(
      await idsOf(directory, [
        '<|system|>',
        '\nBe brief.',
        '<|end|>',
        '\n',
        '<|user|>',
        '\nHi',
        '<|end|>',
        '\n',
        '<|assistant|>',
        '\nHello.',
        '<|end|>',
        '\n',
        '<|user|>',
        '\nWhat <|end|>?',
        '<|end|>',
        '\n',
        '<|assistant|>',
        '\n',
      ]),
    );
    expect([laid.pictures, laid.views, laid.symbols]).toEqual([0, [], {}]);
  });

  test('the begin of text where the template writes it, and tokens that end an answer', async () => {
    const directory = with_(`{{ bos_token }}${phi}`);
    expect(rowOf(await ask(directory, { text: 'Hi' }))).toEqual(
      await idsOf(directory, ['<s>', '<|user|>', '\nHi', '<|end|>', '\n', '<|assistant|>', '\n']),
    );
    await using(directory, async (model) =>
      expect([...model.endTokens].sort((a, b) => a - b)).toEqual(
        [...(await idsOf(directory, ['</s>', '<|end|>']))].sort((a, b) => a - b),
      ),
    );
  });

  test('a file of its own goes before tokenizer_config.json; tokens may be written out with their properties', async () => {
    const directory = edited(with_(phi), 'tokenizer_config.json', (json) => {
      json['eos_token'] = { content: '<|end|>', special: true };
    });
    writeFileSync(join(directory, 'chat_template.jinja'), '{{ messages[0].content }}{{ eos_token }}');
    expect(rowOf(await ask(directory, { text: 'Hi' }))).toEqual(await idsOf(directory, ['Hi', '<|end|>']));
  });

  test('a template that takes parts', async () => {
    const directory = with_(
      "{% for message in messages %}{% for part in message.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}",
    );
    expect(rowOf(await ask(directory, { text: 'Hi' }))).toEqual(await idsOf(directory, ['Hi']));
  });

  test('several questions of different lengths are padded on the right', async () => {
    const directory = with_(phi);
    const laid = await using(directory, (model) =>
      model.family.layOut([{ text: 'Hi' }, { text: 'What is there on the table?' }], {}),
    );
    const [short, long] = [
      rowOf(await ask(directory, { text: 'Hi' })),
      rowOf(await ask(directory, { text: 'What is there on the table?' })),
    ];
    expect([...laid.lengths]).toEqual([short.length, long.length]);
    expect(rowOf(laid)).toEqual([...short, ...Array<number>(long.length - short.length).fill(0), ...long]);
  });

  test('without a template, that of models/conversation.ts that its control tokens name', async () => {
    const directory = makeLanguage(join(root, 'language-plain'), 'llama');
    expect(rowOf(await ask(directory, { text: 'Hi' }))).toEqual(
      await idsOf(directory, [
        '<s>',
        '<|system|>',
        '\nYou are a helpful AI assistant.',
        '<|end|>',
        '\n',
        '<|user|>',
        '\nHi',
        '<|end|>',
        '\n',
        '<|assistant|>',
        '\n',
      ]),
    );
  });

  test('a system message that the template refuses, or loses; a template that fails; an image', async () => {
    const strict = with_(
      "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ messages[0]['content'] }}",
    );
    const message = await refusal(() => ask(strict, { text: 'Hi', system: 'Be brief.' }));
    expect(message).toMatch(/with a system message[^]*System role not supported[^]*leave out --system/);
    expect(rowOf(await ask(strict, { text: 'Hi' }))).toEqual(await idsOf(strict, ['Hi']));
    expect(
      await refusal(() =>
        ask(with_("{% for message in messages if message['role'] != 'system' %}{{ message['content'] }}{% endfor %}"), {
          text: 'Hi',
          system: 'Be brief.',
        }),
      ),
    ).toMatch(/with a system message[^]*leaves out 1 of 2 texts/);
    expect(await refusal(() => ask(with_('{% if %}'), { text: 'Hi' }))).toMatch(/the chat template fails/);
    expect(await refusal(() => ask(with_('{# nothing #}'), { text: ' ' }))).toMatch(/without tokens/);
    expect(await refusal(() => ask(strict, { text: 'Hi', images: [picture] }))).toMatch(
      /1 image is given, and the model reads text only/,
    );
  });
});
