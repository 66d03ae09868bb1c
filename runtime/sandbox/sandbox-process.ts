// The process in which programs of strangers run: a template or a regular expression may loop for ever or fill the memory, and only
// another process can end that. It answers one request after the other.
import { Worker } from 'node:worker_threads';
import { OpabiniaError } from '../../dsl/error.ts';
import { readGgufTokenizer } from '../gguf/gguf-tokenizer.ts';
import { renderAsPython } from './python-template.ts';
import { readTokenizer } from '../text/read-tokenizer.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { refusalOf, type Reply, type Request, type RequestOf, type TokenizerFacts } from './protocol.ts';

/** Ids and characters of one reply. */
const replyLimit = 4 * 2 ** 20;

const tokenizers = new Map<number, Tokenizer>();
const reply = (message: Reply): void => void process.send?.(message);

process.on('message', async (request: Request) => {
  try {
    reply({ kind: 'value', value: await answer(request) });
  } catch (error) {
    const refusal =
      request.kind === 'render'
        ? refusalOf(error, 'the chat template', 'chatTemplate')
        : refusalOf(error, 'the tokenizer', 'tokenizer');
    reply({ kind: 'refused', refusal });
  }
});
process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole group of processes; what it means is decided by the one that is served.
process.on('SIGINT', () => undefined);
reply({ kind: 'ready' });
watch();

async function answer(request: Request): Promise<Extract<Reply, { readonly kind: 'value' }>['value']> {
  switch (request.kind) {
    case 'render':
      return render(request);
    case 'open': {
      const tokenizer = /\.gguf$/i.test(request.path)
        ? await readGgufTokenizer(request.path)
        : readTokenizer(request.path, request.configPath);
      tokenizers.set(request.key, tokenizer);
      return factsOf(tokenizer);
    }
    case 'encode':
      return bounded(
        tokenizerOf(request.key).encode(request.parts, { automatic: request.automatic }),
        'the tokenizer gives',
        'ids',
      );
    case 'decode': {
      const tokenizer = tokenizerOf(request.key);
      return request.lists.map((ids) => bounded(tokenizer.decode(ids), 'the tokenizer gives', 'characters'));
    }
    case 'close':
      tokenizers.delete(request.key);
      return null;
    default:
      return request satisfies never;
  }
}

function render({ template, context, limit }: RequestOf<'render'>): string {
  const text = renderAsPython(template, context);
  if (text.length <= limit) return text;
  throw new OpabiniaError(`the chat template gives ${text.length} characters; at most ${limit} are accepted`, {
    op: 'chatTemplate',
  });
}

function tokenizerOf(key: number): Tokenizer {
  const found = tokenizers.get(key);
  if (found === undefined) throw new TypeError(`no tokenizer ${key} is open`);
  return found;
}

function bounded<T extends { readonly length: number }>(value: T, who: string, what: string): T {
  if (value.length <= replyLimit) return value;
  throw new OpabiniaError(`${who} ${value.length} ${what}; at most ${replyLimit} are accepted`, { op: 'tokenizer' });
}

function factsOf(tokenizer: Tokenizer): TokenizerFacts {
  return {
    size: tokenizer.size,
    automaticStart: tokenizer.automaticStart,
    names: tokenizer.names(),
    controls: [...tokenizer.controls],
  };
}

/** A thread that ends this process when the one it serves is gone: this thread may be in a loop that nothing else ends. */
function watch(): void {
  const code = `
    const served = ${process.ppid};
    setInterval(() => {
      try {
        process.kill(served, 0);
        if (process.platform === 'win32' || process.ppid === served) return;
      } catch {}
      process.kill(process.pid, 'SIGKILL');
    }, 500);`;
  const watcher = new Worker(code, { eval: true, env: {} });
  watcher.unref();
}
