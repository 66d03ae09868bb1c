// `generation_config.json`: what a model's makers recommend for sampling, and where an answer ends.
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/error.ts';

export interface GenerationConfig {
  /** Any of these ends an answer; empty when the file names none. */
  readonly ends: readonly number[];
  readonly begin: number | undefined;
  readonly pad: number | undefined;
  /** False: the likeliest token, whatever the temperature says. */
  readonly sample: boolean;
  readonly temperature: number | undefined;
  readonly topK: number | undefined;
  readonly topP: number | undefined;
  readonly repetitionPenalty: number | undefined;
  readonly maxNewTokens: number | undefined;
  /** Other fields by which transformers' `generate` changes an answer also where it takes the likeliest token, as `num_beams 4`. */
  readonly changing: readonly string[];
}

/** Such fields, and the value that changes nothing; null and an empty list never do. */
const neutral: Readonly<Record<string, number>> = {
  no_repeat_ngram_size: 0,
  min_length: 0,
  min_new_tokens: 0,
  num_beams: 1,
  guidance_scale: 1,
  suppress_tokens: 0,
  begin_suppress_tokens: 0,
  bad_words_ids: 0,
  sequence_bias: 0,
  stop_strings: 0,
};
/** Characters of a value that are shown. */
const shown = 40;

function changingFields(fields: Readonly<Record<string, unknown>>): readonly string[] {
  return Object.entries(neutral).flatMap(([name, without]) => {
    const value = fields[name] ?? without;
    if (value === without || (Array.isArray(value) && value.length === 0)) return [];
    return [`${name} ${JSON.stringify(value).slice(0, shown)}`];
  });
}

const id = z.int().min(0).max(4_194_304);
const schema = z.looseObject({
  eos_token_id: z.union([id, z.array(id).max(64)]).nullish(),
  bos_token_id: z.union([id, z.array(id).max(64)]).nullish(),
  pad_token_id: z.int().min(-1).max(4_194_304).nullish(),
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  // 0, and −1 in files that other servers read, keep all.
  top_k: z.int().min(-1).max(4_194_304).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().max(100).nullish(),
  max_new_tokens: z.int().min(1).max(1_000_000).nullish(),
});

/** Throws `OpabiniaError` for a field out of its range; `where` names the file. Unknown fields are left alone. */
export function readGenerationConfig(json: unknown, where: string): GenerationConfig {
  const read = schema.safeParse(json);
  if (!read.success) {
    const [issue] = read.error.issues;
    throw new OpabiniaError(`${where} is wrong at '${(issue?.path ?? []).join('.')}': ${issue?.message ?? ''}`, {
      op: 'generationConfig',
      advice: 'mend the file, or remove it: nothing needs it',
    });
  }
  const fields = read.data;
  const list = (value: number | readonly number[] | null | undefined): readonly number[] =>
    typeof value === 'number' ? [value] : (value ?? []);
  return {
    ends: list(fields.eos_token_id),
    begin: list(fields.bos_token_id)[0],
    pad: fields.pad_token_id ?? undefined,
    sample: fields.do_sample ?? false,
    temperature: fields.temperature ?? undefined,
    topK: (fields.top_k ?? 0) <= 0 ? undefined : (fields.top_k ?? undefined),
    topP: fields.top_p ?? undefined,
    repetitionPenalty: fields.repetition_penalty ?? undefined,
    maxNewTokens: fields.max_new_tokens ?? undefined,
    changing: changingFields(fields),
  };
}
