// What a client may ask of `/v1/chat/completions`: an allow-list. What it sends and cannot matter is taken, what would be ignored
// though it matters is refused, and so is what nobody knows, by its name.
import { z } from 'zod';
import { ApiError } from './api-error.ts';

const text = z.strictObject({ type: z.literal('text'), text: z.string() });

const image = z.strictObject({
  type: z.literal('image_url'),
  // Pictures are read as the model's own processor makes them, whatever detail is asked for.
  image_url: z.strictObject({ url: z.string(), detail: z.enum(['auto', 'low', 'high', 'original']).nullish() }),
});

/** Taken and not looked at. */
const ignored = z.unknown().optional();

const texts = z.union([z.string(), z.array(text)]);

const message = z.discriminatedUnion('role', [
  z.strictObject({ role: z.enum(['system', 'developer']), content: texts, name: ignored }),
  z.strictObject({
    role: z.literal('user'),
    content: z.union([z.string(), z.array(z.discriminatedUnion('type', [text, image]))]),
    name: ignored,
  }),
  z.strictObject({
    role: z.literal('assistant'),
    content: texts,
    name: ignored,
    // What comes with an answer and is sent back.
    refusal: ignored,
    annotations: ignored,
    reasoning_content: ignored,
    audio: z.null().optional(),
    function_call: z.null().optional(),
    tool_calls: z.array(z.never()).nullish(),
  }),
]);

export type ChatMessage = z.infer<typeof message>;

/** Longest stop string, in UTF-16 units, and how many there may be, as at OpenAI. */
const stopString = z.string().min(1).max(256);
const mostStops = 4;
const mostMessages = 1024;
/** Tokens of `top_logprobs`, as at OpenAI. */
const mostLikely = 20;

const request = z.strictObject({
  model: z.string(),
  messages: z.array(message).min(1).max(mostMessages),
  max_tokens: z.int().min(1).optional(),
  max_completion_tokens: z.int().min(1).optional(),
  temperature: z.number().min(0).max(2).optional(),
  top_p: z.number().min(0).max(1).optional(),
  stop: z.union([stopString, z.array(stopString).max(mostStops)]).optional(),
  seed: z.int().optional(),
  stream: z.boolean().optional(),
  stream_options: z.strictObject({ include_usage: z.boolean().optional(), include_obfuscation: ignored }).optional(),
  n: z.literal(1).optional(),
  response_format: z.strictObject({ type: z.literal('text') }).optional(),
  logprobs: z.boolean().optional(),
  top_logprobs: z.int().min(0).max(mostLikely).optional(),
  // Not of OpenAI's, and what its local peers call them.
  top_k: z.int().min(-1).optional(),
  repetition_penalty: z.number().min(0.01).max(100).optional(),
  // What is off changes nothing; on, it would be missed.
  frequency_penalty: z.literal(0).optional(),
  presence_penalty: z.literal(0).optional(),
  logit_bias: z.strictObject({}).optional(),
  tools: z.array(z.never()).optional(),
  tool_choice: z.enum(['none', 'auto']).optional(),
  modalities: z.tuple([z.literal('text')]).optional(),
  // Sent by clients that mean other servers, or for the server's own books.
  chat_template_kwargs: ignored,
  media_io_kwargs: ignored,
  mm_processor_kwargs: ignored,
  metadata: ignored,
  parallel_tool_calls: ignored,
  prompt_cache_key: ignored,
  prompt_cache_retention: ignored,
  reasoning_effort: ignored,
  safety_identifier: ignored,
  service_tier: ignored,
  store: ignored,
  user: ignored,
  verbosity: ignored,
});

export type ChatRequest = z.infer<typeof request>;

/** Why fields that others know are refused here. */
const reasons: Readonly<Record<string, string>> = {
  n: 'one answer is given to a request: 1, or leave it out',
  frequency_penalty: 'only 0 is known: repetition_penalty is there instead',
  presence_penalty: 'only 0 is known: repetition_penalty is there instead',
  logit_bias: 'tokens are not biased: leave it out',
  tools: 'the model calls no tools: leave them out',
  tool_choice: 'the model calls no tools: leave it out',
  response_format: "answers are text: { type: 'text' }, or leave it out",
  modalities: "answers are text: ['text'], or leave it out",
};

/** A request that is well formed; fields that are null count as left out. Throws `ApiError` that names the field. */
export function readChatRequest(json: unknown): ChatRequest {
  const given =
    typeof json === 'object' && json !== null && !Array.isArray(json)
      ? Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null))
      : json;
  const read = request.safeParse(given);
  if (!read.success) throw refusal(read.error.issues);
  const { max_tokens: tokens, max_completion_tokens: completion } = read.data;
  if (tokens !== undefined && completion !== undefined && tokens !== completion)
    throw new ApiError(400, `max_tokens is ${tokens} and max_completion_tokens ${completion}: give one of them`, {
      param: 'max_completion_tokens',
    });
  if (read.data.top_logprobs !== undefined && read.data.top_logprobs > 0 && read.data.logprobs !== true)
    throw new ApiError(400, 'top_logprobs: these are told with logprobs: true alone', { param: 'top_logprobs' });
  return read.data;
}

type Issue = z.core.$ZodIssue;

interface Said {
  readonly path: readonly PropertyKey[];
  readonly issue: Issue;
  readonly message: string;
}

function refusal(issues: readonly Issue[]): ApiError {
  const [issue] = issues;
  if (issue === undefined) return new ApiError(400, 'the request is not understood');
  const { path, issue: said, message: why } = deepest(issue, []);
  const param = printPath(path);
  const [field] = path;
  const reason =
    path.length >= 1 && typeof field === 'string' && Object.hasOwn(reasons, field) ? reasons[field] : undefined;
  if (said.code === 'unrecognized_keys') {
    const [name = ''] = said.keys;
    const full = printPath([...path, name]);
    return new ApiError(400, `the field '${full}' is not known`, { param: full, code: 'unknown_parameter' });
  }
  if (param === '') return new ApiError(400, 'the body is not a JSON object with the fields of a chat completion');
  return new ApiError(400, `${param}: ${reason ?? why}`, { param, code: 'invalid_value' });
}

/** Of what a union says about each of its forms, what comes farthest: that form was meant. */
function deepest(issue: Issue, before: readonly PropertyKey[]): Said {
  const path = [...before, ...issue.path];
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return { path, issue, message: issue.message };
  const forms = issue.errors.flatMap(([first]) => (first === undefined ? [] : [deepest(first, path)]));
  const meant = forms.filter((form) => form.path.length > path.length || form.issue.code !== 'invalid_type');
  const [best] = meant.toSorted((a, b) => b.path.length - a.path.length);
  if (best !== undefined) return best;
  const expected = forms.flatMap((form) => (form.issue.code === 'invalid_type' ? [form.issue.expected] : []));
  return { path, issue, message: expected.length === 0 ? issue.message : `expected ${expected.join(' or ')}` };
}

/** `messages[0].content`; names are a stranger's, and may be of any length. */
function printPath(path: readonly PropertyKey[]): string {
  const whole = path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
  return whole.length > longestName ? `${whole.slice(0, longestName)}…` : whole;
}

const longestName = 200;
