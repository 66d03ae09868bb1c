// The data engine on a small dump and an endpoint of the test's own: what is asked, what is made, what a build that broke off does next.
import { spawn } from 'node:child_process';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import OpenAI from 'openai';
import sharp from 'sharp';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../../dsl/error.ts';
import { buildData, printBuilt, type BuildOptions } from '../../../pipelines/data/build/build-data.ts';
import { Endpoint } from '../../../pipelines/data/build/endpoint.ts';
import { openFigureReader } from '../../../pipelines/data/build/figures.ts';
import { PageFinder } from '../../../pipelines/data/build/find-pages.ts';
import { pagesOf, type Page } from '../../../pipelines/data/build/pages.ts';
import { findPicture } from '../../../pipelines/data/build/pictures.ts';
import { readReply, readTopicsReply } from '../../../pipelines/data/build/question.ts';
import { readTopics } from '../../../pipelines/data/build/topics.ts';
import { checkData } from '../../../pipelines/data/check-data.ts';
import { openInputs } from '../../../pipelines/data/data-inputs.ts';
import { shippedModel } from '../../../examples/shapes/demo.ts';
import { decodeImage } from '../../../runtime/image/image.ts';
import { makeSaying, served, type Served } from '../../support/served.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-build-'));
const images = join(folder, 'images');

const words = (subject: string): string => Array.from({ length: 60 }, (_, i) => `${subject}${i % 7}`).join(' ');
const cell = `{{Infobox|image=Lead.png}} Before the first heading. [[File:Lead.png|thumb|A lead]] ${words('lead')}
== Structure ==
[[File:Cell structure.png|thumb|200px|The structure of a [[cell]].]]
${words('wall')}
<gallery>
File:G1.png|Gallery one
</gallery>
=== Short ===
[[File:Short.png|thumb|Too little text.]] few words
== History ==
[[File:H.png|thumb|An old drawing]] ${words('old')}
== Missing ==
[[File:Nowhere.png|thumb|Not on the disk]] ${words('lost')} [[File:Cell structure.png|thumb|]]
`;
const page = (title: string, text: string, more = '<ns>0</ns>') =>
  `<page><title>${title}</title>${more}<revision><id>1</id><text xml:space="preserve">${text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')}</text></revision></page>`;
const dump = `<mediawiki xml:lang="en"><siteinfo><sitename>Test &amp; wiki</sitename></siteinfo>
${page('Leaf', `== Parts ==\n[[File:leaf.jpg|thumb|Parts of a leaf]] ${words('leaf')}`)}
${page('Cell (biology)', cell)}
${page('Talk:Cell', cell, '<ns>1</ns>')}
${page('Foliage', '#REDIRECT [[Leaf]]', '<ns>0</ns><redirect title="Leaf" />')}
${page('Cell wall of plants', `== Wall ==\n[[File:Wall.png|thumb|A wall]] ${words('wall')}`)}
${page('Unrelated', 'nothing')}
</mediawiki>`;

interface Asked {
  readonly model: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}
type Answering = (asked: Asked, response: ServerResponse) => void;
let asked: { readonly body: Asked; readonly authorization: string | undefined }[] = [];
let answering: Answering;
const good: Answering = ({ messages }, response) => {
  const caption = /Caption: (.*)/.exec(messages[1]?.content ?? '')?.[1] ?? '';
  say(response, JSON.stringify({ question: `What is shown in ${caption.length}?`, answer: caption }));
};
function say(response: ServerResponse, content: string): void {
  response.setHeader('content-type', 'application/json');
  response.end(
    JSON.stringify({
      id: '1',
      object: 'chat.completion',
      choices: [{ index: 0, message: { role: 'assistant', content } }],
    }),
  );
}
async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const part of request) text += String(part);
  return text;
}
const server = createServer((request, response) => {
  void textOf(request).then((text) => {
    const body = JSON.parse(text) as Asked;
    asked.push({ body, authorization: request.headers.authorization });
    if (request.url === '/v1/chat/completions') answering(body, response);
    else response.writeHead(404).end('no such place');
  });
});
let url = '';

