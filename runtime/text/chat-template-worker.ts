// The thread in which a chat template runs: a template is a program from a stranger, and may loop for ever or fill the memory.
import { parentPort } from 'node:worker_threads';
import { Template } from '@huggingface/jinja';

/** What the thread is asked. */
export interface RenderRequest {
  readonly template: string;
  readonly context: Readonly<Record<string, unknown>>;
  /** Characters of the result. */
  readonly limit: number;
}

export type RenderReply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'refused'; readonly what: string };

const reply = (message: RenderReply): void => parentPort?.postMessage(message);

parentPort?.once('message', ({ template, context, limit }: RenderRequest) => {
  try {
    const text = new Template(template).render({ ...context });
    reply(
      text.length > limit
        ? { kind: 'refused', what: `gives ${text.length} characters; at most ${limit} are accepted` }
        : { kind: 'text', text },
    );
  } catch (error) {
    reply({ kind: 'refused', what: `fails: ${error instanceof Error ? error.message : String(error)}` });
  }
});
reply({ kind: 'ready' });
