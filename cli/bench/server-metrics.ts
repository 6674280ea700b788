/** What a model server has done so far, from its Prometheus metrics. */
export interface ServerMetrics {
  tokens: number;
  paddingTokens: number;
  batches: number;
  batchedTexts: number;
  computeSeconds: number;
  cpuSeconds: number;
  residentBytes: number;
  heapBytes: number;
  atMs: number;
}

/** What it has done between two looks. */
export interface ServerWork {
  /** Share of the computed tokens that were padding; undefined when none were computed. */
  paddingShare: number | undefined;
  /** Texts in a batch. */
  meanBatch: number | undefined;
  /** CPU of the server, in cores. */
  cores: number;
  /** CPU of the server, in microseconds for each token that it computed, padding not counted. */
  cpuUsPerToken: number | undefined;
  /** Time of one batch in the model, in milliseconds. */
  meanBatchMs: number | undefined;
  residentBytes: number;
}

const TIMEOUT_MS = 5000;

/** Reads the metrics; undefined when they can't be had, as another server may have none. */
export async function readServerMetrics(url: string): Promise<ServerMetrics | undefined> {
  const text = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })
    .then((response) => (response.ok ? response.text() : undefined))
    .catch(() => undefined);
  if (text === undefined || !text.includes('nereid_tokens_total')) return undefined;
  return {
    tokens: sumOf(text, 'nereid_tokens_total'),
    paddingTokens: sumOf(text, 'nereid_padding_tokens_total'),
    batches: sumOf(text, 'nereid_batch_items_count'),
    batchedTexts: sumOf(text, 'nereid_batch_items_sum'),
    computeSeconds: sumOf(text, 'nereid_compute_seconds_sum'),
    cpuSeconds: sumOf(text, 'process_cpu_seconds_total'),
    residentBytes: sumOf(text, 'process_resident_memory_bytes'),
    heapBytes: sumOf(text, 'nodejs_heap_size_used_bytes'),
    atMs: performance.now(),
  };
}

/** The difference; undefined when one of the looks failed. */
export function workBetween(
  before: ServerMetrics | undefined,
  after: ServerMetrics | undefined,
): ServerWork | undefined {
  if (before === undefined || after === undefined) return undefined;
  const padding = after.paddingTokens - before.paddingTokens;
  const tokens = after.tokens - before.tokens;
  const computed = tokens + padding;
  const cpuSeconds = after.cpuSeconds - before.cpuSeconds;
  const batches = after.batches - before.batches;
  return {
    paddingShare: computed > 0 ? padding / computed : undefined,
    meanBatch: batches > 0 ? (after.batchedTexts - before.batchedTexts) / batches : undefined,
    cores: cpuSeconds / ((after.atMs - before.atMs) / 1000),
    cpuUsPerToken: tokens > 0 ? (cpuSeconds * 1e6) / tokens : undefined,
    meanBatchMs: batches > 0 ? ((after.computeSeconds - before.computeSeconds) * 1000) / batches : undefined,
    residentBytes: after.residentBytes,
  };
}

/** Sum over all label sets of one metric. */
function sumOf(text: string, name: string): number {
  const lines = text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'gm'));
  return [...lines].reduce((sum, match) => sum + Number(match[1]), 0);
}
