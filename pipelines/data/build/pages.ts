// Pages of a wiki, one after the other: of a MediaWiki dump, which goes by as a stream, or of a folder of wikitext.
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { SaxesParser } from 'saxes';
import { OpabiniaError } from '../../../dsl/error.ts';
import { readRegular, statOf } from '../../../runtime/files/regular-file.ts';
import { checkPacking, unpackedText } from './unpack.ts';

export interface Page {
  readonly title: string;
  /** The page that this one leads to. */
  readonly redirect: string | undefined;
  readonly text: string;
}

/** Characters of a page; longer ones are left out. */
export const pageLimit = 2 * 2 ** 20;

/** Articles alone (namespace 0). Throws `OpabiniaError` for what cannot be read, and for XML that is none. */
export async function* pagesOf(path: string): AsyncGenerator<Page> {
  checkPages(path);
  if (statOf(path, 'data')?.isDirectory() === true) yield* folderPages(path);
  else yield* dumpPages(path);
}

/** Throws `OpabiniaError` for a dump that is not there, or not read here. */
export function checkPages(path: string): void {
  checkPacking(path);
  if (statOf(path, 'data') === undefined)
    throw new OpabiniaError(`there is no ${path}`, { op: 'data', advice: 'give a dump (.xml) or a folder of pages' });
}

async function* dumpPages(path: string): AsyncGenerator<Page> {
  const reader = new DumpReader(path);
  for await (const text of unpackedText(path)) yield* reader.take(text);
  yield* reader.end();
}

/** `mediawiki > page > title, ns, redirect, revision > text`, whatever else there is. */
class DumpReader {
  readonly #parser = new SaxesParser();
  readonly #open: string[] = [];
  #made: Page[] = [];
  #page = { title: '', ns: '', text: '', redirect: undefined as string | undefined, isLong: false };
  #isDump = false;

  constructor(path: string) {
    const parser = this.#parser;
    parser.on('error', (error) => {
      throw new OpabiniaError(`${path} is not XML as a dump has it: ${error.message}`, {
        op: 'data',
        advice: 'give a dump of pages (…-pages-articles.xml), whole',
      });
    });
    parser.on('opentag', (tag) => {
      this.#open.push(tag.name);
      if (this.#open.length === 1) {
        this.#isDump = tag.name === 'mediawiki';
        if (!this.#isDump)
          throw new OpabiniaError(`${path} is XML of '${tag.name}', not of 'mediawiki'`, {
            op: 'data',
            advice: 'give a dump of pages (…-pages-articles.xml)',
          });
      }
      if (tag.name === 'page') this.#page = { title: '', ns: '', text: '', redirect: undefined, isLong: false };
      if (tag.name === 'redirect') this.#page.redirect = String(tag.attributes['title'] ?? '');
      // Of several revisions the last one stands.
      if (tag.name === 'text') this.#page.text = '';
    });
    parser.on('text', (text) => this.#text(text));
    parser.on('cdata', (text) => this.#text(text));
    parser.on('closetag', (tag) => {
      this.#open.pop();
      if (tag.name !== 'page') return;
      const { title, ns, text, redirect, isLong } = this.#page;
      if (title !== '' && (ns === '' || ns === '0') && !isLong) this.#made.push({ title, text, redirect });
    });
  }

  *take(chunk: string): Generator<Page> {
    this.#parser.write(chunk);
    yield* this.#made;
    this.#made = [];
  }

  *end(): Generator<Page> {
    this.#parser.close();
    yield* this.#made;
    this.#made = [];
  }

  #text(text: string): void {
    switch (this.#open.at(-1)) {
      case 'title':
        this.#page.title += text.slice(0, 1000);
        return;
      case 'ns':
        this.#page.ns += text.slice(0, 20);
        return;
      case 'text':
        if (this.#page.text.length + text.length > pageLimit) this.#page.isLong = true;
        else this.#page.text += text;
        return;
      default:
    }
  }
}

/** Files of wikitext, each called as its page. */
function* folderPages(path: string): Generator<Page> {
  const files = readdirSync(path)
    .filter((name) => /\.(?:wiki|mediawiki|wikitext|txt)$/.test(name))
    .sort();
  if (files.length === 0)
    throw new OpabiniaError(`${path} has no pages`, {
      op: 'data',
      advice: 'pages are files such as Cell_(biology).wiki',
    });
  for (const name of files) {
    const text = readRegular(join(path, name), 4 * pageLimit, 'data').toString('utf8');
    if (text.length > pageLimit) continue;
    const title = basename(name)
      .replace(/\.\w+$/, '')
      .replaceAll('_', ' ');
    yield { title, text, redirect: /^\s*#redirect\s*\[\[([^\]|#]+)/i.exec(text)?.[1]?.trim() };
  }
}
