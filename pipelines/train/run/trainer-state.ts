// `trainer_state.json` as Hugging Face's Trainer writes it: what every script that plots a training reads.

/** One logged step. */
export interface LogEntry {
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
}

export interface TrainerState {
  readonly step: number;
  readonly maxSteps: number;
  readonly epoch: number;
  readonly epochs: number;
  readonly batch: number;
  readonly loggingSteps: number;
  readonly saveSteps: number;
  readonly tokensSeen: number;
  readonly history: readonly LogEntry[];
}

/** Numbers that are not finite are written as null: JSON has none. */
export function trainerState(state: TrainerState): string {
  const json = {
    best_global_step: null,
    best_metric: null,
    best_model_checkpoint: null,
    epoch: state.epoch,
    eval_steps: 500,
    global_step: state.step,
    is_hyper_param_search: false,
    is_local_process_zero: true,
    is_world_process_zero: true,
    log_history: state.history.map((entry) => ({
      epoch: entry.epoch,
      grad_norm: entry.gradientNorm,
      learning_rate: entry.learningRate,
      loss: entry.loss,
      step: entry.step,
    })),
    logging_steps: state.loggingSteps,
    max_steps: state.maxSteps,
    num_input_tokens_seen: state.tokensSeen,
    num_train_epochs: state.epochs,
    save_steps: state.saveSteps,
    stateful_callbacks: {},
    total_flos: 0,
    train_batch_size: state.batch,
    trial_name: null,
    trial_params: null,
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}
