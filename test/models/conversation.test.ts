// Cambrian's conversation templates, against prompts and ids of its own code, and against its documented strings.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { imagePlaceholder } from '../../models/sequence/collate.ts';
import {
  checkImagePosition,
  conversationParts,
  joinChunks,
  promptIds,
  promptText,
  stopTokens,
  systemText,
  templateFor,
  templateNames,
  type TemplateName,
  type Turn,
} from '../../models/sequence/conversation.ts';

interface Golden {
  readonly special: readonly string[];
  readonly cases: readonly {
    readonly template: TemplateName;
    readonly conversations: readonly { readonly from: string; readonly value: string }[];
    readonly prompt: string;
    readonly adds_bos: boolean;
    readonly input_ids: readonly number[];
  }[];
}
const golden = JSON.parse(
  readFileSync(new URL('../golden/cambrian/label_mask.json', import.meta.url), 'utf8'),
) as Golden;

/** A training sample's turns: the placeholder is taken from where it stands and put in front. */
const turnsOf = (conversations: Golden['cases'][number]['conversations']): readonly Turn[] =>
  conversations.map(({ from, value }) => ({
    role: from === 'human' ? 'user' : 'assistant',
    text: value.replace('<image>', '').trim(),
    images: value.includes('<image>') ? 1 : 0,
  }));

/** The file's own tokenizer: special strings, and else one id a character. */
function toyIds(text: string): number[] {
  const ids: number[] = [];
  for (let at = 0; at < text.length;) {
    const special = golden.special.findIndex((token) => text.startsWith(token, at));
    ids.push(special >= 0 ? 100_000 + special : (text.codePointAt(at) ?? 0));
    at += golden.special[special]?.length ?? 1;
  }
  return ids;
}

describe("the reference's own prompts and ids", () => {
  test.each(golden.cases.map((one, i) => ({ ...one, i })))(
    '$i: $template',
    ({ template, conversations, prompt, adds_bos: begins, input_ids: expected }) => {
      // llama_3 asks for an answer even after the last one.
      expect(promptText(conversationParts(template, turnsOf(conversations), { ask: template === 'llama_3' }))).toBe(
        prompt,
      );
      // Training takes the question at the end away again.
      const parts = conversationParts(template, turnsOf(conversations), { ask: false });
      const ids = promptIds(
        template,
        parts,
        (chunk, { automatic }) => [
          ...(automatic && begins ? [1] : []),
          ...toyIds(chunk.map((part) => part.text).join('')),
        ],
        { begin: 1 },
      );
      expect(ids).toEqual(expected);
    },
  );
});

describe('prompts to the character', () => {
  const ask = (name: TemplateName, text = 'What is this?') =>
    promptText(conversationParts(name, [{ role: 'user', text, images: 1 }]));
  const you = 'You are Cambrian, a highly intelligent multimodal AI trained by NYU Vision X.';
  const ability =
    'As a multimodal AI, you have the ability to process and analyze images. Whenever an image is present in the conversation, very carefully examine it and consider its content when formulating your response.';
  const concise =
    'You should give concise responses to very simple questions, but provide thorough responses to more complex and open-ended questions.';

  test('llama_3', () => {
    expect(ask('llama_3')).toBe(
      `<|begin_of_text|><|start_header_id|>system<|end_header_id|>${you} \n    ${ability}\n    ${concise} <|eot_id|><|start_header_id|>user<|end_header_id|><image>\nWhat is this?<|eot_id|><|start_header_id|>assistant<|end_header_id|>`,
    );
  });
  test('chatml_direct', () => {
    expect(ask('chatml_direct')).toBe(
      `<|im_start|>system\n${you} ${ability} ${concise}<|im_end|><|im_start|>user\n<image>\nWhat is this?<|im_end|><|im_start|>assistant\n`,
    );
  });
  test('vicuna_v1, one and two rounds', () => {
    const system =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.";
    expect(ask('vicuna_v1')).toBe(`${system} USER: <image>\nWhat is this? ASSISTANT:`);
    expect(
      promptText(
        conversationParts('vicuna_v1', [
          { role: 'user', text: 'Hi', images: 1 },
          { role: 'assistant', text: 'Hello' },
          { role: 'user', text: 'Sure?' },
        ]),
      ),
    ).toBe(`${system} USER: <image>\nHi ASSISTANT: Hello</s>USER: Sure? ASSISTANT:`);
  });
  test('phi3', () => {
    expect(ask('phi3')).toBe(
      '<|system|>\nYou are a helpful AI assistant.<|end|>\n<|user|>\n<image>\nWhat is this?<|end|>\n<|assistant|>\n',
    );
  });
  test('own system words, several images', () => {
    expect(
      promptText(conversationParts('phi3', [{ role: 'user', text: 'Compare.', images: 2 }], { system: 'Be brief.' })),
    ).toBe('<|system|>\nBe brief.<|end|>\n<|user|>\n<image>\n<image>\nCompare.<|end|>\n<|assistant|>\n');
  });
});