beforeAll(async () => {
  mkdirSync(images);
  const picture = (channels: 3 | 4) =>
    sharp({ create: { width: 5, height: 4, channels, background: { r: 0, g: 0, b: 0, alpha: 0 } } });
  writeFileSync(join(images, 'Cell_structure.png'), await picture(4).png().toBuffer());
  writeFileSync(join(images, 'G1.png'), await picture(3).png().toBuffer());
  writeFileSync(join(images, 'Leaf.jpg'), await picture(3).jpeg().toBuffer());
  writeFileSync(join(images, 'Wall.png'), 'no picture');
  for (const name of ['Lead', 'Short', 'H'])
    writeFileSync(join(images, `${name}.png`), await picture(3).png().toBuffer());
  writeFileSync(join(folder, 'dump.xml'), dump);
  writeFileSync(join(folder, 'topics.json'), JSON.stringify({ Biology: { Botany: ['Foliage', 'cell'] } }));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/v1`;
});
beforeEach(() => {
  asked = [];
  answering = good;
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

let count = 0;
const options = (more: Partial<BuildOptions> = {}): BuildOptions => ({
  topics: join(folder, 'topics.json'),
  pages: join(folder, 'dump.xml'),
  images,
  endpoint: { url, model: 'made', backoff: 1, retries: 3 },
  out: join(folder, `out${count++}`),
  print: () => undefined,
  ...more,
});
const lines = (set: string | undefined): readonly Record<string, unknown>[] =>
  readFileSync(join(set ?? '', 'data.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('a build', () => {
  test('topics, a redirect, sections with figures and words enough, pictures on white', async () => {
    const built = await buildData(options());
    expect(
      lines(built.set).map(({ page: title, section, file, topic, field }) => [title, section, file, topic, field]),
    ).toEqual([
      ['Leaf', 'Parts', 'leaf.jpg', 'Foliage', 'Biology'],
      ['Cell (biology)', 'Structure', 'Cell_structure.png', 'cell', 'Biology'],
      ['Cell (biology)', 'Structure', 'G1.png', 'cell', 'Biology'],
    ]);
    expect(built.counts).toEqual({
      topics: 2,
      'topics without a page': 0,
      pages: 3,
      figures: 5,
      'figures without a file': 1,
      'pictures that do not decode': 1,
      'asked now': 4,
      'replies of no use': 0,
    });
    expect(lines(built.set)[0]?.['conversations']).toEqual([
      { from: 'human', value: '<image>\nWhat is shown in 15?' },
      { from: 'gpt', value: 'Parts of a leaf' },
    ]);
    const white = await decodeImage(join(built.set ?? '', 'images', '000002.png'));
    expect([white.width, white.height, new Set(white.rgb)]).toEqual([5, 4, new Set([255])]);
    expect(asked[0]?.body.model).toBe('made');
    const [file] = openInputs(join(built.set ?? '', 'data.jsonl'), join(built.set ?? '', 'images'));
    if (file === undefined) throw new TypeError('there is a file');
    expect((await checkData([file])).wrong).toBe(0);
    file.file.close();
  });

  test('goes on where it stopped: nothing is asked twice, and the set is the same', async () => {
    const whole = await buildData(options());
    const broken = options({ concurrency: 1 });
    let answers = 0;
    answering = (body, response) => (answers++ < 2 ? good(body, response) : response.writeHead(500).end('down'));
    await expect(buildData(broken)).rejects.toThrow(/does not answer: HTTP 500: down, after 4 tries/);
    expect(existsSync(join(broken.out, 'set'))).toBe(false);
    asked = [];
    answering = good;
    const again = await buildData(broken);
    expect(asked).toHaveLength(2);
    expect(lines(again.set)).toEqual(lines(whole.set));
    asked = [];
    expect((await buildData(broken)).counts['asked now']).toBe(0);
    expect(asked).toHaveLength(0);
    expect(readdirSync(broken.out).filter((name) => name.startsWith('.'))).toEqual([]);
    await expect(buildData({ ...broken, endpoint: { ...broken.endpoint, model: 'other' } })).rejects.toThrow(
      /of another build/,
    );
  });

  test('busy endpoints are asked again when they say, refusals and nonsense cost one sample', async () => {
    const waits: number[] = [];
    let last = 0;
    answering = (body, response) => {
      const caption = /Caption: (.*)/.exec(body.messages[1]?.content ?? '')?.[1] ?? '';
      if (caption === 'Parts of a leaf' && last === 0) {
        last = performance.now();
        response.writeHead(429, { 'retry-after': '1' }).end();
      } else if (caption === 'Parts of a leaf') {
        waits.push(performance.now() - last);
        good(body, response);
      } else if (caption === 'Gallery one') response.writeHead(400).end('too long');
      else say(response, 'I cannot say.');
    };
    const built = await buildData(options({ concurrency: 2 }));
    expect(built.samples).toBe(1);
    expect(built.counts['replies of no use']).toBe(3);
    expect(waits[0]).toBeGreaterThan(950);
  });

  test('topics of a subfield are asked for', async () => {
    writeFileSync(join(folder, 'open.json'), JSON.stringify({ Biology: { Botany: [] } }));
    answering = (body, response) =>
      body.messages[1]?.content.startsWith('Field: Biology') === true
        ? say(response, 'Here: ["Foliage", "Mosses/ferns"]')
        : good(body, response);
    const built = await buildData(options({ topics: join(folder, 'open.json') }));
    expect([built.samples, built.counts.topics, built.counts['topics without a page']]).toEqual([1, 2, 1]);
  });

  test('no key, no model, no redirect, no other address', async () => {
    answering = (_, response) => response.writeHead(401).end('who are you');
    await expect(buildData(options())).rejects.toThrow(/refuses: HTTP 401[^]*--api-key-env/);
    answering = (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end();
    const key = { url, model: 'm', key: 'secret', backoff: 1, retries: 1 };
    await expect(new Endpoint(key).ask('s', 'u')).rejects.toThrow(/does not answer: .*redirect/);
    expect(asked.at(-1)?.authorization).toBe('Bearer secret');
    for (const wrong of ['file:///etc', 'nonsense', 'http://u:p@host/v1'])
      expect(() => new Endpoint({ url: wrong, model: 'm' })).toThrow(/--endpoint/);
    answering = (_, response) => response.end('{"object":"list"}');
    await expect(new Endpoint(key).ask('s', 'u')).rejects.toThrow(/not as OpenAI's/);
    answering = (_, response) => response.end('x'.repeat(2 ** 20 + 1));
    await expect(new Endpoint(key).ask('s', 'u')).rejects.toThrow(/more than 1048576 bytes/);
  });

  test('the endpoint of the test is one: the openai client reads what the build reads', async () => {
    const client = new OpenAI({ baseURL: url, apiKey: 'k', maxRetries: 0 });
    const message = { role: 'user' as const, content: 'Caption: none' };
    const { choices } = await client.chat.completions.create({ model: 'made', messages: [message, message] });
    expect(choices[0]?.message.content).toBe(await new Endpoint({ url, model: 'made' }).ask('s', 'Caption: none'));
  });

  test.each<[string, Partial<BuildOptions>, RegExp]>([
    ['a dump packed otherwise', { pages: join(folder, 'dump.xml.7z') }, /\.7z is not read here[^]*7z x/],
    ['no packed dump', { pages: join(folder, 'dump.xml.bz2') }, /there is no .*dump\.xml\.bz2/],
    ['no dump', { pages: join(folder, 'none.xml') }, /there is no .*none\.xml/],
    ['no pictures', { images: join(folder, 'none') }, /no folder of pictures/],
    ['a folder that holds something', { out: join(folder, 'images') }, /holds something else/],
  ])('%s: nothing is written', async (_what, wrong, message) => {
    const given = options(wrong);
    await expect(buildData(given)).rejects.toThrow(message);
    if (wrong.out === undefined) expect(existsSync(given.out)).toBe(false);
  });
});

describe('our own server as the endpoint', () => {
  /** Every request of a build goes through the server of this test, which counts it. */
  const forwarded =
    ({ url: own }: Served): Answering =>
    (body, response) =>
      void fetch(`${own}/chat/completions`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      }).then(async (reply) => response.writeHead(reply.status).end(await reply.text()));

  test('a build is killed while it asks, goes on, and asks nothing twice', { timeout: 240_000 }, async () => {
    const pair = { question: 'What is drawn?', answer: 'A part of a plant.' };
    const model = await served(makeSaying(join(folder, 'saying'), JSON.stringify(pair)));
    try {
      const forward = forwarded(model);
      const own = options({ endpoint: { url, model: 'saying', retries: 0 } });
      const child = spawn(process.execPath, [
        join(import.meta.dirname, '../../../cli/opabinia.ts'),
        ...['data', 'build', '--topics', own.topics, '--pages', own.pages, '--images', images],
        ...['--endpoint', url, '--model', 'saying', '--out', own.out, '--concurrency', '1'],
      ]);
      await new Promise<void>((done) => {
        answering = (body, response) => (asked.length < 3 ? forward(body, response) : child.kill('SIGKILL'));
        child.on('exit', () => done());
      });
      expect(asked).toHaveLength(3);
      answering = forward;
      const built = await buildData(own);
      // The third question was lost with its process.
      expect(asked).toHaveLength(5);
      expect(built.counts).toMatchObject({ 'asked now': 2, 'replies of no use': 0 });
      expect(lines(built.set).map((line) => line['conversations'])).toEqual(
        Array.from({ length: 3 }, () => [
          { from: 'human', value: `<image>\n${pair.question}` },
          { from: 'gpt', value: pair.answer },
        ]),
      );
      expect((await buildData(own)).samples).toBe(3);
      expect(asked).toHaveLength(5);
    } finally {
      await model.stop();
    }
  });

  test(
    'the shapes model, which looks for a picture: words alone are refused and the reason is told, shown figures are answered',
    { timeout: 240_000 },
    async () => {
      const model = await served(shippedModel, { context: '400' });
      try {
        answering = forwarded(model);
        // Few tokens: the model was made for 512.
        const pages = join(folder, 'short');
        mkdirSync(pages, { recursive: true });
        const section = (file: string) => `== Parts ==\n[[File:${file}|thumb|A part]] ${'a '.repeat(55)}\n`;
        writeFileSync(join(pages, 'Leaf.wiki'), ['leaf.jpg', 'Wall.png', 'G1.png'].map(section).join(''));
        const given = { endpoint: { url, model: 'model', retries: 0 }, pages, concurrency: 1 };
        writeFileSync(join(folder, 'leaf.txt'), 'leaf');
        const blind = await buildData(options({ ...given, topics: join(folder, 'leaf.txt') }));
        expect([blind.samples, blind.counts['replies of no use']]).toEqual([0, 3]);
        expect(printBuilt(blind)).toMatch(/of no use: .*HTTP 400: .*the prompt has no image/);

        asked = [];
        const own = options({ ...given, topics: join(folder, 'leaf.txt'), show: true });
        const shown = await buildData(own);
        // One of the three is no picture. The model has learned words, and no pairs of question and answer.
        expect(asked.map(({ body }) => body.messages[1]?.content as unknown)).toEqual(
          Array.from({ length: 2 }, () => [
            { type: 'image_url', image_url: { url: expect.stringMatching(/^data:image\/png;base64,/) as string } },
            { type: 'text', text: expect.stringMatching(/^Page: Leaf\n/) as string },
          ]),
        );
        expect([shown.samples, shown.counts['replies of no use']]).toEqual([0, 3]);
        expect(shown.reason).toMatch(/^no question and answer in '\w[^{]*'$/);
        expect((await buildData(own)).counts['asked now']).toBe(0);
        expect(asked).toHaveLength(2);
        await expect(buildData({ ...own, show: false })).rejects.toThrow(/of another build/);
      } finally {
        await model.stop();
      }
    },
  );
});

async function all(path: string): Promise<readonly Page[]> {
  return Array.fromAsync(pagesOf(path));
}

describe('pages', () => {
  test('the same packed, in pieces of any size, and from a folder', async () => {
    writeFileSync(join(folder, 'dump.xml.gz'), gzipSync(dump));
    const pages = await all(join(folder, 'dump.xml'));
    expect(pages.map(({ title, redirect }) => [title, redirect])).toEqual([
      ['Leaf', undefined],
      ['Cell (biology)', undefined],
      ['Foliage', 'Leaf'],
      ['Cell wall of plants', undefined],
      ['Unrelated', undefined],
    ]);
    expect(pages[1]?.text).toBe(cell);
    expect(await all(join(folder, 'dump.xml.gz'))).toEqual(pages);
    writeFileSync(join(folder, 'dump.xml.zst'), zstdCompressSync(dump));
    expect(await all(join(folder, 'dump.xml.zst'))).toEqual(pages);
    mkdirSync(join(folder, 'pages'));
    writeFileSync(join(folder, 'pages', 'Cell_(biology).wiki'), cell);
    writeFileSync(join(folder, 'pages', 'Foliage.txt'), '#REDIRECT [[Leaf]]');
    expect(await all(join(folder, 'pages'))).toEqual([pages[1], { ...pages[2], text: '#REDIRECT [[Leaf]]' }]);
  });

  const packed = join(import.meta.dirname, '../../golden/wiki/pages-articles-multistream.xml.bz2');

  test('a dump of many bzip2 streams, as Wikipedia has them', async () => {
    const text = (i: number): string =>
      Array.from({ length: 20 + 19_000 * i }, (_, j) => String.fromCharCode(0x400 + ((i + j * j) % 256))).join('');
    expect(await all(packed)).toEqual(
      [0, 1, 2, 3, 4].map((i) => ({ title: `Page ${i} é`, text: text(i), redirect: undefined })),
    );
  });

  test.each<[string, (bytes: Buffer) => Uint8Array, RegExp]>([
    ['cut off in a stream', (bytes) => bytes.subarray(0, bytes.length / 2), /see that it is whole, and packed as/],
    ['cut off between streams', (bytes) => bytes.subarray(0, bytes.lastIndexOf('BZh')), /is not XML as a dump has it/],
    ['with a bit that fell over', (bytes) => bytes.with(1000, ~(bytes[1000] ?? 0)), /cannot be read: .*crc32/],
    ['that is none', () => Buffer.from(dump), /No magic number found[^]*packed as \.bz2/],
    ['with nothing in it', () => Buffer.of(), /is not XML as a dump has it/],
  ])('a packed dump %s', async (_what, damage, message) => {
    const path = join(folder, 'damaged.xml.bz2');
    writeFileSync(path, damage(readFileSync(packed)));
    await expect(all(path)).rejects.toThrow(message);
    await expect(all(path)).rejects.toThrow(OpabiniaError);
  });

  test.each([
    ['<html><page/></html>', /XML of 'html', not of 'mediawiki'/],
    ['<mediawiki><page></mediawiki>', /is not XML as a dump has it/],
    ['<mediawiki><page><title>A</title>', /is not XML as a dump has it/],
    ['<!DOCTYPE x [<!ENTITY a "aaaa">]><mediawiki><page><title>&a;</title></page></mediawiki>', /is not XML as a dump/],
  ])('%s', async (text, message) => {
    writeFileSync(join(folder, 'bad.xml'), text);
    await expect(all(join(folder, 'bad.xml'))).rejects.toThrow(message);
  });

  test('a topic means its own page first, then those with its words; one that is led to late is found in a second pass', () => {
    const pages = ['Cell wall', 'Cell', 'Wall of a cell', 'Prison cell'].map((title) => ({
      title,
      text: '',
      redirect: undefined,
    }));
    const finder = new PageFinder([{ topic: 'cell' }, { topic: 'Cell_Wall' }, { topic: 'jail' }], 2);
    for (const one of pages) finder.see(one);
    expect(finder.matches('cell').map(({ title }) => title)).toEqual(['Cell', 'Cell wall']);
    expect(finder.matches('Cell_Wall').map(({ title }) => title)).toEqual(['Cell wall', 'Wall of a cell']);
    finder.see({ title: 'Jail', text: '', redirect: 'Prison cell' });
    expect(finder.isBehind).toBe(true);
    for (const one of pages) finder.see(one);
    expect(finder.isBehind).toBe(false);
    expect(finder.matches('jail').map(({ title }) => title)).toEqual(['Prison cell']);
  });
});

test('a library that is not there is said, with the command', async () => {
  await expect(openFigureReader(() => Promise.reject(new Error('not found')))).rejects.toThrow(/npm i wtf_wikipedia/);
});

test('pictures are found flat and in hashed folders, and nowhere else', () => {
  // MD5 of 'Example.jpg' begins with a9, as on every wiki.
  mkdirSync(join(folder, 'hashed/a/a9'), { recursive: true });
  writeFileSync(join(folder, 'hashed/a/a9/Example.jpg'), '');
  expect(findPicture(join(folder, 'hashed'), 'example.jpg')).toBe(join(folder, 'hashed/a/a9/Example.jpg'));
  expect(findPicture(images, 'cell structure.png')).toBe(join(images, 'Cell_structure.png'));
  for (const name of ['../dump.xml', 'a/../../dump.xml', '..', '', 'none.png', `${'x'.repeat(5000)}.png`])
    expect(findPicture(images, name)).toBeUndefined();
});

test('replies', () => {
  expect(readReply('Sure! {"question": "Q?", "answer": "A."} Done.')).toEqual({ question: 'Q?', answer: 'A.' });
  expect(readReply('**Question:** What?\nAnswer: This\nand that.')).toEqual({
    question: 'What?',
    answer: 'This\nand that.',
  });
  expect(readReply('{"question": "", "answer": "A"}')).toMatch(/empty/);
  expect(readReply('{"question": "<image>?", "answer": "A"}')).toMatch(/<image>/);
  expect(readReply('no')).toMatch(/no question/);
  expect(readTopicsReply('["a/b", "c", "c"]')).toEqual(['a or b', 'c']);
  expect(readTopicsReply('none')).toMatch(/no list/);
});

test('topics', () => {
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  expect(readTopics(write('t.txt', 'a\n\nb\na\n')).topics).toEqual([{ topic: 'a' }, { topic: 'b' }]);
  expect(readTopics(write('t.json', '{"F": ["a"], "G": {"s": [], "t": ["b"]}}'))).toEqual({
    topics: [
      { topic: 'a', field: 'F', subfield: 'F' },
      { topic: 'b', field: 'G', subfield: 't' },
    ],
    open: [{ field: 'G', subfield: 's' }],
  });
  expect(() => readTopics(write('n.txt', '\n'))).toThrow(/no topic/);
  expect(() => readTopics(write('n.json', '{"F": 3}'))).toThrow(/n\.json/);
});
