// `adapter_config.json` of PEFT: which modules of a model have additions, of which rank, and by what they are multiplied.

export interface AdaptedModule {
  /** Its path in the model: `model.layers.0.self_attn.q_proj`. */
  readonly path: string;
  readonly rank: number;
  readonly alpha: number;
}

/**
 * `base`: where PEFT looks for the model itself. `modules`: paths of all modules that have a weight, adapted or not. A name that many
 * adapted modules end in (`q_proj`) stands for them where it means no other module; elsewhere whole paths do. Where ranks or alphas
 * differ, the commonest pair is `r` and `lora_alpha`, and the others are patterns.
 */
export function adapterConfig(
  base: string,
  adapted: readonly AdaptedModule[],
  modules: readonly string[],
): Readonly<Record<string, unknown>> {
  const [common] = commonest(adapted);
  const { rank, alpha } = common ?? { rank: 1, alpha: 1 };
  return {
    alpha_pattern: patterns(adapted, modules, (module) => module.alpha, alpha),
    auto_mapping: null,
    base_model_name_or_path: base,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: alpha,
    lora_dropout: 0,
    modules_to_save: null,
    peft_type: 'LORA',
    r: rank,
    rank_pattern: patterns(adapted, modules, (module) => module.rank, rank),
    revision: null,
    target_modules: names(
      adapted.map(({ path }) => path),
      modules,
    ),
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: false,
  };
}

const lastOf = (path: string): string => path.slice(path.lastIndexOf('.') + 1);

/** Names that mean these modules and, of all, no other. */
function names(some: readonly string[], all: readonly string[]): readonly string[] {
  const chosen = new Set(some);
  const stray = new Set(all.filter((path) => !chosen.has(path)).map(lastOf));
  return [...new Set(some.map((path) => (stray.has(lastOf(path)) ? path : lastOf(path))))].toSorted();
}

function patterns(
  adapted: readonly AdaptedModule[],
  modules: readonly string[],
  of: (module: AdaptedModule) => number,
  usual: number,
): Readonly<Record<string, number>> {
  const values = new Set(adapted.map(of));
  return Object.fromEntries(
    [...values]
      .filter((value) => value !== usual)
      .flatMap((value) => {
        const own = adapted.filter((module) => of(module) === value).map(({ path }) => path);
        return names(own, modules).map((name) => [name, value] as const);
      }),
  );
}

/** The modules of the pair of rank and alpha that most have; of equal ones the first. */
function commonest(adapted: readonly AdaptedModule[]): readonly AdaptedModule[] {
  const pairs = Map.groupBy(adapted, ({ rank, alpha }) => `${rank} ${alpha}`);
  return [...pairs.values()].reduce((best, pair) => (pair.length > best.length ? pair : best), []);
}
