import type { Origins } from './origins.ts';
import type { TritonMessage } from './triton-schema.ts';

/** How requests wait for their batch. */
export interface QueueOptions {
  /** Sizes at which a batch is sent without waiting longer. */
  preferredBatchSizes: number[];
  queueDelayUs: number;
  maxQueueItems: number | undefined;
  /** How long a request may wait; undefined: as long as its deadline allows. */
  queueTimeoutMs: number | undefined;
  /** Whether a request may ask for less than that. */
  allowTimeoutOverride: boolean;
}

/** What `dynamic_batching` says. */
export function readQueueOptions(
  { dynamic_batching: batching }: TritonMessage,
  origins: Origins,
): QueueOptions {
  const policy = batching?.default_queue_policy;
  const preferred = batching?.preferred_batch_size ?? [];
  // 0 stands for no limit in Triton; here the server's own limit always holds.
  const most = policy?.max_queue_size || undefined;
  const timeoutUs = policy?.default_timeout_microseconds || undefined;
  if (preferred.length > 0)
    origins.fromFile('dynamic_batching.preferred_batch_size', preferred.join(', '), '');
  const inPolicy = (field: string) => `dynamic_batching.default_queue_policy.${field}`;
  return {
    preferredBatchSizes: [...new Set(preferred)].sort((a, b) => a - b),
    queueDelayUs: origins.fromFile(
      'dynamic_batching.max_queue_delay_microseconds',
      batching?.max_queue_delay_microseconds,
      0,
    ),
    maxQueueItems: origins.orServer(inPolicy('max_queue_size'), most),
    queueTimeoutMs:
      timeoutUs && origins.fromFile(inPolicy('default_timeout_microseconds'), timeoutUs, timeoutUs) / 1000,
    allowTimeoutOverride: origins.fromFile(
      inPolicy('allow_timeout_override'),
      policy?.allow_timeout_override,
      false,
    ),
  };
}
