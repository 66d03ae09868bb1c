// Where a whole model keeps its language model: below `model` and `lm_head`, as decoders read them, wherever the checkpoint has them.
import type { Params } from '../../dsl/index.ts';

/** Parameters whose `model` is `own`, and all others, `lm_head` among them, those of `root`; paths stay the checkpoint's. */
export function withModelAt(root: Params, own: Params): Params {
  const find = (name: string): readonly [Params, string] =>
    name.startsWith('model.') ? [own, name.slice('model.'.length)] : [root, name];
  return {
    path: root.path,
    at: (...path) => (path[0] === 'model' ? own.at(...path.slice(1)) : root.at(...path)),
    has: (name, otherwise) => {
      const [p, local] = find(name);
      return p.has(local, otherwise);
    },
    get: (name, axes, sizes) => {
      const [p, local] = find(name);
      return p.get(local, axes, sizes);
    },
  };
}

/** The embedding where a checkpoint has no head: whoever saves a model leaves out what is tied, and its config may say otherwise. */
export function withHead(p: Params): Params {
  if (p.has('lm_head.weight')) return p;
  return {
    path: p.path,
    at: (...path) => (path[0] === 'lm_head' ? p.at('model', 'embed_tokens', ...path.slice(1)) : p.at(...path)),
    has: (name, otherwise) => p.has(name, otherwise),
    get: (name, axes, sizes) => p.get(name, axes, sizes),
  };
}
