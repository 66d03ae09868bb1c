// Figures of a server in the text format of Prometheus (exposition format 0.0.4).

/** A count by the value of one label. */
class Counter {
  readonly #counts = new Map<string, number>();
  add(label: string, count = 1): void {
    this.#counts.set(label, (this.#counts.get(label) ?? 0) + count);
  }
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }
}

/** Upper bounds of seconds. */
const bounds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] as const;

class Histogram {
  readonly #below = bounds.map(() => 0);
  sum = 0;
  count = 0;
  observe(value: number): void {
    this.sum += value;
    this.count++;
    bounds.forEach((bound, i) => {
      if (value <= bound) this.#below[i] = (this.#below[i] ?? 0) + 1;
    });
  }
  get below(): readonly number[] {
    return this.#below;
  }
  get mean(): number | undefined {
    return this.count === 0 ? undefined : this.sum / this.count;
  }
}

/** What is read when the figures are asked for. */
export interface Gauges {
  readonly rows: number;
  readonly rowsBusy: number;
  readonly waiting: number;
  readonly deviceBytes: number;
  readonly residentBytes: number;
}

export class Metrics {
  /** By HTTP status. */
  readonly requests = new Counter();
  readonly tokens = new Counter();
  readonly images = new Counter();
  readonly abandoned = new Counter();
  /** From a question to the end of its answer, and to its first words. */
  readonly seconds = new Histogram();
  readonly firstSeconds = new Histogram();

  text(gauges: Gauges): string {
    return [
      ...counter('opabinia_requests_total', 'Requests to /v1, by status.', 'status', this.requests),
      ...counter('opabinia_tokens_total', 'Tokens of prompts and of answers.', 'kind', this.tokens),
      ...counter('opabinia_images_total', 'Pictures that were decoded.', undefined, this.images),
      ...counter(
        'opabinia_abandoned_total',
        'Requests whose client left before the answer was complete.',
        undefined,
        this.abandoned,
      ),
      ...gauge('opabinia_rows', 'Questions that can be answered at once.', gauges.rows),
      ...gauge('opabinia_rows_busy', 'Questions that are being answered.', gauges.rowsBusy),
      ...gauge('opabinia_waiting', 'Questions that wait for a row.', gauges.waiting),
      ...gauge('opabinia_device_bytes', 'Bytes on the device.', gauges.deviceBytes),
      ...gauge('process_resident_memory_bytes', 'Resident memory of the process.', gauges.residentBytes),
      ...histogram('opabinia_request_seconds', 'From a question to the end of its answer.', this.seconds),
      ...histogram('opabinia_first_words_seconds', 'From a question to its first words.', this.firstSeconds),
      '',
    ].join('\n');
  }
}

function head(name: string, help: string, type: string): readonly string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

function counter(name: string, help: string, label: string | undefined, { counts }: Counter): readonly string[] {
  const lines =
    label === undefined
      ? [`${name} ${counts.get('') ?? 0}`]
      : [...counts].map(([value, count]) => `${name}{${label}="${value}"} ${count}`);
  return [...head(name, help, 'counter'), ...lines];
}

function gauge(name: string, help: string, value: number): readonly string[] {
  return [...head(name, help, 'gauge'), `${name} ${value}`];
}

function histogram(name: string, help: string, { below, sum, count }: Histogram): readonly string[] {
  return [
    ...head(name, help, 'histogram'),
    ...bounds.map((bound, i) => `${name}_bucket{le="${bound}"} ${below[i] ?? 0}`),
    `${name}_bucket{le="+Inf"} ${count}`,
    `${name}_sum ${sum}`,
    `${name}_count ${count}`,
  ];
}
