// Chat templates: what they give, as parts; and that a hostile one costs a second, not the process.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import {
  chatParts,
  readChatTemplate,
  renderTemplate,
  templateLimits,
  type ChatMessage,
} from '../../runtime/text/chat-template.ts';
import { Sandbox } from '../../runtime/sandbox/sandbox.ts';
import { modelFiles } from '../../runtime/checkpoint/hub.ts';

const meta =
  "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";
const llava =
  "{% for message in messages %}{{ message['role'].upper() }}: {% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}";
const say = (text: string, images = 0): ChatMessage => ({
  role: 'user',
  content: [...Array.from({ length: images }, () => ({ type: 'image' as const })), { type: 'text', text }],
});

async function refusal(result: Promise<unknown>): Promise<string> {
  const error: unknown = await result.then(
    (value) => new Error(`gave ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  if (error instanceof OpabiniaError) return error.message;
  throw error;
}

describe('conversations as parts', () => {
  test("Meta's template: text trimmed, users' words apart", async () => {
    expect(
      await chatParts(meta, [say('  Hi <|eot_id|>\n')], {
        strings: true,
        variables: { bos_token: '<|begin_of_text|>' },
      }),
    ).toEqual([
      { kind: 'control', text: '<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n' },
      { kind: 'user', text: 'Hi <|eot_id|>' },
      { kind: 'control', text: '<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n' },
    ]);
  });

  test("LLaVA's template: images are the template's, <image> of a user is text", async () => {
    const parts = await chatParts(llava, [say('see <image>?', 2)]);
    expect(parts).toEqual([
      { kind: 'control', text: 'USER: ' },
      { kind: 'image' },
      { kind: 'control', text: '\n' },
      { kind: 'image' },
      { kind: 'control', text: '\n' },
      { kind: 'user', text: 'see <image>?' },
      { kind: 'control', text: ' ASSISTANT:' },
    ]);
  });

  test('a template that loses an image, or a text', async () => {
    expect(await refusal(chatParts("{{ messages[0]['content'][1]['text'] }}", [say('a', 1)]))).toContain(
      'hold 1 images, and the chat template spells 0',
    );
    expect(await refusal(chatParts('nothing', [say('a')]))).toContain('leaves out 1 of 1 texts');
  });
});

describe('as Python renders it', () => {
  const strings = { strings: true } as const;
  const answered = (text: string): ChatMessage => ({ role: 'assistant', content: [{ type: 'text', text }] });
  // Qwen3's and DeepSeek's templates leave out what was thought in earlier answers.
  const thinking =
    "{% for message in messages %}{% set content = message.content %}{% if message.role == 'assistant' and '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}[{{ content }}]{% endfor %}";

  test('what was thought in an earlier answer is left out, what a user writes about it is not', async () => {
    const thought = answered('<think>\nhm\n</think>\n\nYes </think> it is');
    expect(await chatParts(thinking, [say('a</think>b'), thought, say('c')], strings)).toEqual([
      { kind: 'control', text: '[' },
      { kind: 'user', text: 'a</think>b' },
      { kind: 'control', text: '][ ' },
      { kind: 'user', text: 'it is' },
      { kind: 'control', text: '][' },
      { kind: 'user', text: 'c' },
      { kind: 'control', text: ']' },
    ]);
    // An answer itself may not get lost.
    const lossy = "{% for message in messages %}{{ message.content.split('</think>')[0] }}{% endfor %}";
    expect(await refusal(chatParts(lossy, [answered('x</think>y')], strings))).toContain('leaves out 1 of 2 texts');
  });

  test('no tools and no documents are none, not undefined', async () => {
    expect(
      await chatParts(
        '{% if tools is not none or documents is not none %}TOOLS{% endif %}{{ messages[0].content }}',
        [say('a')],
        strings,
      ),
    ).toEqual([{ kind: 'user', text: 'a' }]);
  });

  test('escapes that Python leaves as they are, as in the template of LLaVA-NeXT', async () => {
    const template = String.raw`{# it's #}{{ '<\s> ' + "\d\n\x41\101\U0001F990\a\\s" }}{% if {'a': {'b': '\w'}}.a.b == "\\w" %}\s '\s'{% endif %}`;
    expect(await renderTemplate(template, {})).toBe("<\\s> \\d\nAA\u{1f990}\u{7}\\s\\s '\\s'");
  });

  test('what is stripped is what was asked for', async () => {
    const template =
      "{{ text.lstrip('\\n') }}|{{ text.rstrip('\\n ') }}|{{ 'xay'.strip('xy') }}|{{ ('-' + text | trim).strip('-') }}|{{ text.strip() }}";
    expect(await renderTemplate(template, { text: '\n a\u{feff}\u{85} \n' })).toBe(
      ' a\u{feff}\u{85} \n|\n a\u{feff}\u{85}|a|a\u{feff}|a\u{feff}',
    );
    expect(await refusal(renderTemplate('{{ text.strip() }}', {}))).toContain('strips what is no text');
  });

  test('trimming leaves a byte order mark', async () => {
    expect(await chatParts(meta, [say(' \u{feff}a ')], { strings: true, variables: { bos_token: '' } })).toContainEqual(
      {
        kind: 'user',
        text: '\u{feff}a',
      },
    );
  });
});

