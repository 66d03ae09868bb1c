// What a set is to be about: topics, by field and subfield.
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';
import { readRegular } from '../../../runtime/files/regular-file.ts';
import { plural } from '../../../dsl/text/plural.ts';

export interface Topic {
  readonly topic: string;
  readonly field?: string | undefined;
  readonly subfield?: string | undefined;
}

/** A subfield whose topics the endpoint is asked for. */
export interface OpenField {
  readonly field: string;
  readonly subfield: string;
}

const list = z.array(z.string().min(1).max(300));
const schema = z.union([list, z.record(z.string(), z.union([list, z.record(z.string(), list)]))]);
const [sizeLimit, countLimit] = [16 * 2 ** 20, 100_000];

/**
 * A text file of one topic a line; or JSON: a list, `{field: [topic]}`, or `{field: {subfield: [topic]}}`, where an empty list asks for topics.
 * Each topic once. Throws `OpabiniaError`.
 */
export function readTopics(path: string): { readonly topics: readonly Topic[]; readonly open: readonly OpenField[] } {
  const text = readRegular(path, sizeLimit, 'data').toString('utf8');
  const [topics, open]: [Topic[], OpenField[]] = [[], []];
  if (path.endsWith('.json')) {
    const found = schema.safeParse(parsed(text, path));
    if (!found.success)
      throw new OpabiniaError(`${path}: ${found.error.issues[0]?.message ?? 'is wrong'}`, {
        op: 'data',
        advice: 'write ["topic", …] or {"field": {"subfield": ["topic", …]}}',
      });
    if (Array.isArray(found.data)) topics.push(...found.data.map((topic) => ({ topic })));
    else
      for (const [field, inner] of Object.entries(found.data))
        for (const [subfield, names] of Object.entries(Array.isArray(inner) ? { [field]: inner } : inner)) {
          if (names.length === 0) open.push({ field, subfield });
          topics.push(...names.map((topic) => ({ topic, field, subfield })));
        }
  } else topics.push(...text.split(/\r?\n/).flatMap((line) => (line.trim() === '' ? [] : [{ topic: line.trim() }])));
  const unique = [...new Map(topics.map((one) => [one.topic, one])).values()];
  if (unique.length === 0 && open.length === 0)
    throw new OpabiniaError(`${path} has no topic`, { op: 'data', advice: 'write one a line' });
  if (unique.length > countLimit)
    throw new OpabiniaError(`${path} has ${plural(unique.length, 'topic')}; at most ${countLimit} are taken`, {
      op: 'data',
    });
  return { topics: unique, open };
}

function parsed(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new OpabiniaError(`${path} does not parse: ${cause instanceof Error ? cause.message : String(cause)}`, {
      op: 'data',
      cause,
    });
  }
}
