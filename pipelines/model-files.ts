// Which files of a model directory go with its weights wherever these go.

const besides =
  /^(?:tokenizer.*|.*token.*\.(?:json|txt|model)|vocab\..*|merges\.txt|generation_config\.json|(?:pre)?processor_config\.json|preprocessor_config\.json|chat_template\..*|LICENSE.*)$/;

/** Files beside config and weights that a model needs. */
export function isBesideWeights(file: string): boolean {
  return besides.test(file);
}