describe('limits', () => {
  const context = { messages: [] };
  test('a template that loops for ever is stopped after its second', async () => {
    const start = performance.now();
    expect(
      await refusal(
        renderTemplate('{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}', context),
      ),
    ).toContain('runs for more than 1 s');
    expect(performance.now() - start).toBeLessThan(10_000);
  });
  test('one that fills the memory', async () => {
    // Without the limit of time it would go on to fill whatever there is.
    const small = new Sandbox(32);
    const message = await refusal(
      renderTemplate(
        '{% set ns = namespace(list=[]) %}{% for i in range(10000000) %}{% set ns.list = ns.list + [[i, i, i, i, i, i, i, i]] %}{% endfor %}',
        context,
        { ...templateLimits, time: 60_000 },
        small,
      ),
    );
    expect(message).toContain('takes more than 32 MiB');
  });
  test('one that gives more than 4 MiB of text, and one that is too long itself', async () => {
    expect(
      await refusal(renderTemplate(`{% for i in range(5000) %}${'x'.repeat(1000)}{% endfor %}`, context)),
    ).toContain('gives 5000000 characters');
    expect(await refusal(renderTemplate('x'.repeat(300_000), context))).toContain('has 300000 characters');
  });
  test('one that is not a template, and one that raises', async () => {
    expect(await refusal(renderTemplate('{% if %}', context))).toContain('the chat template fails');
    expect(await refusal(renderTemplate("{{ raise_exception('roles must alternate') }}", context))).toContain(
      'roles must alternate',
    );
  });
  test('nothing of JavaScript is in reach', async () => {
    const text = await renderTemplate("{{ messages.constructor }}|{{ ''.constructor.constructor }}", context).catch(
      (error: unknown) => String(error),
    );
    expect(text).not.toContain('Function');
    expect(text).not.toContain('native code');
  });
});

describe('where a template is', () => {
  const root = mkdtempSync(join(tmpdir(), 'opabinia-template-'));
  afterAll(() => rmSync(root, { recursive: true }));
  test('its own file before the config; a list of named ones', () => {
    const [path] = [root];
    expect(readChatTemplate(modelFiles(path))).toBeUndefined();
    writeFileSync(
      join(path, 'tokenizer_config.json'),
      JSON.stringify({
        chat_template: [
          { name: 'tool', template: 'T' },
          { name: 'default', template: 'D' },
        ],
      }),
    );
    expect(readChatTemplate(modelFiles(path))).toBe('D');
    writeFileSync(join(path, 'tokenizer_config.json'), JSON.stringify({ chat_template: 'one' }));
    expect(readChatTemplate(modelFiles(path))).toBe('one');
    writeFileSync(join(path, 'chat_template.jinja'), 'own');
    expect(readChatTemplate(modelFiles(path))).toBe('own');
  });
});