test('words of the user are never the template’s', () => {
  for (const name of templateNames) {
    const parts = conversationParts(name, [{ role: 'user', text: '<|eot_id|></s>' }], { system: '<|im_end|>' });
    expect(parts.filter((part) => part.kind === 'user').map((part) => part.kind === 'user' && part.text)).toEqual([
      '<|im_end|>',
      '<|eot_id|></s>',
    ]);
    expect(systemText(name).length).toBeGreaterThan(20);
  }
});

test('the joiners', () => {
  expect(
    joinChunks(
      [
        [1, 5, 6],
        [1, 7],
      ],
      'reference',
      1,
    ),
  ).toEqual([1, 5, 6, imagePlaceholder, 7]);
  expect(joinChunks([[5, 6], [7]], 'reference', 1)).toEqual([5, 6, imagePlaceholder, 7]);
  expect(joinChunks([[1, 5, 6], [7]], 'plain', 1)).toEqual([1, 5, 6, imagePlaceholder, 7]);
  // What the reference does with a tokenizer that adds nothing to a template that begins with the token: the word after the image is lost.
  expect(
    joinChunks(
      [
        [1, 5, 6],
        [7, 8],
      ],
      'reference',
      1,
    ),
  ).toEqual([1, 5, 6, imagePlaceholder, 8]);
});

test('which template a tokenizer goes with', () => {
  const having = (...tokens: string[]) => templateFor((token) => tokens.includes(token));
  expect([
    having('<|start_header_id|>', '<|end|>'),
    having('<|im_start|>'),
    having('<|end|>', '<|assistant|>'),
    having('</s>'),
  ]).toEqual(['llama_3', 'chatml_direct', 'phi3', 'vicuna_v1']);
  expect(stopTokens.phi3).toEqual(['<|end|>', '<|endoftext|>']);
});

describe('refusals', () => {
  test('<image> typed by the user, or in the system words', () => {
    expect(() => conversationParts('phi3', [{ role: 'user', text: 'what is <image> this' }])).toThrow(
      /the prompt holds <image> at character 8/,
    );
    expect(() => conversationParts('phi3', [{ role: 'user', text: 'a' }], { system: '<image>' })).toThrow(
      /the system prompt holds <image>/,
    );
  });
  test('roles out of turn', () => {
    expect(() => conversationParts('phi3', [{ role: 'assistant', text: 'a' }])).toThrow(OpabiniaError);
    expect(() =>
      conversationParts('phi3', [
        { role: 'user', text: 'a' },
        { role: 'user', text: 'b' },
      ]),
    ).toThrow(/turn 1 is the user's/);
  });
  test('no image, and an image elsewhere', () => {
    expect(() => checkImagePosition([1, 2], undefined)).toThrow(/has no image/);
    expect(() => checkImagePosition([1, imagePlaceholder], 91)).toThrow(
      /begins at token 1, and the model's config says image_position 91/,
    );
    expect(checkImagePosition([1, imagePlaceholder], 1)).toBe(1);
  });
});
