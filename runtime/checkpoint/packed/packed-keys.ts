// Keys of a config of packed weights that are read, or that say nothing about how weights are used: how they were found, and by which
// kernels others run them. Any other may change what a model computes.
import { OpabiniaError } from '../../../dsl/error.ts';

const words = (text: string): ReadonlySet<string> => new Set(text.split(' '));

const keys = {
  mlx: words('group_size bits mode quant_method linear_class'),
  // Of transformers; which modules it has not converted, their tensors say.
  metal: words('quant_method bits group_size modules_to_not_convert'),
  'compressed-tensors': words(
    'quant_method format config_groups ignore quantization_status global_compression_ratio version run_compressed',
  ),
  // From `damp_percent` on: what transformers writes of GPTQ's settings, which say how weights were found, or nothing of AWQ. A true
  // `desc_act` is none of them: AWQ has its columns in order.
  awq: words(
    'quant_method bits group_size zero_point version format backend do_fuse fuse_max_seq_len modules_to_fuse exllama_config modules_to_not_convert damp_percent act_group_aware sym true_sequential tokenizer dataset meta model_seqlen block_name_to_quantize module_name_preceding_first_block modules_in_block_to_quantize batch_size pad_token_id max_input_length cache_block_outputs',
  ),
  gptq: words(
    'quant_method bits group_size desc_act sym checkpoint_format format lm_head tokenizer dataset damp_percent damp_auto_increment true_sequential static_groups mse model_name_or_path model_file_base_name model_seqlen block_name_to_quantize module_name_preceding_first_block modules_in_block_to_quantize batch_size pad_token_id use_cuda_fp16 use_exllama disable_exllama max_input_length exllama_config cache_block_outputs backend meta pack_dtype act_group_aware',
  ),
  group: words('targets weights format'),
  weights: words(
    'num_bits type symmetric group_size strategy dynamic actorder observer observer_kwargs scale_dtype zp_dtype',
  ),
} as const;

/** Null, false, and what is empty. */
function saysNothing(value: unknown): boolean {
  return value === null || value === false || (typeof value === 'object' && Object.keys(value).length === 0);
}

/** Throws `OpabiniaError` for a key that is none of a kind's; `isModule` tells those that are names of modules. */
export function checkPackedKeys(
  kind: keyof typeof keys,
  fields: Readonly<Record<string, unknown>>,
  where: string,
  isModule: (value: unknown) => boolean = () => false,
): void {
  const stray = Object.entries(fields).find(
    ([key, value]) => !keys[kind].has(key) && !saysNothing(value) && !isModule(value),
  );
  if (stray !== undefined)
    throw new OpabiniaError(`${where} has '${stray[0].slice(0, 80)}' in its quantization, which is not known`, {
      op: 'openPacked',
      advice: `known are ${[...keys[kind]].join(', ')}; it may change what is computed`,
    });
}
