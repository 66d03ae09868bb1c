// SentencePiece merges, of pairs that make pieces of one score, the leftmost first. A list of merges cannot say that: its order is a rank of
// each pair. The library goes by rank and then from left to right, so that such pairs are given one rank.
import type { Tokenizer } from '@huggingface/tokenizers';
import { isObject } from './tokenizer-json.ts';

/** Beside the merges of a model: further lists of pieces, those of each list with one score. The list stands for SentencePiece's rule. */
export const tiedPieces = 'tied_pieces';

/** Gives the merges that make a piece, or one of several pieces of one score, the rank of the first of them. */
export function tieMerges({ model }: Tokenizer, json: object): void {
  const fields = 'model' in json && isObject(json.model) ? json.model : {};
  const tied = fields[tiedPieces];
  if (!Array.isArray(tied) || model === null || !('bpe_ranks' in model) || !(model.bpe_ranks instanceof Map)) return;
  const leaders = new Map(
    tied.flatMap((pieces: unknown) =>
      Array.isArray(pieces) ? pieces.map((piece) => [String(piece), String(pieces[0])] as const) : [],
    ),
  );
  const ranks = model.bpe_ranks as Map<string, number>;
  const first = new Map<string, number>();
  const merges =
    'merges' in model && Array.isArray(model.merges) ? (model.merges as readonly (readonly string[])[]) : [];
  merges.forEach((pair, rank) => {
    const piece = pair.join('');
    const leader = leaders.get(piece) ?? piece;
    const own = first.get(leader);
    if (own === undefined) first.set(leader, rank);
    else ranks.set(JSON.stringify(pair), own);
  });
}
