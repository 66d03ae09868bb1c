// Figures of a page with what is said about them: by section, caption and text (Cambrian-1, appendix on the data engine).
import { OpabiniaError } from '../../../dsl/error.ts';

export interface Figure {
  readonly section: string;
  /** Name of the file as the wiki has it, without its namespace. */
  readonly file: string;
  readonly caption: string;
  /** Of the section. */
  readonly text: string;
}

export type FigureReader = (wikitext: string, title: string) => readonly Figure[];

/** What is used of `wtf_wikipedia`. */
interface WikiSection {
  title(): string;
  images(): unknown;
  paragraphs(): unknown;
  templates(): unknown;
}
type Wiki = (text: string, options: object) => { sections(): readonly WikiSection[] };

/** Sections that are about no subject, and history, which the paper leaves out. */
const skipped =
  /^(?:history|references?|notes|see also|external links|further reading|bibliography|sources|citations|footnotes|gallery)\b/i;

/** Words of a section at least. */
const leastWords = 50;

/** An optional peer: whoever builds no data does not need it, and neither do the types of the package. */
const library: string = 'wtf_wikipedia';

/** Reads wikitext by the optional library. Throws `OpabiniaError` with the command that installs it where it is missing. */
export async function openFigureReader(
  load: () => Promise<unknown> = () => import(library) as Promise<unknown>,
): Promise<FigureReader> {
  let module: unknown;
  try {
    module = await load();
  } catch (cause) {
    throw new OpabiniaError('wikitext is read by the library wtf_wikipedia, which is not installed', {
      op: 'data',
      cause,
      advice: 'npm i wtf_wikipedia',
    });
  }
  const { default: wiki } = module as { readonly default: Wiki };
  return (wikitext, title) => figuresOf(wiki, wikitext, title);
}

function figuresOf(wiki: Wiki, wikitext: string, title: string): readonly Figure[] {
  return wiki(wikitext, { title })
    .sections()
    .flatMap((section): readonly Figure[] => {
      const name = section.title().trim();
      // What stands before the first heading has none.
      if (name === '' || skipped.test(name)) return [];
      const text = listOf(section.paragraphs())
        .map((paragraph) => textOf(paragraph, 'text'))
        .filter((one) => one !== '')
        .join('\n');
      if (text.split(/\s+/).length <= leastWords) return [];
      const own = listOf(section.images()).map((image) => ({
        file: textOf(image, 'file'),
        caption: textOf(image, 'caption'),
      }));
      const galleries = listOf(section.templates()).flatMap(galleryOf);
      return [...own, ...galleries].flatMap(({ file, caption }) => {
        const called = file.replace(/^[^:]*:/, '').trim();
        return called === '' || caption.trim() === ''
          ? []
          : [{ section: name, file: called, caption: caption.trim(), text }];
      });
    });
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
}

/** What a method of an object of the library says. */
function textOf(object: unknown, method: string): string {
  const found: unknown = Reflect.get(Object(object), method);
  const said: unknown = typeof found === 'function' ? Reflect.apply(found, object, []) : found;
  return typeof said === 'string' ? said : '';
}

/** A gallery keeps its captions as sentences. */
function galleryOf(template: unknown): readonly { readonly file: string; readonly caption: string }[] {
  const json: unknown = (template as { json?: () => unknown }).json?.();
  if (typeof json !== 'object' || json === null || !('template' in json) || json.template !== 'gallery') return [];
  return listOf('images' in json ? json.images : undefined).map((image) => {
    const caption: unknown = Reflect.get(Object(image), 'caption');
    return { file: textOf(image, 'file'), caption: typeof caption === 'string' ? caption : textOf(caption, 'text') };
  });
}
